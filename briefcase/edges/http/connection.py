"""HTTP/1.1 within bounds: one connection, from its bytes to requests that are answered in the order they came.

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
| requests waiting behind another on one connection | `max_pipelined` | 429, after those before it |
| time between requests, time the client takes to read an answer | `keep_alive_ms` `write_timeout_ms` | closed |
| connections, bytes that wait for a slow client | `places.py` | an idle one or a slow reader is closed, 429, 503 |
| user at the other end of the operator's socket | `allowed_uids` | 403, nothing read |

Where the reader is in the stream, `framing.STEPS` says. One task for each connection answers its requests in order,
each an `Exchange` (`exchange.py`). It begins a request as soon as the head is there: a client without a token is told
so before its body is read.

# INVARIANT (no rest): after a refusal nothing more of that connection is parsed, and it is closed; a request that was
complete before the refused one is still answered first, and then the refused one is.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Final

import httptools

from briefcase._native.shares import Metered
from briefcase.edges.http.asgi import AsgiApp, AsgiExchange
from briefcase.edges.http.exchange import (
    Date,
    DirectApp,
    DirectExchange,
    Exchange,
    Head,
    Refusal,
    RefusalWords,
    encode_refusal,
)
from briefcase.edges.http.framing import PARSED, STEPS, Event, State
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.places import SMALL_BYTES, Place, Places
from briefcase.edges.http.sockets import peer_of
from briefcase.edges.http.tcp_peers import TcpPeers
from briefcase.edges.http.wire import Wire

MAX_PIECES: Final = 8_192  # of a chunked body: each one costs a callback, whatever its size
NS_OF_A_CONNECTION: Final = 50_000  # to take it, to ask whose it is, and to close it
NS_OF_A_PIECE: Final = 20_000  # to wake up for it, and to parse what is short
SMALL_PIECE_BYTES: Final = 1_024
PIECE_PAUSE_S: Final = 0.05
LINGER_MS: Final = 1_000  # how long a refused client may go on sending before the connection is cut
HTTP_VERSIONS: Final = frozenset({"1.0", "1.1"})

_ABSOLUTE_PATH: Final = re.compile(rb"/(?!/)[\x21\x22\x24-\x7e]*|/")  # RFC 9112 section 3.2.1, without `#`
_NAMES_THAT_FRAME: Final = frozenset({b"content-length", b"transfer-encoding", b"content-encoding", b"expect"})


class Serving:
    """What the connections of one server share.

    Args:
        app: answers every request.
        limits: the bounds of HTTP.
        refusal_words: by path, how a request that is refused before the application sees it is answered there.
    """

    def __init__(
        self, app: DirectApp | AsgiApp, limits: HttpLimits, refusal_words: Mapping[bytes, RefusalWords] | None = None
    ) -> None:
        self.refusal_words = refusal_words or {}
        self.exchange_of = partial(DirectExchange, app) if isinstance(app, DirectApp) else partial(AsgiExchange, app)
        self.limits = limits
        self.date = Date()
        self.places = Places(limits, knows_principals=isinstance(app, DirectApp) and app.knows_principals)
        self.connections: set[Connection] = set()
        self.tcp_peers = TcpPeers() if self.places.knows_principals else None
        self.agent_listeners: frozenset[int] = frozenset()
        self.tasks: set[asyncio.Task[None]] = set()


class _Methods(dict[bytes, str]):
    """A method's name as text; llhttp knows a few dozen, and takes no other."""

    def __missing__(self, method: bytes) -> str:
        name = self[method] = method.decode("ascii")
        return name


_METHODS: Final = _Methods()


class RefusedError(Exception):
    """Carries a refusal out of a parser callback."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, message)


# names that cost one look-up each, where every message passes
_IDLE, _HEAD, _BODY, _UNWANTED, _CLOSED = State.IDLE, State.HEAD, State.BODY, State.UNWANTED, State.CLOSED
_HEAD_BEGINS, _HEAD_ENDS, _MESSAGE_ENDS = Event.HEAD_BEGINS, Event.HEAD_ENDS, Event.MESSAGE_ENDS

_DEADLINE_OF: Final = {
    _IDLE: "head_timeout_ms",  # bytes came, but no message began: blank lines
    _HEAD: "head_timeout_ms",
    _BODY: "body_timeout_ms",
    _UNWANTED: "body_timeout_ms",
}


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        serving: what it shares with the others.
        loop: the running event loop.
        listener: which of the server's listeners takes it.
    """

    def __init__(self, serving: Serving, loop: asyncio.AbstractEventLoop, listener: int = 0) -> None:
        self.transport: asyncio.Transport
        self._wire: Wire
        self._place: Place
        self._listener = listener
        self._serving = serving
        self._limits = serving.limits
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        # the message that is being read
        self._state = _IDLE
        self._messages = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_left = 0
        self._chunk_bytes = self._fed_bytes = self._pending_bytes = 0  # `_fed_bytes` is at least the head's size
        self._body_bytes = self._pieces = 0
        self._is_chunked = self._expects_continue = False
        self._content_length: int | None = None
        # the requests that are not answered: the first is being answered, and in `BODY` the last is being read
        self._unanswered: deque[Exchange] = deque()
        self._refusal: Refusal | None = None  # to be written after them
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        # timers
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_is_for: tuple[State, int] | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since_s: float | None = None

    # --- the connection -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as it is called
        """Take the connection, or refuse it before anything is read."""
        serving = self._serving
        is_for_agents = self._listener in serving.agent_listeners
        sock = transport.get_extra_info("socket")
        peer = peer_of(sock, is_for_agents=is_for_agents, tcp_peers=serving.tcp_peers)
        place = serving.places.take(self, self._listener, peer.uid, self._loop.time())
        self.transport, self._place = transport, place
        self._wire = Wire(transport, self._loop, peer, place)
        serving.connections.add(self)
        place.meter.account.charge(NS_OF_A_CONNECTION)
        transport.set_write_buffer_limits(high=SMALL_BYTES)
        if peer.is_unix and not peer.is_for_agents and peer.uid not in self._limits.allowed_uids:
            self._turn_away(Refusal("forbidden", "this socket is for another user"))
        elif place.is_probation and not serving.places.knows_principals:
            self._turn_away(Refusal("not_ready", "too many connections"))
        else:
            self._arm_deadline()

    def eof_received(self) -> None:
        """The client is done sending: half a request is refused. The transport closes itself after this."""
        if self._state in PARSED and self._state is not _IDLE:
            self._refuse(Refusal("bad_request", "expected the whole request, got the end of the stream"))

    def connection_lost(self, _: Exception | None) -> None:
        """Let go of every timer, and tell what is not answered. The first of that is still made: it came whole."""
        self._step(Event.LOST)
        self._serving.connections.discard(self)
        self._serving.places.leave(self._place)
        self._cancel_deadline()
        self._cancel_write_deadline()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for exchange in self._unanswered:
            exchange.lose()
        self._wire.resume_writing()
        self._wake_up()
        del self._parser  # it holds us: nothing is left for the collector to find

    def shutdown(self) -> None:
        """Close when everything that was begun is answered."""
        if self._unanswered:
            self._unanswered[-1].keep_alive = False
        else:
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection now, answered or not."""
        self.transport.abort()

    def idle_since_s(self) -> float | None:
        """Since when nothing is being read or answered (`places.Guest`)."""
        if self._state is not _IDLE or self._unanswered:
            return None
        return self._place.taken_s if self._idle_since_s is None else self._idle_since_s

    def give_way(self) -> None:
        """Close now; what was not read yet goes unread (`places.Guest`)."""
        if self.transport.get_write_buffer_size() or self._state is not _IDLE:
            self.abort()
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read its answer: give it a while."""
        self._place.hold_unsent(self.transport.get_write_buffer_size())
        self._wire.pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self._loop.call_later(self._limits.write_timeout_ms / 1_000, self.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._place.release_unsent()
        self._cancel_write_deadline()
        self._wire.resume_writing()

    # --- reading --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the bounds. A request that came whole arms no timer."""
        if self._state not in PARSED:
            return
        self._idle_since_s = None
        begun = self._messages
        self._chunk_bytes = size_bytes = len(data)
        self._fed_bytes += size_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(_refusal_of(error))
            return
        if self._state is _HEAD:
            if self._messages == begun:
                self._pending_bytes += size_bytes  # counts a header that is not complete: the parser keeps all of it
            most = self._limits.max_head_bytes
            if self._fed_bytes > most and max(self._head_bytes(), self._pending_bytes) > most:
                self._refuse(_head_too_large(self._limits))
                return
        if self._state is not _IDLE or not self._unanswered:
            self._arm_deadline()
            self._charge_piece(size_bytes)
        elif self._deadline is not None:
            self._cancel_deadline()

    def _charge_piece(self, size_bytes: int) -> None:
        """Charge a piece of a request that is not whole to who sends it; who sends many is read more seldom.

        Of somebody known only what is cut small: what is large is bounded by the principal's bucket.
        """
        place = self._place
        place.meter.account.charge(NS_OF_A_PIECE + size_bytes)
        if not place.meter.is_over or not self._serving.places.knows_principals:
            return
        if place.is_known if size_bytes >= SMALL_PIECE_BYTES else place.is_operators:
            return
        if len(self._unanswered) <= (self._state is _BODY):  # else it is read when those before it are answered
            self._wire.pause_reading()
            self._loop.call_later(PIECE_PAUSE_S, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self._wire.resume_reading()

    def on_message_begin(self) -> None:
        """Begin counting for a new message."""
        self._state = STEPS[self._state][_HEAD_BEGINS]
        self._messages += 1
        self._target = b""
        self._headers = []
        self._headers_left = self._limits.max_headers
        self._fed_bytes, self._pending_bytes = self._chunk_bytes, 0
        self._body_bytes = self._pieces = 0
        self._is_chunked = self._expects_continue = False
        self._content_length = None

    def on_url(self, url: bytes) -> None:
        """Take the target, or more of it."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those that say how the body is framed or coded are checked as they come."""
        if self._state is not _HEAD:
            raise RefusedError("bad_request", "expected no trailers after the body")
        name = name.lower()
        self._headers.append((name, value))
        self._headers_left -= 1
        if self._headers_left < 0:
            raise RefusedError("headers_too_large", f"expected at most {self._limits.max_headers} headers")
        if name in _NAMES_THAT_FRAME:
            self._check_framing(name, value)

    def on_headers_complete(self) -> None:
        """Check the head as a whole, then let the request be answered in its turn."""
        most = self._limits.max_head_bytes
        if self._fed_bytes > most and self._head_bytes() > most:
            raise RefusedError(*_head_too_large(self._limits))
        parser, target = self._parser, self._target
        version = parser.get_http_version()
        if version not in HTTP_VERSIONS:
            raise RefusedError("bad_request", "expected HTTP/1.1")
        if parser.should_upgrade():
            raise RefusedError("bad_request", "expected plain HTTP/1.1, got an upgrade")
        if not _ABSOLUTE_PATH.fullmatch(target):
            raise RefusedError("not_found", "expected one absolute path as the request target")
        path, query = target, b""
        if b"?" in target:
            path, _, query = target.partition(b"?")
        keep_alive = version != "1.0" and parser.should_keep_alive()
        method = _METHODS[parser.get_method()]
        expects_continue, length = self._expects_continue, self._content_length
        self._begin(Head(method, path, query, self._headers, version, keep_alive, expects_continue, length))
        self._state = STEPS[self._state][_HEAD_ENDS]

    def on_body(self, body: bytes) -> None:
        """Count the body as it comes: a chunked one declares no length."""
        self._body_bytes += len(body)
        self._pieces += 1
        if self._body_bytes > self._limits.max_body_bytes or (self._is_chunked and self._pieces > MAX_PIECES):
            raise _body_too_large(self._limits)
        if self._state is _UNWANTED:
            return
        if self._body_bytes > SMALL_BYTES and not self._place.hold_body(self._body_bytes):
            raise RefusedError("not_ready", "too many bytes of requests and answers wait here")
        self._unanswered[-1].take(body)

    def on_message_complete(self) -> None:
        """The message is whole."""
        if self._state is _BODY:
            self._unanswered[-1].complete()
        self._state = STEPS[self._state][_MESSAGE_ENDS]

    def _head_bytes(self) -> int:
        """What of the head has come whole, without the bytes between its parts."""
        return len(self._target) + sum(len(name) + len(value) for name, value in self._headers)

    def _check_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self._content_length = int(value)  # digits only: llhttp has checked
            if self._content_length > self._limits.max_body_bytes:
                raise _body_too_large(self._limits)
            return
        value = value.strip().lower()
        if name == b"transfer-encoding":
            if value != b"chunked" or self._parser.get_http_version() != "1.1" or self._is_chunked:
                raise RefusedError("bad_request", "expected no transfer coding but one `chunked`")
            self._is_chunked = True
        elif name == b"content-encoding":
            if value != b"identity":
                raise RefusedError("unsupported_media_type", "expected a body without content coding")
        elif value == b"100-continue":
            self._expects_continue = True

    # --- answering ------------------------------------------------------------------------------------------------

    def _begin(self, head: Head) -> None:
        """Have a request answered after those before it."""
        if self._unanswered:
            if len(self._unanswered) > self._limits.max_pipelined:
                raise RefusedError("rate_limited", f"expected at most {self._limits.max_pipelined} requests to wait")
            self._wire.pause_reading()
        serving = self._serving
        self._unanswered.append(serving.exchange_of(self._wire, serving.date, head))
        if self._task is None:
            self._task = self._loop.create_task(Metered(self._answer_all(), self._place.meter))
            serving.tasks.add(self._task)
            self._task.add_done_callback(self._answered_all)
        else:
            self._wake_up()

    def _answered_all(self, task: asyncio.Task[None]) -> None:
        """Say at once what nothing else could; the loop by itself says it when the task is collected, or never."""
        self._serving.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            said = {"message": "a connection failed while it answered", "exception": error, "task": task}
            self._loop.call_exception_handler(said)

    async def _answer_all(self) -> None:
        """Answer what comes, in its order, until the connection closes."""
        unanswered = self._unanswered
        while True:
            while not unanswered:
                if self._state is _CLOSED:
                    return
                self._wake = self._loop.create_future()
                await self._wake
            exchange = unanswered[0]
            try:
                await exchange.run()
            except BaseException:
                self.abort()  # nobody may wait here for an answer that will not come
                raise
            unanswered.popleft()
            if self._state is _BODY and not unanswered:
                self._step(Event.ANSWERED)
            if self._place.body_bytes:
                self._place.release_body()
            if self.transport.is_closing():
                return
            if not exchange.keep_alive or (self._refusal is not None and not unanswered):
                self._finish(exchange)
                return
            self._wire.resume_reading()
            if not unanswered:
                self._become_idle()

    def _finish(self, last: Exchange) -> None:
        if self._refusal is not None and last.keep_alive:  # else its answer said that it is the last one
            self._write_refusal(self._refusal)
        if self._state in PARSED:
            self.transport.close()
        else:
            self._linger()  # the client may still be sending what was refused

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _step(self, event: Event) -> None:
        self._state = STEPS[self._state][event]

    # --- refusing -------------------------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> None:
        """Answer no to the message being read, after those before it, and read nothing more."""
        was = self._state
        self._step(Event.REFUSED)
        self._cancel_deadline()
        self._place.release_body()
        unanswered = self._unanswered
        if was is _BODY and len(unanswered) > 1:
            unanswered.pop()  # nothing of it has been done
        elif was is _BODY:
            partial = unanswered[0]
            partial.keep_alive = False
            partial.lose()  # it may wait for a body of which nothing more will come
            if not partial.response_started:
                self._write_refusal(refusal)
            self._linger()
            return
        if unanswered:
            self._refusal = refusal
            self._wire.pause_reading()
            return
        if was is not _UNWANTED:
            self._write_refusal(refusal)
        self._linger()

    def _write_refusal(self, refusal: Refusal) -> None:
        words = self._serving.refusal_words.get(self._target.partition(b"?")[0])
        self.transport.write(encode_refusal(refusal, words))

    def _turn_away(self, refusal: Refusal) -> None:
        self._step(Event.REFUSED)
        self.transport.write(encode_refusal(refusal))
        self.transport.close()

    def _linger(self) -> None:
        """Close our side, then drop what still comes for a moment, lest the answer is lost (RFC 9112 section 9.6)."""
        if self._state is State.LINGERING:
            return
        self._step(Event.LAST_WRITTEN)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._cancel_deadline()
        self._wire.resume_reading()
        self._deadline = self._loop.call_later(LINGER_MS / 1_000, self.abort)

    # --- deadlines ------------------------------------------------------------------------------------------------

    def _become_idle(self) -> None:
        """Note since when: one timer watches over all the pauses between requests, however many there are."""
        self._idle_since_s = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._limits.keep_alive_ms / 1_000, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close a connection that was idle for its time; one whose last answer is still unread is cut."""
        self._idle_timer = None
        if self._idle_since_s is None:
            return
        left_s = self._idle_since_s + self._limits.keep_alive_ms / 1_000 - self._loop.time()
        if left_s > 0:
            self._idle_timer = self._loop.call_later(left_s, self._close_if_idle)
        elif self.transport.get_write_buffer_size():
            self.abort()
        else:
            self.transport.close()

    def _arm_deadline(self) -> None:
        """Start the clock of the message's phase, once: later bytes of the same message do not wind it again."""
        wanted = (self._state, self._messages)
        if self._deadline is not None and self._deadline_is_for == wanted:
            return
        self._cancel_deadline()
        self._deadline_is_for = wanted
        timeout_ms: int = getattr(self._limits, _DEADLINE_OF[self._state])
        self._deadline = self._loop.call_later(timeout_ms / 1_000, self._deadline_passed)

    def _deadline_passed(self) -> None:
        self._deadline = None
        if self._messages == 0 and self._state is _IDLE:
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


def _refusal_of(error: httptools.HttpParserError) -> Refusal:
    if isinstance(error.__context__, RefusedError):
        return error.__context__.refusal
    return Refusal("bad_request", f"expected an HTTP/1.1 request: {str(error).lower()}")


def _head_too_large(limits: HttpLimits) -> Refusal:
    return Refusal("headers_too_large", f"expected at most {limits.max_head_bytes} bytes of request line and headers")


def _body_too_large(limits: HttpLimits) -> RefusedError:
    return RefusedError("payload_too_large", f"expected a body of at most {limits.max_body_bytes} bytes")
