"""Locks: flock(2) on an open file, so that a lock goes with its process and a killed one leaves none behind.

    locked(LOCK)      openat(LOCK, O_RDWR|O_CREAT|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC, 0600)
                      flock(LOCK, LOCK_EX|LOCK_NB)          again every 10 ms until it is free

    take_lock(LOCK)   openat(LOCK, O_RDWR|O_CREAT|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC, 0600)
                      flock(LOCK, LOCK_EX|LOCK_NB)
                      ftruncate(LOCK, 0)
                      pwrite64(LOCK)                        the process id, for the message of the next one

A lock's file stays: to remove it would let two processes hold two files of one name. Who holds a lock is read from
/proc/locks; of a file system that numbers its files otherwise there, from the lock's file, where its holder writes it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from briefcase.adapters.disk.checks import reason_of
from briefcase.adapters.disk.files import open_private
from briefcase.model.errors import ConfigError, StoreError

LOCK_TIMEOUT_MS: Final = 5_000
_LOCK_POLL_S: Final = 0.01
_PID_BYTES: Final = 32
_LOCKS: Final = Path("/proc/locks")
_DISK_HINT: Final = "check the disk and its free space"


@contextmanager
def locked(path: Path, *, timeout_ms: int = LOCK_TIMEOUT_MS) -> Iterator[None]:
    """Hold an exclusive advisory lock on a lock file, against other processes and other threads.

    Raises:
        ConfigError: the lock file is not a private file (`insecure_host`).
        StoreError: another writer held it for longer than `timeout_ms`, or the disk does not take the lock
            (`secret_unavailable`).
    """
    descriptor = open_private(path)
    try:
        deadline = time.monotonic() + timeout_ms / 1000
        while not _try_lock(path, descriptor):
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"expected to lock `{path}` within {timeout_ms} ms, but {holder_of(descriptor)} holds it",
                    code="secret_unavailable",
                    hint="wait for that `briefcase` command to end, or end it",
                )
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def take_lock(path: Path) -> int:
    """Take the directory of a lock file for this process, until the descriptor that is returned is closed.

    Raises:
        ConfigError: another process has it (`already_running`), or the lock file is not a private file.
        StoreError: the disk does not take the lock.
    """
    descriptor = open_private(path)
    try:
        _take(path, descriptor)
    except BaseException as error:
        os.close(descriptor)
        if not isinstance(error, OSError):
            raise
        raise StoreError(f"cannot lock `{path}`: {reason_of(error)}", hint=_DISK_HINT) from error
    return descriptor


def try_lock(descriptor: int, *, is_shared: bool = False) -> bool:
    """Take the lock of an open file at once; False where someone else holds it.

    Args:
        descriptor: of the open file.
        is_shared: several may hold it together, but nobody alone.

    Raises:
        OSError: the file system takes no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder_of(descriptor: int) -> str:
    """Who holds the lock of an open file, in words: `process 4711`, or `another process` where that cannot be known."""
    found = os.fstat(descriptor)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        rows = [line.split() for line in _LOCKS.read_text().splitlines()]
        held = [row[4] for row in rows if row[1] == "FLOCK" and row[5] == file]
        pid = held[0] if held else os.pread(descriptor, _PID_BYTES, 0).decode("ascii", "replace").strip()
    except (OSError, IndexError):
        return "another process"
    return f"process {pid}" if pid.isdecimal() and int(pid) else "another process"


def _try_lock(path: Path, descriptor: int) -> bool:
    try:
        return try_lock(descriptor)
    except OSError as error:
        problem = f"cannot lock `{path}`: {reason_of(error)}"
        raise StoreError(problem, code="secret_unavailable", hint=_DISK_HINT) from error


def _take(path: Path, descriptor: int) -> None:
    if not try_lock(descriptor):
        raise ConfigError(
            f"`{path.parent}` is in use by {holder_of(descriptor)}",
            code="already_running",
            hint="stop that daemon first, or choose another data directory with `BRIEFCASE_DATA_DIR`",
        )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
