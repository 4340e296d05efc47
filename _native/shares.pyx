# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""What each principal's work takes of the event loop: two looks at the clock a step, and no frame of Python.

The clock that is cheap goes on while another process has the processor, and whoever works much would not be told from
who is held up. The processor's own takes eight times as long to ask, so it is asked once in `LOOK_NS`, and again after
a step that seems long: the step took at most what it says since.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from posix.time cimport CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, clock_gettime, clockid_t, timespec

cdef extern from "Python.h":
    int PyIter_Send(object, PyObject*, PyObject**)
    PyObject* _none "Py_None"

cdef extern from *:
    """
    static int briefcase_is_raised(void) { return -1; }
    static _Thread_local long long briefcase_looked_ns, briefcase_processor_ns;
    """
    int _raise_as_it_is "briefcase_is_raised"() except -1
    long long looked_ns "briefcase_looked_ns"
    long long processor_ns "briefcase_processor_ns"

cdef enum:
    OVER_NS = 60000000
    HALF_LIFE_BITS = 28  # 2^28 ns: 0.27 s
    RETURNED = 0  # PYGEN_RETURN
    WAITS = 1     # PYGEN_NEXT
    LOOK_NS = 1000000
    LONG_NS = 500000

LIMIT_NS = OVER_NS


cdef inline long long read_ns(clockid_t clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <long long>now.tv_sec * 1000000000 + now.tv_nsec


cdef inline long long now_ns() noexcept nogil:
    return read_ns(CLOCK_MONOTONIC)


cdef inline long long began_ns() noexcept nogil:
    global looked_ns, processor_ns
    cdef long long now = now_ns()
    if now - looked_ns > LOOK_NS:
        looked_ns, processor_ns = now, read_ns(CLOCK_THREAD_CPUTIME_ID)
    return now


cdef inline long long taken_ns(long long began, long long now) noexcept nogil:
    cdef long long taken = now - began, worked
    if taken < LONG_NS:
        return taken
    worked = read_ns(CLOCK_THREAD_CPUTIME_ID) - processor_ns
    return worked if worked < taken else taken


cdef class Account:
    @property
    def used_ns(self):
        return self.used_at(now_ns())

    def charge(self, long long took_ns):
        self.add(took_ns, now_ns())

    def forgive(self):
        self._used_ns = 0

    def was_here(self, long long within_ns):
        return self._seen_ns > now_ns() - within_ns

    cdef void add(self, long long took_ns, long long at_ns) noexcept:
        self._used_ns = self.used_at(at_ns) + took_ns
        self._seen_ns = at_ns

    cdef long long used_at(self, long long at_ns) noexcept:
        """Halved for each half-life, and less of it in proportion within one."""
        cdef long long ago = at_ns - self._seen_ns, used
        if ago >> HALF_LIFE_BITS > 40:
            return 0
        used = self._used_ns >> (ago >> HALF_LIFE_BITS)
        ago &= (1 << HALF_LIFE_BITS) - 1
        return used - (used * (ago >> 8) >> (HALF_LIFE_BITS - 8 + 1))


cdef class Meter:
    def __init__(self, Account account):
        self.account = account

    @property
    def is_over(self):
        return self.account._used_ns > OVER_NS


cdef class Metered:
    def __init__(self, coroutine, Meter meter):
        self._coroutine = coroutine
        self._meter = meter

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        cdef long long began = began_ns(), now
        cdef PyObject* result = NULL
        cdef int came = PyIter_Send(self._coroutine, _none, &result)
        now = now_ns()
        self._meter.account.add(taken_ns(began, now), now)
        if came == WAITS:
            return _owned(result)
        if came == RETURNED:
            raise StopIteration(_owned(result))
        _raise_as_it_is()

    def send(self, _):
        return self.__next__()

    def throw(self, *what):
        return self._coroutine.throw(*what)

    def close(self):
        self._coroutine.close()


cdef inline object _owned(PyObject* result):
    value = <object>result
    Py_XDECREF(result)
    return value
