"""Streamable HTTP at one path, both eras, straight over ASGI; read `HttpEndpoint._reply` top to bottom.

 1. what a browser must not be used for is refused   (403, before anybody is authenticated)
 2. the path: `/mcp`, or `/mcp/<server>` for one server under its own names   (404)
 3. the bearer token, which the daemon will judge; without one, the gateway's own where it holds one   (401)
 4. POST: one message. A request is answered as JSON, or as a stream from the moment something comes before the answer
 5. GET: a session's own stream, or the rest of one that broke. DELETE: the session's end

A stateless request whose client leaves is cancelled; a handshake client may come back for its answer, and for nobody
else's. Limits of HTTP itself are the server's (`briefcase.api.protocol`).

Source: MCP 2025-11-25 and 2026-07-28, Streamable HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import structlog

from briefcase.api.exchange import SCOPE_KEY
from briefcase.api.guard import check_browser_headers
from briefcase.api.sockets import Peer
from briefcase.errors import CallerError
from briefcase.gateway.channels import StreamChannel
from briefcase.gateway.connection import (
    Core,
    internal_error,
    is_stateless_message,
    not_initialized,
    session_context,
    stateless_context,
    unsupported_revision,
)
from briefcase.gateway.context import Context
from briefcase.gateway.headers import Headers, check_metadata_headers, check_param_headers
from briefcase.gateway.session import Session, Sessions
from briefcase.gateway.settings import GatewaySettings, is_token
from briefcase.gateway.stream import Stream, parse_event_id
from briefcase.gateway.view import SERVER_ID, View
from briefcase.mcp.jsonrpc import (
    INVALID_REQUEST,
    Message,
    Notification,
    Request,
    Response,
    RpcError,
    encode_error,
    encode_result,
    parse_message,
    parse_messages,
)
from briefcase.mcp.protocol import (
    BATCH_REVISIONS,
    HANDSHAKE_REVISIONS,
    HEADERLESS_REVISION,
    is_defined,
    is_stateless,
)
from briefcase.mcp.sse import KEEP_ALIVE, encode_event

KEEP_ALIVE_S: Final = 15.0
UNAUTHORIZED: Final = 401
_JSON: Final = (b"content-type", b"application/json")
_EVENTS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
]
_BROWSER_HEADERS: Final = frozenset({b"origin", b"referer", b"sec-fetch-site"})

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

_log: Final = structlog.get_logger("briefcase.gateway")


class HttpError(Exception):
    """An answer without a JSON-RPC message to go by: it is made into an error without an id."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class HttpEndpoint:
    """The ASGI application of the gateway.

    Args:
        core: methods and feed.
        sessions: where handshake clients are kept.
        settings: path, own token and allowed origins.
    """

    def __init__(self, core: Core, sessions: Sessions, settings: GatewaySettings) -> None:
        self._core = core
        self._sessions = sessions
        self._settings = settings
        self._running: set[asyncio.Task[None]] = set()
        self._is_stopping = asyncio.Event()

    async def start(self) -> None:
        """Begin: nothing waits for anything."""

    def announce_stop(self) -> None:
        """End every session and stream, so that draining has nothing to wait for."""
        self._is_stopping.set()
        self._sessions.close()
        for task in list(self._running):
            task.cancel()

    async def stop(self) -> None:
        """Wait for what was cancelled."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        cors: list[tuple[bytes, bytes]] = []
        try:
            await self._reply(scope, receive, send, cors)
        except HttpError as error:
            body = encode_error(RpcError(INVALID_REQUEST, error.message))
            await _send_body(send, error.status, body, [_JSON, *error.headers, *cors])
        except RpcError as error:
            headers = [(b"www-authenticate", b"Bearer")] if error.http_status == UNAUTHORIZED else []
            await _send_body(send, error.http_status, encode_error(error), [_JSON, *headers, *cors])

    async def _reply(self, scope: Scope, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]) -> None:
        # 1. browsers
        peer: Peer = scope["extensions"][SCOPE_KEY]
        raw: Sequence[tuple[bytes, bytes]] = scope["headers"]
        cors += self._check_origin(raw, peer)
        if self._is_stopping.is_set():
            raise HttpError(503, "the gateway is stopping")

        # 2. path
        view = self._view(scope["raw_path"])
        if scope["method"] == "OPTIONS" and cors:
            await _send_body(send, 204, b"", [*cors, *_PREFLIGHT])
            return

        # 3. token
        headers = Headers(raw)
        token = self._token(headers)

        match scope["method"]:
            case "POST":  # 4
                await self._post(headers, token, view, receive, _with_headers(send, cors))
            case "GET":  # 5
                await self._get(headers, token, view, receive, _with_headers(send, cors))
            case "DELETE":
                self._sessions.remove(self._session(headers, token, view))
                await _send_body(send, 204, b"", cors)
            case _:
                raise HttpError(405, "expected POST, GET or DELETE", (b"allow", b"POST, GET, DELETE"))

    # --- who, and where -------------------------------------------------------------------------------------------

    def _check_origin(self, raw: Sequence[tuple[bytes, bytes]], peer: Peer) -> list[tuple[bytes, bytes]]:
        """Refuse what comes from a page we do not know; give the CORS headers of one we do."""
        origins = [value for name, value in raw if name == b"origin"]
        own = {b"http://" + host for host in peer.hosts}
        allowed = {origin.encode() for origin in self._settings.allowed_origins}
        is_known = len(origins) == 1 and origins[0].lower() in own | allowed
        checked = [(name, value) for name, value in raw if not is_known or name not in _BROWSER_HEADERS]
        try:
            check_browser_headers(checked, peer.hosts)
        except CallerError as error:
            raise HttpError(403, error.message) from None
        if not is_known:
            return []
        return [(b"access-control-allow-origin", origins[0]), (b"access-control-expose-headers", b"mcp-session-id")]

    def _view(self, raw_path: bytes) -> View:
        path = self._settings.http_path.encode()
        if raw_path == path:
            return View(self._settings.server)
        server = raw_path.removeprefix(path.rstrip(b"/") + b"/").decode("latin-1")
        if raw_path.startswith(path) and self._settings.server is None and SERVER_ID.fullmatch(server):
            return View(server)
        raise HttpError(404, "nothing is served here")

    def _token(self, headers: Headers) -> str:
        authorization = headers.one("authorization")
        if authorization is None:
            if self._settings.token is None:
                raise HttpError(
                    401, "expected `Authorization: Bearer` with an agent's token", (b"www-authenticate", b"Bearer")
                )
            return self._settings.token
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not is_token(token.strip()):
            raise HttpError(
                401, "expected `Authorization: Bearer` with an agent's token", (b"www-authenticate", b"Bearer")
            )
        return token.strip()

    def _session(self, headers: Headers, token: str, view: View) -> Session:
        session_id = headers.one("mcp-session-id")
        if session_id is None:
            raise HttpError(405, "expected `Mcp-Session-Id`: without a session there is only POST", (b"allow", b"POST"))
        session = self._sessions.find(session_id, token, view)
        if session is None:
            raise HttpError(404, "unknown session: open a new one with `initialize`")
        self._check_revision_header(headers)
        return session

    def _check_revision_header(self, headers: Headers) -> None:
        revision = headers.one("mcp-protocol-version") or HEADERLESS_REVISION
        if revision not in HANDSHAKE_REVISIONS:
            raise unsupported_revision(revision, None)

    # --- 4. POST ----------------------------------------------------------------------------------------------------

    async def _post(self, headers: Headers, token: str, view: View, receive: Receive, send: Send) -> None:
        _check_media_types(headers)
        body = await _read_body(receive)
        header_revision = headers.one("mcp-protocol-version")
        if header_revision is not None and is_stateless(header_revision):
            await self._post_stateless(parse_message(body), headers, token, view, receive, send)
            return
        parsed = parse_messages(body)
        if isinstance(parsed, Request) and is_stateless_message(parsed.params):
            await self._post_stateless(parsed, headers, token, view, receive, send)
        elif headers.one("mcp-session-id") is not None:
            session = self._session(headers, token, view)
            if isinstance(parsed, Sequence):
                await self._post_batch(parsed, session, send)
            else:
                await self._post_in_session(parsed, session, receive, send)
        elif isinstance(parsed, Request) and parsed.method == "initialize":
            await self._initialize(parsed, token, view, send)
        elif header_revision is not None and header_revision not in HANDSHAKE_REVISIONS:
            raise unsupported_revision(header_revision, parsed if isinstance(parsed, Request) else None)
        else:
            request_id = parsed.id if isinstance(parsed, Request) else None
            raise not_initialized(request_id)

    async def _post_stateless(  # noqa: PLR0913, PLR0917 - the parts of one HTTP request
        self, message: Message, headers: Headers, token: str, view: View, receive: Receive, send: Send
    ) -> None:
        if not isinstance(message, Request):
            raise RpcError(INVALID_REQUEST, "expected a request: this revision has no other messages", http_status=400)
        channel = StreamChannel(Stream(), None)
        revision = headers.one("mcp-protocol-version")
        context = stateless_context(message, token, view, channel, revision, is_http=True)
        if is_defined(message.method, context.revision):
            check_metadata_headers(headers, message)
        if message.method == "tools/call":
            wanted = await self._core.methods.param_headers(message.params.get("name"), context)
            check_param_headers(headers, message, wanted)
        await self._serve(message, context, channel, None, receive, send)

    async def _initialize(self, request: Request, token: str, view: View, send: Send) -> None:
        try:
            session, result = await self._core.open_session(request, token, view, StreamChannel(Stream(), None))
            self._sessions.add(session)
        except RpcError as error:
            error.request_id = request.id
            raise
        headers = [_JSON, (b"mcp-session-id", session.id.encode())]
        await _send_body(send, 200, encode_result(request.id, result), headers)

    async def _post_in_session(self, message: Message, session: Session, receive: Receive, send: Send) -> None:
        match message:
            case Notification():
                self._core.handle(message, session)
                await _send_body(send, 202, b"", [])
            case Response():
                session.settle(message)
                await _send_body(send, 202, b"", [])
            case Request():
                session.check_startable(message.id)
                channel = StreamChannel(Stream(), session)
                context = session_context(session, channel)
                await self._serve(message, context, channel, session, receive, send)

    async def _post_batch(self, messages: Sequence[Message], session: Session, send: Send) -> None:
        """A batch of the revisions that had them: each message by itself, the answers together, in order."""
        if session.revision not in BATCH_REVISIONS:
            raise RpcError(INVALID_REQUEST, f"expected one message: {session.revision} has no batches", http_status=400)
        answers = []
        for message in messages:
            match message:
                case Notification():
                    self._core.handle(message, session)
                case Response():
                    session.settle(message)
                case Request():
                    context = session_context(session, StreamChannel(Stream(), None))
                    answers.append((await self._answered(message, context, session))[1])
        if answers:
            await _send_body(send, 200, b"[" + b",".join(answers) + b"]", [_JSON])
        else:
            await _send_body(send, 202, b"", [])

    async def _serve(  # noqa: PLR0913, PLR0917 - the parts of one request
        self,
        request: Request,
        context: Context,
        channel: StreamChannel,
        session: Session | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """Run one request, and answer as JSON unless something is sent before its answer."""
        stream, final = channel.stream, _Final()

        async def run() -> None:
            try:
                final.status, final.body = await self._answered(request, context, session)
            finally:
                if stream.count and final.body:
                    stream.put(final.body)
                stream.end()

        task = self._started(run())
        if session is not None:
            session.start(request.id, task)
        gone = asyncio.create_task(_gone(receive, task if session is None else None))
        try:
            await stream.wait_started()
            if stream.count:
                if session is not None:
                    session.keep(stream)
                await _send_stream(send, stream, 0)
            elif final.body:
                headers = [(b"www-authenticate", b"Bearer")] if final.status == UNAUTHORIZED else []
                await _send_body(send, final.status, final.body, [_JSON, *headers])
            else:  # cancelled: a cancelled request gets no answer
                await _send_body(send, 202, b"", [])
        finally:
            gone.cancel()
            if session is None:
                task.cancel()

    async def _answered(self, request: Request, context: Context, session: Session | None) -> tuple[int, bytes]:
        try:
            return 200, encode_result(request.id, await self._core.answer(request, context, session))
        except RpcError as error:
            return error.http_status, encode_error(error, request.id)
        except Exception:  # noqa: BLE001 - whatever fails inside, the client gets an answer, and no detail
            _log.exception("request_failed", method=request.method)
            return 500, encode_error(internal_error(), request.id)

    def _started(self, work: Any) -> asyncio.Task[None]:  # noqa: ANN401 - a coroutine
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    # --- 5. GET -----------------------------------------------------------------------------------------------------

    async def _get(self, headers: Headers, token: str, view: View, receive: Receive, send: Send) -> None:
        session = self._session(headers, token, view)
        if "text/event-stream" not in (headers.one("accept") or ""):
            raise HttpError(406, "expected `Accept: text/event-stream`")
        last = headers.one("last-event-id")
        if last is not None:
            stream, after = self._resumed(session, last)
            await self._pump(stream, after, receive, send)
            return
        channel = StreamChannel(Stream(), session)
        session.keep(channel.stream)
        telling = self._started(self._core.tell_changes(session, channel))
        try:
            await self._pump(channel.stream, 0, receive, send)
        finally:
            telling.cancel()

    def _resumed(self, session: Session, last_event_id: str) -> tuple[Stream, int]:
        """The stream an event id is from: this session's own, with everything since still there."""
        found = parse_event_id(last_event_id)
        stream = session.streams.get(found[0]) if found is not None else None
        if found is None or stream is None or not stream.can_resume(found[1]):
            raise HttpError(404, "unknown `Last-Event-ID`: nothing can be resumed from there")
        return stream, found[1]

    async def _pump(self, stream: Stream, after: int, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(_send_stream(send, stream, after))
        gone = asyncio.create_task(_gone(receive, sending))
        try:
            await asyncio.wait({sending})
        finally:
            gone.cancel()
            sending.cancel()


class _Final:
    """The answer of a request, once there is one."""

    status = 200
    body = b""


_PREFLIGHT: Final = [
    (b"access-control-allow-methods", b"POST, GET, DELETE"),
    (
        b"access-control-allow-headers",
        b", ".join(
            (
                b"accept",
                b"authorization",
                b"content-type",
                b"last-event-id",
                b"mcp-method",
                b"mcp-name",
                b"mcp-protocol-version",
                b"mcp-session-id",
            )
        ),
    ),
    (b"access-control-max-age", b"600"),
]


def _check_media_types(headers: Headers) -> None:
    kind = (headers.one("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HttpError(415, "expected `Content-Type: application/json`")
    accepted = headers.one("accept") or "*/*"
    if not any(kind in accepted for kind in ("application/json", "text/event-stream", "*/*", "application/*")):
        raise HttpError(406, "expected `Accept: application/json, text/event-stream`")


async def _read_body(receive: Receive) -> bytes:
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpError(400, "the client left before its message was whole")
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def _gone(receive: Receive, task: asyncio.Task[None] | None) -> None:
    """Wait for the client to leave; what only it wanted ends with it."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if task is not None:
        task.cancel()


async def _send_body(send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    length = [(b"content-length", str(len(body)).encode())] if status != 204 else []  # noqa: PLR2004 - No Content
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


async def _send_stream(send: Send, stream: Stream, after: int) -> None:
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


def _with_headers(send: Send, extra: Sequence[tuple[bytes, bytes]]) -> Send:
    if not extra:
        return send

    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *extra]
        await send(message)

    return sending
