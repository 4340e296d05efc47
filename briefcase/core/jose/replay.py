"""Each proof once: a bounded cache that a clock stepping back cannot empty.

INVARIANT (horizon): every key ever claimed with an `iat` at or after `horizon_s` is in the cache, and nothing before
the horizon is accepted. Entries leave only by the horizon passing them, and the horizon never goes back. So a replay
is found whatever the clock did in between; and the horizon passes no further than what it dropped, so that a clock
that jumped ahead for a moment does not shut new proofs out when it is right again.

A full cache refuses new proofs rather than forget old ones; its answer depends on nothing but what was claimed.
The cost of a claim does not depend on how many entries there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

DEFAULT_MAX_ENTRIES: Final = 1_000_000


class Claim(Enum):
    """What became of a claim."""

    FRESH = "fresh"
    REPLAYED = "replayed"
    TOO_OLD = "too old"
    FULL = "full"


class ReplayCache:
    """Keys of accepted proofs, by the second they were made in.

    Args:
        max_age_s: how old a proof may be; older ones are forgotten, and refused.
        max_entries: how many keys are kept at most.
        horizon_s: where to start; a verifier that may have lost entries starts after the newest it can have lost.
    """

    def __init__(self, max_age_s: int, *, max_entries: int = DEFAULT_MAX_ENTRIES, horizon_s: int = 0) -> None:
        self._max_age_s = max_age_s
        self._max_entries = max_entries
        self._kept: set[bytes] = set()
        self._by_second: dict[int, list[bytes]] = {}
        self._swept_s = 0  # when entries were dropped last: once a second is often enough
        self.horizon_s = horizon_s

    def __len__(self) -> int:
        return len(self._kept)

    def claim(self, key: bytes, iat_s: int, now_s: int) -> Claim:
        """Take a key once.

        Args:
            key: what names the proof (`dpop.replay_key`).
            iat_s: when it was made, as it says itself; not further in the future than the verifier allows.
            now_s: the time, seconds. It may step back.
        """
        oldest_s = now_s - self._max_age_s
        if oldest_s != self._swept_s:
            self._drop_before(oldest_s)
        if iat_s < self.horizon_s or iat_s < oldest_s:
            return Claim.TOO_OLD
        if key in self._kept:
            return Claim.REPLAYED
        if len(self._kept) >= self._max_entries:
            return Claim.FULL
        self.restore(key, iat_s)
        return Claim.FRESH

    def restore(self, key: bytes, iat_s: int) -> None:
        """Put back what an earlier run had accepted."""
        self._kept.add(key)
        self._by_second.setdefault(iat_s, []).append(key)

    def entries(self) -> Iterator[tuple[bytes, int]]:
        """Every key with its second, for writing a compact copy."""
        for second, keys in self._by_second.items():
            for key in keys:
                yield key, second

    def _drop_before(self, oldest_s: int) -> None:
        for second in [second for second in self._by_second if second < oldest_s]:
            self._kept.difference_update(self._by_second.pop(second))
            self.horizon_s = max(self.horizon_s, second + 1)
        self._swept_s = oldest_s
