"""After a failed commit nothing is allowed; a full disk refuses before it writes; a slow disk is slow, not lost."""

import asyncio
import contextlib
import errno
import os
import resource
import threading
import time
from types import SimpleNamespace

import lmdb
import pytest

from briefcase.adapters.ledger import Ledger, LedgerSettings, group, journal, tables
from briefcase.adapters.ledger.directory import RESERVE_NAME
from briefcase.adapters.ledger.gate import LIFECYCLE, Gate, GateState
from briefcase.model.effects import Committed, CreateApproval, Entry, PutSetting
from briefcase.model.errors import InternalError, StoreError
from briefcase.model.ports import ReceiptFilter
from support.clock import FakeClock
from support.ledger_cases import SMALL, approval, audit, audited, committed, intent, note, outcome


class FailingTransaction:
    """A write transaction whose commit fails: before anything was written, or after all of it was."""

    def __init__(self, real, error, *, persisted):
        self._real, self._error, self._persisted = real, error, persisted

    def __getattr__(self, name):
        return getattr(self._real, name)

    def commit(self):
        if self._persisted:
            self._real.commit()
        raise self._error


class Environment:
    """The real environment, with what a test does to its write transactions."""

    def __init__(self, real, wrap):
        self._real, self._wrap = real, wrap

    def __getattr__(self, name):
        return getattr(self._real, name)

    def begin(self, *args, **kwargs):
        transaction = self._real.begin(*args, **kwargs)
        return self._wrap(transaction) if kwargs.get("write") else transaction


def wrap_writes(ledger, wrap):
    real = ledger._tables.env
    ledger._tables.env = Environment(real, wrap)
    return lambda: setattr(ledger._tables, "env", real)


async def all_fail(ledger, count):
    results = await asyncio.gather(*(ledger.commit(note()) for _ in range(count)), return_exceptions=True)
    assert all(isinstance(result, StoreError) and result.code == "receipts_unavailable" for result in results), results


@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
@pytest.mark.parametrize("count", [1, 2, 300], ids=["alone", "in company", "a crowd"])
@pytest.mark.parametrize(
    "error", [lmdb.DiskError("mdb_txn_commit", errno.EIO), OSError(errno.ENOSPC, "full"), RuntimeError("bug")], ids=repr
)
async def test_a_failed_commit_refuses_its_whole_group_and_shuts_the_gate_for_good(tmp_path, persisted, count, error):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    answered = await committed(ledger, note())
    repair = wrap_writes(ledger, lambda real: FailingTransaction(real, error, persisted=persisted))
    await all_fail(ledger, count)
    repair()
    await all_fail(ledger, 1)
    await all_fail(ledger, 3)
    assert ledger.gate_problem() == "a receipt could not be made durable"
    assert ledger.head().id == answered.receipt_id
    assert ledger.counters.failures == 1
    await ledger.close()
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    boot = (await ledger.receipts(ReceiptFilter(limit=1)))[0]
    assert boot.event["clean"] is False
    assert boot.id == answered.receipt_id + 1 + (count if persisted else 0)
    await committed(ledger, note())
    await ledger.close()
    await audit(tmp_path / "l")


async def test_calls_that_came_while_the_commit_failed_are_refused_too(tmp_path, monkeypatch):
    monkeypatch.setattr(group, "MAX_GROUP", 2)

    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    error = lmdb.DiskError("mdb_txn_commit", errno.EIO)
    wrap_writes(ledger, lambda real: FailingTransaction(real, error, persisted=False))
    await all_fail(ledger, 9)
    assert ledger.counters.failures == 1
    await ledger.close()
    await audit(tmp_path / "l")


def test_the_gate_moves_as_its_table_says():
    for start in GateState:
        for to in set(GateState) - {start}:
            gate = Gate()
            gate.state = start
            if LIFECYCLE.may(start, to):
                gate.move(to)
                assert gate.state is to
            else:
                with pytest.raises(InternalError):
                    gate.move(to)
                assert gate.state is start
    assert GateState.OPEN not in LIFECYCLE.steps[GateState.BROKEN]


# --- the map ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 40])
async def test_a_full_map_grows_and_the_group_is_written_again(tmp_path, together):
    tiny = LedgerSettings(map_bytes=160 << 10, low_disk_bytes=0, reserve_bytes=4096)
    async with audited(tmp_path / "l", settings=tiny) as ledger:
        reader = asyncio.create_task(keep_verifying(ledger))
        for _ in range(400 // together):
            made = await asyncio.gather(*(ledger.commit(note("x" * 4_000)) for _ in range(together)))
            assert all(isinstance(result, Committed) for result in made)
        reader.cancel()
        assert ledger.counters.map_grown >= 3
        assert len(await ledger.receipts(ReceiptFilter(kind="note", limit=1_000))) == 400


async def keep_verifying(ledger):
    while True:
        found = await ledger.verify(ledger.head())
        assert found.ok


async def test_a_ledger_larger_than_its_first_map_opens(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await committed(ledger, Entry({"kind": "x"}, (PutSetting("s", b"x" * (1 << 20)),)))
    tiny = LedgerSettings(map_bytes=1 << 16, low_disk_bytes=0, reserve_bytes=4096)
    async with audited(tmp_path / "l", settings=tiny) as ledger:
        await committed(ledger, note())
        assert len(ledger.setting("s")) == 1 << 20


# --- disk space -------------------------------------------------------------------------------------------------------


class Disk:
    """Free space as a test says, less what the reserve holds."""

    def __init__(self, monkeypatch, free_bytes):
        self.free_bytes = free_bytes
        monkeypatch.setattr("briefcase.adapters.ledger.directory.Space.free_bytes", lambda _: self.free_bytes)


async def test_a_full_disk_refuses_what_is_new_and_stores_the_outcomes_of_what_is_under_way(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, 10_000)
    sizes = LedgerSettings(map_bytes=1 << 26, low_disk_bytes=5_000, reserve_bytes=4_096)
    reserve = tmp_path / "l" / RESERVE_NAME
    async with audited(tmp_path / "l", settings=sizes) as ledger:
        assert reserve.stat().st_size == 4_096
        under_way = await committed(ledger, intent("r1"))
        disk.free_bytes = 4_999
        head = ledger.head()
        with pytest.raises(StoreError, match="the disk is full") as refused:
            await ledger.commit(intent("r2"))
        assert refused.value.code == "receipts_unavailable"
        assert ledger.gate_problem() == "the disk is full"
        assert not reserve.exists()
        assert ledger.head() == head
        assert ledger.claimed_request("scout", "r2") is None
        await all_fail(ledger, 5)
        await committed(ledger, outcome(under_way.receipt_id))
        disk.free_bytes = 9_000  # above the line, but the reserve would not fit again
        assert ledger.gate_problem() == "the disk is full"
        disk.free_bytes = 9_096
        assert ledger.gate_problem() is None
        assert reserve.stat().st_size == 4_096
        await committed(ledger, intent("r2"))


async def test_a_ledger_opens_on_a_full_disk_and_waits_for_space(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, 100)
    sizes = LedgerSettings(map_bytes=1 << 26, low_disk_bytes=5_000, reserve_bytes=4_096)
    async with audited(tmp_path / "l", settings=sizes) as ledger:
        await all_fail(ledger, 1)
        disk.free_bytes = 1 << 30
        await committed(ledger, note())


def on_a_full_disk(path, monkeypatch):
    """A ledger that was opened while there was room, and the disk under it."""
    disk = Disk(monkeypatch, 1 << 30)
    ledger = Ledger.open(
        path, FakeClock(), LedgerSettings(map_bytes=1 << 26, low_disk_bytes=5_000, reserve_bytes=4_096)
    )
    disk.free_bytes = 100
    return ledger, disk


async def test_everybody_who_waits_on_a_full_disk_is_refused_however_many_they_are(tmp_path, monkeypatch):
    ledger, _ = on_a_full_disk(tmp_path / "l", monkeypatch)
    async with asyncio.timeout(60):
        await all_fail(ledger, 2 * group.MAX_GROUP + 1)
        await ledger.close()


@pytest.mark.parametrize("count", [1, 2, group.MAX_GROUP + 1], ids=["alone", "in company", "more than a group"])
async def test_a_disk_that_does_not_tell_its_space_is_written_to_no_more(tmp_path, monkeypatch, count):
    def fail(_):
        raise OSError(errno.EIO, "fstatvfs")

    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    answered = await committed(ledger, note())
    with monkeypatch.context() as patch:
        patch.setattr("briefcase.adapters.ledger.directory.Space.free_bytes", fail)
        async with asyncio.timeout(60):
            await all_fail(ledger, count)
    assert ledger.gate_problem() == "a receipt could not be made durable"
    assert ledger.head().id == answered.receipt_id
    await ledger.close()
    await audit(tmp_path / "l")


async def test_a_reserve_that_can_not_be_given_back_keeps_nobody_waiting(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EROFS, "read-only")

    ledger, disk = on_a_full_disk(tmp_path / "l", monkeypatch)
    async with asyncio.timeout(60):
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.unlink", fail)
            await all_fail(ledger, 2)
            assert ledger.gate_problem() == "the disk is full"
        disk.free_bytes = 1 << 30
        await committed(ledger, note())
        await ledger.close()


async def test_a_ledger_goes_on_when_no_descriptor_is_left(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await ledger.verify()  # the executor's thread exists now
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            await asyncio.gather(*(ledger.commit(note()) for _ in range(50)))
            await committed(ledger, Entry({"kind": "x"}, (CreateApproval(approval()),)))
            assert ledger.gate_problem() is None
            assert (await ledger.verify(ledger.head())).ok
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- a slow disk ------------------------------------------------------------------------------------------------------


class SlowTransaction:
    """A write transaction whose sync takes as long as a test wants, and says on which thread it ran."""

    def __init__(self, real, wait, threads):
        self._real, self._wait, self._threads = real, wait, threads

    def __getattr__(self, name):
        return getattr(self._real, name)

    def commit(self):
        self._threads.append(threading.current_thread().name)
        self._wait()
        self._real.commit()


async def test_while_a_sync_takes_its_time_the_event_loop_is_live(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        threads, go_on = [], threading.Event()
        slow_once = lambda: time.sleep(group.INLINE_MAX_US * 3 / 1e6)  # noqa: E731
        repair = wrap_writes(ledger, lambda real: SlowTransaction(real, slow_once, threads))
        await committed(ledger, note())
        repair()
        repair = wrap_writes(ledger, lambda real: SlowTransaction(real, go_on.wait, threads))
        slow = asyncio.ensure_future(ledger.commit(note()))
        turns = 0
        while len(threads) < 2 or turns < 1_000:
            await asyncio.sleep(0)
            turns += 1
        late = [asyncio.ensure_future(ledger.commit(note())) for _ in range(9)]
        assert ledger.head().id == 2
        assert (await ledger.verify()).checked == 2
        assert not slow.done()
        go_on.set()
        made = await asyncio.gather(slow, *late)
        repair()
        assert threads[1:] == ["ledger-writer"] * 2
        assert [result.receipt_id for result in made] == list(range(3, 13))
        assert ledger.counters.max_group == 9


async def test_a_disk_that_is_fast_again_is_trusted_again_after_its_probation(tmp_path, monkeypatch):
    now_ns, takes_us = 0, iter([group.INLINE_MAX_US + 1] + [0] * (group.PROBATION + 1))

    def take_its_time() -> None:
        nonlocal now_ns
        now_ns += 1_000 * next(takes_us)

    monkeypatch.setattr(journal, "time", SimpleNamespace(perf_counter_ns=lambda: now_ns))
    async with audited(tmp_path / "l") as ledger:
        threads = []
        repair = wrap_writes(ledger, lambda real: SlowTransaction(real, take_its_time, threads))
        for _ in range(group.PROBATION + 2):
            await committed(ledger, note())
        repair()
        main = threading.main_thread().name
        assert threads == [main, *["ledger-writer"] * group.PROBATION, main]


async def test_an_entry_that_is_large_is_written_beside_the_loop_and_the_next_one_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr(group, "INLINE_MAX_US", 3_600_000_000)

    async with audited(tmp_path / "l") as ledger:
        threads = []
        repair = wrap_writes(ledger, lambda real: SlowTransaction(real, lambda: None, threads))
        large = Entry(note().event, (PutSetting("s", b"x" * 4096),), is_large=True)
        for entry in (note(), large, note()):
            await committed(ledger, entry)
        repair()
        main = threading.main_thread().name
        assert threads == [main, "ledger-writer", main]


# --- the engine -------------------------------------------------------------------------------------------------------


async def test_the_environment_is_never_opened_with_relaxed_durability(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        flags = ledger._tables.env.flags()
        assert (flags["sync"], flags["metasync"], flags["meminit"], flags["lock"]) == (True, True, True, True)
        assert (flags["writemap"], flags["map_async"], flags["readonly"]) == (False, False, False)
        assert ledger._tables.env.lib_version() == tables.ENGINE_VERSION


@pytest.mark.parametrize("relaxed", [{"sync": False}, {"metasync": False}, {"writemap": True}, {"lock": False}])
async def test_an_environment_with_relaxed_durability_is_refused(tmp_path, monkeypatch, relaxed):
    real = lmdb.open
    monkeypatch.setattr(lmdb, "open", lambda path, **options: real(path, **{**options, **relaxed}))
    with pytest.raises(StoreError, match=f"durability flags: {next(iter(relaxed))}"):
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    monkeypatch.undo()
    await audit(tmp_path / "l")


async def test_another_engine_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ENGINE_VERSION", (0, 9, 33))
    with pytest.raises(StoreError, match=r"expected LMDB 0\.9\.33, got 0\.9\.36"):
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    monkeypatch.undo()
    await audit(tmp_path / "l")
