"""What a request costs in user instructions, counted by callgrind: a figure that no other load on the machine moves.

    instructions.py [--requests N] [--json FILE]

A daemon runs under `valgrind --tool=callgrind`. Each row warms it up, counts the instructions of so many requests
(the daemon's threads all together, the driver not) and divides. Counts hold for one build of Python, one build of the
native modules and one processor's set of instructions: compare two commits on one machine, never two machines. On a
busy disk a commit at one connection may go over the writer's thread, which costs 70,000 more: take the least of several
runs. Decisions that nobody closes are given an hour: closing them would be counted with the calls that come later.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tests")]

from load import UNLIMITED, closed_loop, echo_calls, post

from support import daemons

WARM_UP_REQUESTS: Final = 600
DEADLINE_MS: Final = 3_600_000
IDLE_S: Final = 2.0
START_TIMEOUT_S: Final = 240  # valgrind runs what it does not count about ten times slower
_TOTALS: Final = re.compile(rb"^totals: (\d+)$", re.MULTILINE)


class Row(NamedTuple):
    """One thing that is counted."""

    name: str
    path: str
    connections: int


ROWS: Final = (
    Row("decide.32", "/v1/decide", 32),
    Row("decide.1", "/v1/decide", 1),
    Row("call.32", "/v1/tools/call", 32),
    Row("call.1", "/v1/tools/call", 1),
)


def main() -> int:
    """Count every row and print it; gives the exit code."""
    asked = _arguments()
    if shutil.which("valgrind") is None:
        print("SKIPPED: no `valgrind` found; install it (Debian: apt-get install valgrind) and run this again")
        return 1
    daemons.START_TIMEOUT_S = START_TIMEOUT_S
    with tempfile.TemporaryDirectory(prefix="instructions-") as scratch:
        counted = _count(Path(scratch), asked.requests)
    for name, count in counted.items():
        print(f"{name:10} {count:>9,} instructions a request")
    if asked.json:
        asked.json.write_text(json.dumps(counted, indent=2) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Count the instructions of a decision and of a call.")
    parser.add_argument("--requests", type=int, default=2_000, help="how many requests each row counts")
    parser.add_argument("--json", type=Path, help="where the counts are written")
    return parser.parse_args()


def _count(scratch: Path, requests: int) -> dict[str, int]:
    data_dir = scratch / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(f"{UNLIMITED}deadline_ms = {DEADLINE_MS}\n")
    out = scratch / "callgrind.out"
    wrapper = ("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}")
    counted = {}
    with daemons.RunningDaemon(data_dir, wrapper=wrapper) as daemon:
        status, answer = daemon.request("POST", "/v1/agents", {"name": "bench"})
        assert status == 200, answer
        assert daemon.process is not None
        pid = str(daemon.process.pid)
        bodies = echo_calls()
        _await_idle(daemon.process.pid)
        for row, dump in zip(ROWS, itertools.count(1)):
            make = post(row.path, answer["token"], bodies)
            closed_loop(daemon.socket_path, make, connections=row.connections, requests=WARM_UP_REQUESTS)
            _control("--instr=on", pid)
            load = closed_loop(daemon.socket_path, make, connections=row.connections, requests=requests)
            _control("--dump", pid)
            _control("--instr=off", pid)
            assert not load.failures, f"{row.name}: {load.failures} requests failed"
            counted[row.name] = _total(out.with_name(f"{out.name}.{dump}")) // requests
    return counted


def _await_idle(pid: int) -> None:
    """Wait until the daemon does nothing: once it answers, a thread of it loads what a first call of a kind needs."""
    before, now = -1, _ticks(pid)
    while now != before:
        time.sleep(IDLE_S)
        before, now = now, _ticks(pid)


def _ticks(pid: int) -> int:
    """The processor time a process has used, in clock ticks (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _control(command: str, pid: str) -> None:
    subprocess.run(["callgrind_control", command, pid], check=True, capture_output=True)


def _total(dump: Path) -> int:
    found = _TOTALS.search(dump.read_bytes())
    assert found is not None, f"`{dump}` holds no total"
    return int(found[1])


if __name__ == "__main__":
    sys.exit(main())
