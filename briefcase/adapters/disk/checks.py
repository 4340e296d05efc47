"""Who could have touched a file: its kind, its owner, its mode and its names, as rules of one table's form.

A rule is checked on what fstat(2) or lstat(2) found, so that the file that was looked at is the one that is used.
Every problem names the path, what was expected and what was found.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from briefcase.model.errors import ConfigError

# Every mode of a file, and every mask, has its one home here.
PRIVATE_FILE_MODE: Final = 0o600
PRIVATE_DIR_MODE: Final = 0o700
AGENT_SOCKET_MODE: Final = 0o660
AGENT_DIRECTORY_MODE: Final = 0o750
PUBLIC_FILE_MODE: Final = 0o644
PUBLIC_DIR_MODE: Final = 0o755
REPORT_MODE: Final = 0o666  # less the umask: a report is for whoever its directory is for
ALL_MODE_BITS: Final = 0o777
OTHERS: Final = 0o077
OTHERS_WRITE: Final = 0o022
MAX_LINKS: Final = 40  # as many as Linux follows

_KINDS: Final[tuple[tuple[str, Callable[[int], bool]], ...]] = (
    ("a symbolic link", stat.S_ISLNK),
    ("a directory", stat.S_ISDIR),
    ("a regular file", stat.S_ISREG),
    ("a socket", stat.S_ISSOCK),
    ("a pipe", stat.S_ISFIFO),
)


class Rule(NamedTuple):
    """What a path must be: its kind, its mode (for the message), and the bits that must not be set."""

    kind: str
    mode: int
    forbidden: int = OTHERS


class Problem(NamedTuple):
    """Why a path breaks a rule, and what to do."""

    message: str
    hint: str = ""


PRIVATE_FILE: Final = Rule("a regular file", PRIVATE_FILE_MODE)
PRIVATE_DIR: Final = Rule("a directory", PRIVATE_DIR_MODE)


def problem_of(path: Path, found: os.stat_result, rule: Rule) -> Problem | None:
    """Why a path breaks a rule: another kind, another owner, or a mode that lets others in; None where it does not."""
    kind = kind_of(found.st_mode)
    if kind != rule.kind:
        return Problem(f"expected {rule.kind} at `{path}`, got {kind}")
    return owner_problem(path, found) or _mode_problem(path, found, rule)


def owner_problem(path: Path, found: os.stat_result) -> Problem | None:
    """Why a path is another user's; None where it is of the user who runs this process."""
    if found.st_uid == os.geteuid():
        return None
    return Problem(
        f"expected `{path}` to belong to uid {os.geteuid()}, got uid {found.st_uid}",
        "run as its owner, or choose another data directory with `BRIEFCASE_DATA_DIR`",
    )


def way_problem(directory: Path) -> Problem | None:
    """Who could put another directory in the place of this one: a user who may write to a directory on the way to it.

    A sticky directory (`/tmp`) lets nobody rename what is another's, so whose the next one is decides there. A link is
    a step of the way, and so is each directory that it leads through.

    Raises:
        OSError: a step cannot be looked at.
    """
    for step, found in _steps_to(directory):
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid not in {0, os.geteuid()}:
            return Problem(f"expected `{step}` to belong to uid {os.geteuid()} or root, got uid {found.st_uid}")
        if not stat.S_ISLNK(found.st_mode) and mode & OTHERS_WRITE and not mode & stat.S_ISVTX:
            return Problem(f"expected `{step}` not to be writable by others, got mode {mode:04o}")
    return None


def _steps_to(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each directory and each link that the system passes until it is at a directory, that one too."""
    here, links = Path("/"), 0
    yield here, here.lstat()
    left = list(reversed(directory.absolute().parts[1:]))
    while left:
        name = left.pop()
        if name == "..":
            here = here.parent  # no link: each is followed where it stands
            continue
        step = here / name
        found = step.lstat()
        yield step, found
        if not stat.S_ISLNK(found.st_mode):
            here = step
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(directory))
        target = step.readlink()
        here = Path("/") if target.is_absolute() else here
        left.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))


def check_rule(path: Path, found: os.stat_result, rule: Rule) -> None:
    """Check a path against a rule.

    Raises:
        ConfigError: it breaks it (`insecure_host`).
    """
    check_none(problem_of(path, found, rule))


def check_none(problem: Problem | None) -> None:
    """Raise a problem, where there is one.

    Raises:
        ConfigError: there is one (`insecure_host`).
    """
    if problem is not None:
        raise ConfigError(problem.message, code="insecure_host", hint=problem.hint)


def check_one_name(path: Path) -> None:
    """Check that a file has no second name (hard link), through which another process could write to it.

    Raises:
        ConfigError: it has one (`insecure_host`).
    """
    names = path.lstat().st_nlink
    if names != 1:
        raise ConfigError(
            f"expected `{path}` to have one name, got {names} (hard links)",
            code="insecure_host",
            hint=f"look for the others with `find / -xdev -samefile '{path}'`; stop what uses them and remove them, or"
            " make this one a copy of its own",
        )


def kind_of(mode: int) -> str:
    """Name what an inode is, for a message."""
    return next((name for name, is_kind in _KINDS if is_kind(mode)), "a device")


def reason_of(error: OSError) -> str:
    """What the system said, for a message."""
    return (error.strerror or "unknown reason").lower()


def _mode_problem(path: Path, found: os.stat_result, rule: Rule) -> Problem | None:
    mode = stat.S_IMODE(found.st_mode)
    if not mode & rule.forbidden:
        return None
    could = "read it" if rule.forbidden & OTHERS == OTHERS else "write to it"
    hint = f"others could {could}: replace what it holds, then run `chmod {rule.mode:03o} {path}`"
    return Problem(f"expected `{path}` to have mode {rule.mode:04o}, got {mode:04o}", hint)
