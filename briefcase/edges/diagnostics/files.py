"""The files of a data directory: which there may be, and who may touch them. Measured, never repaired.

The same table serves the daemon's start, its diagnostics, and `briefcase diagnostics check` where no daemon runs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from briefcase.adapters.disk.checks import (
    AGENT_SOCKET_MODE,
    OTHERS_WRITE,
    PRIVATE_DIR,
    PRIVATE_FILE,
    PRIVATE_FILE_MODE,
    PUBLIC_DIR_MODE,
    PUBLIC_FILE_MODE,
    Rule,
    problem_of,
    reason_of,
)
from briefcase.edges.diagnostics.profile import Finding
from briefcase.edges.http.sockets import agent_directory_problem

_KEPT_FILE: Final = Rule("a regular file", PUBLIC_FILE_MODE, OTHERS_WRITE)
_KEPT_DIR: Final = Rule("a directory", PUBLIC_DIR_MODE, OTHERS_WRITE)
_PRIVATE_SOCKET: Final = Rule("a socket", PRIVATE_FILE_MODE)


class Expected(NamedTuple):
    """A path below the data directory, and what it must be."""

    path: str
    rule: Rule
    is_required: bool = False


TABLE: Final = (
    Expected(".", PRIVATE_DIR, is_required=True),
    Expected("auth_token", PRIVATE_FILE, is_required=True),
    Expected("auditor_token", PRIVATE_FILE, is_required=True),
    Expected("briefcased.lock", PRIVATE_FILE),
    Expected("briefcase.sqlite", PRIVATE_FILE, is_required=True),
    Expected("briefcase.sqlite-wal", PRIVATE_FILE),
    Expected("briefcase.sqlite-shm", PRIVATE_FILE),
    Expected("ledger", PRIVATE_DIR, is_required=True),
    Expected("ledger/data.mdb", PRIVATE_FILE, is_required=True),
    Expected("ledger/lock.mdb", PRIVATE_FILE),
    Expected("ledger/ledger.lock", PRIVATE_FILE),
    Expected("ledger/reserve", PRIVATE_FILE),
    Expected("vault.json", PRIVATE_FILE),
    Expected("vault.key", PRIVATE_FILE),
    Expected("vault.lock", PRIVATE_FILE),
    Expected("vault.keyring", PRIVATE_FILE),
    Expected("briefcase.toml", _KEPT_FILE),
    Expected("tools", _KEPT_DIR),
)


def check_files(data_dir: Path) -> Finding:
    """Every file of `TABLE`, and every manifest: each problem with its path, what was found and what was expected."""
    problems = [problem for expected in (*TABLE, *_manifests(data_dir)) if (problem := _problem(data_dir, expected))]
    hint = f"look at who could have read or written it, then run `chmod go-rwx` on it, or restore {data_dir}"
    if problems:
        return Finding("; ".join(problems), hint=hint)
    return Finding(None, f"`{data_dir}` and what is in it belong to user {os.geteuid()} alone")


def check_socket(path: Path) -> Finding:
    """The daemon's socket: ours, a socket, mode 0600."""
    problem = _problem(path.parent, Expected(path.name, _PRIVATE_SOCKET, is_required=True))
    if problem:
        return Finding(problem, hint="restart the daemon: it makes its socket anew")
    return Finding(None, f"`{path}`, mode 0600")


def check_agent_socket(path: Path | None) -> Finding:
    """The agents' socket: ours, mode 0660, in a directory of ours or root's with mode 0750, of one group."""
    if path is None:
        return Finding(None, "none: agents are the daemon's own user, or connect over TCP")
    problem = agent_directory_problem(path.parent)
    if problem is not None:
        return Finding(problem, hint=_ANEW)
    try:
        group, found = path.parent.stat().st_gid, path.lstat()
    except OSError as error:
        return Finding(f"`{path}` cannot be looked at: {reason_of(error)}", hint=_ANEW)
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        return Finding(f"expected `{path}` to be a socket of uid {os.geteuid()}", hint=_ANEW)
    if mode != AGENT_SOCKET_MODE or found.st_gid != group:
        expected = f"mode {AGENT_SOCKET_MODE:04o} and group {group}"
        return Finding(f"expected `{path}` to have {expected}, got {mode:04o} and {found.st_gid}", hint=_ANEW)
    return Finding(None, f"`{path}`, mode {mode:04o}, group {group}")


_ANEW: Final = "see `briefcase help deploy`, and restart the daemon: it makes its socket anew"


def check_socket_directory(path: Path) -> Finding:
    """The directory of the socket: where others can write, they can wait there for a client and its token."""
    directory = path.parent
    try:
        found = directory.stat()
    except OSError as error:
        return Finding(f"`{directory}` cannot be looked at: {reason_of(error)}")
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in {0, os.geteuid()}:
        return Finding(f"`{directory}` belongs to user {found.st_uid}, expected {os.geteuid()}", hint=_MOVE)
    if mode & OTHERS_WRITE:
        return Finding(f"`{directory}` has mode {mode:04o}, expected no write for group and others", hint=_MOVE)
    return Finding(None, f"`{directory}`, mode {mode:04o}")


_MOVE: Final = "leave BRIEFCASE_UNIX_SOCKET unset: the socket is then in the data directory"


def _manifests(data_dir: Path) -> Iterator[Expected]:
    for path in sorted((data_dir / "tools").glob("*.toml")):
        yield Expected(f"tools/{path.name}", _KEPT_FILE)


def _problem(data_dir: Path, expected: Expected) -> str | None:
    path = data_dir / expected.path
    try:
        found = path.lstat()
    except FileNotFoundError:
        return f"`{path}` is missing" if expected.is_required else None
    except OSError as error:
        return f"`{path}` cannot be looked at: {reason_of(error)}"
    problem = problem_of(path, found, expected.rule)
    return None if problem is None else problem.message
