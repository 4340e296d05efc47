"""The time by which approvals end: it never goes back, and it never stands still while the process runs.

The wall clock may be put back (by an operator, by NTP, by a host that was paused); an approval that has expired must
not come back to life with it. So this clock goes on by the monotonic clock where the wall clock went back, and after a
restart it begins at the last receipt's time at the earliest.
"""

from __future__ import annotations

from typing import Final

from briefcase.model.ports import Clock

_NS_PER_US: Final = 1_000


class SteadyClock:
    """A clock that only goes forward.

    Args:
        clock: the machine's clocks.
        floor_us: the earliest time to tell, microseconds since the Unix epoch: that of the last receipt.
    """

    def __init__(self, clock: Clock, floor_us: int) -> None:
        self._clock = clock
        self._last_us = max(floor_us, clock.now_us())
        self._monotonic_us = clock.monotonic_ns() // _NS_PER_US

    def now_us(self) -> int:
        """The wall clock's time, or what the monotonic clock has added to an earlier one, whichever is later."""
        monotonic_us = self._clock.monotonic_ns() // _NS_PER_US
        steady_us = self._last_us + monotonic_us - self._monotonic_us
        self._last_us = max(self._clock.now_us(), steady_us)
        self._monotonic_us = monotonic_us
        return self._last_us
