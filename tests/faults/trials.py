"""What a fault class is, and how its trials are counted."""

from __future__ import annotations

import os
import random
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Mutant:
    """One edit of the source that must turn a fault class red: `(file, text there, text instead)` each."""

    name: str
    edits: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Fault:
    """One class of faults.

    `holds` names the invariants its audit watches. `problem` says why it cannot be tried here, or nothing.
    """

    name: str
    what: str
    holds: str
    run: Callable[[Trials], None]
    problem: Callable[[], str]
    mutant: Mutant


@dataclass
class Trials:
    """The trials of one fault class, made in a directory of their own."""

    directory: Path
    seed: int
    is_short: bool
    seconds: float
    done: int = 0
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._until = time.monotonic() + self.seconds

    @contextmanager
    def trial(self, label: str, count: int = 1) -> Iterator[Path]:
        """One trial in a new directory, or so many at once; whatever it raises is a violation."""
        self.done += count
        path = self.directory / f"t{self.done}"
        path.mkdir(mode=0o700)
        try:
            yield path
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - a ledger that does not open is as much a finding
            self.violations.append(f"{label} (seed {self.seed}, trial {self.done})\n{traceback.format_exc()}")
        shutil.rmtree(path, ignore_errors=True)

    def has_time(self) -> bool:
        """Whether another trial may begin."""
        return time.monotonic() < self._until

    def pick(self, items: list, short: int) -> list:
        """All of them, or so many drawn by the seed in the short form."""
        return self.random.sample(items, min(short, len(items))) if self.is_short else items


def nothing_needed() -> str:
    """For what can be tried anywhere."""
    return ""


def mounting_problem() -> str:
    """Why no file system can be mounted here, or nothing."""
    if os.name != "posix" or os.geteuid() != 0:
        return "needs root to mount a disk of its own"
    missing = [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    if missing:
        return f"`{'`, `'.join(missing)}` not found: install e2fsprogs and mount"
    return "" if list(Path("/dev").glob("loop*")) else "no loop device here"
