"""The data directory by device and inode: one answer to "is this one of the daemon's own files", whatever led there.

A path says little about what it opens: a prefix above the data directory, a hard link, a bind mount and a renamed
parent all reach the same inode. So the thing is opened first and looked at afterwards: it is the daemon's own where its
device and inode are those of the data directory or of anything below it, or where it lies on procfs, which shows the
daemon's environment and memory. What cannot be looked at counts as the daemon's own.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC_SUPER_MAGIC: Final = 0x9FA0  # statfs(2)
_STATFS_BYTES: Final = 256  # more than `struct statfs` takes on any Linux
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Id = tuple[int, int]


class OwnFiles:
    """What the daemon keeps for itself.

    Args:
        data_dir: the data directory.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def holds(self, descriptor: int) -> bool:
        """Whether an open file or directory is the daemon's own. Blocks: it lists the data directory.

        Args:
            descriptor: opened before this is asked, so that nothing can be put in its place afterwards.
        """
        try:
            found = os.fstat(descriptor)
            return _is_on_procfs(descriptor) or (found.st_dev, found.st_ino) in set(_ids_below(self.data_dir))
        except OSError:
            return self._exists()

    def holds_directory(self, path: Path) -> bool:
        """Whether a path leads into the data directory, through however many directories of its own. Blocks.

        Args:
            path: a directory that exists; links in it are followed.
        """
        try:
            data = self.data_dir.stat()
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return self._exists()
        try:
            return self.holds(descriptor) or (data.st_dev, data.st_ino) in set(_ids_above(descriptor))
        finally:
            os.close(descriptor)

    def _exists(self) -> bool:
        """Whether there is, or may be, anything to keep: a client of another host's daemon has no such directory."""
        try:
            self.data_dir.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True


def _ids_below(directory: Path) -> Iterator[Id]:
    """The device and inode of a directory and of everything in it; no link is followed."""
    found = directory.stat()
    yield found.st_dev, found.st_ino
    waiting = [os.fspath(directory)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # a temporary file that was renamed meanwhile: listed under its other name
                    continue
                yield found.st_dev, found.st_ino
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _ids_above(descriptor: int) -> Iterator[Id]:
    """The device and inode of every directory above an open one, up to the root."""
    below = os.fstat(descriptor)
    current = os.dup(descriptor)
    try:
        while True:
            parent = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = parent
            found = os.fstat(current)
            if (found.st_dev, found.st_ino) == (below.st_dev, below.st_ino):
                return
            yield found.st_dev, found.st_ino
            below = found
    finally:
        os.close(current)


def _is_on_procfs(descriptor: int) -> bool:
    """Whether an open file lies on procfs (statfs(2): `f_type` comes first)."""
    if _LIBC is None:
        return False
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _LIBC.fstatfs(descriptor, buffer) != 0:
        raise OSError(ctypes.get_errno(), "fstatfs")
    return ctypes.c_long.from_buffer(buffer).value == _PROC_SUPER_MAGIC
