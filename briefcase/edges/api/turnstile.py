"""Whose turn it is: principals that had their share of the loop, and large requests, go on one at a time.

The loop is one, and whoever asks fastest has most of it. Each step of a connection's task is charged to its principal
(`_native.shares`). One that had more than `LIMIT_NS` of the processor lately, and more than somebody else who is there,
waits before its next request goes on, whatever it asks for. So does an agent's request above `LARGE_BODY_BYTES`, whose
work is a stretch that nobody can interrupt. One goes on at a time, the principals in turn, and after it the others have
the loop for `PAUSE` times as long as its turn took. What a large result still needs once a tool gave it passes here too
(`ports.Turns`).

What nobody's token pays for (connections, requests that need no token or bring a wrong one, and what comes before a
request is whole) is charged to the user at the other end, those of whom it is unknown being one
(`places.Place.stranger`). They wait for those who said who they are, and nobody waits for them.

While nobody else is there, there is nobody to wait for, and what a principal had is forgiven.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from briefcase._native.shares import LIMIT_NS, Account
from briefcase.model.types import Principal, Role

PAUSE: Final = 3  # who waits here has a quarter of the loop
MAX_PAUSE_S: Final = 1.0
MAX_WAITING: Final = 32  # large requests of one principal
PRESENT_NS: Final = 1_000_000_000  # for how long after it had the loop a principal counts as there
MAX_ACCOUNTS: Final = 1_024  # past it those of principals that are not there are forgotten


class Turnstile:
    """Where requests wait for their turn. One event loop."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # the next principal first
        self._is_turning = False
        self._free_s = 0.0

    def account_of(self, owner: str) -> Account:
        """What a principal had of the loop."""
        account = self._accounts.get(owner)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                self._accounts = {name: one for name, one in self._accounts.items() if one.used_ns}
            account = self._accounts[owner] = Account()
        return account

    async def passed(self, owner: str, *, is_large: bool = False, account: Account | None = None) -> bool:
        """Wait for a turn, where one has to; the caller goes on to its work without awaiting anything in between.

        Args:
            owner: whose request it is.
            is_large: whether it waits in any case.
            account: what the owner had, where that is no principal: nobody waits for it.

        Returns:
            False, at once, where `MAX_WAITING` of the owner wait already and this one is large.
        """
        account = self.account_of(owner) if account is None else account
        if not is_large and not self._has_to_wait(account):
            return True
        if is_large and len(self._waiting.get(owner, ())) >= MAX_WAITING:
            return False
        await self._queued(owner)
        return True

    async def turn(self, principal: Principal) -> None:
        """Wait for a turn, however many wait: the call was let in before. An operator waits for nobody."""
        if principal.role is Role.AGENT:
            await self._queued(principal.owner)

    async def _queued(self, owner: str) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        if not self._is_turning:
            self._is_turning = True
            loop.call_later(max(0.0, self._free_s - time.monotonic()), self._next)
        await turn

    def _has_to_wait(self, account: Account) -> bool:
        if account.used_ns <= LIMIT_NS:
            return False
        if self._is_alone(account):
            account.forgive()
            return False
        return not self._is_least(account)

    def _is_alone(self, account: Account | None) -> bool:
        return not any(one is not account and one.was_here(PRESENT_NS) for one in self._accounts.values())

    def _is_least(self, account: Account) -> bool:
        """Whether each of the others who are there had more of the loop."""
        used_ns = account.used_ns
        others = (one for one in self._accounts.values() if one is not account and one.was_here(PRESENT_NS))
        return not any(one.used_ns < used_ns for one in others)

    def _next(self) -> None:
        """Let the next principal's first request go on."""
        while self._waiting:
            owner = next(iter(self._waiting))
            queue = self._waiting.pop(owner)
            turn = queue.popleft()
            if queue:
                self._waiting[owner] = queue
            if not turn.done():  # its client is still there
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._turned, owner, time.monotonic())
                return
        self._is_turning = False

    def _turned(self, owner: str, began_s: float) -> None:
        """Have the next one wait for as long as this turn entitles the others to, if there are any."""
        took_s = time.monotonic() - began_s
        pause_s = 0.0 if self._is_alone(self._accounts.get(owner)) else min(PAUSE * took_s, MAX_PAUSE_S)
        self._free_s = time.monotonic() + pause_s
        self._is_turning = bool(self._waiting)
        if self._is_turning:
            asyncio.get_running_loop().call_later(pause_s, self._next)
