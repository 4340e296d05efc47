"""A backup is whole only between its intent and its receipt, and nobody who hears of a failure has one."""

import asyncio

import pytest

from briefcase.core.operator.administration import Administration
from briefcase.core.operator.backups import BackupAdmin
from briefcase.model.errors import BriefcaseError, CallerError, StoreError
from support.clock import FakeClock
from support.crash import Crash, crashed
from support.ledger import MemoryLedger


class Copies:
    """Copies in memory: what is at the target, and whether it is whole."""

    def __init__(self, ledger) -> None:
        self.ledger, self.there, self.problem, self.go_on = ledger, {}, None, None

    def check_target(self, out):
        if out in self.there:
            raise CallerError("it exists", code="conflict")

    async def prepare(self, out, seal, *, with_key):
        assert self.ledger.kinds()[-1] == "backup_started"
        if self.go_on is not None:
            await self.go_on.wait()
        self.there[out] = "files"
        return Prepared(self, out)


class Prepared:
    head_id, head_hash_hex, manifest_digest_hex = 7, "a" * 64, "b" * 64

    def __init__(self, copies, out) -> None:
        self.copies, self.out = copies, out

    async def finish(self):
        assert self.copies.ledger.kinds()[-1] == "change_intent", "whole without a durable intent"
        if self.copies.problem is not None:
            raise self.copies.problem
        self.copies.there[self.out] = "whole"
        return "manifest"

    async def discard(self):
        self.copies.there.pop(self.out)


class Desk:
    def __init__(self) -> None:
        self.ledger = MemoryLedger(FakeClock())
        self.copies = Copies(self.ledger)
        self.admin = BackupAdmin(Administration(self.ledger), self.copies)

    def create(self, out="/b"):
        return self.admin.create(out, None, with_key=False, by="ann")


async def test_a_backup_is_begun_intended_made_whole_and_receipted_in_this_order():
    desk = Desk()
    assert await desk.create() == "manifest"
    assert desk.ledger.kinds() == ["backup_started", "change_intent", "backup_created"]
    created = desk.ledger.chain[-1].event
    assert (created["by"], created["head_id"], created["manifest_digest"]) == ("ann", 7, "b" * 64)
    assert desk.copies.there == {"/b": "whole"}


async def test_a_backup_that_cannot_be_made_whole_is_removed():
    desk = Desk()
    desk.copies.problem = StoreError("the disk went")
    with pytest.raises(StoreError):
        await desk.create()
    assert (desk.copies.there, desk.ledger.kinds()[-1]) == ({}, "change_failed")


@pytest.mark.parametrize("broken_at", ["change_intent", "backup_created"])
async def test_a_backup_whose_receipts_cannot_be_made_durable_is_removed(broken_at):
    desk = Desk()
    real = desk.ledger.commit

    async def commit(entry):
        if entry.event["kind"] == broken_at:
            desk.ledger.broken = "the disk went"
        return await real(entry)

    desk.ledger.commit = commit
    with pytest.raises(BriefcaseError):
        await desk.create()
    assert desk.copies.there == {}


async def test_a_second_backup_is_a_conflict_until_the_first_has_ended():
    desk = Desk()
    desk.copies.go_on = asyncio.Event()
    first = asyncio.create_task(desk.create())
    await asyncio.sleep(0)
    with pytest.raises(CallerError) as caught:
        await desk.create("/c")
    assert caught.value.code == "conflict"
    desk.copies.go_on.set()
    await first
    await desk.create("/c")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_backup_that_a_crash_cut_off_is_named_by_the_next_start(monkeypatch, when):
    desk = Desk()
    with (
        crashed(monkeypatch, Prepared, "finish", when),
        crashed(monkeypatch, Prepared, "discard", "before"),
        pytest.raises(Crash),
    ):
        await desk.create()
    await Administration(desk.ledger).settle({})
    closed = desk.ledger.chain[-1].event
    assert (closed["kind"], closed["change"], closed["manifest_digest"]) == (
        "outcome_unknown",
        "backup_created",
        "b" * 64,
    )
