"""The way out of one connection: bytes to its client, and who must wait when the other does not keep up."""

from __future__ import annotations

import asyncio

from briefcase.edges.http.places import Place
from briefcase.edges.http.sockets import Peer


class Wire:
    """A connection, as far as an exchange has to do with it.

    Args:
        transport: the way to the client.
        loop: the running event loop.
        peer: who is at the other end.
        place: what is held for the connection.
    """

    __slots__ = ("_is_read_paused", "_writable", "is_write_paused", "loop", "peer", "place", "transport", "write")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, peer: Peer, place: Place) -> None:
        self.transport = transport
        self.write = transport.write
        self.loop = loop
        self.peer = peer
        self.place = place
        self.is_write_paused = False
        self._is_read_paused = False
        self._writable: asyncio.Future[None] | None = None  # only where somebody waits

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""
        if not self._is_read_paused:
            self._is_read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends."""
        if self._is_read_paused:
            self._is_read_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read what was written."""
        self.is_write_paused = True

    def resume_writing(self) -> None:
        """The client reads again, or is gone."""
        self.is_write_paused = False
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    async def drain(self) -> None:
        """Wait until more may be written. One task at a time."""
        while self.is_write_paused:
            self._writable = self.loop.create_future()
            await self._writable
