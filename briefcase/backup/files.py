"""The files of a backup: their size and SHA-256, which is all that a manifest says of them, and where they go."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from briefcase.store.files import PRIVATE_DIR_MODE, fsync_dir

READ_BYTES: Final = 1 << 20


def digest_of(path: Path, write: Callable[[bytes], object] = len) -> tuple[int, str]:
    """The size and SHA-256 of a file that is no link; `write` is given each piece of it.

    Raises:
        OSError: it can not be read.
    """
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
            size += len(piece)
            write(piece)
    return size, digest.hexdigest()


def make_parents(top: Path, name: str) -> Path:
    """Make the directories above a file of a backup, each private. Returns its path.

    Args:
        top: an existing directory.
        name: as the manifest has it, checked.

    Raises:
        OSError: one can not be made.
    """
    path = top / name
    for parent in reversed(path.relative_to(top).parents[:-1]):
        (top / parent).mkdir(mode=PRIVATE_DIR_MODE, exist_ok=True)
    return path


def sync_dirs(top: Path) -> None:
    """Make every name in a directory, and in those below it, durable.

    Raises:
        OSError: one can not be synced.
    """
    for directory in (top, *(found for found in top.rglob("*") if found.is_dir())):
        fsync_dir(directory)
