"""The data directory: created and checked before anything in it is trusted, and held by one daemon at a time.

A directory is refused, with its exact path and mode, when it is a symbolic link, belongs to another user, or could
have been written by one; so is one whose parent lets other users rename it. One that others could merely read is
closed to them (0700). Nothing here depends on the umask.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from briefcase.model.errors import ConfigError
from briefcase.store.files import PRIVATE_DIR_MODE, PRIVATE_FILE_MODE, check_owner, check_private, kind_of, try_flock

LOCK_FILE: Final = "briefcased.lock"
DATABASE_FILE: Final = "briefcase.sqlite"
LEDGER_DIR: Final = "ledger"
OPERATOR_TOKEN_FILE: Final = "auth_token"  # noqa: S105 - a file's name
AUDITOR_TOKEN_FILE: Final = "auditor_token"  # noqa: S105 - a file's name
DAEMON_DID_FILE: Final = "identity_did"

_WRITABLE_BY_OTHERS: Final = 0o022


def prepare_data_dir(path: Path) -> Path:
    """Create the data directory where it is missing, and check it either way.

    Args:
        path: the directory; missing parents are created 0700 as well.

    Raises:
        ConfigError: it is not a directory of ours that only we could have written (`insecure_host`).

    Returns:
        Its absolute path, with every link in its parents resolved.
    """
    path = path.expanduser().absolute()
    try:
        _make_dirs(path)
        path = path.parent.resolve() / path.name
        _check_parent(path.parent)
        _check_and_close(path)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "unknown reason"
        raise ConfigError(
            f"could not prepare the data directory `{path}`: {reason}",
            hint="choose another one with `BRIEFCASE_DATA_DIR`",
        ) from error
    return path


class DataDirLock:
    """The right to be the one daemon on a data directory, held until `release` or the end of the process.

    Raises:
        ConfigError: another process holds it (`already_running`), or the lock file is not a private file.
    """

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / LOCK_FILE
        try:
            self._descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, PRIVATE_FILE_MODE
            )
        except OSError as error:
            kind = "a symbolic link" if error.errno == errno.ELOOP else os.strerror(error.errno or 0).lower()
            raise ConfigError(f"expected a regular file at `{path}`, got {kind}", code="insecure_host") from error
        try:
            self._take(path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Let another daemon have the directory. The empty lock file stays: removing it would be a race."""
        os.close(self._descriptor)

    def _take(self, path: Path) -> None:
        os.fchmod(self._descriptor, PRIVATE_FILE_MODE)
        check_private(path, os.fstat(self._descriptor))
        if not try_flock(self._descriptor):
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise ConfigError(
                f"another daemon (process {holder}) is running on `{path.parent}`",
                code="already_running",
                hint="stop it first, or choose another data directory with `BRIEFCASE_DATA_DIR`",
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)


def _make_dirs(path: Path) -> None:
    for directory in (*reversed(path.parents), path):
        try:
            directory.mkdir(mode=PRIVATE_DIR_MODE)
        except FileExistsError:
            continue


def _check_parent(parent: Path) -> None:
    found = parent.stat()
    if found.st_mode & _WRITABLE_BY_OTHERS & 0o002 and not found.st_mode & stat.S_ISVTX:
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
        check_owner(path, found)
        mode = stat.S_IMODE(found.st_mode)
        if mode & _WRITABLE_BY_OTHERS:
            raise ConfigError(
                f"expected `{path}` to have mode 0700, got {mode:04o}",
                code="insecure_host",
                hint=f"other users could have written into it: look at what it holds, then run `chmod 700 {path}`",
            )
        if mode != PRIVATE_DIR_MODE:
            os.fchmod(descriptor, PRIVATE_DIR_MODE)
    finally:
        os.close(descriptor)
