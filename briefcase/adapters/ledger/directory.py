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

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from briefcase._native.inodes import Inodes
from briefcase.adapters.disk.checks import PRIVATE_DIR, PRIVATE_FILE, check_one_name, check_rule, reason_of
from briefcase.adapters.disk.directories import make_private_dir
from briefcase.adapters.disk.files import open_private
from briefcase.adapters.disk.locks import holder_of, try_lock
from briefcase.model.errors import ConfigError, StoreError

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
        make_private_dir(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be made: {error.strerror}") from None
    check_rule(path, path.lstat(), PRIVATE_DIR)
    for name in _FILE_NAMES:
        if os.path.lexists(path / name):
            check_rule(path / name, (path / name).lstat(), PRIVATE_FILE)
            check_one_name(path / name)
    if os.path.lexists(path / ARCHIVE_NAME):
        check_rule(path / ARCHIVE_NAME, (path / ARCHIVE_NAME).lstat(), PRIVATE_DIR)


def lock_data(path: Path) -> int:
    """Take the data file itself, under whatever name another process knows it. Returns the descriptor that holds it.

    Raises:
        ConfigError: another process has it (`already_running`), or it is not to be opened.
    """
    data = path / DATA_NAME
    descriptor = open_private(data, creates=False)
    try:
        if try_lock(descriptor):
            return descriptor
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"cannot lock `{data}`: {reason_of(error)}") from None
    holder = holder_of(descriptor)
    os.close(descriptor)
    raise ConfigError(
        f"`{data}` is in use by {holder}, under this name or another one",
        code="already_running",
        hint=f"look for its other names with `find / -xdev -samefile '{data}'`, and stop the daemon there",
    )


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
    for name in [path.name for path in Path("/dev/fd").iterdir()]:
        with suppress(OSError):  # the descriptor of the listing itself
            opened = os.fstat(int(name))
            if any(os.path.samestat(opened, file) for file in files):
                os.set_inheritable(int(name), False)


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
            descriptor = open_private(self._file)
        except ConfigError:
            return  # no descriptor to spare: the next check tries again
        try:
            os.ftruncate(descriptor, 0)
            written = 0
            while written < self._reserve_bytes:
                written += os.write(descriptor, _ZEROS[: self._reserve_bytes - written])
            self._held = True
        except OSError:
            self._give_back()
        finally:
            os.close(descriptor)
