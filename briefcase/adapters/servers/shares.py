"""Whose calls run at one server: as many of an agent as are left for the others, and a turn for whoever has none.

An agent may begin a call while it has fewer running than could still be begun: one agent has half of a server at most,
and the next one half of the rest. Where that leaves nothing, an agent that has none running waits for the next place,
before all who have one; any other is refused, and may try again.

INVARIANT (turn): a place that is given back goes to the agent that waits longest, and one agent waits once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from briefcase.model.errors import UpstreamError

MAX_RUNNING: Final = 128  # calls of agents at one server


class Shares:
    """The places of one server."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def take(self, principal: str, timeout_ms: int | None) -> None:
        """Take a place, which `give_back` ends.

        Raises:
            UpstreamError: this principal has its share, or no place was given back in time (`rate_limited`).
        """
        own = self._running[principal]
        if own < MAX_RUNNING - self._running.total() - len(self._waiting):
            self._running[principal] = own + 1
            return
        if own or principal in self._waiting:
            message = f"{own} calls of this agent to the server are running, which is its share: wait for one to end"
            raise UpstreamError(message, code="rate_limited", sent=False)
        place = self._waiting[principal] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1_000):
                await place
        except BaseException as error:
            if self._waiting.get(principal) is place:
                del self._waiting[principal]
            if not place.cancelled():
                self.give_back(principal)  # it was given in the same moment
            if isinstance(error, TimeoutError):
                message = "other agents' calls take all of the server's places: try again"
                raise UpstreamError(message, code="rate_limited", sent=False) from None
            raise

    def give_back(self, principal: str) -> None:
        """The call has ended; whoever waits longest is next."""
        self._running -= Counter((principal,))  # which keeps no zeros
        while self._waiting:
            following = next(iter(self._waiting))
            place = self._waiting.pop(following)
            if not place.cancelled():  # else its call left in this very turn of the loop, and has yet to notice
                self._running[following] += 1
                place.set_result(None)
                return
