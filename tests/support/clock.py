"""Clocks that are told the time."""

from __future__ import annotations

import asyncio

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class FakeClock:
    """Time stands still until a test moves it."""

    def __init__(self, now_us: int = START_US) -> None:
        self.wall_us = now_us
        self.mono_ns = 1_000_000_000

    def now_us(self) -> int:
        return self.wall_us

    def monotonic_ns(self) -> int:
        return self.mono_ns

    def advance(self, *, us: int) -> None:
        self.wall_us += us
        self.mono_ns += us * 1_000


class SteeredLoop(asyncio.SelectorEventLoop):
    """A loop over real sockets whose time goes on by itself, and by as much more as a test says.

    A test of a time limit sets it at many seconds and moves the loop past it at once: then a slow machine is never what
    ends it. A test that has the fixture `steered_loop` runs in one.
    """

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s

    async def advance(self, seconds: float) -> None:
        """Have some time pass, once everything that was sent is read, and let what it ends do so."""
        await self.settle()
        self.ahead_s += seconds
        await self.settle()

    async def settle(self) -> None:
        """Give the loop some turns, in each of which it reads what has come."""
        for _ in range(5):
            await asyncio.sleep(0)
