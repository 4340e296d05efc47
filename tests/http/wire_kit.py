"""A connection of the server without a socket's bytes: they are given to it, and what it writes is kept."""

from __future__ import annotations

import asyncio
import socket

from briefcase.edges.http.connection import Connection, Serving
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.routing import Reply

_ENDS = socket.socketpair()


class FakeTransport:
    """What a connection writes, and whether it is closed or cut."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = self.is_cut = self.is_half_closed = False

    def get_extra_info(self, name, default=None):
        return _ENDS[0] if name == "socket" else default

    def set_write_buffer_limits(self, high=None, low=None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_half_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_cut = True


class Recorder:
    """An application that reads each body and answers `{}`."""

    knows_principals = False

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes, bytes]] = []

    async def answer(self, exchange) -> Reply:
        body = await exchange.body()
        head = exchange.head
        target = head.path + (b"?" + head.query if head.query else b"")
        self.seen.append((head.method.encode(), target, body))
        return Reply(b"{}")

    def redact(self, body, *, is_json):
        return body


class Served:
    """One connection to an application, in the running loop."""

    def __init__(self, app, **limits) -> None:
        self.transport = FakeTransport()
        self.serving = Serving(app, HttpLimits(**limits))
        self.connection = Connection(self.serving, asyncio.get_running_loop())
        self.connection.connection_made(self.transport)

    @property
    def said(self) -> bytes:
        return b"".join(self.transport.written)

    async def feed(self, *pieces: bytes) -> None:
        """Give it some bytes, and the loop a few turns after each piece."""
        for piece in pieces:
            if not self.transport.is_closed:
                self.connection.data_received(piece)
            await self.settle()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    async def leave(self) -> None:
        """Have the client leave."""
        self.transport.is_closed = True
        self.connection.connection_lost(None)
        await self.settle()
