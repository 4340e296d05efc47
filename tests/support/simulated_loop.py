"""A loop whose time is told: it jumps to the next timer when nothing is left to do, and threads run where they stand.

With the same seed the same happens in the same order, and an hour takes what its work takes.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

from support.clock import START_US

_T = TypeVar("_T")


class StuckError(RuntimeError):
    """Nothing is left to do and no timer is set, and what was waited for has not come."""


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: where it would, the loop's time goes on."""

    elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise StuckError("nothing is left to do")
        if not ready:
            self.elapsed_s += timeout or 0.0
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.elapsed_s

    def run_in_executor(self, executor: object, func: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:  # type: ignore[override]
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            done.set_exception(error)
        return done


class SimulatedClock:
    """One machine's time in a loop: its monotonic clock is the loop's, its wall clock may be stepped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ahead_us = 0

    def now_us(self) -> int:
        return START_US + int(self._loop.time() * 1e6) + self.ahead_us

    def monotonic_ns(self) -> int:
        return int(self._loop.time() * 1e9)
