"""What calls came to, as plain integers: the hot path adds to them, whoever reports them reads them.

Nothing here locks or allocates beyond an integer: all of it runs on the daemon's event loop. A label's values are the
product's own words (a status, a reason, a code), never what a caller wrote: the text after a reason's colon is cut
off, what does not look like a word is `other`, and so is every word past the first `MAX_REASONS`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

# upper bounds of the buckets, in microseconds: from a decision in memory to the product's SLO and an upstream's minute
BOUNDS_US: Final = (
    250, 500, 1_000, 2_000, 4_000, 6_000, 10_000, 15_000, 25_000, 50_000, 100_000, 150_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
)  # fmt: skip
MAX_REASONS: Final = 128
OTHER: Final = "other"
OUTSIDE: Final = "execute"  # the one phase that is the upstream's, not ours
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")


class Histogram:
    """Counts by bucket, the last one without a bound, and their sum in microseconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_US) + 1)
        self.sum_us = 0


class Meter:
    """Counts of one daemon's run."""

    def __init__(self) -> None:
        self.answered_ok = 0
        self.others: dict[tuple[str, str], int] = {}
        self.faults: dict[str, int] = {}
        self.decisions: dict[str, int] = {}
        self.whole = Histogram()
        self.overhead = Histogram()

    def count_answer(self, status: str, reason: str, timing_us: Mapping[str, int]) -> None:
        """One call was answered.

        Args:
            status: of the answer.
            reason: the words behind a status that is not `ok`.
            timing_us: microseconds by phase.
        """
        if status == "ok":
            self.answered_ok += 1
        else:
            self._count_other(status, reason)
        whole_us = sum(timing_us.values())
        whole, overhead = self.whole, self.overhead
        bucket = bisect_left(BOUNDS_US, whole_us)
        whole.counts[bucket] += 1
        whole.sum_us += whole_us
        overhead_us = whole_us
        if OUTSIDE in timing_us:
            overhead_us -= timing_us[OUTSIDE]
            bucket = bisect_left(BOUNDS_US, overhead_us)
        overhead.counts[bucket] += 1
        overhead.sum_us += overhead_us

    def _count_other(self, status: str, reason: str) -> None:
        key = (status, word_of(reason))
        if key not in self.others and len(self.others) >= MAX_REASONS:
            key = (key[0], OTHER)
        self.others[key] = self.others.get(key, 0) + 1

    def count_fault(self, code: str) -> None:
        """One request ended in an error, by its code."""
        self.faults[code] = self.faults.get(code, 0) + 1

    def count_decision(self, status: str) -> None:
        """A person decided an approval."""
        self.decisions[status] = self.decisions.get(status, 0) + 1


def word_of(reason: str) -> str:
    """The stable word that a reason begins with."""
    word = reason.partition(":")[0]
    return word if not word or _WORD.fullmatch(word) else OTHER
