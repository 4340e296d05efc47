"""A disk of our own: ext4 in a file, mounted over a loop device, whose power can be cut.

`cut` is the shutdown request of ext4(5) with NOLOGFLUSH: from that moment nothing reaches the disk, neither what is
in the page cache nor what is in the journal; `restore` unmounts, mounts again, and replays the journal that is there.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

EXT4_IOC_SHUTDOWN: Final = 0x8004_587D
NOLOGFLUSH: Final = 2


class LoopDisk:
    """Use as a context manager; `mounted` is where it is mounted."""

    def __init__(self, directory: Path, mib: int) -> None:
        self._image = directory / "disk.img"
        self.mounted = directory / "disk"
        self._mib = mib

    def __enter__(self) -> Self:
        self.mounted.mkdir(mode=0o700)
        with self._image.open("wb") as file:
            file.truncate(self._mib << 20)
        command = ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", str(self._image)]
        subprocess.run(command, check=True, capture_output=True)
        self._mount()
        self.mounted.chmod(0o700)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.CalledProcessError):
            self._unmount("--lazy")

    def cut(self) -> None:
        """Cut the power."""
        descriptor = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def restore(self) -> None:
        """Power is back. Nobody may have a file of it open.

        What the disk holds goes on in another file: a mount namespace that somebody made meanwhile still has the file
        system that was shut down, and mounting the same file again would give that one.
        """
        self._unmount()
        after = self._image.with_suffix(".after")
        subprocess.run(["cp", "--sparse=always", str(self._image), str(after)], check=True, capture_output=True)
        after.replace(self._image)
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.mounted)], check=True, capture_output=True)

    def _unmount(self, *options: str) -> None:
        subprocess.run(["umount", *options, str(self.mounted)], check=True, capture_output=True)


def fill(path: Path, left_bytes: int) -> None:
    """Take all of a disk but so many bytes; what its own records of that take may leave a few less."""
    found = os.statvfs(path.parent)
    wanted = found.f_bavail * found.f_frsize - left_bytes
    with path.open("wb", buffering=0) as file, suppress(OSError):  # full before it is full: that is what was wanted
        while wanted > 0:
            wanted -= file.write(bytes(min(wanted, 1 << 20)))
