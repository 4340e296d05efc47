"""Faults of the ledger alone, by the machinery of its own tests: system calls that fail or kill, a full disk, flips."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

import lmdb
import pytest
import test_ledger_archive as archive
import test_ledger_crash as crash
import test_receipts_chain as chain
from disks import LoopDisk
from trials import Trials

from briefcase.adapters.ledger import Ledger
from briefcase.core.receipts.chain import encode_key
from briefcase.model.errors import StoreError
from support import archive_cases, strace
from support.clock import FakeClock
from support.ledger_cases import SMALL, audited, committed, edit, note

KILL: Final = "signal=SIGKILL"
FAULTS: Final = (KILL, "error=EIO", "error=ENOSPC")
LEVELS_KIB: Final = (0, 4, 16, 32, 64, 100, 128, 200, 250)
RECEIPTS_ON_DISK: Final = 6


def strace_problem() -> str:
    """Why no fault can be injected at a system call here, or nothing."""
    return strace.PROBLEM


# --- system calls -----------------------------------------------------------------------------------------------------


def run_system_calls(trials: Trials) -> None:
    """A fault at each durable system call of each way to commit, or at some of them."""
    template = trials.directory / "template"
    asyncio.run(crash.audit(template))
    positions = []
    for way in crash.WAYS:
        with trials.trial(f"{way}, no fault") as path:
            _prepare(template, path, way)
            found = crash.Run(path / "l", way)
            assert found.closed, found.errors
            assert not any(found.calls[name] for name in crash.UNUSED), "a durable call that is not tried"
            positions += [
                (way, name, fault, at)
                for name in crash.DURABLE
                for fault in FAULTS
                for at in range(1, found.calls[name] + 1)
                if fault == KILL or name != "ftruncate"  # only the lock file's: it is no part of a commit
            ]
    if trials.is_short:
        positions = _one_of_each(trials, positions)
    for way, name, fault, at in positions:
        with trials.trial(f"{way}: {name} number {at}: {fault}") as path:
            _prepare(template, path, way)
            found = crash.Run(path / "l", way, f"{name}:{fault}:when={at}")
            _check_run(found, fault)
            if (path / "l" / "data.mdb").exists():
                asyncio.run(crash.check(path / "l", found))


def _one_of_each(trials: Trials, positions: list[tuple]) -> list[tuple]:
    """One of each fault at each call that a commit makes: after the ledger was opened, before the last commit."""
    chosen = []
    for name in ("pwrite64", "fdatasync"):
        for fault in FAULTS:
            alike = [found for found in positions if found[:3] == ("inline", name, fault)]
            chosen.append(trials.random.choice(alike[len(alike) * 2 // 3 : len(alike) * 5 // 6]))
    return chosen


def _prepare(template: Path, path: Path, way: str) -> None:
    """The writer thread's calls outnumber those of opening only in a ledger that exists."""
    if way == "company":
        shutil.copytree(template, path / "l")


def _check_run(found: crash.Run, fault: str) -> None:
    """A kill killed; after a failure nothing was answered."""
    if fault == KILL:
        assert found.code == -9, (found.lines, found.errors)
        return
    assert found.injected
    ends = ["refused" in line for line in found.lines if "answered" in line or "refused" in line]
    assert ends == sorted(ends), "I2: an answer after a failed call"
    assert found.code == 0 or "StoreError" in found.errors, f"expected a refusal, got {found.errors}"
    assert len(found.read) == len(found.refused), found.errors
    assert any(ends) or not found.opened or not found.closed, "the fault had no effect"


# --- archiving --------------------------------------------------------------------------------------------------------


def run_archive(trials: Trials) -> None:
    """A kill, EIO or ENOSPC at each call made while receipts are archived: every one is there, live or archived."""
    template = trials.directory / "template"
    with pytest.MonkeyPatch.context() as patch:
        archive_cases.make_small(patch.setattr)
        archive_cases.make(template)
        hashes = [bytes.fromhex(hash_hex) for hash_hex in asyncio.run(archive.hashes_of(template))]
        with trials.trial("archiving, no fault") as path:
            shutil.copytree(template, path / "l")
            calls = archive.ArchiveRun(path / "l").calls
            asyncio.run(archive.check_nothing_lost(path / "l", hashes))
        positions = [
            (name, fault, at)
            for name in archive.CALLS
            for fault in (FAULTS if name in archive.FAILING else (KILL,))
            for at in range(1, calls[name] + 1)
        ]
        for name, fault, at in trials.pick(positions, short=6):
            with trials.trial(f"archiving: {name} number {at}: {fault}") as path:
                shutil.copytree(template, path / "l")
                found = archive.ArchiveRun(path / "l", f"{name}:{fault}:when={at}")
                assert found.code == -9 if fault == KILL else found.injected, (found.lines, found.errors)
                asyncio.run(archive.check_nothing_lost(path / "l", hashes))


# --- a full disk ------------------------------------------------------------------------------------------------------


def run_full_disk(trials: Trials) -> None:
    """A disk filled by somebody else, at each level: refused before anything is written, and it recovers by itself."""
    for left_kib in trials.pick(list(LEVELS_KIB), short=3):
        with trials.trial(f"{left_kib} KiB left") as path, LoopDisk(path, mib=24) as disk:
            asyncio.run(crash.test_a_real_disk_filled_to_the_brim_refuses_and_recovers(disk.mounted, left_kib))


# --- flipped bytes ----------------------------------------------------------------------------------------------------


def run_flips(trials: Trials) -> None:
    """Each bit of each byte of a chain in memory, then each byte of the receipts on disk, or some of them."""
    bits = sum(8 * len(record) + len(key) for key, record in chain.some_chain(3))
    with trials.trial("a flipped bit of a chain", count=bits):
        chain.test_every_flipped_bit_of_every_byte_is_found_at_its_own_receipt()

    path = trials.directory / "l"
    asyncio.run(_make(path))
    records = _records(path)
    places = [(number, at) for number, record in records.items() for at in range(len(record))]
    for number, at in trials.pick(places, short=60):
        with trials.trial(f"receipt {number}, byte {at}"):
            changed = bytearray(records[number])
            changed[at] ^= 1 << trials.random.randrange(8)
            _put(path, number, bytes(changed))
            assert asyncio.run(_refusal(path)) == f"receipt {number} does not verify"
        _put(path, number, records[number])
    with trials.trial("every byte as it was"):
        asyncio.run(crash.audit(path))


async def _make(path: Path) -> None:
    async with audited(path) as ledger:
        for number in range(RECEIPTS_ON_DISK):
            await committed(ledger, note(str(number)))


def _records(path: Path) -> dict[int, bytes]:
    found = {}

    def read(transaction: lmdb.Transaction, _) -> None:
        found.update({int.from_bytes(key, "big"): bytes(record) for key, record in transaction.cursor()})

    edit(path, read)
    return found


def _put(path: Path, number: int, record: bytes) -> None:
    edit(path, lambda transaction, _: transaction.put(encode_key(number), record))


async def _refusal(path: Path) -> str:
    """How the ledger refuses to open, up to the receipt it names."""
    try:
        ledger = Ledger.open(path, FakeClock(), SMALL)
    except StoreError as error:
        return error.message.partition(" (")[0]
    await ledger.close()
    return "it opened"
