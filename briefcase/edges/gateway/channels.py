"""The way back to a client while its request runs: into a stream, or onto a shared line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from briefcase.core.mcp.jsonrpc import INTERNAL_ERROR, RpcError, encode_notification
from briefcase.edges.gateway.session import Session
from briefcase.edges.gateway.stream import Stream
from briefcase.model.types import JsonObject

Write: TypeAlias = Callable[[bytes], Awaitable[None]]


class LineChannel:
    """Writes messages as they come; asks where there is a session to answer in."""

    def __init__(self, write: Write, session: Session | None) -> None:
        self._write = write
        self._session = session

    async def notify(self, method: str, params: JsonObject) -> None:
        """Send a notification."""
        await self._write(encode_notification(method, params))

    async def begin(self) -> None:
        """Nothing: a line says by itself that somebody is at its end."""

    def when_left(self, act: Callable[[], object]) -> None:
        """Nothing: who leaves a line ends its requests."""

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request of ours and await its result.

        Raises:
            RpcError: there is nobody to ask, it answered with an error, or not in time.
        """
        if self._session is None:
            raise RpcError(INTERNAL_ERROR, "the server asks for input this client cannot give")
        return await self._session.ask(self._write, method, params)


class StreamChannel(LineChannel):
    """Puts messages into one request's own stream.

    Args:
        stream: the request's.
        session: its session, where it has one.
        takes_events: whether the client reads a stream that begins without a message.
    """

    def __init__(self, stream: Stream, session: Session | None, *, takes_events: bool = False) -> None:
        super().__init__(self._put, session)
        self.stream = stream
        self._takes_events = takes_events
        self._has_left = False
        self._on_left: Callable[[], object] | None = None

    async def begin(self) -> None:
        """Open the stream, which is kept alive from then on."""
        if self._takes_events:
            self.stream.begin()

    def when_left(self, act: Callable[[], object]) -> None:
        """Have something done when `leave` is called; at once where it was."""
        self._on_left = act
        if self._has_left:
            act()

    def leave(self) -> None:
        """The connection is gone that the stream was read over."""
        self._has_left = True
        if self._on_left is not None:
            self._on_left()

    async def _put(self, message: bytes) -> None:
        self.stream.put(message)
