"""What the ledger's tests share: a ledger that is audited when the test ends, and entries to commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from briefcase.adapters.ledger import Ledger, LedgerSettings
from briefcase.adapters.ledger.tables import ENGINE
from briefcase.model.effects import (
    ClaimRequest,
    CloseIntent,
    Committed,
    Effect,
    Entry,
    OpenIntent,
    ReserveBudget,
    SettleBudget,
)
from briefcase.model.ports import Clock
from briefcase.model.types import Approval, ApprovalKind, ApprovalStatus, JsonObject
from support.clock import START_US, FakeClock
from support.principals import AGENT

SMALL = LedgerSettings(map_bytes=1 << 26, low_disk_bytes=0, reserve_bytes=4096)
DAY = "2026-01-01"
LATER_US = START_US + 60_000_000


@asynccontextmanager
async def audited(path: Path, clock: Clock | None = None, settings: LedgerSettings = SMALL) -> AsyncIterator[Ledger]:
    """An open ledger. When the block ends it is closed, opened again and its whole chain verified."""
    clock = clock or FakeClock()
    ledger = Ledger.open(path, clock, settings)
    try:
        yield ledger
    finally:
        await ledger.close()
    await audit(path, clock, settings)


async def audit(path: Path, clock: Clock | None = None, settings: LedgerSettings = SMALL) -> None:
    """Open a closed ledger, verify all of it, and close it."""
    ledger = Ledger.open(path, clock or FakeClock(), settings)
    try:
        found = await ledger.verify(ledger.head())
    finally:
        await ledger.close()
    assert found.ok, found
    assert found.not_checked == ()


def note(text: str = "") -> Entry:
    """An entry that changes nothing but the chain."""
    return Entry({"kind": "note", "text": text})


def intent(
    request_id: str, *effects: Effect, cost: int = 0, principal: str = AGENT.name, category: str = "read"
) -> Entry:
    """An intent, with what it reserves."""
    settle = SettleBudget(category, DAY, cost, cost) if cost else None
    reserve = (ReserveBudget(category, DAY, cost),) if cost else ()
    event: JsonObject = {
        "kind": "intent",
        "principal": principal,
        "request_id": request_id,
        "call_id": request_id,
        "tool_id": "t",
    }
    return Entry(event, (ClaimRequest(principal, request_id), *effects, *reserve, OpenIntent(settle)))


def delegated(request_id: str, *, cost: int = 0, principal: str = AGENT.name, category: str = "read") -> Entry:
    """A call that is decided and closed at once, with what it spends."""
    event: JsonObject = {
        "kind": "delegated", "principal": principal, "request_id": request_id, "call_id": request_id, "tool_id": "t",
    }  # fmt: skip
    if not cost:
        return Entry(event, (ClaimRequest(principal, request_id),))
    event["spent"] = {"category": category, "day": DAY, "microusd": cost}
    spend = (ReserveBudget(category, DAY, cost), SettleBudget(category, DAY, cost, cost))
    return Entry(event, (ClaimRequest(principal, request_id), *spend))


def outcome(intent_id: int, *, reserved: int = 0, spent: int = 0, category: str = "read") -> Entry:
    """The outcome of an intent, with what it cost."""
    settle = (SettleBudget(category, DAY, reserved, spent),) if reserved else ()
    return Entry({"kind": "outcome", "intent_id": intent_id}, (CloseIntent(intent_id), *settle))


def approval(
    approval_id: str = "a1", *, principal: str = AGENT.name, binding: str = "b" * 64, **changes: object
) -> Approval:
    """A pending approval of a minute."""
    pending = Approval(
        id=approval_id,
        status=ApprovalStatus.PENDING,
        kind=ApprovalKind.LOCAL,
        created_us=START_US,
        expires_us=LATER_US,
        principal=principal,
        tool_id="t",
        tool_digest_hex="",
        args_digest_hex="",
        binding_hex=binding,
        reason="policy",
        summary="t {}",
    )
    return msgspec.structs.replace(pending, **changes)


async def committed(ledger: Ledger, entry: Entry) -> Committed:
    """Commit what must not be refused."""
    result = await ledger.commit(entry)
    assert isinstance(result, Committed), result
    return result


def edit(path: Path, change: Callable[[Any, Any], object]) -> None:
    """Reach behind a closed ledger: `change(transaction, receipts)` in one write transaction."""
    with lmdb.open(str(path), map_size=1 << 26, max_dbs=16, lib_version=ENGINE) as env:
        receipts = env.open_db(b"receipts")
        with env.begin(write=True, db=receipts) as transaction:
            change(transaction, env)
