"""One response stream: messages put in by whoever produces them, taken out by whoever writes to the client.

A handshake client that lost its connection may read on from the last event it saw (2025-11-25, resumability): event
ids are `<stream>-<number>`, the stream's name is unguessable, and it is only ever looked up inside its own session.
What is kept for that is bounded, for one stream and for all on a shelf together; what was read to its end is forgotten
first, and a reader that needs it is refused, not lied to.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import cached_property
from typing import Final

MAX_KEPT_EVENTS: Final = 256
MAX_COUNT_DIGITS: Final = 15  # far past any count
MAX_KEPT_BYTES: Final = 4 << 20
MAX_SHELF_BYTES: Final = 64 << 20


class Shelf:
    """What all streams of a process keep, in bytes, and who makes room: streams that were read to their end."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self._keeping: dict[Stream, None] = {}  # the first to keep anything first

    def add(self, stream: Stream, size_bytes: int) -> None:
        """Count a message that was put in, and make room for it."""
        self._keeping.setdefault(stream)
        self.total_bytes += size_bytes
        if self.total_bytes > MAX_SHELF_BYTES:
            for other in [other for other in self._keeping if other.is_read]:
                other.forget()
                if self.total_bytes <= MAX_SHELF_BYTES:
                    break

    def remove(self, stream: Stream, size_bytes: int, *, is_empty: bool) -> None:
        """Count that much less."""
        self.total_bytes -= size_bytes
        if is_empty:
            self._keeping.pop(stream, None)


class Stream:
    """A bounded, replayable queue of messages with one reader at a time.

    Args:
        shelf: what it shares with the other streams.
        on_first: called once, when it is begun, or when the first message is put in.
    """

    def __init__(self, shelf: Shelf, on_first: Callable[[], None] | None = None) -> None:
        self._shelf = shelf
        self._forgotten = 0  # the number of the newest message that is not kept any more
        self._read = 0
        self.has_ended = False
        self.on_first = on_first
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._count = 0
        self._changed = asyncio.Event()
        self._reader = 0

    @cached_property
    def id(self) -> str:
        """Its name; most streams end without a message, and never need one."""
        return secrets.token_urlsafe(16).replace("-", "_")

    @property
    def count(self) -> int:
        """How many messages were put in so far."""
        return self._count

    def put(self, message: bytes) -> None:
        """Add a message; after the end it goes nowhere."""
        if self.has_ended:
            return
        self._count += 1
        self._kept.append((self._count, message))
        self._kept_bytes += len(message)
        self._shelf.add(self, len(message))
        while len(self._kept) > 1 and (
            len(self._kept) > MAX_KEPT_EVENTS
            or self._kept_bytes > MAX_KEPT_BYTES
            or self._shelf.total_bytes > MAX_SHELF_BYTES
        ):
            self._drop_oldest()
        self._changed.set()
        self.begin()

    def begin(self) -> None:
        """Say that there is a stream to read, though it may have no message yet."""
        if self.on_first is not None:
            on_first, self.on_first = self.on_first, None
            on_first()

    def end(self) -> None:
        """Say that nothing follows."""
        self.has_ended = True
        self._changed.set()

    def can_resume(self, after: int) -> bool:
        """Whether everything after a message is still kept."""
        return self._forgotten <= after <= self._count

    @property
    def is_read(self) -> bool:
        """Whether it has ended, and somebody took all of it."""
        return self.has_ended and self._read >= self._count

    def forget(self) -> None:
        """Keep nothing any more: nobody resumes it from now on."""
        while self._kept:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._forgotten, message = self._kept.popleft()
        self._kept_bytes -= len(message)
        self._shelf.remove(self, len(message), is_empty=not self._kept)

    async def read(self, after: int = 0, idle_s: float | None = None) -> AsyncIterator[tuple[str, bytes] | None]:
        """Give each message after a number, with its event id, until the end or until another reader takes over.

        Args:
            after: the number of the last message that is not wanted.
            idle_s: how long there may be nothing; then None is given, as often as that passes.
        """
        self._reader += 1
        reader = self._reader
        self._changed.set()
        while True:
            for number, message in list(self._kept):
                if number > after:
                    after = number
                    self._read = max(self._read, number)
                    yield f"{self.id}-{number}", message
            if reader != self._reader or (self.has_ended and after >= self._count):
                return
            if after >= self._count:
                self._changed.clear()
                is_idle = False
                try:
                    async with asyncio.timeout(idle_s):
                        await self._changed.wait()
                except TimeoutError:
                    is_idle = True
                if is_idle:
                    yield None


def parse_event_id(text: str) -> tuple[str, int] | None:
    """The stream and number of an event id of ours, or None."""
    stream, _, number = text.rpartition("-")
    is_count = number.isascii() and number.isdigit() and len(number) <= MAX_COUNT_DIGITS
    return (stream, int(number)) if stream and is_count else None
