"""Streamable HTTP at one path, both eras; read `HttpEndpoint._reply` top to bottom.

 1. what a browser must not be used for is refused   (403, before anybody is authenticated)
 2. the path: `/mcp`, or `/mcp/<server>` for one server under its own names   (404)
 3. the bearer token, which the daemon will judge; without one, the gateway's own where it holds one   (401)
 4. POST: one message. A request is answered as JSON, or as a stream from the moment something comes before the answer
 5. GET: a session's own stream, or the rest of one that broke. DELETE: the session's end

A stateless request whose client leaves is cancelled; a handshake client may come back for its answer, and for nobody
else's. Limits of HTTP itself are the server's (`briefcase.edges.http`).

Source: MCP 2025-11-25 and 2026-07-28, Streamable HTTP.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.adapters.telemetry.refusal_log import RefusalLog
from briefcase.core.mcp.jsonrpc import (
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
from briefcase.core.mcp.protocol import (
    BATCH_REVISIONS,
    HANDSHAKE_REVISIONS,
    HEADERLESS_REVISION,
    is_defined,
    is_stateless,
)
from briefcase.edges.gateway.channels import StreamChannel
from briefcase.edges.gateway.connection import (
    Core,
    is_stateless_message,
    not_initialized,
    session_context,
    stateless_context,
    unsupported_revision,
)
from briefcase.edges.gateway.headers import Headers, check_metadata_headers, check_param_headers
from briefcase.edges.gateway.http_answer import ACCEPTED, Answers, event_stream, events, json_reply, stream_reply
from briefcase.edges.gateway.session import Session, Sessions
from briefcase.edges.gateway.settings import GatewaySettings, is_token
from briefcase.edges.gateway.stream import Shelf, Stream, parse_event_id
from briefcase.edges.gateway.view import View
from briefcase.edges.http.exchange import DirectExchange
from briefcase.edges.http.guard import check_browser_headers
from briefcase.edges.http.routing import Reply
from briefcase.edges.http.sockets import Peer
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import is_server_id

_CLIENTS: Final = "clients"  # nobody is known here: a token is the daemon's to judge
_BROWSER_HEADERS: Final = frozenset({b"origin", b"referer", b"sec-fetch-site"})


class HttpError(Exception):
    """An answer without a JSON-RPC message to go by: it is made into an error without an id."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class HttpEndpoint:
    """The application of the gateway (`exchange.DirectApp`).

    Args:
        core: methods and feed.
        sessions: where handshake clients are kept.
        settings: path, own token and allowed origins.
    """

    knows_principals = False  # a token is the daemon's to judge

    def __init__(self, core: Core, sessions: Sessions, settings: GatewaySettings) -> None:
        self._core = core
        self._sessions = sessions
        self._settings = settings
        self._answers = Answers(core)
        self._shelf = Shelf()
        self._allowed_origins = frozenset(origin.encode() for origin in settings.allowed_origins)
        self._is_stopping = False
        self._refusals = RefusalLog(time.monotonic_ns)

    def announce_stop(self) -> None:
        """End every session and stream, so that draining has nothing to wait for."""
        self._is_stopping = True
        self._sessions.close()
        self._answers.cancel()

    async def stop(self) -> None:
        """Wait for what was cancelled."""
        self._refusals.close()
        await self._answers.wait()

    def redact(self, body: bytes, *, is_json: bool) -> bytes:  # as `DirectApp` has it
        """The body as it is: the gateway holds no secret, and the daemon has redacted what it gave."""
        return body

    async def answer(self, exchange: DirectExchange) -> Reply:
        """Answer one HTTP request.

        Raises:
            GoneError: the client left before its message was whole.
        """
        cors: list[tuple[bytes, bytes]] = []
        try:
            reply = await self._reply(exchange, cors)
        except HttpError as error:
            named = self._refusals.note_unnamed(_CLIENTS, error.status, str(INVALID_REQUEST), error.message)
            body = encode_error(RpcError(INVALID_REQUEST, error.message))
            reply = json_reply(error.status, body, *error.headers, *named)
        except RpcError as error:
            named = self._refusals.note_unnamed(_CLIENTS, error.http_status, str(error.code), error.message)
            reply = json_reply(error.http_status, encode_error(error), *named)
        return msgspec.structs.replace(reply, headers=(*reply.headers, *cors)) if cors else reply

    async def _reply(self, exchange: DirectExchange, cors: list[tuple[bytes, bytes]]) -> Reply:
        head = exchange.head
        # 1. browsers
        cors += self._check_origin(head.headers, exchange.peer)
        if self._is_stopping:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "the gateway is stopping")

        # 2. path
        view = self._view(head.path)
        if head.method == "OPTIONS" and cors:
            return Reply(b"", HTTPStatus.NO_CONTENT, _PREFLIGHT)

        # 3. token
        headers = Headers(head.headers)
        token = self._token(headers)

        match head.method:
            case "POST":  # 4
                return await self._post(headers, token, view, exchange)
            case "GET":  # 5
                return self._get(headers, token, view)
            case "DELETE":
                self._sessions.remove(self._session(headers, token, view))
                return Reply(b"", HTTPStatus.NO_CONTENT)
            case _:
                raise HttpError(
                    HTTPStatus.METHOD_NOT_ALLOWED, "expected POST, GET or DELETE", (b"allow", b"POST, GET, DELETE")
                )

    # --- who, and where -------------------------------------------------------------------------------------------

    def _check_origin(self, raw: Sequence[tuple[bytes, bytes]], peer: Peer) -> list[tuple[bytes, bytes]]:
        """Refuse what comes from a page we do not know; give the CORS headers of one we do."""
        origins = [value for name, value in raw if name == b"origin"]
        is_known = len(origins) == 1 and self._is_known_origin(origins[0].lower(), peer)
        checked = [(name, value) for name, value in raw if name not in _BROWSER_HEADERS] if is_known else raw
        try:
            check_browser_headers(checked, peer.hosts)
        except CallerError as error:
            raise HttpError(HTTPStatus.FORBIDDEN, error.message) from None
        if not is_known:
            return []
        return [(b"access-control-allow-origin", origins[0]), (b"access-control-expose-headers", b"mcp-session-id")]

    def _is_known_origin(self, origin: bytes, peer: Peer) -> bool:
        is_own = origin.startswith(b"http://") and origin.removeprefix(b"http://") in peer.hosts
        return is_own or origin in self._allowed_origins

    def _view(self, raw_path: bytes) -> View:
        path = self._settings.http_path.encode()
        if raw_path == path:
            return View(self._settings.server, self._settings.keeps_ids)
        server = raw_path.removeprefix(path.rstrip(b"/") + b"/").decode("latin-1")
        if raw_path.startswith(path) and self._settings.server is None and is_server_id(server):
            return View(server, self._settings.keeps_ids)
        raise HttpError(HTTPStatus.NOT_FOUND, "nothing is served here")

    def _token(self, headers: Headers) -> str:
        authorization = headers.one("authorization")
        if authorization is None:
            if self._settings.token is None:
                raise HttpError(HTTPStatus.UNAUTHORIZED, "expected `Authorization: Bearer` with an agent's token")
            return self._settings.token
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not is_token(token.strip()):
            raise HttpError(HTTPStatus.UNAUTHORIZED, "expected `Authorization: Bearer` with an agent's token")
        return token.strip()

    def _session(self, headers: Headers, token: str, view: View) -> Session:
        session_id = headers.one("mcp-session-id")
        if session_id is None:
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "expected `Mcp-Session-Id`: without a session there is only POST",
                (b"allow", b"POST"),
            )
        session = self._sessions.find(session_id, token, view)
        if session is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "unknown session: open a new one with `initialize`")
        self._check_revision_header(headers)
        return session

    def _check_revision_header(self, headers: Headers) -> None:
        revision = headers.one("mcp-protocol-version") or HEADERLESS_REVISION
        if revision not in HANDSHAKE_REVISIONS:
            raise unsupported_revision(revision, None)

    # --- 4. POST ----------------------------------------------------------------------------------------------------

    async def _post(self, headers: Headers, token: str, view: View, exchange: DirectExchange) -> Reply:
        _check_media_types(headers)
        body = await exchange.body()
        header_revision = headers.one("mcp-protocol-version")
        if header_revision is not None and is_stateless(header_revision):
            return await self._post_stateless(parse_message(body), headers, token, view, exchange)
        parsed = parse_messages(body)
        if isinstance(parsed, Request) and is_stateless_message(parsed.params):
            return await self._post_stateless(parsed, headers, token, view, exchange)
        if headers.one("mcp-session-id") is not None:
            session = self._session(headers, token, view)
            if isinstance(parsed, Sequence):
                return await self._post_batch(parsed, session)
            return await self._post_in_session(parsed, session, exchange, takes_events=_takes_events(headers))
        if isinstance(parsed, Request) and parsed.method == "initialize":
            return await self._initialize(parsed, token, view)
        request = parsed if isinstance(parsed, Request) else None
        if header_revision is not None and header_revision not in HANDSHAKE_REVISIONS:
            raise unsupported_revision(header_revision, request)
        raise not_initialized(request.id if request is not None else None)

    async def _post_stateless(
        self, message: Message, headers: Headers, token: str, view: View, exchange: DirectExchange
    ) -> Reply:
        if not isinstance(message, Request):
            raise RpcError(
                INVALID_REQUEST,
                "expected a request: this revision has no other messages",
                http_status=HTTPStatus.BAD_REQUEST,
            )
        channel = StreamChannel(Stream(self._shelf), None, takes_events=_takes_events(headers))
        revision = headers.one("mcp-protocol-version")
        context = stateless_context(message, token, view, channel, revision, is_http=True)
        if is_defined(message.method, context.revision):
            check_metadata_headers(headers, message)
        if message.method == "tools/call":
            wanted = await self._core.methods.param_headers(message.params.get("name"), context)
            check_param_headers(headers, message, wanted)
        return await self._answers.serve(message, context, channel, None, exchange)

    async def _initialize(self, request: Request, token: str, view: View) -> Reply:
        try:
            session, result = await self._core.open_session(
                request, token, view, StreamChannel(Stream(self._shelf), None)
            )
            self._sessions.add(session)
        except RpcError as error:
            error.request_id = request.id
            raise
        return json_reply(HTTPStatus.OK, encode_result(request.id, result), (b"mcp-session-id", session.id.encode()))

    async def _post_in_session(
        self, message: Message, session: Session, exchange: DirectExchange, *, takes_events: bool
    ) -> Reply:
        match message:
            case Notification():
                self._core.handle(message, session)
                return ACCEPTED
            case Response():
                session.settle(message)
                return ACCEPTED
            case Request():
                session.check_startable(message.id)
                channel = StreamChannel(Stream(self._shelf), session, takes_events=takes_events)
                context = session_context(session, channel)
                return await self._answers.serve(message, context, channel, session, exchange)

    async def _post_batch(self, messages: Sequence[Message], session: Session) -> Reply:
        """A batch of the revisions that had them: each message by itself, the answers together, in order."""
        if session.revision not in BATCH_REVISIONS:
            raise RpcError(
                INVALID_REQUEST,
                f"expected one message: {session.revision} has no batches",
                http_status=HTTPStatus.BAD_REQUEST,
            )
        answers = []
        for message in messages:
            match message:
                case Notification():
                    self._core.handle(message, session)
                case Response():
                    session.settle(message)
                case Request():
                    context = session_context(session, StreamChannel(Stream(self._shelf), None), may_hold=False)
                    answers.append((await self._answers.answer(message, context, session))[1])
        return json_reply(HTTPStatus.OK, b"[" + b",".join(answers) + b"]") if answers else ACCEPTED

    # --- 5. GET -----------------------------------------------------------------------------------------------------

    def _get(self, headers: Headers, token: str, view: View) -> Reply:
        session = self._session(headers, token, view)
        if "text/event-stream" not in (headers.one("accept") or ""):
            raise HttpError(HTTPStatus.NOT_ACCEPTABLE, "expected `Accept: text/event-stream`")
        last = headers.one("last-event-id")
        if last is not None:
            return event_stream(*self._resumed(session, last))
        return stream_reply(self._changes(session))

    async def _changes(self, session: Session) -> AsyncGenerator[bytes, None]:
        """A session's own stream, which tells what changes for as long as somebody reads it."""
        channel = StreamChannel(Stream(self._shelf), session)
        session.keep(channel.stream)
        telling = self._answers.start(self._core.tell_changes(session, channel))
        try:
            async with aclosing(events(channel.stream, 0)) as found:
                async for piece in found:
                    yield piece
        finally:
            telling.cancel()

    def _resumed(self, session: Session, last_event_id: str) -> tuple[Stream, int]:
        """The stream an event id is from: this session's own, with everything since still there."""
        found = parse_event_id(last_event_id)
        stream = session.streams.get(found[0]) if found is not None else None
        if found is None or stream is None or not stream.can_resume(found[1]):
            raise HttpError(HTTPStatus.NOT_FOUND, "unknown `Last-Event-ID`: nothing can be resumed from there")
        return stream, found[1]


_PREFLIGHT: Final = (
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
)


def _takes_events(headers: Headers) -> bool:
    """Whether the client says that an answer may be a stream of events."""
    return "text/event-stream" in (headers.one("accept") or "")


def _check_media_types(headers: Headers) -> None:
    kind = (headers.one("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected `Content-Type: application/json`")
    accepted = headers.one("accept") or "*/*"
    if not any(kind in accepted for kind in ("application/json", "text/event-stream", "*/*", "application/*")):
        raise HttpError(HTTPStatus.NOT_ACCEPTABLE, "expected `Accept: application/json, text/event-stream`")
