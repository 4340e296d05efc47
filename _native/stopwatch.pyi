"""What each stretch of a call was spent on."""

from collections.abc import Callable

class Stopwatch:
    """A stopwatch that names what each stretch was spent on, in whole microseconds.

    Args:
        now_ns: the monotonic clock.
        began_ns: when the first stretch began; now where None.
    """

    timing_us: dict[str, int]

    def __init__(self, now_ns: Callable[[], int], began_ns: int | None = None) -> None: ...
    def mark(self, phase: str) -> None:
        """Charge the time since the last mark to a phase."""
