"""Turns of the loop, as a test gives them."""

from __future__ import annotations

import asyncio

from briefcase.model.types import Principal


class FakeTurns:
    """Gives each turn at once, unless `is_free` is cleared; `asked` names who asked for one, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_free = asyncio.Event()
        self.is_free.set()

    async def turn(self, principal: Principal) -> None:
        self.asked.append(principal.name)
        await self.is_free.wait()
