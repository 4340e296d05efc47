"""Applications that speak ASGI 3, BlackSheep's for one, behind the bounds of `connection.py`.

What ASGI leaves to the server, and what is done here:

| what | here |
|---|---|
| size of a body, time until it is whole | the connection's bounds; an application slower than its client holds it up |
| how a body is framed | here alone: a `content-length` is kept to, `transfer-encoding: chunked` is put by this |
| head and first piece | written in one piece |
| a client that leaves before the answer began | `http.disconnect`; the application goes on: what it does may matter |
| a client that leaves while the answer is written | the application is cancelled: a generator may wait for ever |
| an application that fails, or returns too soon | 500 where nothing is written, else the connection is cut |

Source: ASGI 3.0, HTTP 2.4.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.edges.http.exchange import (
    CLOSE_LINE,
    CONTINUE,
    STATUS_LINE,
    Date,
    GoneError,
    Head,
    Refusal,
    encode_refusal,
)
from briefcase.edges.http.wire import Wire
from briefcase.model.identifiers import FIELD_NAME_CHAR

MAX_KEPT_BYTES: Final = 64 << 10  # of a body that the application has not asked for

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_NAME: Final = re.compile(rf"{FIELD_NAME_CHAR}+".encode())
_NO_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110 section 5.5
_WITHOUT_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

_log: Final = get_logger("briefcase.http")


class _Answer(Enum):
    """How much of an answer there is."""

    NOTHING = auto()
    HEAD = auto()  # it waits for the first piece of its body
    BODY = auto()
    WHOLE = auto()


class AsgiExchange:
    """A request for an ASGI application.

    Args:
        app: answers it.
        wire: the connection.
        date: of the answer.
        head: the request without its body.
    """

    def __init__(self, app: AsgiApp, wire: Wire, date: Date, head: Head) -> None:
        self.keep_alive = head.keep_alive
        self._app = app
        self._wire = wire
        self._date = date
        self._head = head
        # the request
        self._body = bytearray()
        self._is_whole = self._is_lost = False
        self._expects_continue = head.expects_continue
        self._news = asyncio.Event()
        # the answer
        self._answer = _Answer.NOTHING
        self._start = b""
        self._left_bytes: int | None = None  # of the declared length; None where there is none
        self._is_chunked = False
        self._task: asyncio.Task[None] | None = None

    @property
    def response_started(self) -> bool:
        """Whether anything of the answer is written."""
        return self._answer in {_Answer.BODY, _Answer.WHOLE}

    def take(self, body: bytes) -> None:
        """Keep a piece of the body; a client faster than the application is held up."""
        if self._answer is _Answer.WHOLE:
            return
        self._body += body
        if len(self._body) > MAX_KEPT_BYTES:
            self._wire.pause_reading()
        self._news.set()

    def complete(self) -> None:
        """Let the body end."""
        self._is_whole = True
        self._news.set()

    def lose(self) -> None:
        """Tell the application, at its next `receive`; cancel it where its answer is being written."""
        self._is_lost = True
        self._news.set()
        if self._answer is _Answer.BODY and self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Run the application."""
        if self._is_lost and not self._is_whole:
            return
        self._task = asyncio.current_task()
        problem: Exception | None = None
        try:
            await self._app(self._scope(), self._receive, self._send)
        except asyncio.CancelledError:
            if self._task is None or not self._is_lost:
                raise
            self._task.uncancel()  # it was the client's leaving, and it has ended
        except GoneError:
            return
        except Exception as error:  # noqa: BLE001 - nothing of it may leave, and the connection must not hang
            problem = error
        finally:
            self._task = None
        if not self._is_lost and self._answer is not _Answer.WHOLE:
            self._fail(problem)

    def _fail(self, problem: Exception | None) -> None:
        _log.error("an application gave no whole answer", detail=repr(problem), exc_info=problem)
        self.keep_alive = False
        if self.response_started:
            self._wire.transport.abort()  # half an answer must not look whole
        else:
            self._answer = _Answer.WHOLE
            self._wire.write(encode_refusal(Refusal("internal", "something went wrong inside")))

    # --- the application's side -------------------------------------------------------------------------------------

    async def _receive(self) -> Message:
        if self._expects_continue and not self._is_whole and not self.response_started:
            self._wire.write(CONTINUE)
        self._expects_continue = False
        if not self._is_lost and self._answer is not _Answer.WHOLE:
            self._wire.resume_reading()
            await self._news.wait()
            self._news.clear()
        if self._is_lost or self._answer is _Answer.WHOLE:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": not self._is_whole}

    async def _send(self, message: Message) -> None:
        if self._wire.is_write_paused:
            await self._wire.drain()
        if self._is_lost:
            raise GoneError
        expected = "http.response.start" if self._answer is _Answer.NOTHING else "http.response.body"
        if self._answer is _Answer.WHOLE or message["type"] != expected:
            raise RuntimeError(f"expected `{expected}` of an answer that is not whole, got `{message['type']}`")
        if self._answer is _Answer.NOTHING:
            self._start = self._encode_start(message["status"], message.get("headers", ()))
            self._answer = _Answer.HEAD
        else:
            self._write_piece(bytes(message.get("body", b"")), is_last=not message.get("more_body", False))

    def _encode_start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        parts = [STATUS_LINE[status], self._date.line]
        for name, value in headers:
            lower = name.lower()
            if not _NAME.fullmatch(name) or _NO_VALUE.search(value):
                raise ValueError(f"expected a header of one line, got `{name.decode('latin-1')}`")
            if lower == b"transfer-encoding":
                if value != b"chunked":
                    raise ValueError("expected no transfer coding but `chunked`")
                continue
            if lower == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            if lower == b"content-length":
                self._left_bytes = int(value)
            parts += (lower, b": ", value, b"\r\n")
        if self._head.method == "HEAD" or status in _WITHOUT_BODY:
            self._left_bytes = 0
        elif self._left_bytes is None and self._head.version == "1.1":
            self._is_chunked = True  # an older client reads until the end: RFC 9112 section 6.1
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n" if self.keep_alive else CLOSE_LINE + b"\r\n")
        return b"".join(parts)

    def _write_piece(self, body: bytes, *, is_last: bool) -> None:
        if self._head.method == "HEAD":
            body = b""
        if self._left_bytes is not None:
            self._left_bytes -= len(body)
            if self._left_bytes < 0 or (is_last and self._left_bytes):
                raise ValueError("expected a body as long as its `content-length` says")
        elif self._is_chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if is_last else b"")
        self._answer = _Answer.WHOLE if is_last else _Answer.BODY
        start, self._start = self._start, b""
        self._wire.write(start + body)
        if is_last:
            self._news.set()
        elif start:
            self._wire.resume_reading()  # or the client's leaving would not be seen

    def _scope(self) -> Scope:
        head, wire = self._head, self._wire
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": head.version,
            "server": _address(wire.transport.get_extra_info("sockname")),
            "client": _address(wire.transport.get_extra_info("peername")),
            "scheme": "http",
            "method": head.method,
            "root_path": "",
            "path": unquote(head.path.decode("ascii")),
            "raw_path": head.path,
            "query_string": head.query,
            "headers": head.headers,
            "state": {},
        }


def _address(name: object) -> tuple[str, int | None] | None:
    """A socket's address as ASGI has it: host and port, or the path of a Unix socket; None where it has none."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) and name else None
