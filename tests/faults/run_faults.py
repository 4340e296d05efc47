"""The fault suite: `make faults`. Each class of fault is tried, what is left is audited, and one table says the rest.

    run_faults.py [--short] [--only NAME] [--seed N] [--seconds S] [--mutants]

`--short` tries a few of each, within a minute; `--seconds` is how long the power is cut; `--mutants` breaks each claim
in a copy of the tree and expects the class to notice. Exit code 1 where an invariant was violated, or where a mutant
was not noticed. What cannot be tried here is skipped, and said.

I1 no side effect without a durable intent receipt; I2 no allow after a failed sync; I3 an approval is used at most
once; I4 spend never exceeds budget; I5 no secret in any sink (the canary tests watch that one); I6 it answers
correctly or refuses.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
TESTS: Final = HERE.parent
sys.path[:0] = [str(HERE), str(TESTS), str(TESTS / "ledger"), str(TESTS / "receipts")]

import hostile_peers  # noqa: E402
import mutants  # noqa: E402 - the tests are found by path
import on_call  # noqa: E402
import on_daemon  # noqa: E402
import on_ledger  # noqa: E402
import power_cut  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.markup import escape  # noqa: E402
from rich.table import Table  # noqa: E402
from trials import Fault, Trials, mounting_problem, nothing_needed  # noqa: E402

FAULTS: Final = (
    Fault("power", "power cut under load", "I1 I2 I3 I4 I6", power_cut.run, mounting_problem, mutants.POWER),
    Fault("kill", "kill -9 amid mixed calls", "I1 I3 I4 I6", on_daemon.run_kill, nothing_needed, mutants.KILL),
    Fault(
        "call",
        "SIGKILL, EIO, ENOSPC in a whole call",
        "I1 I2 I3 I4 I6",
        on_call.run_whole_call,
        on_ledger.strace_problem,
        mutants.WHOLE_CALL,
    ),
    Fault(
        "syscalls",
        "SIGKILL, EIO, ENOSPC at durable calls",
        "I1 I2 I3 I4 I6",
        on_ledger.run_system_calls,
        on_ledger.strace_problem,
        mutants.CALLS,
    ),
    Fault(
        "archive",
        "SIGKILL, EIO, ENOSPC while archiving",
        "I1 I6",
        on_ledger.run_archive,
        on_ledger.strace_problem,
        mutants.ARCHIVE,
    ),
    Fault("full", "disk full, ledger", "I1 I2 I6", on_ledger.run_full_disk, mounting_problem, mutants.FULL),
    Fault("full-daemon", "disk full, daemon", "I1 I2 I6", on_daemon.run_full_disk, mounting_problem, mutants.FULL),
    Fault("slow", "every sync takes a second", "I2 I6", on_daemon.run_slow, on_ledger.strace_problem, mutants.SLOW),
    Fault("clock", "clock steps", "I6", on_daemon.run_clock, on_daemon.faketime_problem, mutants.CLOCK),
    Fault("flip", "each byte flipped", "I6", on_ledger.run_flips, nothing_needed, mutants.FLIP),
    Fault("peers", "hostile peers", "I1 I3 I4 I5 I6", hostile_peers.run, nothing_needed, mutants.PEERS),
    Fault("two", "two on one directory", "I6", on_daemon.run_two, nothing_needed, mutants.TWO),
)
POWER_S: Final = {True: 3.0, False: 600.0}


def main() -> int:
    """Run what was asked for; gives the exit code."""
    asked = _arguments()
    os.umask(0o077)
    console = Console(width=None if sys.stdout.isatty() else 150)
    chosen = [fault for fault in FAULTS if asked.only in {None, fault.name}]
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        if asked.mutants:
            return _try_mutants(console, chosen, asked.seed, Path(scratch))
        table = Table("fault", "trials", "violations", "holds", "seed", "the mutant that turns it red")
        skipped, broken = [], []
        for fault in chosen:
            problem = fault.problem()
            if problem:
                skipped.append(f"SKIPPED `{fault.name}` ({fault.what}): {problem}")
                table.add_row(fault.what, "[bold]skipped[/]", "-", fault.holds, "-", fault.mutant.name)
                continue
            console.print(f"{fault.what} …")
            trials = _run(fault, asked, Path(scratch))
            broken += trials.violations
            table.add_row(
                fault.what,
                f"{trials.done:,}",
                str(len(trials.violations)),
                fault.holds,
                str(asked.seed),
                fault.mutant.name,
            )
    for violation in broken:
        console.print(f"violation: {violation}", style="red", markup=False, highlight=False)
    console.print(table)
    for line in skipped:
        console.print(line, style="bold yellow", markup=False, highlight=False)
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Try every class of fault and audit what is left.")
    parser.add_argument("--short", action="store_true", help="a few trials of each, within a minute")
    parser.add_argument("--only", choices=[fault.name for fault in FAULTS], help="one class")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31), help="repeat a run")
    parser.add_argument("--seconds", type=float, help="how long the power is cut, again and again")
    parser.add_argument("--mutants", action="store_true", help="break each claim in a copy, and expect it to be seen")
    return parser.parse_args()


def _run(fault: Fault, asked: argparse.Namespace, scratch: Path) -> Trials:
    directory = scratch / fault.name
    directory.mkdir(mode=0o700)
    seconds = POWER_S[asked.short] if asked.seconds is None else asked.seconds
    trials = Trials(directory, asked.seed, asked.short, seconds)
    with trials.trial("the whole of it", count=0):
        fault.run(trials)
    return trials


def _try_mutants(console: Console, chosen: list[Fault], seed: int, scratch: Path) -> int:
    table = Table("fault", "mutant", "red, and why")
    missed = 0
    for fault in chosen:
        problem = fault.problem()
        if problem:
            table.add_row(fault.what, fault.mutant.name, f"skipped: {problem}")
            continue
        found = mutants.try_mutant(fault.mutant, fault.name, seed, scratch)
        missed += not found
        table.add_row(fault.what, fault.mutant.name, escape(found[:160]) or "[red]NOT NOTICED[/]")
    console.print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
