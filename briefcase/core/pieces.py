"""Work in pieces: what takes long lets others have the loop in between, and does not know who they are.

Such work is a generator. It yields wherever it may be left for a while, a millisecond or two after the last time, and
returns what it made. It is driven in turns of the loop (`in_turns`), which somebody else gives
(`adapters.servers.turns`, `ports.Turns`); where nobody waits, at a start or for a small value, `finished` runs it
through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

T = TypeVar("T")


def finished(work: Generator[None, None, T]) -> T:
    """Do the work in one stretch."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            made: T = end.value
            return made


async def in_turns(work: Generator[None, None, T], turn: Callable[[], Awaitable[None]]) -> T:
    """Do the work, and wait for a turn before each piece but the first."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            made: T = end.value
            return made
        await turn()
