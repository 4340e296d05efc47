"""One request's answer over HTTP: JSON, or a stream of events from the moment something comes before it.

The request is answered in the task the server gave it; what only some requests need is made when they need it:

 1. a stream, and a task that sends it: at the first message before the answer
 2. a task that watches for the client to leave: once the answer has taken `PATIENCE_S`; it ends a stateless request
 3. the answer itself, as the stream's last message or as the whole body

A handshake client may come back for its answer, and for nobody else's, so its request goes on when it leaves.

Source: MCP 2025-11-25 and 2026-07-28, Streamable HTTP, sending messages to the server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import structlog

from briefcase.gateway.channels import StreamChannel
from briefcase.gateway.connection import Core, internal_error
from briefcase.gateway.context import Context
from briefcase.gateway.session import Session
from briefcase.gateway.stream import Stream
from briefcase.mcp.jsonrpc import Request, RpcError, encode_error, encode_result
from briefcase.mcp.sse import KEEP_ALIVE, encode_event

KEEP_ALIVE_S: Final = 15.0
PATIENCE_S: Final = 0.05  # a client that leaves is noticed then at the latest; most answers are there before
JSON: Final = (b"content-type", b"application/json")
CHALLENGE: Final = (b"www-authenticate", b"Bearer")
_EVENTS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
]

Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

_log: Final = structlog.get_logger("briefcase.gateway")


class Answers:
    """Everything that is being answered; ended together.

    Args:
        core: methods and feed.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: set[asyncio.Task[None]] = set()

    def cancel(self) -> None:
        """End everything that runs."""
        for task in list(self._running):
            task.cancel()

    async def wait(self) -> None:
        """Wait until everything has ended."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the request."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def serve(  # noqa: PLR0913, PLR0917 - the parts of one request
        self,
        request: Request,
        context: Context,
        channel: StreamChannel,
        session: Session | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """Run one request in the task of its HTTP request, and send its answer. Takes the module's steps.

        Args:
            request: the message.
            context: who asks; its channel is `channel`.
            channel: the way to send something before the answer.
            session: the session it belongs to, which may cancel it; None for a stateless request.
            receive: tells when the client has left.
            send: the way to answer.
        """
        serving = _Serving(self, channel.stream, session, receive, send)
        serving.begin(request)
        self._running.add(serving.task)
        status: int = HTTPStatus.ACCEPTED
        body = b""  # a cancelled request gets no answer
        try:
            status, body = await self.answer(request, context, session)
        except asyncio.CancelledError:
            serving.task.uncancel()  # it was the request that was cancelled, and it has ended
        finally:
            self._running.discard(serving.task)
            serving.end(request)
        await serving.send_answer(status, body)

    async def answer(self, request: Request, context: Context, session: Session | None) -> tuple[int, bytes]:
        """The HTTP status and the message that answer a request, whatever happens inside."""
        try:
            return 200, encode_result(request.id, await self._core.answer(request, context, session))
        except RpcError as error:
            return error.http_status, encode_error(error, request.id)
        except Exception:  # noqa: BLE001 - whatever fails inside, the client gets an answer, and no detail
            _log.exception("request_failed", method=request.method)
            return 500, encode_error(internal_error(), request.id)

    async def pump(self, stream: Stream, after: int, receive: Receive, send: Send) -> None:
        """Send a stream that belongs to no request of its own, until it ends or its client leaves."""
        sending = asyncio.create_task(send_stream(send, stream, after))
        leaving = asyncio.create_task(gone(receive, sending))
        try:
            await asyncio.wait({sending})
        finally:
            leaving.cancel()
            sending.cancel()


class _Serving:
    """What is kept for one request while it runs."""

    def __init__(self, answers: Answers, stream: Stream, session: Session | None, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served outside a task")
        self.task: asyncio.Task[None] = task
        self._answers = answers
        self._stream = stream
        self._session = session
        self._receive = receive
        self._send = send
        self._sending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None

    def begin(self, request: Request) -> None:
        """Be ready for a message before the answer, for a cancellation, and for the client's leaving."""
        self._stream.on_first = self._begin_stream
        if self._session is None:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._begin_watch)
        else:
            self._session.start(request.id, self.task)

    def end(self, request: Request) -> None:
        """The request has ended: nothing can cancel it any more."""
        if self._session is not None:
            self._session.finish(request.id)
        if self._patience is not None:
            self._patience.cancel()
        if self._watching is not None:
            self._watching.cancel()

    async def send_answer(self, status: int, body: bytes) -> None:  # 3
        """Send what the request came to; nothing where it was cancelled."""
        if self._sending is not None:
            if body:
                self._stream.put(body)
            self._stream.end()
            await self._sending
            return
        headers = [JSON] if body else []
        await send_body(
            self._send, status, body, [*headers, CHALLENGE] if status == HTTPStatus.UNAUTHORIZED else headers
        )

    def _begin_stream(self) -> None:  # 1
        if self._session is not None:
            self._session.keep(self._stream)
        self._sending = self._answers.start(send_stream(self._send, self._stream, 0))

    def _begin_watch(self) -> None:  # 2
        self._watching = self._answers.start(gone(self._receive, self.task))


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, which the server has bounded; None where the client left before it was whole."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def gone(receive: Receive, task: asyncio.Task[None]) -> None:
    """Wait for the client to leave; what only it wanted ends with it."""
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()


async def send_body(send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Answer with a body of known length."""
    length = [(b"content-length", b"%d" % len(body))] if status != HTTPStatus.NO_CONTENT else []
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


async def send_stream(send: Send, stream: Stream, after: int) -> None:
    """Answer with the events of a stream after a number, and with comments while there are none."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_EVENTS)})
    keeping = asyncio.create_task(_keep_alive(send))
    try:
        async for event_id, message in stream.read(after):
            await send(
                {"type": "http.response.body", "body": encode_event(message, event_id=event_id), "more_body": True}
            )
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
    await send({"type": "http.response.body", "body": b""})


async def _keep_alive(send: Send) -> None:
    await send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
    while True:
        await asyncio.sleep(KEEP_ALIVE_S)
        await send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
