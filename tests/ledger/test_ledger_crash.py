"""A real process, killed or failed at each durable system call: what was answered is there, whole, and once.

`strace -e inject` does it to the process. It counts the calls of each thread by itself, so the two ways to commit,
on the event loop's thread and on the writer's, are tried each in a process of its own.

The short form tries every `STRIDE`th position; `BRIEFCASE_FAULTS=full` tries them all.
"""

import asyncio
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from briefcase.adapters.ledger import Ledger, LedgerSettings
from briefcase.adapters.ledger.group import INLINE_MAX_US
from briefcase.adapters.ledger.intents import Intents
from briefcase.model.errors import StoreError
from briefcase.model.ports import ReceiptFilter
from briefcase.model.types import ApprovalStatus
from support.clock import FakeClock
from support.ledger_cases import DAY, SMALL, audit, committed, intent, note, outcome
from support.principals import AGENT
from support.strace import needs_strace

CHILD = Path(__file__).parent / "crash_child.py"
DURABLE = ("pwrite64", "fdatasync", "ftruncate")
UNUSED = ("pwritev", "pwritev2", "fsync", "msync", "sync_file_range")
WAYS = ("inline", "company")
STRIDE = 1 if os.environ.get("BRIEFCASE_FAULTS") == "full" else 9


class Run:
    """One run of the child, with a fault or without."""

    def __init__(self, directory: Path, way: str, *inject: str) -> None:
        traced = ["strace", "-f", "-qq", "-o", str(directory.parent / "trace")]
        traced += ["-e", f"trace={','.join(DURABLE + UNUSED)}"]
        for rule in inject:
            traced += ["-e", f"inject={rule}"]
        command = [*traced, sys.executable, str(CHILD), str(directory), way]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
        self.code, self.errors = done.returncode, done.stderr.decode()
        self.lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.answered = {line["answered"]: line for line in self.lines if "answered" in line}
        self.refused = [line["refused"] for line in self.lines if "refused" in line]
        self.read = [line["read"] for line in self.lines if "read" in line]
        self.opened = any("opened" in line for line in self.lines)
        self.closed = any("closed" in line for line in self.lines)
        trace = (directory.parent / "trace").read_text()
        self.injected = "(INJECTED)" in trace
        made = Counter(tuple(line.partition("(")[0].split()[:2]) for line in trace.splitlines())
        self.calls = {name: max((made[key] for key in made if key[-1] == name), default=0) for name in DURABLE + UNUSED}


async def check(directory: Path, run: Run) -> None:
    """What must hold after any fault."""
    ledger = Ledger.open(directory, FakeClock(), SMALL)
    try:
        assert (await ledger.verify(ledger.head())).ok
        receipts = {found.id: found for found in await ledger.receipts(ReceiptFilter(limit=10_000))}
        stored = [found.event for found in receipts.values() if found.event["kind"] not in {"boot", "outcome_unknown"}]
        # every answered call has its receipt, the very one
        for line in run.answered.values():
            assert receipts[line["id"]].hash_hex == line["hash"], line
        # at most the group that was under way is there without an answer
        assert 0 <= len(stored) - len(run.answered) <= 5
        # each intent has one end, and each approval was used once
        ended = [found.event["intent_id"] for found in receipts.values() if "intent_id" in found.event]
        intents = [found.id for found in receipts.values() if found.event["kind"] == "intent"]
        assert sorted(ended) == sorted(intents)
        assert len(ledger.approvals(ApprovalStatus.CONSUMED)) == len(intents)
        # what was answered of approvals and claims holds
        for name in ("a0", "a1", "a2", "a3", "a4"):
            if f"intent {name}" in run.answered:
                assert ledger.approval(name).status is ApprovalStatus.CONSUMED
                assert ledger.claimed_request(AGENT.name, f"r{name[1]}") == run.answered[f"intent {name}"]["id"]
        # money: known outcomes cost 600, unknown ones the whole reservation
        known = sum(event["kind"] == "outcome" for event in stored)
        line = ledger.budget("read", DAY)
        assert line.reserved_microusd == 0
        assert line.spent_microusd == known * 600 + (len(intents) - known) * 1_000
    finally:
        await ledger.close()
    await audit(directory)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A ledger that was made and closed: in a copy of it the writer thread's calls outnumber those of opening."""
    directory = tmp_path_factory.mktemp("template") / "l"
    asyncio.run(audit(directory))
    return directory


@pytest.fixture(scope="module")
def try_at(template, tmp_path_factory):
    """Run the child with one fault: in a new ledger on the loop's thread, in one that exists on the writer's."""

    def run(way: str, *inject: str) -> tuple[Path, Run]:
        directory = tmp_path_factory.mktemp("run") / "l"
        if way == "company":
            shutil.copytree(template, directory)
        return directory, Run(directory, way, *inject)

    return run


@pytest.fixture(scope="module")
def positions(try_at):
    """At which calls a fault is tried: how often a run without faults makes each, on its busiest thread."""
    calls = {}
    for way in WAYS:
        _, run = try_at(way)
        assert run.closed, run.errors
        assert run.calls["fdatasync"] >= 12
        assert not any(run.calls[name] for name in UNUSED), "a durable call that is not tried"
        calls[way] = run.calls
    return lambda way, name, offset: range(1 + offset % STRIDE, calls[way][name] + 1, STRIDE)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("offset", "name"), list(enumerate(DURABLE)))
async def test_killed_at_any_durable_call_nothing_answered_is_lost(try_at, positions, way, offset, name):
    for position in positions(way, name, offset):
        directory, run = try_at(way, f"{name}:signal=SIGKILL:when={position}")
        assert run.code == -9, (position, run.lines, run.errors)
        if (directory / "data.mdb").exists():
            await check(directory, run)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("offset", "name", "error"),
    [(3, "pwrite64", "EIO"), (6, "pwrite64", "ENOSPC"), (4, "fdatasync", "EIO"), (2, "fdatasync", "ENOSPC")],
)
async def test_after_a_call_that_failed_nothing_is_answered_until_a_restart(
    try_at, positions, way, offset, name, error
):
    for position in positions(way, name, offset):
        directory, run = try_at(way, f"{name}:error={error}:when={position}")
        ends = ["refused" in line for line in run.lines if "answered" in line or "refused" in line]
        assert run.injected, position
        assert ends == sorted(ends), run.lines
        assert any(ends) or not run.opened or not run.closed, (position, run.lines)
        assert len(run.read) == len(run.refused), (position, run.errors)
        await check(directory, run)


COMMITS_ONCE = f"""
import asyncio, os, sys
sys.path.insert(0, {str(CHILD.parent.parent)!r})
from support.clock import FakeClock
from support.ledger_cases import SMALL, note
from briefcase.adapters.ledger import Ledger
from pathlib import Path

async def main():
    ledger = Ledger.open(Path(sys.argv[1]), FakeClock(), SMALL)
    os.getppid()
    await ledger.commit(note())
    os.getppid()
    await ledger.close()

asyncio.run(main())
"""


@needs_strace
async def test_a_disk_on_which_every_sync_is_slow_never_holds_the_event_loop(tmp_path):
    trace = tmp_path / "trace"
    delay_us = 10 * INLINE_MAX_US  # so each is slow, however fast the disk
    command = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync,getppid"]
    command += ["-e", f"inject=fdatasync:delay_enter={delay_us}", sys.executable, "-c", COMMITS_ONCE]
    subprocess.run([*command, str(tmp_path / "l")], capture_output=True, check=True, timeout=120)
    calls = re.findall(r"^(\d+) +(getppid|fdatasync)\(", trace.read_text(), re.MULTILINE)
    begin, end = (at for at, (_, name) in enumerate(calls) if name == "getppid")
    of_the_loop = calls[begin][0]
    of_the_commit = {thread for thread, _ in calls[begin + 1 : end]}
    assert of_the_commit, "nothing was made durable"
    assert of_the_loop not in of_the_commit
    await audit(tmp_path / "l")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    tried = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(mounted)], capture_output=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"needs root to mount a small disk: {tried.stderr.decode().strip()}")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("left_kib", [0, 16, 64, 200])
async def test_a_real_disk_filled_to_the_brim_refuses_and_recovers(small_disk, left_kib):
    """The space is taken by somebody else, down to various levels; outcomes of calls under way are still stored."""
    sizes = LedgerSettings(map_bytes=1 << 26, low_disk_bytes=256 << 10, reserve_bytes=1 << 20)

    ledger = Ledger.open(small_disk / "l", FakeClock(), sizes)
    under_way = [await committed(ledger, intent(f"r{number}")) for number in range(20)]
    filler = small_disk / "filler"
    fill(filler, left_kib << 10)
    for _ in range(3):
        with pytest.raises(StoreError, match="the disk is full"):
            await ledger.commit(note("x" * 10_000))
    for intended in under_way:
        await committed(ledger, outcome(intended.receipt_id))
    filler.unlink()
    assert ledger.gate_problem() is None
    await committed(ledger, note())
    assert ledger.counters.failures == 0
    await ledger.close()
    await audit(small_disk / "l", settings=sizes)


def fill(path: Path, left_bytes: int) -> None:
    """Take all of a disk but so many bytes; what the file system cannot give of them it needs for itself."""
    found = os.statvfs(path.parent)
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(4096, found.f_bavail * found.f_frsize - left_bytes))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            while os.statvfs(path.parent).f_bavail * found.f_frsize > left_bytes:
                try:
                    os.write(file.fileno(), bytes(found.f_frsize))
                except OSError:
                    break


def test_a_challenge_that_a_payment_claimed_is_replayed_as_a_callers_request_id_is():
    intents = Intents(bytes(32))
    paid = {"id": 7, "kind": "payment_intent", "principal": "provider:demo", "request_id": "challenge"}
    older = {"id": 8, "kind": "payment_intent", "provider_id": "demo"}  # it named none
    for event in (paid, older):
        intents.replay(json.dumps(event).encode())
    assert intents.claimed(intents.fingerprint("provider:demo", "challenge")) == 7
    assert intents.claimed(intents.fingerprint("", "")) is None
    assert intents.open == {7: None, 8: None}
