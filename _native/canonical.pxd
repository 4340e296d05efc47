"""The map of `canonical`: what writing keeps between steps, and what other native modules may use."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    MAX_DEPTH = 128          # nested lists and objects: arguments (64) inside whatever wraps them

cdef enum Problem:
    FINE = 0
    BAD_TYPE                 # a value outside the JSON domain, or a key that is no string
    BAD_KEY
    BAD_INTEGER              # beyond ±(2^53-1)
    BAD_FLOAT                # NaN or infinite
    FLOAT_IN_EVENT           # any float, where events are written
    LONE_SURROGATE
    TOO_DEEP
    NO_MEMORY

cdef struct Member:          # one member of the object being written
    uint64_t prefix          # its key's first four UTF-16 code units: most comparisons end here
    PyObject* key            # borrowed, like `value`: nothing here runs Python code before the last byte is written
    PyObject* value

cdef struct Step:            # one step of the path to what was refused, noted while leaving
    PyObject* key            # NULL in a list
    Py_ssize_t index

cdef struct Writer:
    unsigned char* data
    Py_ssize_t size
    Py_ssize_t capacity
    Member* members          # a stack: each object being written owns a stretch of it
    Py_ssize_t member_count
    Py_ssize_t member_capacity
    bint floats
    int depth
    Problem problem
    PyObject* culprit
    Step path[MAX_DEPTH]
    int path_size

cdef extern from *:
    """
    #define BRIEFCASE_MAX_SAFE 9007199254740991LL   /* 2^53-1 */
    #define BRIEFCASE_ONES 0x0101010101010101ULL    /* a one in each byte */
    """
    const long long MAX_SAFE "BRIEFCASE_MAX_SAFE"
    const uint64_t ONES "BRIEFCASE_ONES"

cpdef bytes canonical(object value)
cpdef bytes canonical_event(object event)


cdef inline bint is_plain8(const unsigned char* here) noexcept nogil:
    """Whether eight bytes are ASCII that needs no escape: no control, quote, backslash, or byte past 0x7F.

    For each of the four, the top bit of a byte is set where it occurs (S. E. Anderson, Bit Twiddling Hacks, "haszero").
    """
    cdef uint64_t word, quotes, backslashes
    memcpy(&word, here, 8)
    quotes = word ^ (ONES * 0x22)
    backslashes = word ^ (ONES * 0x5C)
    return (
        (word | (word - ONES * 0x20) | ((quotes - ONES) & ~quotes) | ((backslashes - ONES) & ~backslashes))
        & (ONES * 0x80)
    ) == 0


cdef inline unsigned char short_escape(uint32_t code) noexcept nogil:
    """The letter after the backslash, or 0 where the control has none."""
    if code == c'"' or code == c'\\':
        return <unsigned char>code
    if code == 8:
        return c'b'
    if code == 9:
        return c't'
    if code == 10:
        return c'n'
    if code == 12:
        return c'f'
    if code == 13:
        return c'r'
    return 0


cdef inline int compare_codes(uint32_t a, uint32_t b) noexcept nogil:
    """Two different code points as their UTF-16 code units order: beyond the BMP means a surrogate comes first."""
    if a >= 0x10000 and b < 0x10000:
        return -1 if 0xD800 < b else 1
    if b >= 0x10000 and a < 0x10000:
        return 1 if 0xD800 < a else -1
    return -1 if a < b else 1
