"""The files of a data directory: which there may be, and who may touch them. Measured, never repaired.

The same table serves the daemon's start, its diagnostics, and `briefcase diagnostics check` where no daemon runs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from briefcase.diagnostics.profile import Finding
from briefcase.http.sockets import AGENT_SOCKET_MODE, agent_directory_problem
from briefcase.store.files import PRIVATE_DIR_MODE, PRIVATE_FILE_MODE, kind_of

_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022


class Rule(NamedTuple):
    """What one path must be: its kind, its mode, and the bits that must not be set."""

    path: str
    kind: str
    mode: int
    forbidden: int = _OTHERS
    is_required: bool = False


_KINDS: Final[dict[str, Callable[[int], bool]]] = {
    "a directory": stat.S_ISDIR,
    "a regular file": stat.S_ISREG,
    "a socket": stat.S_ISSOCK,
}

TABLE: Final = (
    Rule(".", "a directory", PRIVATE_DIR_MODE, is_required=True),
    Rule("auth_token", "a regular file", PRIVATE_FILE_MODE, is_required=True),
    Rule("auditor_token", "a regular file", PRIVATE_FILE_MODE, is_required=True),
    Rule("briefcased.lock", "a regular file", PRIVATE_FILE_MODE),
    Rule("briefcase.sqlite", "a regular file", PRIVATE_FILE_MODE, is_required=True),
    Rule("briefcase.sqlite-wal", "a regular file", PRIVATE_FILE_MODE),
    Rule("briefcase.sqlite-shm", "a regular file", PRIVATE_FILE_MODE),
    Rule("ledger", "a directory", PRIVATE_DIR_MODE, is_required=True),
    Rule("ledger/data.mdb", "a regular file", PRIVATE_FILE_MODE, is_required=True),
    Rule("ledger/lock.mdb", "a regular file", PRIVATE_FILE_MODE),
    Rule("ledger/ledger.lock", "a regular file", PRIVATE_FILE_MODE),
    Rule("ledger/reserve", "a regular file", PRIVATE_FILE_MODE),
    Rule("vault.json", "a regular file", PRIVATE_FILE_MODE),
    Rule("vault.key", "a regular file", PRIVATE_FILE_MODE),
    Rule("vault.lock", "a regular file", PRIVATE_FILE_MODE),
    Rule("vault.keyring", "a regular file", PRIVATE_FILE_MODE),
    Rule("briefcase.toml", "a regular file", 0o644, _OTHERS_WRITE),
    Rule("tools", "a directory", 0o755, _OTHERS_WRITE),
)


def check_files(data_dir: Path) -> Finding:
    """Every file of `TABLE`, and every manifest: each problem with its path, what was found and what was expected."""
    problems = [problem for rule in (*TABLE, *_manifests(data_dir)) if (problem := _problem(data_dir, rule))]
    hint = f"look at who could have read or written it, then run `chmod go-rwx` on it, or restore {data_dir}"
    if problems:
        return Finding("; ".join(problems), hint=hint)
    return Finding(None, f"`{data_dir}` and what is in it belong to user {os.geteuid()} alone")


def check_socket(path: Path) -> Finding:
    """The daemon's socket: ours, a socket, mode 0600."""
    problem = _problem(path.parent, Rule(path.name, "a socket", PRIVATE_FILE_MODE, is_required=True))
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
        return Finding(f"`{path}` can not be looked at: {os.strerror(error.errno or 0).lower()}", hint=_ANEW)
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        return Finding(f"expected `{path}` to be a socket of uid {os.geteuid()}", hint=_ANEW)
    if mode != AGENT_SOCKET_MODE or found.st_gid != group:
        expected = f"mode {AGENT_SOCKET_MODE:04o} and group {group}"
        return Finding(f"expected `{path}` to have {expected}, got {mode:04o} and {found.st_gid}", hint=_ANEW)
    return Finding(None, f"`{path}`, mode {mode:04o}, group {group}")


_ANEW: Final = "see docs/deploy/README.md, and restart the daemon: it makes its socket anew"


def check_socket_directory(path: Path) -> Finding:
    """The directory of the socket: where others can write, they can wait there for a client and its token."""
    directory = path.parent
    try:
        found = directory.stat()
    except OSError as error:
        return Finding(f"`{directory}` can not be looked at: {os.strerror(error.errno or 0).lower()}")
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in {0, os.geteuid()}:
        return Finding(f"`{directory}` belongs to user {found.st_uid}, expected {os.geteuid()}", hint=_MOVE)
    if mode & _OTHERS_WRITE:
        return Finding(f"`{directory}` has mode {mode:04o}, expected no write for group and others", hint=_MOVE)
    return Finding(None, f"`{directory}`, mode {mode:04o}")


_MOVE: Final = "leave BRIEFCASE_UNIX_SOCKET unset: the socket is then in the data directory"


def _manifests(data_dir: Path) -> Iterator[Rule]:
    for path in sorted((data_dir / "tools").glob("*.toml")):
        yield Rule(f"tools/{path.name}", "a regular file", 0o644, _OTHERS_WRITE)


def _problem(data_dir: Path, rule: Rule) -> str | None:
    path = data_dir / rule.path
    try:
        found = path.lstat()
    except FileNotFoundError:
        return f"`{path}` is missing" if rule.is_required else None
    except OSError as error:
        return f"`{path}` can not be looked at: {os.strerror(error.errno or 0).lower()}"
    mode = stat.S_IMODE(found.st_mode)
    if not _KINDS[rule.kind](found.st_mode):
        return f"`{path}` is {kind_of(found.st_mode)}, expected {rule.kind}"
    if found.st_uid != os.geteuid():
        return f"`{path}` belongs to user {found.st_uid}, expected {os.geteuid()}"
    if mode & rule.forbidden:
        return f"`{path}` has mode {mode:04o}, expected {rule.mode:04o}"
    return None
