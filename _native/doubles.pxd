"""The map of `doubles`: the shortest digits of a double, and the double nearest to digits."""

from libc.stdint cimport uint64_t

cdef void shortest(double number, uint64_t* digits, int* exponent) noexcept nogil
cdef bint nearest(uint64_t digits, bint is_cut, int power, double* number) noexcept nogil
