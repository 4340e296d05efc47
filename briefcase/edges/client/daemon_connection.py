"""One kept HTTP/1.1 connection to the daemon: one request at a time, one strict answer each.

A general client spends more on a request than the gateway does on everything else (docs/adr/0016); this knows one
server, which frames its answers by length. What ends the connection, with the answer refused:

| what | why |
|---|---|
| bytes nobody asked for, before a request or after its answer | they could be taken for the next one's answer |
| what llhttp refuses, another version, an interim or upgraded answer | two readers could disagree about its end |
| a head past `MAX_HEAD_BYTES`, an answer past `max_answer_bytes` | memory |
| the end of the stream before the answer's | half an answer is none |
| a caller that is cancelled, or waits too long | its answer may still come, and must meet nobody |

# INVARIANT (one answer): a connection takes a new request only after the whole answer to the last one, and nothing
else, has come.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Final, NamedTuple, cast

import httptools

MAX_HEAD_BYTES: Final = 16 << 10
_FIRST_FINAL_STATUS: Final = HTTPStatus.OK


class Answer(NamedTuple):
    """A whole answer; `server_timing` only where its reader keeps that header."""

    status: int
    body: bytes
    server_timing: str = ""


class BrokenAnswerError(Exception):
    """The other end does not answer as HTTP/1.1 says, answers more than is taken, or ends before its answer does."""


class DaemonConnection(asyncio.Protocol):
    """One connection, from `connection_made` to `connection_lost`.

    Args:
        max_answer_bytes: how long an answer may be, its head included.
    """

    def __init__(self, max_answer_bytes: int) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._waiting: asyncio.Future[Answer] | None = None
        self._is_expecting = False
        self._is_in_head = False
        self._answer_bytes = 0
        self._pieces: list[bytes] = []
        self._idle_since_s = self._loop.time()

    @property
    def is_free(self) -> bool:
        """Whether a request can be sent now."""
        return self._waiting is None and self._transport is not None and not self._transport.is_closing()

    @property
    def socket(self) -> socket.socket:
        """The socket, to ask it who is at the other end.

        Raises:
            BrokenAnswerError: the connection is gone.
        """
        found = None if self._transport is None else self._transport.get_extra_info("socket")
        if found is None:
            raise BrokenAnswerError("the connection is gone")
        return cast("socket.socket", found)

    @property
    def idle_s(self) -> float:
        """How long it has been free."""
        return self._loop.time() - self._idle_since_s

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """Send one whole request and await the whole answer.

        Args:
            request: head and body; the connection must be free.
            timeout_s: how long that may take.

        Raises:
            BrokenAnswerError: there is no answer, or none that can be taken.
            TimeoutError: it did not come in time.
        """
        transport = self._transport
        if transport is None or not self.is_free:
            raise BrokenAnswerError("the connection is not free")
        waiting: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting = waiting
        self._is_expecting = self._is_in_head = True
        self._answer_bytes = 0
        self._pieces = []
        deadline = self._loop.call_later(timeout_s, self._fail, TimeoutError("no answer in time"))
        try:
            transport.write(request)
            return await waiting
        finally:
            deadline.cancel()
            self._waiting = None
            if self._is_expecting:  # cancelled: what still comes must meet nobody
                transport.abort()

    def cut(self) -> None:
        """Begin to end the connection, whatever is under way on it."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Cut the connection; returns when it is gone."""
        if self._transport is not None:
            self.cut()
            await asyncio.shield(self._closed)

    # --- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]  # a stream's transport is one that writes
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Take what came, within the bounds."""
        if not self._is_expecting or self._parser is None:
            self._fail(BrokenAnswerError("bytes came that nobody asked for"))
            return
        self._answer_bytes += len(data)
        if self._answer_bytes > self._max_answer_bytes:
            self._fail(BrokenAnswerError(f"the answer is larger than {self._max_answer_bytes} bytes"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(
                cause if isinstance(cause, BrokenAnswerError) else BrokenAnswerError("the answer is no HTTP/1.1")
            )
            return
        if self._is_in_head and self._answer_bytes > MAX_HEAD_BYTES:
            self._fail(BrokenAnswerError(f"the answer's head is larger than {MAX_HEAD_BYTES} bytes"))

    def connection_lost(self, _exc: Exception | None) -> None:
        """End; half an answer is none."""
        self._fail(BrokenAnswerError("the connection was closed before the answer was whole"))
        self._transport = self._parser = None  # the parser holds us: nothing is left for the collector to find
        if not self._closed.done():
            self._closed.set_result(None)

    # --- httptools -------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins: the one that is waited for, or one too many."""
        if not self._is_expecting:
            raise BrokenAnswerError("more than one answer came")

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        parser = self._parser
        if parser is None or parser.get_http_version() != "1.1" or parser.get_status_code() < _FIRST_FINAL_STATUS:
            raise BrokenAnswerError("expected a final answer in HTTP/1.1")
        self._is_in_head = False

    def on_body(self, body: bytes) -> None:
        """A piece of its body came."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """It is whole."""
        parser, waiting = self._parser, self._waiting
        self._is_expecting = False
        self._idle_since_s = self._loop.time()
        if parser is None or waiting is None or waiting.done():
            return
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        waiting.set_result(Answer(parser.get_status_code(), body))
        if not parser.should_keep_alive() and self._transport is not None:
            self._transport.close()

    def _fail(self, fault: Exception) -> None:
        """Refuse the answer that is waited for, if one is, and cut the connection."""
        self._is_expecting = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(fault)
        if self._transport is not None:
            self._transport.abort()
