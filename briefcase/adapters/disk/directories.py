"""Private directories, and the syncs that make the names in them durable.

`fsync_dir` is openat(DIRECTORY, O_RDONLY|O_CLOEXEC|O_DIRECTORY) and fsync(DIRECTORY): names that were made, renamed or
removed in it survive a power cut after that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from briefcase.adapters.disk.checks import PRIVATE_DIR_MODE


def fsync_dir(path: Path) -> None:
    """Make a rename, link or removal inside a directory durable.

    Raises:
        OSError: it cannot be opened or synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(top: Path) -> None:
    """Make every name in a directory, and in those below it, durable.

    Raises:
        OSError: one cannot be synced.
    """
    for directory in (top, *(found for found in top.rglob("*") if found.is_dir())):
        fsync_dir(directory)


def make_private_dir(path: Path, *, exist_ok: bool = False) -> None:
    """Make a directory of mode 0700, whatever the umask; one that exists is left as it is.

    Raises:
        FileExistsError: it exists, and `exist_ok` is not given.
        OSError: it cannot be made.
    """
    try:
        path.mkdir(mode=PRIVATE_DIR_MODE)
    except FileExistsError:
        if not exist_ok or not path.is_dir():
            raise
        return
    path.chmod(PRIVATE_DIR_MODE)  # the umask may have taken the owner's own bits


def make_private_dirs(path: Path) -> None:
    """Make a directory and its missing parents, each of mode 0700 whatever the umask.

    Raises:
        OSError: one cannot be made.
    """
    for directory in (*reversed(path.parents), path):
        with suppress(FileExistsError):
            make_private_dir(directory)


def make_parents(top: Path, name: str) -> Path:
    """Make the directories between an existing one and a file below it, each private. Returns the file's path.

    Args:
        top: an existing directory.
        name: the file's path below it, checked.

    Raises:
        OSError: one cannot be made.
    """
    path = top / name
    for parent in reversed(path.relative_to(top).parents[:-1]):
        make_private_dir(top / parent, exist_ok=True)
    return path
