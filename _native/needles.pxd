"""Patterns found by their 4-grams: `Needles`, and what one slot of its table and one place of a pattern are."""

from libc.stdint cimport int32_t, uint32_t


cdef struct Slot:
    uint32_t gram
    int32_t first  # index of the gram's first `Place`; -1 where the slot is free


cdef struct Place:
    int32_t pattern  # its number
    int32_t at  # where in the pattern the gram lies
    int32_t next  # the next place of the same gram, or -1


cdef class Needles:
    cdef readonly Py_ssize_t stride
    cdef list _patterns
    cdef Slot* _slots
    cdef Py_ssize_t _mask  # slots are a power of two; this is one less
    cdef Py_ssize_t _used
    cdef Place* _places
    cdef Py_ssize_t _count
    cdef Py_ssize_t _room

    cdef Py_ssize_t _slot_of(self, uint32_t gram) noexcept nogil
    cdef Py_ssize_t _crowd_at(self, uint32_t gram) noexcept nogil
    cdef int _put(self, uint32_t gram, int32_t pattern, int32_t at) except -1
    cdef int _grow_slots(self) except -1
