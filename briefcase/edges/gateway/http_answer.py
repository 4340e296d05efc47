"""One request's answer over HTTP: JSON, or a stream of events from the moment something comes before it.

 1. the request runs as a task of its own, which may outlive its connection
 2. what is there first decides: the whole answer, or a message before it, which begins a stream
 3. the answer is the stream's last message

A stateless request ends when its client leaves. A handshake client may come back for its answer, and for nobody else's,
so its request goes on, but is not held for a person any longer; what is missed of its stream can be read from there.

Source: MCP 2025-11-25 and 2026-07-28, Streamable HTTP, sending messages to the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from http import HTTPStatus
from typing import Any, Final, TypeVar

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.mcp.jsonrpc import Request, RequestId, RpcError, encode_error, encode_result
from briefcase.core.mcp.sse import KEEP_ALIVE, encode_event
from briefcase.edges.gateway.channels import StreamChannel
from briefcase.edges.gateway.connection import Core, internal_error
from briefcase.edges.gateway.context import Context
from briefcase.edges.gateway.session import Session
from briefcase.edges.gateway.stream import Stream
from briefcase.edges.http import routing
from briefcase.edges.http.exchange import DirectExchange
from briefcase.edges.http.routing import Reply

KEEP_ALIVE_S: Final = 15.0
JSON: Final = (b"content-type", b"application/json")
_CHALLENGE: Final = (b"www-authenticate", b"Bearer")
ACCEPTED: Final = Reply(b"", HTTPStatus.ACCEPTED)
_EVENTS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
)
_T = TypeVar("_T")

_log: Final = get_logger("briefcase.gateway")


class Answers:
    """Everything that is being answered; ended together.

    Args:
        core: methods and feed.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: set[asyncio.Task[Any]] = set()

    def cancel(self) -> None:
        """End everything that runs."""
        for task in list(self._running):
            task.cancel()

    async def wait(self) -> None:
        """Wait until everything has ended."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run something beside the connection."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def serve(
        self,
        request: Request,
        context: Context,
        channel: StreamChannel,
        session: Session | None,
        exchange: DirectExchange,
    ) -> Reply:
        """Run one request and give its answer, or the stream that brings it. Takes the module's steps.

        Args:
            request: the message.
            context: who asks; its channel is `channel`.
            channel: the way to send something before the answer.
            session: the session it belongs to, which may cancel it; None for a stateless request.
            exchange: the HTTP request, which tells when the client has left.
        """
        work = self.start(self.answer(request, context, session))  # 1
        serving = _Serving(work, channel.stream, session, request.id)
        if session is None:
            exchange.when_gone(work.cancel)
        else:
            session.start(request.id, work)
            exchange.when_gone(channel.leave)
        await serving.first  # 2
        if serving.is_stream:
            return event_stream(channel.stream, 0)
        if work.cancelled():
            return ACCEPTED  # a cancelled request gets no answer
        return json_reply(*work.result())

    async def answer(self, request: Request, context: Context, session: Session | None) -> tuple[int, bytes]:
        """The HTTP status and the message that answer a request, whatever happens inside."""
        try:
            return HTTPStatus.OK, encode_result(request.id, await self._core.answer(request, context, session))
        except RpcError as error:
            return error.http_status, encode_error(error, request.id)
        except Exception:  # noqa: BLE001 - whatever fails inside, the client gets an answer, and no detail
            _log.exception("request_failed", method=request.method)
            return HTTPStatus.INTERNAL_SERVER_ERROR, encode_error(internal_error(), request.id)


class _Serving:
    """One request that runs, and what is there of it first."""

    def __init__(
        self, work: asyncio.Task[tuple[int, bytes]], stream: Stream, session: Session | None, request_id: RequestId
    ) -> None:
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_stream = False
        self._work = work
        self._stream = stream
        self._session = session
        self._request_id = request_id
        stream.on_first = self._begin_stream
        work.add_done_callback(self._end)

    def _begin_stream(self) -> None:
        self.is_stream = True
        if self._session is not None:
            self._session.keep(self._stream)
        self._tell()

    def _end(self, _: object) -> None:
        if self._session is not None:
            self._session.finish(self._request_id)
        if self.is_stream:  # 3
            if not self._work.cancelled():
                self._stream.put(self._work.result()[1])
            self._stream.end()
        self._tell()

    def _tell(self) -> None:
        if not self.first.done():
            self.first.set_result(None)


def json_reply(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Reply:
    """An answer of one message; one that asks for a token says of which kind."""
    challenge = (_CHALLENGE,) if status == HTTPStatus.UNAUTHORIZED else ()
    return Reply(body, status, (JSON, *challenge, *headers))


def event_stream(stream: Stream, after: int) -> Reply:
    """The events of a stream after a number, with comments while there are none."""
    return stream_reply(events(stream, after))


def stream_reply(pieces: AsyncGenerator[bytes, None]) -> Reply:
    """An answer of events, which the daemon has filtered."""
    return Reply(routing.Stream(pieces), headers=_EVENTS, is_filtered=True)


async def events(stream: Stream, after: int) -> AsyncGenerator[bytes, None]:
    """The same, piece by piece."""
    yield KEEP_ALIVE
    async for found in stream.read(after, KEEP_ALIVE_S):
        yield KEEP_ALIVE if found is None else encode_event(found[1], event_id=found[0])
