"""What changed on the servers, numbered, for whoever follows: a bounded memory and a wake-up call."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

import msgspec

KEPT_CHANGES: Final = 1_024


class ServerChange(msgspec.Struct, frozen=True):
    """A list of a server (`tools`, `prompts`, `resources`), or one `resource` of it, is not what it was."""

    server: str
    kind: str
    uri: str = ""


class Changes:
    """Changes in order. A follower that fell behind what is kept gets what there is."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, ServerChange]] = deque(maxlen=KEPT_CHANGES)
        self._count = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_stopped = False

    @property
    def count(self) -> int:
        """How many there were so far."""
        return self._count

    def add(self, server: str, kind: str, uri: str) -> None:
        """Note a change, and wake whoever waits."""
        self._count += 1
        self._kept.append((self._count, ServerChange(server, kind, uri)))
        self._wake()

    def stop(self) -> None:
        """Wake everyone, now and later."""
        self._is_stopped = True
        self._wake()

    async def read(self, after: int, wait_s: float) -> tuple[list[ServerChange], int]:
        """The changes after a number, and the number to go on from; waits where there is none yet."""
        if self._count <= after and wait_s > 0 and not self._is_stopped:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await waiter
            finally:
                self._waiting.discard(waiter)
        return [change for number, change in self._kept if number > after], self._count

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
