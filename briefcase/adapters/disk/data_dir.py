"""The data directory: where it is, created and checked before it is trusted, and held by one daemon at a time.

A directory is refused, with its exact path and mode, when it is a symbolic link, belongs to another user, or could
have been written by one; so is one whose parent lets other users rename it. One that others could merely read is
closed to them (0700). Nothing here depends on the umask.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from briefcase.adapters.disk.checks import (
    OTHERS_WRITE,
    PRIVATE_DIR_MODE,
    Problem,
    check_none,
    kind_of,
    owner_problem,
    reason_of,
)
from briefcase.adapters.disk.directories import make_private_dirs
from briefcase.adapters.disk.locks import take_lock
from briefcase.model.errors import ConfigError

LOCK_FILE: Final = "briefcased.lock"
SOCKET_FILE: Final = "briefcased.sock"
DATABASE_FILE: Final = "briefcase.sqlite"
LEDGER_DIR: Final = "ledger"
OPERATOR_TOKEN_FILE: Final = "auth_token"
AUDITOR_TOKEN_FILE: Final = "auditor_token"
DAEMON_DID_FILE: Final = "identity_did"


def data_dir_of(environ: Mapping[str, str]) -> Path:
    """The data directory: `BRIEFCASE_DATA_DIR`, else `briefcase` below the XDG data home (XDG Base Directory 0.8)."""
    named = named_path(environ, "BRIEFCASE_DATA_DIR")
    if named is not None:
        return named.absolute()
    shared = named_path(environ, "XDG_DATA_HOME") or _home(environ) / ".local" / "share"
    return shared.absolute() / "briefcase"


def socket_path_of(environ: Mapping[str, str]) -> Path:
    """Where the daemon listens: `BRIEFCASE_UNIX_SOCKET`, else in the data directory."""
    return (named_path(environ, "BRIEFCASE_UNIX_SOCKET") or data_dir_of(environ) / SOCKET_FILE).absolute()


def named_path(environ: Mapping[str, str], name: str) -> Path | None:
    """The path that a variable names; None where it names none. Raises as `path_of`."""
    named = environ.get(name)
    return path_of(named, name, environ) if named else None


def path_of(text: str, name: str, environ: Mapping[str, str]) -> Path:
    """The path that a setting names.

    `~` is the home directory here: no shell expands it in a unit file or in the `env` of a client's configuration.

    Args:
        text: the setting's value.
        name: the setting's own.
        environ: says where the home directory is.

    Raises:
        ConfigError: it begins with the `~` of a user by name, which only a shell knows.
    """
    first, _, rest = text.partition("/")
    if not first.startswith("~"):
        return Path(text)
    if first != "~":
        raise ConfigError(f"`{name}`: expected a path, or one that begins with `~/`, got `{text}`")
    return _home(environ) / rest.lstrip("/")


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())


def prepare_data_dir(path: Path) -> Path:
    """Create the data directory where it is missing, and check it either way.

    Args:
        path: the directory; missing parents are created 0700 as well.

    Raises:
        ConfigError: it is not a directory of ours that only we could have written (`insecure_host`).

    Returns:
        Its absolute path, with every link in its parents resolved.
    """
    path = path.absolute()
    try:
        make_private_dirs(path)
        path = path.parent.resolve() / path.name
        _check_parent(path.parent)
        _check_and_close(path)
    except OSError as error:
        raise ConfigError(
            f"could not prepare the data directory `{path}`: {reason_of(error)}",
            hint="choose another one with `BRIEFCASE_DATA_DIR`",
        ) from error
    return path


class DataDirLock:
    """The right to be the one daemon on a data directory, held until `release` or the end of the process.

    Raises:
        ConfigError: another process holds it (`already_running`), or the lock file is not a private file.
        StoreError: the disk does not take the lock.
    """

    def __init__(self, data_dir: Path) -> None:
        self._descriptor = take_lock(data_dir / LOCK_FILE)

    def release(self) -> None:
        """Let another daemon have the directory."""
        os.close(self._descriptor)


def _check_parent(parent: Path) -> None:
    found = parent.stat()
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"expected `{parent}` not to be writable by everyone, got mode {stat.S_IMODE(found.st_mode):04o}",
            code="insecure_host",
            hint="any user could replace the data directory in it: choose another place with `BRIEFCASE_DATA_DIR`",
        )


def _check_and_close(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"expected a directory at `{path}`, got {kind_of(found.st_mode)}", code="insecure_host")
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        check_none(owner_problem(path, found))
        mode = stat.S_IMODE(found.st_mode)
        if mode & OTHERS_WRITE:
            hint = f"other users could have written into it: look at what it holds, then run `chmod 700 {path}`"
            check_none(Problem(f"expected `{path}` to have mode {PRIVATE_DIR_MODE:04o}, got {mode:04o}", hint))
        if mode != PRIVATE_DIR_MODE:
            os.fchmod(descriptor, PRIVATE_DIR_MODE)
    finally:
        os.close(descriptor)
