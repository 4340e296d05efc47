# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Patterns found by their 4-grams, in strides (docs/adr/0010, amended by 0023)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

cdef enum:
    GRAM = 4
    FIRST_SLOTS = 64
    MAX_TRIED_WINDOWS = 8


cdef inline uint32_t gram_at(const unsigned char* text) noexcept nogil:
    cdef uint32_t gram
    memcpy(&gram, text, GRAM)
    return gram


cdef inline uint32_t hashed(uint32_t gram) noexcept nogil:
    gram ^= gram >> 15
    gram *= 0x2C1B3C6DU
    gram ^= gram >> 12
    return gram


cdef class Needles:
    def __cinit__(self, Py_ssize_t stride):
        if stride < GRAM or stride % GRAM:
            raise ValueError(f"expected a multiple of {GRAM} as the stride, got {stride}")
        self.stride = stride
        self._patterns = []
        self._mask = -1
        self._grow_slots()

    def __dealloc__(self):
        free(self._slots)
        free(self._places)

    def __len__(self):
        return len(self._patterns)

    def add(self, bytes pattern):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(pattern), window = self.stride + GRAM - 1
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(pattern)
        cdef Py_ssize_t last = size - window, offset = last, best = last, fewest = -1, crowd, one, at, step
        cdef int32_t number = <int32_t>len(self._patterns)
        if last < 0:
            raise ValueError(f"expected a pattern of at least {window} bytes, got {size}")
        # where the fewest other patterns are found: tokens of one issuer begin alike, so not at the start
        step = last // MAX_TRIED_WINDOWS
        if step < 1:
            step = 1
        while offset >= 0:
            crowd = 0
            for at in range(offset, offset + self.stride):
                one = self._crowd_at(gram_at(text + at))
                if one > crowd:
                    crowd = one
            if fewest < 0 or crowd < fewest:
                best, fewest = offset, crowd
            if not crowd:
                break
            offset -= step
        self._patterns.append(pattern)
        for at in range(best, best + self.stride):
            self._put(gram_at(text + at), number, <int32_t>at)

    def find(self, bytes text, Py_ssize_t most):
        cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(text)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(text), at = 0, start
        cdef Py_ssize_t length
        cdef int32_t place
        cdef uint32_t gram
        cdef list found = []
        cdef bytes pattern
        while at + GRAM <= size and PyList_GET_SIZE(found) <= most:
            gram = gram_at(data + at)
            place = self._slots[self._slot_of(gram)].first
            while place >= 0:
                start = at - self._places[place].at
                if start >= 0:
                    pattern = <bytes>self._patterns[self._places[place].pattern]
                    length = PyBytes_GET_SIZE(pattern)
                    if start + length <= size and memcmp(data + start, PyBytes_AS_STRING(pattern), length) == 0:
                        found.append((start, start + length, self._places[place].pattern))
                place = self._places[place].next
            at += self.stride
        return found

    def crowd(self):
        cdef Py_ssize_t most = 0, slot, one
        for slot in range(self._mask + 1):
            if self._slots[slot].first >= 0:
                one = self._crowd_at(self._slots[slot].gram)
                if one > most:
                    most = one
        return most

    cdef Py_ssize_t _slot_of(self, uint32_t gram) noexcept nogil:
        """The gram's slot, or the free one where it would go: at least half of all are free."""
        cdef Py_ssize_t slot = hashed(gram) & self._mask
        while self._slots[slot].first >= 0 and self._slots[slot].gram != gram:
            slot = (slot + 1) & self._mask
        return slot

    cdef Py_ssize_t _crowd_at(self, uint32_t gram) noexcept nogil:
        cdef Py_ssize_t count = 0
        cdef int32_t place = self._slots[self._slot_of(gram)].first
        while place >= 0:
            count += 1
            place = self._places[place].next
        return count

    cdef int _put(self, uint32_t gram, int32_t pattern, int32_t at) except -1:
        cdef Place* grown
        cdef Py_ssize_t slot
        if self._count == self._room:
            self._room = self._room * 2 if self._room else FIRST_SLOTS
            grown = <Place*>realloc(self._places, self._room * sizeof(Place))
            if grown == NULL:
                raise MemoryError
            self._places = grown
        slot = self._slot_of(gram)
        if self._slots[slot].first < 0:
            self._used += 1
        self._places[self._count] = Place(pattern, at, self._slots[slot].first)
        self._slots[slot] = Slot(gram, <int32_t>self._count)
        self._count += 1
        if 2 * self._used > self._mask:
            self._grow_slots()
        return 0

    cdef int _grow_slots(self) except -1:
        cdef Slot* old = self._slots
        cdef Py_ssize_t before = self._mask + 1, slot
        cdef Py_ssize_t now = before * 4 if before else FIRST_SLOTS
        cdef Slot* grown = <Slot*>malloc(now * sizeof(Slot))
        if grown == NULL:
            raise MemoryError
        for slot in range(now):
            grown[slot].first = -1
        self._slots, self._mask = grown, now - 1
        for slot in range(before):
            if old[slot].first >= 0:
                grown[self._slot_of(old[slot].gram)] = old[slot]
        free(old)
        return 0
