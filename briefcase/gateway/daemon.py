"""The gateway's way to the daemon: kept connections over its Unix socket, with the calling agent's own token.

What the daemon answers is trusted as to its form only as far as the contract goes; a daemon that can not be reached,
or that refuses the token, is a `DaemonError`, and the agent is told no more than its message.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final, Self
from urllib.parse import urlsplit

import orjson

from briefcase.api.protocol import HttpLimits
from briefcase.gateway.daemon_connection import Answer, BrokenAnswerError, DaemonConnection
from briefcase.gateway.settings import GatewaySettings, is_token
from briefcase.telemetry.tracing import CURRENT
from briefcase.types import JsonObject

MAX_ANSWER_BYTES: Final = 16 << 20
MAX_CONNECTIONS: Final = 256
ANSWER_TIMEOUT_S: Final = 120.0  # past every deadline of the daemon's own: it, not we, ends a call
CONNECT_TIMEOUT_S: Final = 5.0
IDLE_MARGIN_S: Final = 15.0  # a request that is under way when the daemon closes its connection is lost
MAX_IDLE_S: Final = HttpLimits().keep_alive_ms / 1_000 - IDLE_MARGIN_S
_TARGET: Final = re.compile(r"/[!-~]{0,2047}")  # nothing in it can end a request line
_DEFAULT_PORT: Final = 80


class DaemonError(Exception):
    """The daemon refused a request, or could not be asked. `status` is its HTTP status, 0 where there was none."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Daemon:
    """One pool of connections to one daemon; use it as a context manager.

    A connection that is lost while nobody uses it is forgotten, and one that was idle for `MAX_IDLE_S` is closed before
    the daemon closes it. A request is never sent twice.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._socket = settings.daemon_socket
        parts = urlsplit(settings.daemon_url or "http://briefcase")
        self._host, self._port = parts.hostname or "", parts.port or _DEFAULT_PORT
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._authority = shown if self._socket is not None else f"{shown}:{self._port}"
        self._prefix = parts.path.rstrip("/")
        self._connections: list[DaemonConnection] = []
        self._free: list[DaemonConnection] = []
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._free.clear()
        for connection in list(self._connections):
            await connection.close()

    async def get(self, token: str, path: str) -> JsonObject:
        """Ask for one document.

        Raises:
            DaemonError: refused, unreachable, or not a JSON object within the bound.
        """
        return await self._ask("GET", token, path, None)

    async def post(self, token: str, path: str, body: bytes) -> JsonObject:
        """Send one JSON document and read the answer. Raises as `get`."""
        return await self._ask("POST", token, path, body)

    async def _ask(self, method: str, token: str, path: str, body: bytes | None) -> JsonObject:
        request = self._request(method, token, path, body)
        try:
            async with self._slots:
                answer = await self._exchange(request)
        except (BrokenAnswerError, OSError) as error:  # `TimeoutError` is an `OSError`
            raise _unreachable(error) from None
        if answer.status != 200:  # noqa: PLR2004 - OK
            raise _refused(answer)
        return _object(answer.body)

    def _request(self, method: str, token: str, path: str, body: bytes | None) -> bytes:
        if not is_token(token) or not _TARGET.fullmatch(path):
            raise DaemonError(0, "bad_request", "expected a token and a path that can be sent")
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\nhost: {self._authority}\r\nauthorization: Bearer {token}\r\n"
        ).encode()
        trace = CURRENT.get()
        if trace is not None:
            head += b"traceparent: %b\r\n" % trace.traceparent().encode()
        if body is None:
            return head + b"\r\n"
        return b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (head, len(body), body)

    async def _exchange(self, request: bytes) -> Answer:
        connection = self._taken() or await self._connect()
        try:
            return await connection.ask(request, ANSWER_TIMEOUT_S)
        finally:
            if connection.is_free:
                self._free.append(connection)
            else:
                self._connections.remove(connection)

    def _taken(self) -> DaemonConnection | None:
        """The connection used last. Those under one that was idle for too long were idle for longer."""
        while self._free:
            connection = self._free.pop()
            if connection.is_free and connection.idle_s < MAX_IDLE_S:
                return connection
            connection.cut()
            self._connections.remove(connection)
        return None

    async def _connect(self) -> DaemonConnection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if self._socket is not None:
                _, connection = await loop.create_unix_connection(_new_connection, str(self._socket))
            else:
                _, connection = await loop.create_connection(_new_connection, self._host, self._port)
        self._connections.append(connection)
        return connection


def _new_connection() -> DaemonConnection:
    return DaemonConnection(MAX_ANSWER_BYTES)


def _object(data: bytes) -> JsonObject:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise DaemonError(0, "internal", "the daemon's answer is not the expected JSON")
    return value


def _refused(answer: Answer) -> DaemonError:
    try:
        body = _object(answer.body)
    except DaemonError:
        body = {}
    told = str(body.get("message", f"the daemon said {answer.status}"))
    return DaemonError(answer.status, str(body.get("code", "internal")), told)


def _unreachable(error: BaseException) -> DaemonError:
    return DaemonError(0, "daemon_unreachable", f"the daemon can not be reached ({type(error).__name__})")
