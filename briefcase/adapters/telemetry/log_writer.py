"""Log lines to a descriptor, in order, and never at the cost of whoever logs.

Whoever starts a daemon may stop reading what it says, and a full pipe blocks its writer. `poll` cannot promise that a
write will not block, for others may write to the same pipe, and making the descriptor non-blocking would change it for
all of them. So:

 - a file is written where the line is logged: it takes a line, or refuses it, at once
 - anything else is written by a thread, which may be blocked for as long as it likes; lines wait for it in memory, up
   to `MAX_WAITING_BYTES`, and what comes then is lost

What is lost, to a reader that does not read or to a full disk, is counted, and said as soon as a line goes out again.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.disk.files import open_private

MAX_WAITING_BYTES: Final = 256 << 10  # four pipes full; one line is taken whatever its length


def now_rfc3339() -> str:
    """The time of a line that does not come from structlog."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class LogWriter:
    """One descriptor, which is left open. Safe to use from any thread, and from a destructor in the middle of a write.

    Args:
        descriptor: of a file, a pipe, a socket or a terminal.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._changed = threading.Condition()  # on a lock that its holder may take again
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lost = self._lost_as_said = 0
        self._is_cut = False  # the last line went out in part
        if not self._is_file:
            threading.Thread(target=self._write_waiting, name="log-writer", daemon=True).start()

    @property
    def lost(self) -> int:
        """Lines that were not written, and will not be."""
        return self._lost

    def write(self, lines: bytes) -> None:
        """Write whole lines, or have them written; never blocks on a reader.

        Args:
            lines: one or more, each with its end.
        """
        with self._changed:
            if self._is_file:
                if self._write_now(lines) and self._lost > self._lost_as_said:
                    self._write_now(self._lost_line())
            elif self._waiting and self._waiting_bytes + len(lines) > MAX_WAITING_BYTES:
                self._lost += lines.count(b"\n")
            else:
                self._put(lines)

    def reopen(self, path: Path) -> None:
        """Go on in the file that has this name now, made where there is none; what is written is in the old one.

        Raises:
            BriefcaseError: it cannot be opened, or is not the user's alone; lines go where they went.
        """
        descriptor = open_private(path, appends=True)
        with self._changed:
            os.dup2(descriptor, self._descriptor, inheritable=False)
            self._is_cut = False
        os.close(descriptor)

    def flush(self, timeout_s: float) -> None:
        """Wait until everything is written, or for so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def _put(self, lines: bytes) -> None:
        self._waiting.append(lines)
        self._waiting_bytes += len(lines)
        self._changed.notify_all()

    def _write_waiting(self) -> None:
        """On the thread: write each line in its turn; it waits until it is written, so that `flush` waits too."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                lines = self._waiting[0]
            is_written = self._write_now(lines)
            with self._changed:
                self._waiting_bytes -= len(self._waiting.popleft())
                if is_written and not self._waiting and self._lost > self._lost_as_said:
                    self._put(self._lost_line())
                self._changed.notify_all()

    def _lost_line(self) -> bytes:
        self._lost_as_said = self._lost
        said = {"event": "log lines were lost", "lost_since_start": self._lost, "level": "warning"}
        return msgspec.json.encode(said | {"timestamp": now_rfc3339()}) + b"\n"

    def _write_now(self, lines: bytes) -> bool:
        """Write to the end, however long that takes; what came out in part is ended before anything else is written."""
        rest = memoryview(b"\n" + lines if self._is_cut else lines)
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
                self._is_cut = bool(rest)
        except OSError:
            with self._changed:
                self._lost += lines.count(b"\n")
            return False
        return True

    def _write_some(self, data: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # somebody else has made the descriptor non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
