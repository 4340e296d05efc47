"""An archive of small numbers: segments of 8 receipts, and a start that needs the last 6."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from briefcase.adapters.ledger import Ledger, archive, changes, intents, ledger, recovery
from support.clock import FakeClock
from support.ledger_cases import SMALL, note

SEGMENT = 8
LIVE = 6
COUNT = 40


def make_small(setattribute: Callable[[object, str, object], object]) -> None:
    """Make the numbers small, by `setattr` or a monkeypatch's."""
    setattribute(archive, "MAX_SEGMENT_RECEIPTS", SEGMENT)
    setattribute(intents, "CHECKPOINT_RECEIPTS", 2)
    setattribute(recovery, "TAIL_RECEIPTS", LIVE)
    for module in (changes, ledger):
        setattribute(module, "MIN_LIVE_RECEIPTS", LIVE)


async def fill(path: Path, clock: FakeClock | None = None, count: int = COUNT) -> None:
    """A closed ledger of so many receipts and the one of its start, a second apart."""
    clock = clock or FakeClock()
    opened = Ledger.open(path, clock, SMALL)
    for number in range(count - 1):
        clock.advance(us=1_000_000)
        await opened.commit(note(f"{'even' if number % 2 else 'odd'} {number}" + "x" * 50))
    await opened.close()


def make(path: Path, count: int = COUNT) -> None:
    """As `fill`, from outside of a loop."""
    asyncio.run(fill(path, count=count))
