"""Private files: created 0600 whatever the umask, checked before they are read, replaced whole or not at all.

`write_private` is crash-safe; what each step leaves behind:

 1. remove a left-over temporary file      (nothing changed)
 2. create the temporary file, 0600        (the old file is in place; the next write removes the left-over)
 3. write and fsync it                     (the same)
 4. rename it over the old one             (the old or the new, whole)
 5. fsync the directory                    (the new one, after a power cut too)

The temporary name is fixed, so that a crash leaves at most one copy, and the next write removes it: a caller with
concurrent writers holds `locked` around it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from briefcase.model.errors import ConfigError, StoreError

PRIVATE_FILE_MODE: Final = 0o600
PRIVATE_DIR_MODE: Final = 0o700
MAX_PRIVATE_FILE_BYTES: Final = 16 << 20
LOCK_TIMEOUT_MS: Final = 5_000
_LOCK_POLL_S: Final = 0.01


def read_private(path: Path, *, max_bytes: int = MAX_PRIVATE_FILE_BYTES) -> bytes | None:
    """Read a file that only its owner may touch.

    Args:
        path: the file; its last component may not be a symbolic link.
        max_bytes: the largest size that is read.

    Raises:
        ConfigError: it is a link, no regular file, another user's, open to others, or too large.
        StoreError: it could not be read (`secret_unavailable`).

    Returns:
        The bytes, or None where there is no such file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        found = os.fstat(descriptor)
        check_private(path, found)
        if found.st_size > max_bytes:
            raise ConfigError(f"expected `{path}` to hold at most {max_bytes} bytes, got {found.st_size}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def check_private(path: Path, found: os.stat_result) -> None:
    """Check that a regular file is ours and closed to everyone else.

    Raises:
        ConfigError: with the path, what was expected and what was found (`insecure_host`).
    """
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"expected a regular file at `{path}`, got {kind_of(found.st_mode)}", code="insecure_host")
    check_owner(path, found)
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"expected `{path}` to have mode 0600, got {mode:04o}",
            code="insecure_host",
            hint=f"others could read it: replace what it holds, then run `chmod 600 {path}`",
        )


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


def check_owner(path: Path, found: os.stat_result) -> None:
    """Check that a file or directory belongs to the user who runs this process.

    Raises:
        ConfigError: another user owns it (`insecure_host`).
    """
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"expected `{path}` to belong to uid {os.geteuid()}, got uid {found.st_uid}",
            code="insecure_host",
            hint="run as its owner, or choose another data directory with `BRIEFCASE_DATA_DIR`",
        )


def kind_of(mode: int) -> str:
    """Name what an inode is, for a message."""
    for is_kind, name in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a pipe"),
    ):
        if is_kind(mode):
            return name
    return "a device"


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably, mode 0600.

    Raises:
        StoreError: the disk refused (`secret_unavailable`); the old file is untouched.
    """
    temporary = temporary_of(path)
    try:
        temporary.unlink(missing_ok=True)
        _write_new(temporary, data)
        temporary.replace(path)
        fsync_dir(path.parent)
    except OSError as error:
        raise StoreError(
            f"could not write `{path}`: {_reason(error)}",
            code="secret_unavailable",
            hint="check the free space and the permissions of its directory",
        ) from error


def temporary_of(path: Path) -> Path:
    """Where `write_private` prepares the new content."""
    return path.with_name(f"{path.name}.new")


def fsync_dir(path: Path) -> None:
    """Make a rename, link or removal inside a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, timeout_ms: int = LOCK_TIMEOUT_MS) -> Iterator[None]:
    """Hold an exclusive advisory lock on a lock file, against other processes and other threads.

    The lock goes with the process: one that was killed leaves no stale lock.

    Raises:
        StoreError: another writer held it for longer than `timeout_ms` (`secret_unavailable`).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    try:
        deadline = time.monotonic() + timeout_ms / 1000
        while not try_flock(descriptor):
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"expected to lock `{path}` within {timeout_ms} ms, but another process holds it",
                    code="secret_unavailable",
                    hint="wait for the other `briefcase` command to end",
                )
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def try_flock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file at once; False where someone else holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, PRIVATE_FILE_MODE)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _unreadable(path: Path, error: OSError) -> ConfigError | StoreError:
    if error.errno == errno.ELOOP:
        return ConfigError(f"expected a regular file at `{path}`, got a symbolic link", code="insecure_host")
    return StoreError(f"could not read `{path}`: {_reason(error)}", code="secret_unavailable")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "unknown reason"
