# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Request ids that were taken, as 8-byte fingerprints: constant time, bounded memory.

The fingerprints are a keyed hash, so their bits are uniform and nobody outside can choose colliding ones: the low bits
are the slot, the next free slot is taken on a collision. Nothing is deleted; whole generations are forgotten.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    FIRST_SLOTS = 16
    FINGERPRINT_SIZE = 8
    CLAIM_SIZE = 16
    MAX_OFFSET = 0xFFFFFFFF

CLAIM_BYTES = CLAIM_SIZE


cdef class ClaimIndex:
    def __cinit__(self, uint64_t max_slots):
        if max_slots < FIRST_SLOTS or max_slots & (max_slots - 1):
            raise ValueError(f"expected a power of two of at least {FIRST_SLOTS}, got {max_slots}")
        self.max_slots = max_slots
        _make(&self.current, FIRST_SLOTS, 0)

    def __dealloc__(self):
        _drop(&self.current)
        _drop(&self.previous)

    def __len__(self):
        return self.current.count + self.previous.count

    cpdef object get(self, bytes fingerprint):
        cdef uint64_t wanted = _fingerprint(fingerprint)
        cdef uint64_t slot = _slot_of(&self.current, wanted)
        if self.current.fingerprints[slot]:
            return self.current.base_id + self.current.offsets[slot]
        if self.previous.count:
            slot = _slot_of(&self.previous, wanted)
            if self.previous.fingerprints[slot]:
                return self.previous.base_id + self.previous.offsets[slot]
        return None

    cpdef int add(self, bytes fingerprint, uint64_t receipt_id) except -1:
        return self._add(_fingerprint(fingerprint), receipt_id)

    cpdef int add_packed(self, bytes packed) except -1:
        cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(packed)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(packed), at
        cdef uint64_t fingerprint, receipt_id
        cdef int i
        if size % CLAIM_SIZE:
            raise ValueError(f"expected a multiple of {CLAIM_SIZE} bytes, got {size}")
        for at in range(0, size, CLAIM_SIZE):
            memcpy(&fingerprint, data + at, FINGERPRINT_SIZE)
            receipt_id = 0
            for i in range(FINGERPRINT_SIZE, CLAIM_SIZE):
                receipt_id = receipt_id << 8 | data[at + i]
            self._add(fingerprint or 1, receipt_id)
        return 0

    cdef int _add(self, uint64_t fingerprint, uint64_t receipt_id) except -1:
        cdef uint64_t slot
        if self.current.count == 0:
            self.current.base_id = receipt_id
        elif receipt_id - self.current.base_id > MAX_OFFSET or 4 * self.current.count >= 3 * self.current.slots:
            self._make_room(receipt_id)
        slot = _slot_of(&self.current, fingerprint)
        if self.current.fingerprints[slot] == 0:
            self.current.fingerprints[slot] = fingerprint
            self.current.count += 1
        self.current.offsets[slot] = <uint32_t>(receipt_id - self.current.base_id)
        return 0

    cdef int _make_room(self, uint64_t receipt_id) except -1:
        """Double the current generation, or, where it is as large as it may be, start the next one."""
        cdef Generation larger
        if self.current.slots < self.max_slots and receipt_id - self.current.base_id <= MAX_OFFSET:
            _make(&larger, self.current.slots * 2, self.current.base_id)
            _move(&self.current, &larger)
            _drop(&self.current)
        else:
            _make(&larger, self.max_slots, receipt_id)
            _drop(&self.previous)
            self.previous = self.current
        self.current = larger
        return 0


cdef int _make(Generation* generation, uint64_t slots, uint64_t base_id) except -1:
    cdef uint64_t* fingerprints = <uint64_t*>calloc(slots, sizeof(uint64_t))
    cdef uint32_t* offsets = <uint32_t*>malloc(slots * sizeof(uint32_t))
    if fingerprints == NULL or offsets == NULL:
        free(fingerprints)
        free(offsets)
        raise MemoryError
    generation.fingerprints = fingerprints
    generation.offsets = offsets
    generation.slots = slots
    generation.count = 0
    generation.base_id = base_id
    return 0


cdef void _drop(Generation* generation) noexcept:
    free(generation.fingerprints)
    free(generation.offsets)
    memset(generation, 0, sizeof(Generation))


cdef void _move(Generation* source, Generation* target) noexcept nogil:
    cdef uint64_t i, slot
    for i in range(source.slots):
        if source.fingerprints[i]:
            slot = _slot_of(target, source.fingerprints[i])
            target.fingerprints[slot] = source.fingerprints[i]
            target.offsets[slot] = source.offsets[i]
    target.count = source.count


cdef inline uint64_t _slot_of(Generation* generation, uint64_t fingerprint) noexcept nogil:
    """Where a fingerprint is, or the empty slot where it would go. A quarter is always empty, so the walk ends."""
    cdef uint64_t mask = generation.slots - 1
    cdef uint64_t slot = fingerprint & mask
    while generation.fingerprints[slot] and generation.fingerprints[slot] != fingerprint:
        slot = (slot + 1) & mask
    return slot


cdef uint64_t _fingerprint(bytes data) except 0:
    """The eight bytes as a number that is never 0, which marks an empty slot."""
    cdef uint64_t number
    if PyBytes_GET_SIZE(data) != FINGERPRINT_SIZE:
        raise ValueError(f"expected a fingerprint of {FINGERPRINT_SIZE} bytes, got {len(data)}")
    memcpy(&number, PyBytes_AS_STRING(data), FINGERPRINT_SIZE)
    return number or 1
