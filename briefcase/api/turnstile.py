"""Large requests of agents, one at a time, for a share of the loop.

A megabyte of arguments takes the loop 7 to 40 ms from parsing to decision. Many at once would be one stretch in which
nobody else is served, and one after the other they would leave others a turn each, where a call needs several. So one
goes on at a time, and after it the others have the loop for `PAUSE` times as long as its turn took.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

PAUSE: Final = 3  # large requests have a quarter of the loop
MAX_PAUSE_S: Final = 1.0
MAX_WAITING: Final = 32  # of one principal


class Turnstile:
    """Where large requests wait for their turn. One event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting: dict[str, int] = {}
        self._free_s = 0.0

    async def passed(self, owner: str) -> bool:
        """Wait for a turn; the caller goes on to its work without awaiting anything in between.

        Args:
            owner: whose request it is.

        Returns:
            False, at once, where `MAX_WAITING` of the owner wait already.
        """
        if self._waiting.get(owner, 0) >= MAX_WAITING:
            return False
        self._waiting[owner] = self._waiting.get(owner, 0) + 1
        try:
            async with self._lock:
                await asyncio.sleep(max(0.0, self._free_s - time.monotonic()))
                asyncio.get_running_loop().call_soon(self._turned, time.monotonic())
        finally:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner]
        return True

    def _turned(self, began_s: float) -> None:
        """Note how long the turn took: the next one comes after that pause."""
        now_s = time.monotonic()
        self._free_s = now_s + min(PAUSE * (now_s - began_s), MAX_PAUSE_S)
