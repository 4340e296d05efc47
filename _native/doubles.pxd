"""The map of `doubles`: the shortest digits of a double."""

from libc.stdint cimport uint64_t

cdef void shortest(double number, uint64_t* digits, int* exponent) noexcept nogil
