"""A server reached over HTTP: Streamable HTTP of both eras, and the HTTP+SSE of 2024-11-05 where there is nothing else.

Every byte goes through the guarded way out; connections are shared only between requests of one server's credential.
A request that is refused for its credential is sent once more where that could be renewed: the server did nothing. A
redirect is an answer like any other, and refused. What the server sends is bounded by message and in all, and its
messages are taken in turns with everybody else, whichever connections they come on (`turns.Gate`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import urljoin, urlsplit

from briefcase.adapters.servers.credentials import Credential
from briefcase.adapters.servers.transport import MAX_MESSAGE_BYTES, Outgoing, SessionLostError, Take
from briefcase.adapters.servers.turns import Gate
from briefcase.core.mcp.jsonrpc import (
    Message,
    RequestId,
    Response,
    RpcError,
    Unreadable,
    parse_message,
    read_server_message,
)
from briefcase.core.mcp.sse import EventReader, EventTooLargeError
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpRequest, HttpStream

MAX_ERROR_BYTES: Final = 64 << 10  # of a refusal's body, where it is looked for a reason
MAX_LISTENED_BYTES: Final = 1 << 40  # a stream of notifications lives long; each of its events is bounded
MAX_SESSION_CHARS: Final = 512
ENDPOINT_TIMEOUT_S: Final = 10.0
MAX_RESUMPTIONS: Final = 16
RESUME_PAUSE_MS: Final = 1_000
MAX_RESUME_PAUSE_MS: Final = 30_000
MAX_ATTEMPTS: Final = 3  # a nonce may be wanted, and a token have ended
_EVENT_ID: Final = re.compile(r"[!-~]{1,512}")


class StreamingOutbound(Protocol):
    """The guarded way out, as far as a server needs it (`net.outbound.GuardedOutbound`)."""

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        """Send one request and read its answer piece by piece."""
        ...


class HttpStatusError(UpstreamError):
    """The server answered with another status than expected; the body may hold the reason as a JSON-RPC error."""

    def __init__(self, status: int, error: Mapping[str, object] | None, problem: str = "") -> None:
        code = "upstream_refused" if status < HTTPStatus.INTERNAL_SERVER_ERROR else None
        super().__init__(problem or f"the server answered HTTP status {status}", code=code)
        self.status = status
        self.error = error


class HttpTransport:
    """One endpoint.

    Args:
        outbound: the guarded way out.
        url: the MCP endpoint.
        credential: authenticates each request.
        pool_key: whose connections these are.
        headers: sent with each request.
        max_message_bytes: how large one message may be; a stream of them, twice that.
    """

    def __init__(
        self,
        outbound: StreamingOutbound,
        url: str,
        credential: Credential,
        pool_key: str,
        *,
        headers: Mapping[str, str] = {},
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._outbound = outbound
        self._url = url
        self._credential = credential
        self._pool_key = pool_key
        self._headers = headers
        self._max_bytes = max_message_bytes
        self._heard_id: str | None = None  # where the session's own stream is gone on with
        self._session_id: str | None = None
        self._take: Take = lambda _message, _request_id: None
        self._legacy_url: str | None = None
        self._legacy: asyncio.Task[None] | None = None
        self._gate = Gate()

    @property
    def is_shared_line(self) -> bool:
        """Only in the legacy transport do answers come on one stream for all."""
        return self._legacy_url is not None

    async def open(self, take: Take, lost: Callable[[UpstreamError], None]) -> None:
        """Nothing is connected yet: the first request will say whether anybody is there."""
        self._take = take
        self._lost = lost

    async def open_legacy(self) -> None:
        """Open the event stream of HTTP+SSE (2024-11-05), and learn from its first event where to post.

        Raises:
            UpstreamError: the server has no such stream, or names another origin.
        """
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._legacy = asyncio.create_task(self._read_legacy(found))
        try:
            async with asyncio.timeout(ENDPOINT_TIMEOUT_S):
                endpoint = urljoin(self._url, await found)
        except TimeoutError:
            raise UpstreamError("the server names no endpoint for its event stream", code="upstream_timeout") from None
        if urlsplit(endpoint)[:2] != urlsplit(self._url)[:2]:
            raise UpstreamError("the server names an endpoint on another origin", code="upstream_refused")
        self._legacy_url = endpoint

    def try_send(self, _message: Outgoing) -> bool:
        """A request and its answer always take their time."""
        return False

    async def send(self, message: Outgoing) -> None:
        """Post one message and take its answer. See `Transport.send`."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **message.headers,
        }
        url = self._legacy_url or self._url
        async with self._answer("POST", url, headers, message.data, message.timeout_ms) as answer:
            if answer.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT}:
                error = await _error_in(answer)
                self._check_session(answer.status, error)
                problem = self._credential.problem(answer.status, answer.headers)
                raise HttpStatusError(answer.status, error, problem)
            session_id = answer.headers.get("mcp-session-id")
            if session_id is not None:
                self._keep_session(session_id)
            if message.request_id is None or self.is_shared_line:
                return
            reader = await self._take_answer(answer, message.request_id)
        if reader is not None:
            await self._resume(reader, message, message.request_id)

    async def listen(self, headers: Mapping[str, str]) -> bool:
        """Read the session's own stream (GET, up to 2025-11-25) until it ends. See `Transport.listen`."""
        if self._legacy_url is not None:
            return False
        wanted = {"Accept": "text/event-stream", **headers}
        if self._heard_id is not None and _EVENT_ID.fullmatch(self._heard_id):
            wanted["Last-Event-ID"] = self._heard_id
        async with self._answer("GET", self._url, wanted, None, 30_000, MAX_LISTENED_BYTES) as answer:
            if answer.status == HTTPStatus.OK and _is_events(answer):
                reader = EventReader(self._max_bytes)
                with contextlib.suppress(UpstreamError):  # cut off, as by whoever is between: an end like any other
                    await self._take_events(answer, None, reader)
                self._heard_id = reader.last_id or self._heard_id
                return True
            if answer.status in {HTTPStatus.OK, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}:
                return False
            raise HttpStatusError(answer.status, None, self._credential.problem(answer.status, answer.headers))

    @property
    def complaints(self) -> str:
        """Nothing: it is somebody else's process."""
        return ""

    async def close(self) -> None:
        """End the session, where the server gave one; it may not care."""
        if self._legacy is not None:
            self._legacy.cancel()
            await asyncio.gather(self._legacy, return_exceptions=True)
        if self._session_id is not None:
            try:
                async with self._answer("DELETE", self._url, {}, None, 2_000):
                    pass
            except UpstreamError:
                pass

    @asynccontextmanager
    async def _answer(  # noqa: PLR0917 - the parts of a request
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_ms: int,
        max_body_bytes: int = 0,
    ) -> AsyncIterator[HttpStream]:
        """The answer to one request, authenticated; where it is refused for what is renewed by now, to the next."""
        session = {} if self._session_id is None else {"Mcp-Session-Id": self._session_id}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            sent = await self._credential.headers(method, url)
            every = {**self._headers, **headers, **session, **sent}
            bound = max_body_bytes or 2 * self._max_bytes
            request = HttpRequest(
                method, url, every, body, timeout_ms, bound, self._pool_key, keeps_connection=method == "POST"
            )
            async with self._outbound.stream(request) as answer:
                is_renewed = await self._credential.is_renewed(sent, answer.status, answer.headers)
                if not is_renewed or attempt == MAX_ATTEMPTS:
                    yield answer
                    return

    def _check_session(self, status: int, error: Mapping[str, object] | None) -> None:
        """Raises `SessionLostError` where a refusal says that the session is not known any more.

        404 says it by the specification; many servers answer 400 and name the session in their error.
        """
        if self._session_id is None:
            return
        said = str((error or {}).get("message", "")).lower()
        if status == HTTPStatus.NOT_FOUND or (status == HTTPStatus.BAD_REQUEST and "session" in said):
            self._session_id = None
            raise SessionLostError(f"the server forgot the session (HTTP status {status}): a new one is begun")

    def _keep_session(self, session_id: str) -> None:
        if not session_id.isascii() or not session_id.isprintable() or len(session_id) > MAX_SESSION_CHARS:
            raise UpstreamError("the server's session id is not as the protocol says", code="upstream_refused")
        self._session_id = session_id

    async def _resume(self, reader: EventReader, message: Outgoing, request_id: RequestId) -> None:
        """Go on with an answer whose stream ended early; the request is not sent again (2025-11-25, resumability)."""
        for _ in range(MAX_RESUMPTIONS):
            if reader.last_id is None or not _EVENT_ID.fullmatch(reader.last_id):
                return
            pause_ms = RESUME_PAUSE_MS if reader.retry_ms is None else min(reader.retry_ms, MAX_RESUME_PAUSE_MS)
            await asyncio.sleep(pause_ms / 1_000)
            headers = {**message.headers, "Accept": "text/event-stream", "Last-Event-ID": reader.last_id}
            async with self._answer("GET", self._url, headers, None, message.timeout_ms) as answer:
                if answer.status != HTTPStatus.OK or not _is_events(answer):
                    return
                again = await self._take_events(answer, request_id)
                if again is None:
                    return
                reader = again

    async def _take_answer(self, answer: HttpStream, request_id: RequestId) -> EventReader | None:
        """Take an answer; gives the reader of a stream that ended before it."""
        if _is_events(answer):
            return await self._take_events(answer, request_id)
        body = bytearray()
        async for piece in answer.pieces:
            body += piece
            if len(body) > self._max_bytes:
                raise UpstreamError(f"the server's answer is larger than {self._max_bytes:,} bytes")
        async with self._gate:
            self._take_message(bytes(body), request_id)
        return None

    async def _take_events(
        self, answer: HttpStream, request_id: RequestId | None, reader: EventReader | None = None
    ) -> EventReader | None:
        """Take a stream of events; gives its reader where the answer to the request was not among them."""
        reader, is_answered = reader or EventReader(self._max_bytes), False
        try:
            async for piece in answer.pieces:
                async with self._gate as turn:
                    for event in reader.feed(piece):
                        if event.name == "message" and event.data:  # without data it only says where to go on
                            message = self._take_message(event.data, request_id)
                            is_answered |= isinstance(message, Response | Unreadable) and message.id == request_id
                            await turn.pause()
        except EventTooLargeError:
            raise UpstreamError(f"the server sent an event of more than {self._max_bytes:,} bytes") from None
        return None if is_answered else reader

    def _take_message(self, data: bytes, request_id: RequestId | None) -> Message | Unreadable:
        try:
            message = read_server_message(data)
        except RpcError as error:
            raise UpstreamError(f"the server's answer is no message: {error.message}") from None
        self._take(message, request_id)
        return message

    async def _read_legacy(self, found: asyncio.Future[str]) -> None:
        reader = EventReader(self._max_bytes)
        try:
            wanted = {"Accept": "text/event-stream"}
            async with self._answer("GET", self._url, wanted, None, 30_000, MAX_LISTENED_BYTES) as answer:
                if answer.status != HTTPStatus.OK or not _is_events(answer):
                    raise HttpStatusError(answer.status, None)
                async for piece in answer.pieces:
                    async with self._gate as turn:
                        for event in reader.feed(piece):
                            if event.name == "endpoint" and not found.done():
                                found.set_result(event.data.decode(errors="replace"))
                            elif event.name == "message":
                                self._take_message(event.data, None)
                                await turn.pause()
            raise UpstreamError("the server ended its event stream")  # noqa: TRY301 - as any other end
        except (UpstreamError, EventTooLargeError) as error:
            fault = error if isinstance(error, UpstreamError) else UpstreamError("the server sent too large an event")
            if not found.done():
                found.set_exception(fault)
            else:
                self._lost(fault)


def _is_events(answer: HttpStream) -> bool:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


async def _error_in(answer: HttpStream) -> Mapping[str, object] | None:
    """The JSON-RPC error in a refusal's body, where there is one."""
    body = bytearray()
    async for piece in answer.pieces:
        body += piece
        if len(body) > MAX_ERROR_BYTES:
            return None
    try:
        message = parse_message(bytes(body))
    except RpcError:
        return None
    return getattr(message, "error", None)
