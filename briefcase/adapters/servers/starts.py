"""Which servers' processes start now: a few at a time, so that each has a processor within its deadline.

Thirty started at once take the processors from one another and from every call. A start that lasts longer than `HELD_S`
gives its place up and goes on: a server that hangs holds the others up for no longer. A server reached over HTTP needs
no place.
"""

from __future__ import annotations

import asyncio
from typing import Final

from briefcase.adapters.servers.config import ServerConfig

STARTS_PER_PROCESSOR: Final = 2
HELD_S: Final = 5.0


class Place:
    """One place, until it is given back; without `free` it is none."""

    def __init__(self, free: asyncio.Semaphore | None) -> None:
        self._free = free
        self._timer = None if free is None else asyncio.get_running_loop().call_later(HELD_S, self.give_back)

    def give_back(self) -> None:
        """Let the next one start; again, nothing."""
        free, self._free = self._free, None
        if free is not None and self._timer is not None:
            self._timer.cancel()
            free.release()


class Starts:
    """The places for starts, given in the order they are asked for.

    Args:
        places: how many there are.
    """

    def __init__(self, places: int) -> None:
        self._free = asyncio.Semaphore(places)

    async def place(self, config: ServerConfig) -> Place:
        """Wait until this server may start."""
        if config.transport != "stdio":
            return Place(None)
        await self._free.acquire()
        return Place(self._free)
