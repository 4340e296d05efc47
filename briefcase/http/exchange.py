"""One request and its answer, on a connection that has already bounded and framed it (`connection.py`).

Two kinds, alike to the connection: what a `DirectApp` finds in its tables it answers as a value, and the answer's bytes
are written at once; everything else speaks ASGI, through uvicorn's cycle.

 - `take` and `complete` bring the body as it comes; `lose` says that no more will, and that nobody hears the answer
 - `run` answers; the connection closes after one that is not `keep_alive`, which may be taken back until it is begun
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable
from urllib.parse import unquote

import msgspec
import orjson
import structlog
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from briefcase.http.places import SMALL_BYTES, Place
from briefcase.http.routing import Match, Reply
from briefcase.http.sockets import Peer
from briefcase.model.errors import CODES, CallerError
from briefcase.model.types import Principal

SCOPE_KEY: Final = "briefcase"
US_PER_MS: Final = 1_000

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # RFC 9110 section 10.1.1
_JSON_LINE: Final = b"content-type: application/json\r\n"
_CLOSE_AND_BODY: Final = b"connection: close\r\n\r\n"
_CR, _LF = b"\r\n"  # their numbers: much faster to look for
_UVICORN_LOG: Final = logging.getLogger("uvicorn.error")

_log: Final = structlog.get_logger("briefcase.api")


class Wire(msgspec.Struct, frozen=True):
    """A connection, as far as an exchange has to do with it."""

    transport: asyncio.Transport
    flow: FlowControl
    loop: asyncio.AbstractEventLoop
    peer: Peer
    place: Place


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


class GoneError(Exception):
    """The client left before its request was whole: there is nobody to answer."""


class Exchange(Protocol):
    """What the connection asks of either kind."""

    keep_alive: bool
    response_started: bool

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
    """An application that answers what is in its tables itself, without ASGI."""

    def find(self, path: bytes) -> Match[Any] | None:
        """What is at an undecoded path; None leaves the request to ASGI."""
        ...

    async def answer(self, exchange: DirectExchange) -> Reply:
        """Answer one request that was found; a fault is an answer too.

        Raises:
            GoneError: there is nobody to answer.
        """
        ...

    def redact(self, body: bytes, *, is_json: bool) -> bytes:
        """The body of an answer without any known secret."""
        ...


class DirectExchange:
    """A request of the application's own tables. The answer is written in one piece."""

    __slots__ = (
        "_app", "_date", "_is_hurried", "_is_lost", "_is_whole", "_news", "_pieces", "_wire",
        "head", "keep_alive", "match", "peer", "place", "read", "response_started",
    )  # fmt: skip

    def __init__(self, app: DirectApp, wire: Wire, date: Date, head: Head, match: Match[Any]) -> None:
        self.head = head
        self.match = match
        self.peer = wire.peer  # who is at the other end
        self.place = wire.place
        self.read = b""  # what `body` gave
        self.keep_alive = head.keep_alive
        self.response_started = False
        self._app = app
        self._wire = wire
        self._date = date
        self._pieces: list[bytes] = []
        self._is_whole = self._is_lost = self._is_hurried = False
        self._news: asyncio.Event | None = None  # only where somebody waits

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

    def take(self, body: bytes) -> None:
        """Keep a piece of the body, unless it has been answered without."""
        if not self.response_started:
            self._pieces.append(body)

    def complete(self) -> None:
        """Let the body be read."""
        self._is_whole = True
        if self._news is not None:
            self._news.set()

    def lose(self) -> None:
        """Tell who waits for the body, or for this."""
        self._is_lost = True
        if self._news is not None:
            self._news.set()

    @property
    def is_whole(self) -> bool:
        """Whether all of the request has come."""
        return self._is_whole

    async def body(self) -> bytes:
        """The whole body; a client that waits to be asked for it is asked.

        Raises:
            GoneError: it will not come.
        """
        if self.head.expects_continue and not self._is_whole:
            self._wire.transport.write(_CONTINUE)
        while not self._is_whole:
            if self._is_lost:
                raise GoneError
            await self._hear()
        self.read = b"".join(self._pieces)
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

    async def run(self) -> None:
        """Answer, unless there is nobody to hear it."""
        try:
            reply = await self._app.answer(self)
            if self._wire.flow.write_paused:
                await self._wire.flow.drain()  # the client has not read the answer before this one
            data = self._encoded(reply)
        except GoneError:
            return
        except Exception as error:  # noqa: BLE001 - nothing of it may leave, and the connection must not hang
            _log.error("an answer was not made", detail=repr(error), exc_info=error)
            self.keep_alive = False
            data = encode_refusal(Refusal("internal", "something went wrong inside"))
        if self._is_lost:
            return
        self.response_started = True
        if len(data) > SMALL_BYTES:
            self._write_large(data)
        else:
            self._wire.transport.write(data)

    def _write_large(self, data: bytes) -> None:
        """Write what is counted until it is sent: the transport keeps all of it until the last byte is."""
        wire = self._wire
        wire.transport.set_write_buffer_limits(high=0)  # it pauses, and so tells, where a single byte is left
        wire.transport.write(data)
        if wire.flow.write_paused:
            wire.place.hold_unsent(len(data))

    def _encoded(self, reply: Reply) -> bytes:
        payload, parts = reply.payload, [STATUS_LINE[reply.status], self._date.line]
        if isinstance(payload, bytes):
            body = payload
            if not reply.headers:
                parts.append(_JSON_LINE)
        else:
            body = orjson.dumps(payload, default=msgspec.to_builtins)
            parts.append(_JSON_LINE)
        # INVARIANT (answers): these are the only bytes an agent or operator gets of a table's answer
        if not reply.is_filtered:
            body = self._app.redact(body, is_json=not (isinstance(payload, bytes) and reply.headers))
        for name, value in reply.headers:
            if _CR in value or _LF in value:
                raise ValueError(f"expected `{name.decode()}` to be one line")
            parts += (name, b": ", value, b"\r\n")
        if reply.timing_us:
            parts += (b"server-timing: ", encode_server_timing(reply.timing_us), b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(body))
        parts.append(b"\r\n" if self.keep_alive else _CLOSE_AND_BODY)
        if self.head.method != "HEAD":
            parts.append(body)
        return b"".join(parts)

    async def _hear(self) -> None:
        self._wire.flow.resume_reading()  # or nothing would ever come
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()


class AsgiExchange(RequestResponseCycle):
    """A request for an ASGI application, answered by uvicorn's cycle."""

    def __init__(self, app: Any, wire: Wire, date: Date, head: Head) -> None:  # noqa: ANN401 - uvicorn's own type
        super().__init__(
            scope=_scope(wire, head),  # type: ignore[arg-type] # a plain dict
            transport=wire.transport,
            flow=wire.flow,
            logger=_UVICORN_LOG,
            access_logger=_UVICORN_LOG,
            access_log=False,
            default_headers=date.headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.expects_continue,
            keep_alive=head.keep_alive,
            on_response=_do_nothing,
        )
        self._app = app

    def take(self, body: bytes) -> None:
        """Keep a piece of the body; a client faster than the application is held up."""
        if self.response_complete:
            return
        self.body += body
        if len(self.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    def complete(self) -> None:
        """Let the body end."""
        self.more_body = False
        self.message_event.set()

    def lose(self) -> None:
        """Tell the application, at its next `receive`."""
        self.disconnected = True
        self.message_event.set()

    async def run(self) -> None:
        """Run the application."""
        await self.run_asgi(self._app)


def encode_server_timing(timing_us: Mapping[str, int]) -> bytes:
    """Phases and their microseconds as `Server-Timing`, whose durations are milliseconds (W3C Server Timing)."""
    return ", ".join([phase + (_DUR[us] if us < US_PER_MS else _dur(us)) for phase, us in timing_us.items()]).encode()


def _dur(us: int) -> str:
    return f";dur={us / US_PER_MS:.3f}"


_DUR: Final = tuple(map(_dur, range(US_PER_MS)))  # most phases take less than a millisecond, and formatting is not free


def encode_refusal(refusal: Refusal) -> bytes:
    """An answer that no application gives, and the last of its connection."""
    body = orjson.dumps({**refusal._asdict(), "request_id": str(uuid.uuid4())})
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[CODES[refusal.code].http_status] + head + body


def _scope(wire: Wire, head: Head) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": get_local_addr(wire.transport),
        "client": get_remote_addr(wire.transport),
        "scheme": "http",
        "method": head.method,
        "root_path": "",
        "path": unquote(head.path.decode("ascii")),
        "raw_path": head.path,
        "query_string": head.query,
        "headers": head.headers,
        "state": {},
        "extensions": {SCOPE_KEY: wire.peer},
    }


def _do_nothing() -> None:
    """Do nothing: the connection sees that an answer is complete when `run` returns."""
