"""One request and its answer, on a connection that has already bounded and framed it (`connection.py`).

 - `take` and `complete` bring the body as it comes; `lose` says that no more will, and that nobody hears the answer
 - `run` answers; the connection closes after one that is not `keep_alive`, which may be taken back until it is begun

A `DirectApp` answers with a value: a body, which is written in one piece with its head, or a stream of pieces. Other
applications are served over ASGI (`asgi.py`).

# INVARIANT (gone): when the client leaves, the source of a stream is closed, whatever it waits for.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec
import orjson

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.edges.http.places import SMALL_BYTES
from briefcase.edges.http.routing import Reply, Stream
from briefcase.edges.http.wire import Wire
from briefcase.model.errors import CODES, CallerError
from briefcase.model.types import Principal

US_PER_MS: Final = 1_000
# RFC 9112 section 4
STATUS_LINE: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
CLOSE_LINE: Final = b"connection: close\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # RFC 9110 section 10.1.1

_JSON_LINE: Final = b"content-type: application/json\r\n"
_CLOSE_AND_BODY: Final = CLOSE_LINE + b"\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_CR, _LF = b"\r\n"  # their numbers: much faster to look for

_NO_CONTENT: Final = HTTPStatus.NO_CONTENT  # RFC 9110 section 8.6: it has no `content-length`

_log: Final = get_logger("briefcase.http")


class Head(msgspec.Struct, frozen=True):
    """A request without its body; `path` is undecoded, header names are in lower case."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    version: str
    keep_alive: bool
    expects_continue: bool
    content_length: int | None = None


class Refusal(NamedTuple):
    """Why a request is not taken."""

    code: str
    message: str


RefusalWords: TypeAlias = Callable[[str, str], Mapping[str, object]]  # code and message, as the body of an answer


class Date:
    """The `date` of answers, in both shapes it is needed in; none before the first tick (RFC 9110 section 6.6.1)."""

    def __init__(self) -> None:
        self.line = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def tick(self) -> None:
        """Read the clock; it counts whole seconds."""
        date = formatdate(usegmt=True).encode()
        self.line = b"date: %b\r\n" % date
        self.headers = [(b"date", date)]


class GoneError(ConnectionError):
    """The client left before its request was whole: there is nobody to answer."""


class Exchange(Protocol):
    """What the connection asks of either kind."""

    keep_alive: bool

    @property
    def response_started(self) -> bool:
        """Whether anything of the answer is written."""
        ...

    def take(self, body: bytes) -> None:
        """The next piece of the body."""
        ...

    def complete(self) -> None:
        """The body is whole."""
        ...

    def lose(self) -> None:
        """The client is gone, or refused: nothing of this may be written any more."""
        ...

    async def run(self) -> None:
        """Answer."""
        ...


@runtime_checkable
class DirectApp(Protocol):
    """An application that answers with values.

    `knows_principals` tells whether it claims each connection for whom it answers (`places.Place.claim`).
    """

    knows_principals: bool

    async def answer(self, exchange: DirectExchange) -> Reply:
        """Answer one request; a fault is an answer too.

        Raises:
            GoneError: there is nobody to answer.
        """
        ...

    def redact(self, body: bytes, *, is_json: bool) -> bytes:
        """The body of an answer without any known secret."""
        ...


class DirectExchange:
    """A request that a `DirectApp` answers.

    Args:
        app: answers it.
        wire: the connection.
        date: of the answer.
        head: the request without its body.
    """

    __slots__ = (
        "_app", "_date", "_is_hurried", "_is_lost", "_more", "_news", "_on_gone", "_streaming", "_wire",
        "head", "is_whole", "keep_alive", "peer", "place", "read", "response_started",
    )  # fmt: skip

    def __init__(self, app: DirectApp, wire: Wire, date: Date, head: Head) -> None:
        self.head = head
        self.peer = wire.peer  # who is at the other end
        self.place = wire.place
        self.is_whole = False  # whether all of the request has come
        self.read = b""  # the body, once it is whole
        self.keep_alive = head.keep_alive
        self.response_started = False
        self._app = app
        self._wire = wire
        self._date = date
        self._more: list[bytes] = []  # the pieces after the first
        self._is_lost = self._is_hurried = False
        self._news: asyncio.Event | None = None  # only where somebody waits
        self._on_gone: Callable[[], object] | None = None
        self._streaming: asyncio.Task[None] | None = None  # only while a stream is written

    def claim(self, principal: Principal) -> None:
        """Say whose request this is.

        Raises:
            CallerError: the connections have no room for it: this answer is the last one here.
        """
        try:
            self.place.claim(principal)
        except CallerError:
            self.keep_alive = False
            raise

    def pause(self) -> None:
        """Read nothing more of the connection until this is answered, or its body is waited for."""
        self._wire.pause_reading()

    def take(self, body: bytes) -> None:
        """Keep a piece of the body, unless it has been answered without."""
        if self.response_started:
            return
        if self.read:
            self._more.append(body)
        else:
            self.read = body

    def complete(self) -> None:
        """Let the body be read."""
        self.is_whole = True
        if self._more:
            self.read = b"".join((self.read, *self._more))
            self._more.clear()
        if self._news is not None:
            self._news.set()

    def lose(self) -> None:
        """Tell who waits for the body, or for this; end a stream, whatever its source waits for."""
        self._is_lost = True
        if self._news is not None:
            self._news.set()
        if self._on_gone is not None:
            self._on_gone()
        if self._streaming is not None:
            self._streaming.cancel()

    async def body(self) -> bytes:
        """The whole body; a client that waits to be asked for it is asked.

        Raises:
            GoneError: it will not come.
        """
        if self.head.expects_continue and not self.is_whole:
            self._wire.write(CONTINUE)
        while not self.is_whole:
            if self._is_lost:
                raise GoneError
            await self._hear()
        return self.read

    async def until_gone(self) -> None:
        """Return when the client has left, or is to be answered with what there is (`hurry`)."""
        while not (self._is_lost or self._is_hurried):
            await self._hear()

    def hurry(self) -> None:
        """End a long poll: its connection is needed."""
        self._is_hurried, self.keep_alive = True, False
        if self._news is not None:
            self._news.set()

    def when_gone(self, act: Callable[[], object]) -> None:
        """Have something done when the client leaves before its answer is written."""
        self._on_gone = act
        self._wire.resume_reading()  # or its leaving would not be seen

    async def run(self) -> None:
        """Answer, unless there is nobody to hear it. A request that came whole is answered though its client left."""
        if self._is_lost and not self.is_whole:
            return
        wire = self._wire
        try:
            reply = await self._app.answer(self)
            if wire.is_write_paused:
                await wire.drain()  # the client has not read the answer before this one
            if reply.payload.__class__ is Stream:
                await self._write_stream(reply, reply.payload)
                return
            data = self._encoded(reply)
        except GoneError:
            return
        except Exception as error:  # noqa: BLE001 - nothing of it may leave, and the connection must not hang
            _log.error("an answer was not made", detail=repr(error), exc_info=error)
            self.keep_alive = False
            if self.response_started:
                wire.transport.abort()  # half a stream must not look whole
                return
            data = encode_refusal(Refusal("internal", "something went wrong inside"))
        if self._is_lost:
            return
        self.response_started = True
        if len(data) > SMALL_BYTES:
            self._write_large(data)
        else:
            wire.write(data)

    async def _write_stream(self, reply: Reply, stream: Stream) -> None:
        """Write the pieces of an answer as they come, no faster than the client reads.

        # INVARIANT (answers): nothing redacts a piece, which may hold half a secret: its source has done so.
        """
        if not reply.is_filtered:
            raise ValueError("expected a stream that is filtered")
        head, is_chunked = self._stream_head(reply)
        async with aclosing(stream.pieces) as pieces:
            if not self._is_lost:
                self.response_started = True
                self._wire.write(head)
                await self._write_pieces(pieces, is_chunked=is_chunked)

    async def _write_pieces(self, pieces: AsyncIterator[bytes], *, is_chunked: bool) -> None:
        wire = self._wire
        self._streaming = task = asyncio.current_task()
        wire.resume_reading()  # or the client's leaving would not be seen
        try:
            async for piece in pieces:
                if piece:  # a chunk of no bytes is the last one
                    wire.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                if wire.is_write_paused:
                    await wire.drain()
            if is_chunked:
                wire.write(_LAST_CHUNK)
        except asyncio.CancelledError:
            if task is None or not self._is_lost:
                raise
            task.uncancel()  # it was the client's leaving, and it has ended
        finally:
            self._streaming = None

    def _write_large(self, data: bytes) -> None:
        """Write what is counted until it is sent: the transport keeps all of it until the last byte is."""
        wire = self._wire
        wire.transport.set_write_buffer_limits(high=0)  # it pauses, and so tells, where a single byte is left
        wire.write(data)
        if wire.is_write_paused:
            wire.place.hold_unsent(len(data))

    def _encoded(self, reply: Reply) -> bytes:
        payload, status, headers = reply.payload, reply.status, reply.headers
        if isinstance(payload, bytes):
            body, is_json = payload, not headers
        else:
            body, is_json = orjson.dumps(payload, default=msgspec.to_builtins), True
        # INVARIANT (answers): these are the only bytes an agent or operator gets of a table's answer
        if not reply.is_filtered:
            body = self._app.redact(body, is_json=is_json)
        return b"".join(
            (
                STATUS_LINE[status],
                self._date.line,
                _JSON_LINE if is_json and body else b"",
                _header_lines(headers) if headers else b"",
                b"server-timing: %b\r\n" % encode_server_timing(reply.timing_us) if reply.timing_us else b"",
                b"content-length: %d\r\n" % len(body) if body or status != _NO_CONTENT else b"",
                b"\r\n" if self.keep_alive else _CLOSE_AND_BODY,
                b"" if self.head.method == "HEAD" else body,
            )
        )

    def _stream_head(self, reply: Reply) -> tuple[bytes, bool]:
        """The head of a stream, and whether its pieces are chunks: an HTTP/1.0 client reads until the end."""
        is_chunked = self.head.version == "1.1"
        parts = [STATUS_LINE[reply.status], self._date.line, _header_lines(reply.headers)]
        if is_chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n" if self.keep_alive else _CLOSE_AND_BODY)
        return b"".join(parts), is_chunked

    async def _hear(self) -> None:
        self._wire.resume_reading()  # or nothing would ever come
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()


def _header_lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    lines = b""
    for name, value in headers:
        if _CR in value or _LF in value:
            raise ValueError(f"expected `{name.decode()}` to be one line")
        lines += b"%b: %b\r\n" % (name, value)
    return lines


def encode_server_timing(timing_us: Mapping[str, int]) -> bytes:
    """Phases and their microseconds as `Server-Timing`, whose durations are milliseconds (W3C Server Timing)."""
    text = ""
    for phase, us in timing_us.items():
        text += f", {phase}{_DUR[us] if us < US_PER_MS else _dur(us)}"
    return text[2:].encode()


def _dur(us: int) -> str:
    return f";dur={us / US_PER_MS:.3f}"


_DUR: Final = tuple(map(_dur, range(US_PER_MS)))  # most phases take less than a millisecond, and formatting is not free


def encode_refusal(refusal: Refusal, words: RefusalWords | None = None) -> bytes:
    """An answer that no application gives, and the last of its connection.

    Args:
        refusal: why.
        words: says it in the words of who asks, who takes an answer other than a 200 for none.
    """
    told: Mapping[str, object]
    if words is None:
        told, status = {**refusal._asdict(), "request_id": str(uuid.uuid4())}, CODES[refusal.code].http_status
    else:
        told, status = words(*refusal), HTTPStatus.OK
    body = orjson.dumps(told)
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[status] + head + body
