"""Rate limits: token buckets in integer arithmetic, bounded in memory.

Two stand in a call's way. `PrincipalBuckets` is before anything is read of a request: one principal's requests and
their bytes, whatever they ask for. `RateLimiter` is step 7: the calls of one principal on one tool.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Final

import msgspec

NS_PER_S: Final = 1_000_000_000
MAX_BUCKETS: Final = 50_000
_FULL: Final = (0, 0)


class RateLimit(msgspec.Struct, frozen=True):
    """`per_second` calls refill a bucket of `burst` calls."""

    per_second: int
    burst: int


class RateLimiter:
    """Token buckets by (principal, tool id); past `MAX_BUCKETS` the fuller half is forgotten.

    A forgotten bucket starts full again, so a caller that could rotate through more keys than the bound would gain
    bursts; keys are authenticated principals and registered tools, which the operator bounds.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._cost_ns = NS_PER_S // limit.per_second
        self._full_ns = self._cost_ns * limit.burst
        self._ready_ns: dict[tuple[str, str], int] = {}

    def take(self, principal: str, tool_id: str, now_ns: int) -> bool:
        """Take one call from the bucket; False where it is empty. `now_ns` is monotonic.

        The bucket is kept as the moment it would be full again (the generic cell rate algorithm, ITU-T I.371).
        """
        key = (principal, tool_id)
        wait_ns = self._ready_ns.get(key, 0) - now_ns
        wait_ns = self._cost_ns if wait_ns < 0 else wait_ns + self._cost_ns
        if wait_ns > self._full_ns:
            return False
        is_new = key not in self._ready_ns
        self._ready_ns[key] = now_ns + wait_ns
        if is_new and len(self._ready_ns) > MAX_BUCKETS:
            self._ready_ns = dict(sorted(self._ready_ns.items(), key=itemgetter(1))[MAX_BUCKETS // 2 :])
        return True


class PrincipalLimit(msgspec.Struct, frozen=True):
    """What one principal may send: requests and bytes of bodies, by second and at once."""

    per_second: int = 50_000
    burst: int = 50_000
    bytes_per_second: int = 16 << 20
    burst_bytes: int = 16 << 20


class PrincipalBuckets:
    """Two buckets for each principal, requests and bytes; the operator's are its own, which no agent can empty.

    Each is kept as the moment it would be full again, as above. Principals are authenticated: the operator bounds them.
    """

    def __init__(self, limit: PrincipalLimit) -> None:
        self._request_ns = NS_PER_S // limit.per_second
        self._full_ns = self._request_ns * limit.burst
        self._bytes_per_second = limit.bytes_per_second
        self._full_of_bytes_ns = NS_PER_S * limit.burst_bytes // limit.bytes_per_second
        self._ready_ns: dict[str, tuple[int, int]] = {}

    def take(self, principal: str, size_bytes: int, now_ns: int) -> bool:
        """Take one request and its bytes; False, and nothing is taken, where there is no room for either.

        Args:
            principal: whose buckets; an identity that no other principal has.
            size_bytes: the body's size, as it is declared.
            now_ns: monotonic.
        """
        request_ns, bytes_ns = self._ready_ns.get(principal, _FULL)
        wait_ns = request_ns - now_ns
        wait_ns = self._request_ns if wait_ns < 0 else wait_ns + self._request_ns
        size_ns = size_bytes * NS_PER_S // self._bytes_per_second
        wait_of_bytes_ns = bytes_ns - now_ns
        wait_of_bytes_ns = size_ns if wait_of_bytes_ns < 0 else wait_of_bytes_ns + size_ns
        if wait_ns > self._full_ns or wait_of_bytes_ns > self._full_of_bytes_ns:
            return False
        if principal not in self._ready_ns and len(self._ready_ns) >= MAX_BUCKETS:
            self._ready_ns.clear()  # every bucket is full again: more than this many principals there are not
        self._ready_ns[principal] = (now_ns + wait_ns, now_ns + wait_of_bytes_ns)
        return True
