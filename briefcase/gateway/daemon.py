"""The gateway's way to the daemon: kept connections over its Unix socket, with the calling agent's own token.

Before a connection carries a token, the daemon on the other end is the one expected (`client/expected.py`); before a
token is used, it is an agent's: the operator's token could approve what an agent asks for, so the gateway refuses it.
What the daemon answers is trusted as to its form only as far as the contract goes; a daemon that cannot be reached, or
that refuses the token, is a `DaemonError`, and the agent is told no more than its message.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from typing import Final, Self
from urllib.parse import urlsplit

import orjson

from briefcase.api.protocol import HttpLimits
from briefcase.capability.identity_proof import authority_of
from briefcase.client.proof import PROOF_PATH, Proof
from briefcase.errors import BriefcaseError
from briefcase.gateway.daemon_connection import Answer, BrokenAnswerError, DaemonConnection
from briefcase.gateway.settings import GatewaySettings, is_token
from briefcase.telemetry.tracing import CURRENT
from briefcase.types import JsonObject, Role

MAX_ANSWER_BYTES: Final = 16 << 20
MAX_CONNECTIONS: Final = 256
MAX_KNOWN_AGENTS: Final = 4_096
IDENTITY_PATH: Final = "/v1/identity"
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
        self._expected = settings.expected
        self._agents: OrderedDict[str, None] = OrderedDict()  # tokens that are known to be agents'
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
        if token not in self._agents:
            await self._check_agent(token)
        return await self._answered(request)

    async def _check_agent(self, token: str) -> None:
        """Check that a token is an agent's. The daemon still refuses one that is revoked later.

        Raises:
            DaemonError: it is somebody else's (`forbidden`), or as `get`.
        """
        asker = await self._answered(self._request("GET", token, IDENTITY_PATH, None))
        if asker.get("role") != Role.AGENT:
            raise DaemonError(
                403, "forbidden", "expected an agent's token, as `briefcase agents add NAME` prints it, got another one"
            )
        self._agents[token] = None
        if len(self._agents) > MAX_KNOWN_AGENTS:
            self._agents.popitem(last=False)

    async def _answered(self, request: bytes) -> JsonObject:
        try:
            async with self._slots:
                answer = await self._exchange(request)
        except (BrokenAnswerError, OSError) as error:  # `TimeoutError` is an `OSError`
            raise _unreachable(error) from None
        except BriefcaseError as error:
            raise DaemonError(0, error.code, error.message) from None
        if answer.status != 200:  # noqa: PLR2004 - OK
            raise _refused(answer)
        return _object(answer.body)

    def _request(self, method: str, token: str | None, path: str, body: bytes | None) -> bytes:
        if (token is not None and not is_token(token)) or not _TARGET.fullmatch(path):
            raise DaemonError(0, "bad_request", "expected a token and a path that can be sent")
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\nhost: {self._authority}\r\n".encode()
        if token is not None:
            head += b"authorization: Bearer %b\r\n" % token.encode()
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
            try:
                await self._check_daemon(connection)
            except BaseException:
                connection.cut()
                raise
        self._connections.append(connection)
        return connection

    async def _check_daemon(self, connection: DaemonConnection) -> None:
        """Check who answers on a new connection, before it carries a token.

        Raises:
            BriefcaseError: not the daemon that is expected (`untrusted_daemon`).
        """
        if self._socket is not None:
            self._expected.check_socket(connection.socket, str(self._socket))
            return
        proof = Proof(self._expected, authority_of(*connection.socket.getpeername()[:2]))
        answer = Answer(0, b"")
        if self._expected.did is not None:
            request = self._request("POST", None, PROOF_PATH, proof.body)
            answer = await connection.ask(request, CONNECT_TIMEOUT_S)
        proof.check(answer.body)


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
