"""When a target is told: at once, then once in its time; quiet hours hold back what does not break through. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from briefcase.edges.notifier.events import SEVERITIES, Event
from briefcase.edges.notifier.settings import Target

GATHER_S: Final = 0.3  # a burst takes about that long to come, and becomes one message
RECHECK_S: Final = 15.0  # how late the end of quiet hours may be noticed


class Due(NamedTuple):
    """What a target is told now, in order; where it is nothing, `in_s` says when to ask again."""

    events: tuple[Event, ...]
    in_s: float


def due(
    target: Target, waiting: Sequence[Event], now_s: float, *, oldest_s: float, last_sent_s: float, wall_s: float
) -> Due:
    """Decide what is told now.

    Args:
        target: whose pace and quiet hours hold.
        waiting: what it was not told yet, oldest first.
        now_s: the monotonic time.
        oldest_s: when the oldest of them came, monotonic.
        last_sent_s: when it was told last, monotonic; a time long past where it never was.
        wall_s: seconds since 1970, for the quiet hours.
    """
    told = tuple(waiting)
    if target.quiet is not None and target.quiet.holds(wall_s):
        least = SEVERITIES.index(target.quiet.breaks_through)
        told = tuple(event for event in waiting if SEVERITIES.index(event.severity) >= least)
    if not told:
        return Due((), RECHECK_S)
    wait_s = max(last_sent_s + target.every_s, oldest_s + GATHER_S) - now_s
    return Due((), wait_s) if wait_s > 0 else Due(told, 0)
