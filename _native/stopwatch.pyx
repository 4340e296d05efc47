"""What each stretch of a call was spent on: ten marks a call, and no frame of Python for any."""


cdef class Stopwatch:
    def __init__(self, now_ns, began_ns=None):
        self._now_ns = now_ns
        self._last_ns = now_ns() if began_ns is None else began_ns
        self.timing_us = {}

    def mark(self, str phase not None):
        cdef long long now_ns = self._now_ns()
        self.timing_us[phase] = (now_ns - self._last_ns) // 1000
        self._last_ns = now_ns
