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

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request of ours and await its result.

        Raises:
            RpcError: there is nobody to ask, it answered with an error, or not in time.
        """
        if self._session is None:
            raise RpcError(INTERNAL_ERROR, "the server asks for input this client cannot give")
        return await self._session.ask(self._write, method, params)


class StreamChannel(LineChannel):
    """Puts messages into one request's own stream."""

    def __init__(self, stream: Stream, session: Session | None) -> None:
        super().__init__(self._put, session)
        self.stream = stream

    async def _put(self, message: bytes) -> None:
        self.stream.put(message)
