"""What a process uses of memory, and what only looks like it.

The ledger is mapped: its pages count as resident while they are in the page cache, grow with the ledger and are the
kernel's to take back. What a process costs is the memory that is its own, which is what bounds and alerts are about.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

OWN_PROCESS: Final = Path("/proc/self")


class Memory(NamedTuple):
    """Bytes: `private` is the process's own, `mapped` what of the rest is resident of files it maps."""

    private: int
    mapped: int

    @property
    def resident(self) -> int:
        """Both together, as `ps` and `top` show it."""
        return self.private + self.mapped


def read_memory(process: Path = OWN_PROCESS) -> Memory:
    """Measure a process (proc_pid_statm(5)); costs a read, however much is mapped.

    Args:
        process: its directory below `/proc`.

    Raises:
        OSError: it cannot be read: not Linux, another user's process, or one that ended.
    """
    _, resident, shared, *_ = (process / "statm").read_text(encoding="ascii").split()
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return Memory((int(resident) - int(shared)) * page_bytes, int(shared) * page_bytes)
