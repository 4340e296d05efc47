# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The shortest decimal that reads back as a double, and the double that is nearest to a decimal.

Shortest: R. Giulietti, The Schubfach way to render doubles, 2021. The interpreter's own (`PyOS_double_to_string`) works
with large integers: up to 4 µs for a number far from 1, so that a megabyte of them took 175 ms. Here each costs three
products of 64 by 128 bits, whatever it is.

Nearest: one such product, which is known to within one of its 128 bits. Where both ends of that lie on one side of the
middle between two doubles, the nearest is certain; else `nearest` says that it is not, and the interpreter's own reader
decides. The same idea, with another proof, is in D. Lemire, Number parsing at a gigabyte per second, 2021.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    typedef unsigned __int128 briefcase_u128;
    """
    ctypedef unsigned long long u128 "briefcase_u128"
    int __builtin_clzll(unsigned long long) nogil

cdef enum:
    LEAST_POWER = -342
    MOST_POWER = 324
    POWERS = 667
    MOST_READ_POWER = 308
    EXPONENT_BIAS = 1023
    LEAST_EXPONENT = -1022
    SIGNIFICAND_BITS = 52
    BIAS = 1075  # of the exponent, of a significand that is an integer

cdef uint64_t HIGH[POWERS]
cdef uint64_t LOW[POWERS]


def _fill():
    """The powers of ten, as 128 bits of which the first is set, rounded up from below: floor + 1."""
    cdef object ten, scaled, shift
    for power in range(LEAST_POWER, MOST_POWER + 1):
        shift = 127 - _floor_log2_pow10(power)
        ten = pow(10, abs(power))
        scaled = ten << shift if shift >= 0 else ten >> -shift
        if power < 0:
            scaled = (1 << shift) // ten
        scaled += 1
        HIGH[power - LEAST_POWER] = scaled >> 64
        LOW[power - LEAST_POWER] = scaled & 0xFFFFFFFFFFFFFFFF


cdef inline int _floor_log2_pow10(int power) noexcept nogil:
    return (power * 1741647) >> 19


_fill()


cdef inline uint64_t _rounded_to_odd(int power, uint64_t factor) noexcept nogil:
    """The upper 64 bits of a product with a power of ten; the last one is set where the rest is not all zero."""
    cdef uint64_t rest = <uint64_t>((<u128>LOW[power - LEAST_POWER] * factor) >> 64)
    cdef u128 upper = <u128>HIGH[power - LEAST_POWER] * factor + rest
    return <uint64_t>(upper >> 64) | (<uint64_t>upper > 1)


cdef void shortest(double number, uint64_t* digits, int* exponent) noexcept nogil:
    """The digits of a finite number greater than 0, as an integer times a power of ten. Zeros may end it."""
    cdef uint64_t bits, significand, whole, left, middle, right, lower, upper, tenth
    cdef int biased, q, k, h
    cdef bint is_closer, is_odd, is_inside, is_next_inside
    memcpy(&bits, &number, 8)
    significand = bits & ((<uint64_t>1 << SIGNIFICAND_BITS) - 1)
    biased = <int>(bits >> SIGNIFICAND_BITS) & 0x7FF
    is_closer = significand == 0 and biased > 1
    if biased:
        significand |= <uint64_t>1 << SIGNIFICAND_BITS
        q = biased - BIAS
    else:
        q = 1 - BIAS
    is_odd = significand & 1
    k = (q * 1262611 - (524031 if is_closer else 0)) >> 22
    h = q + _floor_log2_pow10(-k) + 1
    left = _rounded_to_odd(-k, (4 * significand - 2 + is_closer) << h)
    middle = _rounded_to_odd(-k, (4 * significand) << h)
    right = _rounded_to_odd(-k, (4 * significand + 2) << h)
    lower, upper = left + is_odd, right - is_odd
    whole = middle >> 2
    if whole >= 10:
        tenth = whole // 10
        is_inside, is_next_inside = lower <= 40 * tenth, 40 * tenth + 40 <= upper
        if is_inside != is_next_inside:
            digits[0], exponent[0] = tenth + is_next_inside, k + 1
            return
    is_inside, is_next_inside = lower <= 4 * whole, 4 * whole + 4 <= upper
    if is_inside == is_next_inside:
        is_next_inside = middle > 4 * whole + 2 or (middle == 4 * whole + 2 and whole & 1)
    digits[0], exponent[0] = whole + is_next_inside, k


cdef bint nearest(uint64_t digits, bint is_cut, int power, double* number) noexcept nogil:
    """The double nearest to an integer times a power of ten, ties to even; False where that is not certain.

    `is_cut` tells that more digits follow: then the integer has 19 of them, and the number is less than one more.
    """
    cdef int leading, exponent, keep, top, shift
    cdef uint64_t bits, significand
    cdef u128 rest, upper, dropped, half, slack
    if digits == 0:
        number[0] = 0.0
        return not is_cut
    if power < LEAST_POWER or power > MOST_READ_POWER:
        return False
    leading = __builtin_clzll(digits)
    digits <<= leading
    rest = <u128>LOW[power - LEAST_POWER] * digits
    upper = <u128>HIGH[power - LEAST_POWER] * digits + (rest >> 64)  # the number is less than 1 from it, in its units
    top = 127 if upper >> 127 else 126
    exponent = top + 64 - leading + _floor_log2_pow10(power) - 127
    keep = SIGNIFICAND_BITS + 1
    if exponent < LEAST_EXPONENT:
        keep -= LEAST_EXPONENT - exponent
    if exponent > EXPONENT_BIAS or keep < 1:
        return False
    shift = top + 1 - keep
    dropped = upper & ((<u128>1 << shift) - 1)
    half = <u128>1 << (shift - 1)
    slack = (<u128>1 << (64 + leading)) + 1 if is_cut else 1
    if dropped + slack >= half and dropped <= half + 1:
        return False
    significand = <uint64_t>(upper >> shift)
    if exponent < LEAST_EXPONENT:
        bits = significand
    else:
        bits = (<uint64_t>(exponent + EXPONENT_BIAS) << SIGNIFICAND_BITS) + significand
        bits -= <uint64_t>1 << SIGNIFICAND_BITS
    bits += dropped > half  # a carry out of the significand is the next exponent
    memcpy(number, &bits, 8)
    return bits < <uint64_t>0x7FF << SIGNIFICAND_BITS
