"""Whole lines to standard output, in order: at once where that cannot block, in a thread where it may.

Whoever starts a gateway may stop reading it, and a full pipe blocks its writer; the loop, with everything else in it,
must not be. Going by a thread for every line costs an answer a tenth of a millisecond (docs/adr/0016), and making the
descriptor non-blocking would change it for every process that shares it. So:

 - a pipe: `poll` says whether it takes `PIPE_BUF` bytes without blocking (pipe(7))
 - a socket, which some clients use: each write may say that it does not want to wait (send(2), MSG_DONTWAIT)
 - what is left after that, and anything else: a thread, which never blocks either, so that a gateway whose client reads
   no more can be ended: it writes `PIPE_BUF` bytes at most when `poll` says so, and looks for `close` meanwhile

Some programs hand on a descriptor that another of them has made non-blocking; then too `poll` tells when to go on.

# INVARIANT (whole lines): the lock is held until a line's last byte is written, whatever becomes of who wrote it.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
from typing import Final

LOOK_UP_MS: Final = 100  # how late a thread that waits for a reader learns that it waits for nothing


class LineWriter:
    """One descriptor; close it with `close`, which leaves the descriptor itself open."""

    def __init__(self, descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        self._descriptor = descriptor
        self._lock = asyncio.Lock()
        self._is_closed = False
        self._socket = socket.socket(fileno=os.dup(descriptor)) if stat.S_ISSOCK(mode) else None
        self._poll = select.poll() if stat.S_ISFIFO(mode) else None
        if self._poll is not None:
            self._poll.register(descriptor, select.POLLOUT)

    def close(self) -> None:
        """Let go of what was made for writing. A line that nobody has read by now ends where it is."""
        self._is_closed = True
        if self._socket is not None:
            self._socket.close()

    async def write(self, message: bytes) -> None:
        """Write one message and its line end.

        Raises:
            BrokenPipeError: nobody will read it.
        """
        await self._lock.acquire()
        try:
            rest = self._write_now(message + b"\n")
        except OSError:
            self._lock.release()
            raise
        if not rest:
            self._lock.release()
            return
        writing = asyncio.get_running_loop().run_in_executor(None, self._write_rest, rest)
        writing.add_done_callback(lambda _: self._lock.release())
        await asyncio.shield(writing)

    def _write_now(self, line: bytes) -> bytes:
        """Write what can be written without waiting; gives the rest."""
        if self._poll is not None and len(line) <= select.PIPE_BUF:
            if self._poll.poll(0) != [(self._descriptor, select.POLLOUT)]:
                return line
            try:
                return line[os.write(self._descriptor, line) :]
            except BlockingIOError:
                return line
        if self._socket is not None:
            try:
                return line[self._socket.send(line, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                return line
        return line

    def _write_rest(self, data: bytes) -> None:
        """On a thread: write all of it as it is read, or stop when the writer is closed."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        rest = memoryview(data)
        while rest and not self._is_closed:
            if poll.poll(LOOK_UP_MS):
                try:
                    rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
                except BlockingIOError:
                    continue  # another writer of the same pipe was faster
