"""The map of `shares`: what each principal's work took of the loop."""

cdef class Account:
    cdef long long _used_ns
    cdef long long _seen_ns
    cdef void add(self, long long took_ns, long long now_ns) noexcept
    cdef long long used_at(self, long long now_ns) noexcept

cdef class Meter:
    cdef public Account account

cdef class Metered:
    cdef object _coroutine
    cdef Meter _meter
