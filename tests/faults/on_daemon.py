"""Faults around a whole daemon: killed, on a full disk, on a slow disk, with a wrong clock, and not alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import test_crash
import test_ledger_directory
from disks import LoopDisk, fill
from trials import Trials

from support.daemons import RunningDaemon
from support.upstream import TicketDesk

SLOW_S: Final = 1.0
LEVELS_MIB: Final = (0, 1, 8, 30, 60)
FAKETIME: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
FROZEN: Final = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + 7_200))
# each: what the clock says, and by how much at least it then differs, in seconds; a frozen clock falls behind
CLOCKS: Final = (
    ("back an hour", "-1h", -3_500),
    ("frozen, two hours from now", FROZEN, -1),
    ("forward ten years", "+3652d", 300_000_000),
    ("right again", "+0", -300_000_000),
)
# libfaketime takes the monotonic deadline of clock_nanosleep(2), which Python's `time.sleep` gives, for a wall clock's
SLEEP: Final = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
"""
AT_BOOT: Final = ("1970 at boot", "@1970-01-01 00:00:05", -1_000_000_000)


# --- killed -----------------------------------------------------------------------------------------------------------


def run_kill(trials: Trials) -> None:
    """A kill in the middle of mixed calls of 64 clients, and the audit of the six invariants."""
    calls = 200 if trials.is_short else 4_000
    before, test_crash.CALLS = test_crash.CALLS, calls
    try:
        for _ in range(1 if trials.is_short else 12):
            seed = trials.random.randrange(1 << 31)
            with trials.trial(f"killed amid {calls} calls of seed {seed}") as path:
                test_crash.test_after_a_kill_every_answer_has_its_receipt_and_nothing_was_spent_twice(path, seed)
    finally:
        test_crash.CALLS = before


# --- a full disk ------------------------------------------------------------------------------------------------------


def run_full_disk(trials: Trials) -> None:
    """The disk under the data directory is filled: no call reaches the upstream; space is back, and calls work."""
    with (
        LoopDisk(trials.directory, mib=256) as disk,
        TicketDesk() as desk,
        RunningDaemon(disk.mounted / "data") as daemon,
    ):
        token = test_crash.prepare(daemon, desk)
        for left_mib in trials.pick(list(LEVELS_MIB), short=2):
            with trials.trial(f"{left_mib} MiB left"):
                _fill_and_free(daemon, desk, token, disk.mounted / "filler", left_mib)
        with trials.trial("a restart afterwards"):
            daemon.stop()
            daemon.start()
            assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"]


def _fill_and_free(daemon: RunningDaemon, desk: TicketDesk, token: str, filler: Path, left_mib: int) -> None:
    assert daemon.call("tickets_list", {}, token=token)["status"] == "ok"
    reached = len(desk.seen)
    body = {"call": {"tool_id": "tickets_list", "args": {}, "context": {"request_id": str(time.monotonic_ns())}}}
    try:
        fill(filler, left_mib << 20)
        for _ in range(3):
            status, answer = daemon.request("POST", "/v1/tools/call", body, token=token)
            assert (status, answer["code"]) == (503, "receipts_unavailable"), answer
        assert daemon.request("GET", "/ready", token="")[0] == 503
        assert len(desk.seen) == reached, "I1: a call went out that has no receipt"
    finally:
        filler.unlink()
    assert daemon.call("tickets_list", {}, token=token)["status"] == "ok"
    assert len(desk.seen) == reached + 1
    assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"]


# --- a slow disk ------------------------------------------------------------------------------------------------------


def run_slow(trials: Trials) -> None:
    """Every sync takes a second: calls are slow and succeed, and the daemon answers others meanwhile."""
    with TicketDesk() as desk, RunningDaemon(trials.directory / "data") as daemon:
        token = test_crash.prepare(daemon, desk)
        with _slow_syncs(daemon.process.pid):
            daemon.call("echo", {"text": "the first one finds out"}, token=token)
            for number in range(1 if trials.is_short else 10):
                with trials.trial(f"slow call {number}"):
                    took_s, longest_s = _call_and_watch(daemon, token)
                    assert took_s >= SLOW_S, "answered before its receipt was synced"
                    assert longest_s < SLOW_S / 2, f"the event loop was held for {longest_s:.2f} s"
        with trials.trial("verified afterwards"):
            assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"]


@contextmanager
def _slow_syncs(pid: int) -> Iterator[None]:
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-p", str(pid), "-e", "trace=fdatasync"]
    tracer = subprocess.Popen([*command, "-e", f"inject=fdatasync:delay_exit={int(SLOW_S * 1e6)}"])
    status = Path(f"/proc/{pid}/status")
    try:
        until = time.monotonic() + 20
        while f"TracerPid:\t{tracer.pid}\n" not in status.read_text():
            assert time.monotonic() < until, "strace could not attach"
            assert tracer.poll() is None, "strace could not attach"
            time.sleep(0.01)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # it lets the daemon go
        tracer.wait(timeout=20)


def _call_and_watch(daemon: RunningDaemon, token: str) -> tuple[float, float]:
    """How long one call took, and the slowest answer about health meanwhile."""
    answers = []
    caller = threading.Thread(target=lambda: answers.append(daemon.call("tickets_list", {}, token=token)))
    started = time.monotonic()
    caller.start()
    longest_s = 0.0
    while caller.is_alive():
        asked = time.monotonic()
        assert daemon.request("GET", "/health", token="")[0] == 200
        longest_s = max(longest_s, time.monotonic() - asked)
    caller.join()
    assert answers[0]["status"] == "ok"
    return time.monotonic() - started, longest_s


# --- a wrong clock ----------------------------------------------------------------------------------------------------


def faketime_problem() -> str:
    """Why the clock of a daemon cannot be moved here, or nothing."""
    if sys.platform != "linux" or not FAKETIME:
        return "libfaketime not found: install it (Debian: apt-get install faketime)"
    return ""


def run_clock(trials: Trials) -> None:
    """The wall clock steps under a running daemon, and is wrong at its start: order by number, never back, marked."""
    for _ in range(1 if trials.is_short else 10):
        path = trials.directory / f"clock{trials.done}"
        path.mkdir(mode=0o700)
        _move_clock(trials, path)


def _move_clock(trials: Trials, path: Path) -> None:
    """All the steps, one after the other, under one daemon."""
    says = path / "clock"
    says.write_text("+0")
    (path / "sitecustomize.py").write_text(SLEEP)
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")])),
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(says),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with RunningDaemon(path / "data", **environment) as daemon:
        daemon.call("echo", {"text": "on time"})
        for name, clock, at_least_s in CLOCKS:
            with trials.trial(name):
                _check_step(daemon, partial(says.write_text, clock), at_least_s)
        with trials.trial(AT_BOOT[0]):
            _check_step(daemon, partial(_restart, daemon, says), AT_BOOT[2])


def _restart(daemon: RunningDaemon, says: Path) -> None:
    daemon.stop()
    says.write_text(AT_BOOT[1])
    daemon.start()


def _check_step(daemon: RunningDaemon, step: Callable[[], object], at_least_s: int) -> None:
    last = test_crash.everything(daemon)[-1]["event"]["id"]
    step()
    daemon.call("echo", {"text": "at once"})
    time.sleep(1.2)  # what a frozen clock loses
    daemon.call("echo", {"text": "later"})
    events = [receipt["event"] for receipt in test_crash.everything(daemon)]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    times = [event["ts"] for event in events]
    assert times == sorted(times), "time went back in the chain"
    marks_s = [event["clock_step_us"] / 1e6 for event in events if event["id"] > last and "clock_step_us" in event]
    is_marked = any(mark <= at_least_s if at_least_s < 0 else mark >= at_least_s for mark in marks_s)
    assert is_marked, f"expected a mark of {at_least_s} s or more, got {marks_s}"
    assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"]


# --- not alone --------------------------------------------------------------------------------------------------------


def run_two(trials: Trials) -> None:
    """A second daemon, and a second process on the ledger alone: refused with the path, and the first one goes on."""
    for _ in range(1 if trials.is_short else 10):
        with trials.trial("a second process on one ledger") as path:
            asyncio.run(test_ledger_directory.test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(path))
        with trials.trial("a second daemon on one directory") as path, RunningDaemon(path / "data") as first:
            _refuse_second(first)
            assert first.call("echo", {"text": "still here"})["status"] == "ok"
            assert first.request("POST", "/v1/receipts/verify")[1]["ok"]


def _refuse_second(first: RunningDaemon) -> None:
    with tempfile.TemporaryDirectory(prefix="bc-") as short:
        environment = {**first.env, "BRIEFCASE_UNIX_SOCKET": str(Path(short) / "d.sock")}
        command = [sys.executable, "-m", "briefcase", "daemon"]
        second = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
        said = (second.stdout + second.stderr).decode()
        assert second.returncode != 0
        assert f"`{first.data_dir}`" in said, said
        assert "is in use by process" in said, said
