"""The size and SHA-256 of a file, which is all that a manifest says of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

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
