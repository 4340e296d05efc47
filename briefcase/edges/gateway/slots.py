"""Whose requests to the daemon are under way: a bound in all, and a few for each agent whatever others have.

Agents behind one gateway share its connections. While any is free, whoever asks takes it. Where none is, an agent that
has fewer than `KEPT_FOR_EACH` requests under way goes on beyond the bound, as long as the reserve lasts; any other
waits, and what ends lets the agent go on that has fewest.

INVARIANT (order): of one agent, who waits longest goes first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from typing import Final

KEPT_FOR_EACH: Final = 2


class Slots:
    """The slots of one gateway. One event loop.

    Args:
        limit: requests under way at once, of all agents.
        reserve: those beyond it, of agents that have next to none.
    """

    def __init__(self, limit: int, reserve: int) -> None:
        self._limit = limit
        self._reserve = reserve
        self._running: Counter[str] = Counter()
        self._total = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, agent: str) -> None:
        """Take a slot, which `give_back` ends; wait for one where there is none."""
        if agent not in self._waiting and self._has_room(agent):
            self._begin(agent)
            return
        slot = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(agent, deque()).append(slot)
        try:
            await slot
        except BaseException:
            if slot.cancelled():
                self._forget(agent, slot)
            else:
                self.give_back(agent)  # it was given in the same moment
            raise

    def give_back(self, agent: str) -> None:
        """The request has ended: whoever waits and has fewest goes on."""
        self._total -= 1
        self._running[agent] -= 1
        if not self._running[agent]:
            del self._running[agent]
        while self._waiting:
            following = min(self._waiting, key=self._running.__getitem__)
            if not self._has_room(following):
                return  # nor has anybody who has more
            slot = self._waiting[following][0]
            self._forget(following, slot)
            if not slot.cancelled():
                self._begin(following)
                slot.set_result(None)

    def _has_room(self, agent: str) -> bool:
        beyond = self._reserve if self._running[agent] < KEPT_FOR_EACH else 0
        return self._total < self._limit + beyond

    def _begin(self, agent: str) -> None:
        self._running[agent] += 1
        self._total += 1

    def _forget(self, agent: str, slot: asyncio.Future[None]) -> None:
        """Take one out of its agent's queue, unless it was before."""
        queue = self._waiting.get(agent, deque())
        with suppress(ValueError):
            queue.remove(slot)
        if not queue:
            self._waiting.pop(agent, None)
