"""For each claim of the fault suite, the edit of the source that must turn it red, and a way to see it.

`--mutants` makes a private copy of the tree, applies one edit, runs the short form of that fault class, expects it to
fail, and does so for each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from trials import Mutant

ROOT: Final = Path(__file__).parent.parent.parent

POWER: Final = Mutant(
    "commits without a sync",
    (
        (
            "adapters/ledger/tables.py",
            "                lib_version=ENGINE,",
            "                lib_version=ENGINE, sync=False,",
        ),
        ("adapters/ledger/tables.py", '    "sync": True,', '    "sync": False,'),
    ),
)
KILL: Final = Mutant(
    "recovery leaves open what a crash left open",
    (("adapters/ledger/recovery.py", "= sorted(intents.open), ", "= sorted(intents.open)[:0], "),),
)
WHOLE_CALL: Final = Mutant(
    "an approval is consumed with the outcome, not with the intent",
    (
        (
            "core/calls/flow.py",
            "            effects.append(yes.effect)\n",
            "            vars(__import__('sys').modules['briefcase.core.calls.results'])['LATE'] = (yes.effect,)\n",
        ),
        (
            "core/calls/results.py",
            "(CloseIntent(intent_id),)\n",
            "(CloseIntent(intent_id), *globals().pop('LATE', ()))\n",
        ),
    ),
)
CALLS: Final = Mutant(
    "the gate opens again after a failed sync",
    (
        (
            "adapters/ledger/group.py",
            "        self._waiting.clear()\n",
            "        self._waiting.clear()\n        self._gate.state = GateState.OPEN\n",
        ),
    ),
)
ARCHIVE: Final = Mutant(
    "receipts are removed before their segment has its name",
    (
        (
            "adapters/ledger/archive.py",
            "write_whole(segment.path, check",
            "write_whole(segment.path.with_name('lost'), check",
        ),
    ),
)
FULL: Final = Mutant(
    "free space is not looked at",
    (("adapters/ledger/directory.py", "        return self._low\n", "        return False\n"),),
)
SLOW: Final = Mutant(
    "every disk counts as fast",
    (("adapters/ledger/group.py", "INLINE_MAX_US: Final = 2_000", "INLINE_MAX_US: Final = 1 << 40"),),
)
CLOCK: Final = Mutant(
    "receipts take the wall clock's time",
    (("adapters/ledger/journal.py", "max(now_us, tip.ts_us), now_us", "now_us, now_us"),),
)
FLIP: Final = Mutant(
    "the tail is not verified at the start",
    (("adapters/ledger/recovery.py", "    bad = verifier.first_bad\n", "    bad = None\n"),),
)
PEERS: Final = Mutant(
    "what a server answers is passed on as it is",
    (
        (
            "core/redaction/redactor.py",
            "        return value if not found else self._marked(value, found, lambda _: MARK)\n",
            "        return value\n",
        ),
    ),
)
TWO: Final = Mutant(
    "the ledger is not locked",
    (
        (
            "adapters/disk/locks.py",
            "fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)\n    except",
            "pass\n    except",
        ),
    ),
)


def try_mutant(mutant: Mutant, fault: str, seed: int, directory: Path) -> str:
    """What the fault class finds when the mutant is in place; nothing where it stays green."""
    copy = directory / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    leave_out = shutil.ignore_patterns("__pycache__", "*.c", "node_modules")
    for name in ("briefcase", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=leave_out)
    shutil.copytree(ROOT / "_native", copy / "briefcase" / "_native", ignore=leave_out)
    for file, there, instead in mutant.edits:
        source = copy / "briefcase" / file
        text = source.read_text()
        if text.count(there) != 1:
            raise SystemExit(f"mutant `{mutant.name}`: expected `{there.strip()}` once in `{file}`, update the mutant")
        source.write_text(text.replace(there, instead))
    command = [sys.executable, str(copy / "tests" / "faults" / "run_faults.py"), "--short", "--only", fault]
    done = subprocess.run(
        [*command, "--seed", str(seed)],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 1:
        return ""
    # the last line of the first traceback
    first = done.stdout.decode().partition("violation: ")[2].partition("violation: ")[0]
    raised = [line for line in first.splitlines() if line and line[0] not in " │┏┃┡└"]
    return raised[-1] if raised else ""
