"""The native stopwatch against what it does, written in Python."""

from hypothesis import given
from hypothesis import strategies as st

from briefcase._native.stopwatch import Stopwatch

PHASES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1 << 50)), max_size=12)


class Oracle:
    def __init__(self, now_ns, began_ns=None):
        self.now_ns, self.last_ns, self.timing_us = now_ns, now_ns() if began_ns is None else began_ns, {}

    def mark(self, phase):
        now_ns = self.now_ns()
        self.timing_us[phase] = (now_ns - self.last_ns) // 1_000
        self.last_ns = now_ns


@given(PHASES, st.none() | st.integers(0, 1 << 40))
def test_the_stopwatch_charges_each_phase_as_its_oracle_does(stretches, began_ns):
    def measured(kind):
        now = [1 << 40]
        watch = kind(lambda: now[0], began_ns)
        for phase, took_ns in stretches:
            now[0] += took_ns
            watch.mark(phase)
        return list(watch.timing_us.items())

    assert measured(Stopwatch) == measured(Oracle)


def test_a_clock_that_steps_back_is_rounded_as_python_does():
    times = iter([5_000, 3_999])
    watch = Stopwatch(lambda: next(times))
    watch.mark("phase")
    assert watch.timing_us == {"phase": -1_001 // 1_000}
