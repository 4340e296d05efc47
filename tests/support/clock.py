"""A clock that is told the time."""

from __future__ import annotations

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
