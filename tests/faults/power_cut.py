"""The power is cut under load, at a moment nobody chose; then the disk is looked at.

A forked process commits notes and whole paid, approved calls from several tasks, and writes each answer into a pipe.
The file system under it is shut down; what the process is still told after that must be refusals (I2). When power
is back the ledger must open, verify, and hold every answered receipt by id and hash, with at most one unanswered
group more (I1, I6); each approval was used once (I3), and what was spent is what the receipts say (I4).

One ledger lives through many cuts, the first of them while it is being made.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Final

from disks import LoopDisk
from trials import Trials

from briefcase.adapters.ledger import Ledger
from briefcase.model.effects import Committed, ConsumeApproval, CreateApproval, DecideApproval, Entry
from briefcase.model.errors import StoreError
from briefcase.model.ports import ReceiptFilter
from briefcase.model.types import ApprovalStatus
from support.clock import START_US, FakeClock
from support.ledger_cases import DAY, SMALL, approval, intent, note, outcome

TASKS: Final = 6
CUTS_OF_ONE_LEDGER: Final = 25
BINDING: Final = "b" * 64
COST, SPENT = 1_000, 600


def run(trials: Trials) -> None:
    """Cut the power until time is up."""
    while trials.has_time():
        disk_dir = trials.directory / f"d{trials.done}"
        disk_dir.mkdir(mode=0o700)
        with LoopDisk(disk_dir, mib=48) as disk:
            answers: dict[int, str] = {}
            for cycle in range(CUTS_OF_ONE_LEDGER):
                before = len(trials.violations)
                with trials.trial(f"power cut in cycle {cycle}"):
                    # the first moments are those of making and opening the ledger
                    delay_s = trials.random.uniform(0, 0.03 if cycle % 5 == 0 else 0.15)
                    answers |= _cut_under_load(disk, delay_s, epoch=f"{trials.done}")
                    asyncio.run(_check(disk.mounted / "l", answers, cuts=cycle + 1))
                if len(trials.violations) > before or not trials.has_time():
                    break
        (disk_dir / "disk.img").unlink()


def _cut_under_load(disk: LoopDisk, delay_s: float, epoch: str) -> dict[int, str]:
    """One process, one cut. Gives what was answered: receipt id to hash."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            asyncio.run(_load(disk.mounted / "l", writing, epoch))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    lines = bytearray()
    try:
        _read_for(reading, lines, delay_s)
        disk.cut()
        _read_for(reading, lines, 2)  # it ends by itself, refused
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        _read_for(reading, lines, 2)
        os.close(reading)
    disk.restore()
    told = [json.loads(line) for line in lines.splitlines()]
    refused = [at for at, line in enumerate(told) if "refused" in line]
    assert not refused or not any("id" in line for line in told[refused[0] :]), "I2: an answer after a failed sync"
    return {line["id"]: line["hash"] for line in told if "id" in line}


def _read_for(descriptor: int, into: bytearray, seconds: float) -> None:
    """Read a pipe for so long, or until its end."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return
            into += piece


async def _load(path: Path, writing: int, epoch: str) -> None:
    """The process under load: it ends when every task was refused."""

    def say(**line) -> None:
        os.write(writing, json.dumps(line).encode() + b"\n")

    async def told(entry: Entry) -> int:
        try:
            result = await ledger.commit(entry)
        except StoreError as error:
            say(refused=error.code)
            raise
        assert isinstance(result, Committed), result
        say(id=result.receipt_id, hash=result.hash_hex)
        return result.receipt_id

    async def task(number: int) -> None:
        call = 0
        while True:
            call += 1
            name = f"{epoch}.{number}.{call}"
            if call % 3:
                await told(note(name * (call % 40)))
                continue
            await told(Entry({"kind": "asked"}, (CreateApproval(approval(name, binding=BINDING)),)))
            decide = DecideApproval(name, ApprovalStatus.APPROVED, "op", START_US)
            await told(Entry({"kind": "approved"}, (decide,)))
            begun = await told(intent(name, ConsumeApproval(name, BINDING, START_US), cost=COST))
            await told(outcome(begun, reserved=COST, spent=SPENT))

    ledger = Ledger.open(path, FakeClock(), SMALL)
    await asyncio.gather(*(task(number) for number in range(TASKS)), return_exceptions=True)
    try:
        late = await ledger.commit(note())
    except StoreError:
        return
    say(id=late.receipt_id, hash=late.hash_hex)


async def _check(path: Path, answers: dict[int, str], cuts: int) -> None:
    """What must hold after any number of cuts."""
    ledger = Ledger.open(path, FakeClock(), SMALL)
    try:
        found = await ledger.verify(ledger.head())
        assert found.ok, found
        assert found.not_checked == ()
        receipts = {}
        while page := await ledger.receipts(ReceiptFilter(limit=10_000, offset=len(receipts))):
            receipts |= {receipt.id: receipt for receipt in page}
        lost = [number for number, digest in answers.items() if _hash_of(receipts, number) != digest]
        assert not lost, f"answered, and not in the chain as answered: {lost[:10]}"
        stored = [number for number, receipt in receipts.items() if receipt.event["kind"] not in OWN_KINDS]
        assert len(stored) - len(answers) <= TASKS * cuts, "more than the group under way was not answered"

        events = [receipt.event for receipt in receipts.values()]
        intents = [event["id"] for event in events if event["kind"] == "intent"]
        ends = [event["intent_id"] for event in events if "intent_id" in event]
        assert sorted(ends) == sorted(intents), "an intent without its one end"
        assert len(ledger.approvals(ApprovalStatus.CONSUMED)) == len(intents)
        known = sum(event["kind"] == "outcome" for event in events)
        line = ledger.budget("read", DAY)
        assert (line.reserved_microusd, line.spent_microusd) == (0, known * SPENT + (len(intents) - known) * COST)
    finally:
        await ledger.close()


OWN_KINDS: Final = {"boot", "outcome_unknown"}


def _hash_of(receipts: dict, number: int) -> str:
    return receipts[number].hash_hex if number in receipts else ""
