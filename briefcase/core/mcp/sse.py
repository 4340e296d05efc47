"""Server-Sent Events, both ways, without I/O: writing one event, and reading a stream in pieces under a bound.

Source: WHATWG HTML, section 9.2 (event stream interpretation). A line ends in CR LF, LF or CR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

KEEP_ALIVE: Final = b":\n\n"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_RETRY: Final = re.compile(rb"[0-9]{1,9}")


class Event(msgspec.Struct, frozen=True):
    """One event of a stream; `name` is `message` where none was given."""

    data: bytes
    name: str = "message"
    id: str | None = None


class EventTooLargeError(Exception):
    """An event passed its bound."""


def encode_event(data: bytes, *, name: str | None = None, event_id: str | None = None) -> bytes:
    """Write one event. `data` is JSON as we write it, which holds no line end."""
    head = (f"id: {event_id}\n" if event_id is not None else "") + (f"event: {name}\n" if name else "")
    return head.encode() + b"data: " + data + b"\n\n"


class EventReader:
    """Reads a stream as it comes: `feed` a piece, get the events it completed.

    `last_id` is where a reader that comes back goes on, None where the stream has no such place; `retry_ms` is how long
    the stream asks it to wait before.

    Args:
        max_event_bytes: how much one event, or one line, may hold.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self.last_id: str | None = None
        self.retry_ms: int | None = None
        self._max_bytes = max_event_bytes
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""
        self._id: str | None = None
        self._started = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Take the next bytes of the stream.

        Raises:
            EventTooLargeError: a line or an event is larger than the bound.
        """
        self._rest.append(piece)
        self._rest_bytes += len(piece)
        if b"\n" in piece or b"\r" in piece or not self._started:
            yield from self._complete_lines(b"".join(self._rest))
        if self._rest_bytes > self._max_bytes:
            raise EventTooLargeError

    def _complete_lines(self, text: bytes) -> Iterator[Event]:
        """Read the lines that have ended, and keep the rest. Joined only when one ends: linear in the stream."""
        if not self._started and not b"\xef\xbb\xbf".startswith(text):
            text = text.removeprefix(b"\xef\xbb\xbf")
            self._started = True
        start = 0
        for match in _LINE_END.finditer(text):
            if match.end() == len(text) and match[0] == b"\r":
                break  # the LF of this CR LF may still come
            event = self._line(text[start : match.start()])
            start = match.end()
            if event is not None:
                yield event
        self._rest = [text[start:]]
        self._rest_bytes = len(text) - start

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._size += len(value) + 1
                if self._size > self._max_bytes:
                    raise EventTooLargeError
                self._data.append(value)
            case b"event":
                self._name = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            case b"retry" if _RETRY.fullmatch(value):
                self.retry_ms = int(value)
            case _:
                pass  # a comment, or a field of another time: the format says to ignore it
        return None

    def _dispatch(self) -> Event | None:
        data, name = self._data, self._name
        self._data, self._size, self._name, self.last_id = [], 0, "", self._id
        return Event(b"\n".join(data), name or "message", self._id) if data else None
