"""The map of `stopwatch`: what each stretch of a call was spent on."""

cdef class Stopwatch:
    cdef object _now_ns
    cdef long long _last_ns
    cdef readonly dict timing_us
