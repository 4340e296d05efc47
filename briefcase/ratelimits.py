"""Rate limits: one token bucket for each (principal, tool), in integer arithmetic, bounded in memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

NS_PER_S: Final = 1_000_000_000
MAX_BUCKETS: Final = 50_000


class RateLimit(msgspec.Struct, frozen=True):
    """`per_second` calls refill a bucket of `burst` calls."""

    per_second: int
    burst: int


class RateLimiter:
    """Token buckets by (principal, tool id), the least recently used forgotten past `MAX_BUCKETS`.

    A forgotten bucket starts full again, so a caller that could rotate through more keys than the bound would gain
    bursts; keys are authenticated principals and registered tools, which the operator bounds.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._cost_ns = NS_PER_S // limit.per_second
        self._full_ns = self._cost_ns * limit.burst
        self._ready_ns: OrderedDict[tuple[str, str], int] = OrderedDict()

    def take(self, principal: str, tool_id: str, now_ns: int) -> bool:
        """Take one call from the bucket; False where it is empty. `now_ns` is monotonic.

        The bucket is kept as the moment it would be full again (the generic cell rate algorithm, ITU-T I.371).
        """
        key = (principal, tool_id)
        full_at_ns = max(self._ready_ns.pop(key, 0), now_ns)
        allowed = full_at_ns + self._cost_ns - now_ns <= self._full_ns
        self._ready_ns[key] = full_at_ns + self._cost_ns if allowed else full_at_ns
        if len(self._ready_ns) > MAX_BUCKETS:
            self._ready_ns.popitem(last=False)
        return allowed
