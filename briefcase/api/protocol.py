"""HTTP/1.1 within bounds: uvicorn's httptools protocol with what it leaves open closed.

llhttp, strict, already refuses what makes two parsers disagree about where a request ends: Content-Length beside
Transfer-Encoding, two lengths, signs, overflow, bare LF, folded headers, wrong chunks (RFC 9112 sections 2.2, 5.2, 6.3,
7.1). This adds:

| what | bound | answer |
|---|---|---|
| head: bytes, headers, time until complete | `max_head_bytes` `max_headers` `head_timeout_ms` | 431, 408 |
| body: bytes, pieces, time until complete | `max_body_bytes` `MAX_PIECES` `body_timeout_ms` | 413, 408 |
| transfer coding other than `chunked`, trailers, HTTP/0.9, upgrade, CONNECT | none is taken | 400 |
| content coding (a gzip bomb is one) | none is taken | 415 |
| target that is not one absolute path (absolute form, `//`, `#`) | none is taken | 404 |
| requests waiting behind another on one connection | `max_pipelined` | answered so far, then closed |
| time between requests, time the client takes to read an answer | `keep_alive_ms` `write_timeout_ms` | closed |
| connections | `max_connections` | 503 |
| user at the other end of a Unix socket | `allowed_uids` | 403, nothing read |

# INVARIANT (no rest): after a refusal nothing more of that connection is parsed, and it is closed; a request that was
complete before the refused one is still answered first.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import uuid
from enum import Enum, auto
from typing import Any, Final, NamedTuple

import httptools
import msgspec
import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from briefcase.api.sockets import hosts_of, peer_uid
from briefcase.errors import CODES

MAX_PIECES: Final = 8_192  # of a chunked body: each one costs a callback, whatever its size
LINGER_MS: Final = 1_000  # how long a refused client may go on sending before the connection is cut
SCOPE_KEY: Final = "briefcase"
HTTP_VERSIONS: Final = frozenset({"1.0", "1.1"})

_ABSOLUTE_PATH: Final = re.compile(rb"/(?!/)[\x21\x22\x24-\x7e]*|/")  # RFC 9112 section 3.2.1, without `#`
_NAMES_THAT_FRAME: Final = frozenset({b"content-length", b"transfer-encoding", b"content-encoding", b"expect"})


class HttpLimits(msgspec.Struct, frozen=True):
    """The bounds of one server. `allowed_uids` are the users who may connect to its Unix socket."""

    max_head_bytes: int = 16 << 10
    max_headers: int = 64
    head_timeout_ms: int = 10_000
    max_body_bytes: int = 1 << 20
    body_timeout_ms: int = 30_000
    keep_alive_ms: int = 75_000
    write_timeout_ms: int = 30_000
    max_connections: int = 1_024
    max_pipelined: int = 16
    drain_ms: int = 10_000
    allowed_uids: frozenset[int] = msgspec.field(default_factory=lambda: frozenset({os.geteuid()}))


class HttpConfig(uvicorn.Config):
    """uvicorn's settings with our limits beside them, switched to what this protocol is written for."""

    def __init__(self, app: Any, limits: HttpLimits) -> None:  # noqa: ANN401 - uvicorn's own type
        super().__init__(
            app,
            http=BoundedProtocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self.limits = limits


class Peer(NamedTuple):
    """Where a request came from: over a Unix socket, which user; over TCP, the `Host` values that name the listener."""

    is_unix: bool
    uid: int | None = None
    hosts: frozenset[bytes] = frozenset()


class Refusal(NamedTuple):
    """Why a request is not taken."""

    code: str
    message: str


class RefusedError(Exception):
    """Carries a refusal out of a parser callback."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, message)


class _Phase(Enum):
    """What of the newest message is being read."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


_NOTHING, _HEAD, _BODY = _Phase  # names that cost one lookup where every header passes

_DEADLINE_OF: Final = {
    _NOTHING: "head_timeout_ms",  # bytes came, but no message began: blank lines
    _HEAD: "head_timeout_ms",
    _BODY: "body_timeout_ms",
}


class BoundedProtocol(HttpToolsProtocol):
    """One connection. The bounds come from an `HttpConfig`."""

    def __init__(
        self,
        config: HttpConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = config.limits
        self.timeout_keep_alive = config.limits.keep_alive_ms / 1_000  # type: ignore[assignment] # any number of seconds
        self._phase = _NOTHING
        self._head_bytes = self._pending_bytes = 0
        self._body_bytes = self._pieces = 0
        self._is_chunked = False
        self._messages = 0
        self._is_refused = False
        self._active: RequestResponseCycle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_phase: _Phase | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._peer = Peer(is_unix=False)

    # --- the connection -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Take the connection, or refuse it before anything is read."""
        super().connection_made(transport)
        self._peer = _peer_of(transport)
        if len(self.connections) > self.limits.max_connections:
            self._turn_away(Refusal("not_ready", "too many connections"))
        elif self._peer.is_unix and self._peer.uid not in self.limits.allowed_uids:
            self._turn_away(Refusal("forbidden", "this socket is for another user"))
        else:
            self._arm_deadline()

    def eof_received(self) -> None:
        """The client is done sending: half a request is refused. The transport closes itself after this."""
        if not self._is_refused and self._phase is not _NOTHING:
            self._refuse(Refusal("bad_request", "expected the whole request, got the end of the stream"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of every timer, and tell the request that is being answered."""
        self._cancel_deadline()
        self._cancel_write_deadline()
        self._unset_keepalive_if_required()
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Cut the connection now, answered or not."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not read its answer: give it a while."""
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(self.limits.write_timeout_ms / 1_000, self.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._cancel_write_deadline()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose answer is still unread is cut."""
        if self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().timeout_keep_alive_handler()

    # --- reading --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the bounds. A request that came whole arms no timer."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        begun = self._messages
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(_refusal_of(error))
            return
        if self._phase is _HEAD:
            if self._messages == begun:
                self._pending_bytes += len(data)  # counts a header that is not complete: the parser keeps all of it
            if max(self._head_bytes, self._pending_bytes) > self.limits.max_head_bytes:
                self._refuse(_head_too_large(self.limits))
                return
        if self._phase is not _NOTHING or self._all_answered():
            self._arm_deadline()
        elif self._deadline is not None:
            self._cancel_deadline()

    def on_message_begin(self) -> None:
        """Begin counting for a new message."""
        super().on_message_begin()
        self.scope["extensions"] = {SCOPE_KEY: self._peer}  # type: ignore[dict-item] # ASGI leaves the values open
        self._messages += 1
        self._phase = _HEAD
        self._head_bytes = self._pending_bytes = 0
        self._body_bytes = self._pieces = 0
        self._is_chunked = False

    def on_url(self, url: bytes) -> None:
        """Count the target as part of the head."""
        super().on_url(url)
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those that say how the body is framed or coded are checked as they come."""
        if self._phase is not _HEAD:
            raise RefusedError("bad_request", "expected no trailers after the body")
        name = name.lower()
        self._head_bytes += len(name) + len(value)
        headers = self.headers
        headers.append((name, value))
        if len(headers) > self.limits.max_headers:
            raise RefusedError("headers_too_large", f"expected at most {self.limits.max_headers} headers")
        if name in _NAMES_THAT_FRAME:
            self._check_framing(name, value.strip().lower())

    def on_headers_complete(self) -> None:
        """Check the head as a whole, then let uvicorn start or queue the request."""
        if self._head_bytes > self.limits.max_head_bytes:
            raise RefusedError(*_head_too_large(self.limits))
        if self.parser.get_http_version() not in HTTP_VERSIONS:
            raise RefusedError("bad_request", "expected HTTP/1.1")
        if self.parser.should_upgrade():
            raise RefusedError("bad_request", "expected plain HTTP/1.1, got an upgrade")
        if not _ABSOLUTE_PATH.fullmatch(self.url):
            raise RefusedError("not_found", "expected one absolute path as the request target")
        if len(self.pipeline) >= self.limits.max_pipelined:
            raise RefusedError("rate_limited", f"expected at most {self.limits.max_pipelined} requests to wait")
        super().on_headers_complete()
        self._phase = _BODY

    def on_body(self, body: bytes) -> None:
        """Count the body as it comes: a chunked one declares no length."""
        self._body_bytes += len(body)
        self._pieces += 1
        if self._body_bytes > self.limits.max_body_bytes or (self._is_chunked and self._pieces > MAX_PIECES):
            raise _body_too_large(self.limits)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The message is whole."""
        self._phase = _NOTHING
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - as uvicorn
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def _check_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            if int(value) > self.limits.max_body_bytes:  # digits only: llhttp has checked
                raise _body_too_large(self.limits)
        elif name == b"transfer-encoding":
            if value != b"chunked" or self.parser.get_http_version() != "1.1" or self._is_chunked:
                raise RefusedError("bad_request", "expected no transfer coding but one `chunked`")
            self._is_chunked = True
        elif name == b"content-encoding":
            if value != b"identity":
                raise RefusedError("unsupported_media_type", "expected a body without content coding")
        elif value == b"100-continue":
            self.expect_100_continue = True

    # --- refusing -------------------------------------------------------------------------------------------------

    def _all_answered(self) -> bool:
        return self._active is None or self.cycle.response_complete

    def _refuse(self, refusal: Refusal) -> None:
        """Answer no to the message being read, after those before it, and read nothing more."""
        self._is_refused = True
        self._cancel_deadline()
        if self._phase is _BODY and self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # it was waiting, and is not whole
            self.cycle = self.pipeline[0][0] if self.pipeline else self._active  # type: ignore[assignment] # one runs
            self._close_after_answers()
        elif self._phase is _BODY and self._active is not None and self._active.response_started:
            self._linger()  # it has been answered already, without its body
        elif self._phase is not _BODY and not self._all_answered():
            self._close_after_answers()
        else:
            if self._phase is _BODY:
                self.cycle.disconnected = True  # the handler, waiting for the body, is told that none will come
                self.cycle.message_event.set()
            self.transport.write(_refusal_bytes(refusal))
            self._linger()

    def _turn_away(self, refusal: Refusal) -> None:
        self._is_refused = True
        self.transport.write(_refusal_bytes(refusal))
        self.transport.close()

    def _close_after_answers(self) -> None:
        self.cycle.keep_alive = False
        self.flow.pause_reading()

    def _linger(self) -> None:
        """Close our side, then drop what still comes for a moment, lest the answer is lost (RFC 9112 section 9.6)."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self.loop.call_later(LINGER_MS / 1_000, self.abort)

    # --- deadlines ------------------------------------------------------------------------------------------------

    def _arm_deadline(self) -> None:
        """Start the clock of the phase, once: later bytes do not wind it again."""
        if self._deadline is not None and self._deadline_phase is self._phase:
            return
        self._cancel_deadline()
        self._deadline_phase = self._phase
        timeout_ms: int = getattr(self.limits, _DEADLINE_OF[self._phase])
        self._deadline = self.loop.call_later(timeout_ms / 1_000, self._deadline_passed)

    def _deadline_passed(self) -> None:
        self._deadline = None
        if self._messages == 0 and self._phase is _NOTHING:
            self.transport.close()  # it never said anything
        else:
            self._refuse(Refusal("request_timeout", "the request did not come in time"))

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None


def _peer_of(transport: asyncio.Transport) -> Peer:
    sock = transport.get_extra_info("socket")
    if sock.family == socket.AF_UNIX:
        return Peer(is_unix=True, uid=peer_uid(sock))
    host, port, *_ = transport.get_extra_info("sockname")
    return Peer(is_unix=False, hosts=hosts_of(host, port))


def _refusal_of(error: httptools.HttpParserError) -> Refusal:
    if isinstance(error.__context__, RefusedError):
        return error.__context__.refusal
    return Refusal("bad_request", f"expected an HTTP/1.1 request: {str(error).lower()}")


def _head_too_large(limits: HttpLimits) -> Refusal:
    return Refusal("headers_too_large", f"expected at most {limits.max_head_bytes} bytes of request line and headers")


def _body_too_large(limits: HttpLimits) -> RefusedError:
    return RefusedError("payload_too_large", f"expected a body of at most {limits.max_body_bytes} bytes")


def _refusal_bytes(refusal: Refusal) -> bytes:
    body = orjson.dumps({**refusal._asdict(), "request_id": str(uuid.uuid4())})
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[CODES[refusal.code].http_status] + head + body
