"""What each character of a text is: `Alphabet`, and the classes it knows."""

from libc.stdint cimport uint8_t, uint32_t


cdef enum Class:
    LETTER = 1  # of any script, and no digit
    LATIN = 2  # of that script, and like no other ASCII letter
    ALIKE = 4  # a letter that looks like an ASCII letter or digit
    SIGN = 8  # another character that looks like an ASCII one
    DIGIT = 16  # a decimal digit of another script
    BEYOND = 32  # looks like an ASCII character, and is taken for it wherever it stands
    UNSEEN = 64


cdef struct Range:
    uint32_t first
    uint32_t last
    uint8_t known  # a `Class`


cdef class Alphabet:
    cdef uint8_t* _classes  # of each character: the sum of its classes
    cdef uint8_t* _is_learnt  # of each page of 256 characters, whether its classes are there already
    cdef Range* _ranges
    cdef Py_ssize_t _count

    cdef int _add(self, object ranges, uint8_t known) except -1
    cdef void _learn(self, uint32_t page) noexcept nogil
