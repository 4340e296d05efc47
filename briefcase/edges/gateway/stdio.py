"""MCP over standard input and output: one message a line, one agent, both eras on one channel.

Standard output carries messages and nothing else. The end of standard input ends everything that runs.

Source: MCP 2025-11-25 and 2026-07-28, stdio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.mcp.jsonrpc import (
    INVALID_REQUEST,
    PARSE_ERROR,
    Message,
    Notification,
    Request,
    RequestId,
    Response,
    RpcError,
    encode_error,
    encode_result,
    parse_messages,
)
from briefcase.core.mcp.protocol import BATCH_REVISIONS
from briefcase.edges.gateway.channels import LineChannel, Write
from briefcase.edges.gateway.connection import (
    Core,
    internal_error,
    is_stateless_message,
    not_initialized,
    session_context,
    stateless_context,
)
from briefcase.edges.gateway.context import Channel
from briefcase.edges.gateway.session import MAX_RUNNING, Session
from briefcase.edges.gateway.view import View
from briefcase.model.types import JsonObject

MAX_LINE_BYTES: Final = 1 << 20

_log: Final = get_logger("briefcase.gateway")


class StdioConnection:
    """One client at the other end of two pipes.

    Args:
        core: methods and feed.
        token: the agent's, from the environment.
        view: what it sees.
        write_line: writes one message and its line end, whole.
    """

    def __init__(self, core: Core, token: str, view: View, write_line: Write) -> None:
        self._core = core
        self._token = token
        self._view = view
        self._write_line = write_line
        self._session: Session | None = None
        self._opened: asyncio.Event | None = None  # set once the `initialize` that came is answered
        self._running: dict[RequestId, asyncio.Task[None]] = {}
        self._telling: asyncio.Task[None] | None = None

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Serve until the input ends; `reader` was made with `limit=MAX_LINE_BYTES`."""
        try:
            while True:
                try:
                    line = await reader.readuntil(b"\n")
                except asyncio.IncompleteReadError as error:
                    line = error.partial  # a last line without its end
                    if not line:
                        return
                except asyncio.LimitOverrunError as error:
                    await _skip_line(reader, error.consumed)
                    too_long = RpcError(PARSE_ERROR, f"expected a line of at most {MAX_LINE_BYTES} bytes")
                    await self._write_line(encode_error(too_long))
                    continue
                if line.strip():
                    await self.take(line)
        finally:
            await self.close()

    async def take(self, line: bytes) -> None:
        """Take one line: a message, or a batch where the revision has them."""
        try:
            parsed = parse_messages(line)
            if isinstance(parsed, Sequence):
                if self._session is None or self._session.revision not in BATCH_REVISIONS:
                    raise RpcError(INVALID_REQUEST, "expected one message, got a batch")  # noqa: TRY301 - answered below
                for message in parsed:
                    await self._take(message)
            else:
                await self._take(parsed)
        except RpcError as error:
            await self._write_line(encode_error(error))

    async def close(self) -> None:
        """End what runs, and wait for it."""
        tasks = [*self._running.values(), *([self._telling] if self._telling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            self._session.close()

    async def _take(self, message: Message) -> None:
        match message:
            case Request():
                self._start(message)
            case Notification("notifications/cancelled", params):
                wanted = params.get("requestId")
                task = self._running.get(wanted) if isinstance(wanted, str | int) else None
                if task is not None:
                    task.cancel()
            case Notification():
                pass
            case Response():
                if self._session is not None:
                    self._session.settle(message)

    def _start(self, request: Request) -> None:
        if request.id in self._running:
            shown = str(request.id)[:64]
            raise RpcError(INVALID_REQUEST, f"the request id `{shown}` is in use", request_id=request.id)
        if len(self._running) >= MAX_RUNNING:
            raise RpcError(INVALID_REQUEST, f"more than {MAX_RUNNING} requests are running", request_id=request.id)
        task = asyncio.create_task(self._run(request))
        self._running[request.id] = task
        task.add_done_callback(lambda _: self._running.pop(request.id, None))

    async def _run(self, request: Request) -> None:
        try:
            answer = encode_result(request.id, await self._answer(request))
        except RpcError as error:
            answer = encode_error(error, request.id)
        except Exception:  # noqa: BLE001 - whatever fails inside, the client gets an answer, and no detail
            _log.exception("request_failed", method=request.method)
            answer = encode_error(internal_error(), request.id)
        await self._write_line(answer)

    async def _answer(self, request: Request) -> JsonObject:
        channel = LineChannel(self._write_line, self._session)
        if is_stateless_message(request.params):
            context = stateless_context(request, self._token, self._view, channel)
            return await self._core.answer(request, context, None)
        if request.method == "initialize":
            return await self._initialize(request, channel)
        if self._opened is not None and request.method != "ping":
            await self._opened.wait()  # what came behind an `initialize` is of the session that it opens
        session = self._session
        if session is None:
            if request.method == "ping":  # the one request allowed before the handshake (lifecycle)
                return {}
            raise not_initialized(request.id)
        return await self._core.answer(request, session_context(session, channel), session)

    async def _initialize(self, request: Request, channel: Channel) -> JsonObject:
        if self._opened is not None:
            await self._opened.wait()
        if self._session is not None:
            raise RpcError(INVALID_REQUEST, "expected one `initialize`", request_id=request.id)
        self._opened = opened = asyncio.Event()
        try:
            self._session, result = await self._core.open_session(request, self._token, self._view, channel)
        finally:
            opened.set()
        self._telling = asyncio.create_task(
            self._core.tell_changes(self._session, LineChannel(self._write_line, self._session))
        )
        return result


async def _skip_line(reader: asyncio.StreamReader, consumed: int) -> None:
    """Read past a line that is too long, keeping none of it."""
    while True:
        await reader.readexactly(consumed)
        try:
            await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            consumed = error.consumed
        except asyncio.IncompleteReadError:
            return
        else:
            return
