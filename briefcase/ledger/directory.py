"""The ledger's directory: who may see it, and that only one process has it.

| file | what |
|---|---|
| `data.mdb`, `lock.mdb` | LMDB's |
| `ledger.lock` | held with flock(2) for as long as the ledger is open; a killed process leaves it free |
| `reserve` | space set aside for the outcomes of calls that were under way when the disk filled up |
| `archive` | the oldest receipts, compressed (`ledger.archive`), where there are any |

Every path must be the user's own, no symbolic link, and closed to group and others: refused with the path and the mode.
Every file has one name: a hard link is a second door to the same data, and two daemons would write through it. The lock
on `data.mdb` itself holds whatever name it has.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from briefcase._native.inodes import Inodes
from briefcase.model.errors import ConfigError, StoreError
from briefcase.store.files import check_one_name

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
LOCK_NAME: Final = "ledger.lock"
RESERVE_NAME: Final = "reserve"
DATA_NAME: Final = "data.mdb"
ARCHIVE_NAME: Final = "archive"

_FILE_NAMES: Final = (DATA_NAME, "lock.mdb", LOCK_NAME, RESERVE_NAME)
_ZEROS: Final = memoryview(bytes(1 << 20))


def prepare_directory(path: Path) -> None:
    """Make the directory, or check the one there is and the files in it.

    Raises:
        ConfigError: a symbolic link, another user's, open to group or others (`insecure_host`), or not to be made.
    """
    try:
        path.mkdir(mode=DIRECTORY_MODE)
        path.chmod(DIRECTORY_MODE)  # the umask may have taken the owner's own bits
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"`{path}` can not be made: {error.strerror}") from None
    _check_path(path, stat.S_ISDIR, DIRECTORY_MODE)
    for name in _FILE_NAMES:
        if os.path.lexists(path / name):
            _check_path(path / name, stat.S_ISREG, FILE_MODE)
            check_one_name(path / name)
    if os.path.lexists(path / ARCHIVE_NAME):
        _check_path(path / ARCHIVE_NAME, stat.S_ISDIR, DIRECTORY_MODE)


def _check_path(path: Path, is_kind: Callable[[int], bool], expected_mode: int) -> None:
    found = path.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if not is_kind(found.st_mode):
        raise ConfigError(f"`{path}`: expected no link and no special file", code="insecure_host")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"`{path}` belongs to user {found.st_uid}, expected {os.geteuid()}", code="insecure_host")
    if mode & 0o077:
        raise ConfigError(
            f"`{path}` has mode {mode:04o}, expected {expected_mode:04o}",
            code="insecure_host",
            hint=f"run `chmod {expected_mode:04o} '{path}'` after checking who may have read it",
        )


def take_lock(path: Path) -> int:
    """Take the directory for this process. Returns the descriptor that holds it.

    Raises:
        ConfigError: another process has it (`already_running`), or the lock's file can not be made.
        StoreError: the disk does not take the lock.
    """
    try:
        descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    except OSError as error:
        raise ConfigError(f"`{path / LOCK_NAME}` can not be made: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise ConfigError(
            f"`{path}` is in use by process {holder or 'unknown'}",
            code="already_running",
            hint="stop that daemon, or give this one another data directory",
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise StoreError(
            f"`{path}` can not be locked: {error.strerror}", hint="check the disk and its free space"
        ) from None
    return descriptor


def lock_data(path: Path) -> int:
    """Take the data file itself, under whatever name another process knows it. Returns the descriptor that holds it.

    Raises:
        ConfigError: another process has it (`already_running`), or it is not to be opened.
    """
    data = path / DATA_NAME
    try:
        descriptor = os.open(data, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise ConfigError(f"`{data}` cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigError(
            f"`{data}` is in use by another process, under this name or another one",
            code="already_running",
            hint=f"look for its other names with `find / -xdev -samefile '{data}'`, and stop the daemon there",
        ) from None
    return descriptor


def watch_directory(path: Path) -> Inodes:
    """The ledger's files as they are now: the data file at each look, the others in turn."""
    inodes = Inodes()
    path, name = path.absolute(), path.name
    inodes.watch(os.fsencode(path / DATA_NAME), f"{name}/{DATA_NAME}", grows=True, first=True)
    for other in ("lock.mdb", LOCK_NAME):
        inodes.watch(os.fsencode(path / other), f"{name}/{other}")
    if (path / ARCHIVE_NAME).is_dir():
        inodes.watch(os.fsencode(path / ARCHIVE_NAME), f"{name}/{ARCHIVE_NAME}")
    return inodes


def close_on_exec(path: Path) -> None:
    """Keep the files of a directory from the programs this process starts: LMDB opens its data file for them too."""
    files = [found.stat(follow_symlinks=False) for found in os.scandir(path)]
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - descriptors are numbers, not paths
        with suppress(OSError):  # the descriptor of the listing itself
            opened = os.fstat(int(name))
            if any(os.path.samestat(opened, file) for file in files):
                os.set_inheritable(int(name), False)  # noqa: FBT003 - positional only


class Space:
    """Watches the disk's free space, and keeps a reserve for what must still be written when it runs out.

    `is_low` is the question before each commit: one fstatvfs(2). While space is low the reserve is given back to the
    file system, so that the outcomes of calls under way can be stored; it is taken again when there is room for it.

    Args:
        path: the ledger's directory.
        descriptor: of a file in it, open for as long as this is asked: a question by path would walk the path.
        low_bytes: free space below which nothing new is accepted.
        reserve_bytes: the size of the reserve.
    """

    def __init__(self, path: Path, descriptor: int, low_bytes: int, reserve_bytes: int) -> None:
        self._descriptor = descriptor
        self._file = path / RESERVE_NAME
        self._low_bytes = low_bytes
        self._reserve_bytes = reserve_bytes
        self._low = False
        self._held = self._file.exists() and self._file.stat().st_size == reserve_bytes
        self._keep_reserve()

    def free_bytes(self) -> int:
        """What this user may still write to the file system.

        Raises:
            OSError: the file system does not tell.
        """
        found = os.fstatvfs(self._descriptor)
        return found.f_bavail * found.f_frsize

    def is_low(self) -> bool:
        """Whether nothing new may be accepted now. Recovers by itself when there is space again.

        Raises:
            OSError: the file system does not tell.
        """
        free = self.free_bytes()
        if self._held:
            self._low = free < self._low_bytes
        else:  # the reserve must fit again as well
            self._low = free < self._low_bytes + self._reserve_bytes
        if self._low and self._held:
            self._give_back()
        elif not self._low and not self._held:
            self._keep_reserve()
        return self._low

    def _give_back(self) -> None:
        self._held = False
        with suppress(OSError):  # a file system that became read-only gives nothing back
            self._file.unlink(missing_ok=True)

    def _keep_reserve(self) -> None:
        """Write the reserve out in full: blocks that were written can be given back later."""
        if self._held or self.free_bytes() < self._low_bytes + self._reserve_bytes:
            return
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._file, flags, FILE_MODE)
        except OSError:
            return  # no descriptor to spare: the next check tries again
        try:
            written = 0
            while written < self._reserve_bytes:
                written += os.write(descriptor, _ZEROS[: self._reserve_bytes - written])
            self._held = True
        except OSError:
            self._give_back()
        finally:
            os.close(descriptor)
