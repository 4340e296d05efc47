"""The gateway's way to the daemon: kept connections over its Unix socket, with the calling agent's own token.

Before a connection carries a token, the daemon on the other end is the one expected (`client/expected.py`); before a
token is used, it is an agent's: the operator's token could approve what an agent asks for, so the gateway refuses it.
What the daemon answers is read once, as the wire's struct of its endpoint. A daemon that cannot be reached, that
refuses the token or answers something else is a `DaemonError`, and the agent is told no more than its message.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from http import HTTPStatus
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from briefcase.adapters.telemetry.tracing import CURRENT
from briefcase.core.wire.errors import ErrorAnswer
from briefcase.core.wire.identity import IdentityAnswer
from briefcase.core.wire.reading import Kind, read_answer
from briefcase.edges.client.daemon_connection import Answer, BrokenAnswerError, DaemonConnection
from briefcase.edges.client.pool import Connections, Place
from briefcase.edges.client.reply import Reply
from briefcase.edges.gateway.settings import GatewaySettings, is_token
from briefcase.edges.gateway.slots import Slots
from briefcase.model.errors import BriefcaseError
from briefcase.model.types import Role

_T = TypeVar("_T")
MAX_ANSWER_BYTES: Final = 16 << 20
MAX_CONNECTIONS: Final = 256
NEWCOMER_RESERVE: Final = 64  # beyond, for agents that have next to none
MAX_KNOWN_AGENTS: Final = 4_096
_NOBODY: Final = ""  # whose token may be anything yet: all of them together have what one agent has
IDENTITY_PATH: Final = "/v1/identity"
ANSWER_TIMEOUT_S: Final = 660.0  # past every deadline of the daemon's own: it, not we, ends a call
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
    """One pool of connections to one daemon; use it as a context manager. A request is never sent twice."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._agents: OrderedDict[str, None] = OrderedDict()  # tokens that are known to be agents'
        parts = urlsplit(settings.daemon_url or "http://briefcase")
        host, port, socket = parts.hostname or "", parts.port or _DEFAULT_PORT, settings.daemon_socket
        shown = f"[{host}]" if ":" in host else host
        self._authority = shown if socket is not None else f"{shown}:{port}"
        self._prefix = parts.path.rstrip("/")
        self._connections = Connections(
            Place(host=host, port=port) if socket is None else Place(str(socket)),
            settings.expected,
            limit=MAX_CONNECTIONS + NEWCOMER_RESERVE,
            new_connection=_new_connection,
            proof_request=lambda path, body: self._request("POST", None, path, body),
        )
        self._slots = Slots(MAX_CONNECTIONS, NEWCOMER_RESERVE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    async def get(self, token: str, path: str, kind: Kind[_T]) -> Reply[_T]:
        """Ask for one document.

        Args:
            token: the agent's.
            path: with its query.
            kind: what the endpoint answers.

        Raises:
            DaemonError: refused, unreachable, larger than the bound, or not of this kind (`unexpected_answer`).
        """
        return await self._ask("GET", token, path, kind, None)

    async def post(self, token: str, path: str, kind: Kind[_T], body: bytes) -> Reply[_T]:
        """Send one JSON document and read the answer. Raises as `get`."""
        return await self._ask("POST", token, path, kind, body)

    async def _ask(self, method: str, token: str, path: str, kind: Kind[_T], body: bytes | None) -> Reply[_T]:
        request = self._request(method, token, path, body)
        if token not in self._agents:
            await self._slots.take(_NOBODY)
            try:
                await self._check_agent(token)
            finally:
                self._slots.give_back(_NOBODY)
        await self._slots.take(token)
        try:
            return await self._answered(request, kind, f"{method} {path.partition('?')[0]}")
        finally:
            self._slots.give_back(token)

    async def _check_agent(self, token: str) -> None:
        """Check that a token is an agent's. The daemon still refuses one that is revoked later.

        Raises:
            DaemonError: it is somebody else's (`forbidden`), or as `get`.
        """
        request = self._request("GET", token, IDENTITY_PATH, None)
        asker = await self._answered(request, IdentityAnswer, f"GET {IDENTITY_PATH}")
        if asker.answer.role != Role.AGENT:
            raise DaemonError(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                "expected an agent's token, as `briefcase agents add NAME` prints it, got another one",
            )
        self._agents[token] = None
        if len(self._agents) > MAX_KNOWN_AGENTS:
            self._agents.popitem(last=False)

    async def _answered(self, request: bytes, kind: Kind[_T], endpoint: str) -> Reply[_T]:
        try:
            answer = await self._connections.ask(request, ANSWER_TIMEOUT_S)
        except (BrokenAnswerError, OSError) as error:  # `TimeoutError` is an `OSError`
            raise _unreachable(error) from None
        except BriefcaseError as error:
            raise DaemonError(0, error.code, error.message) from None
        if answer.status != HTTPStatus.OK:
            raise _refused(answer)
        try:
            return Reply(read_answer(answer.body, kind, endpoint), answer.body, endpoint)
        except BriefcaseError as error:
            raise DaemonError(0, error.code, error.message) from None

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


def _new_connection() -> DaemonConnection:
    return DaemonConnection(MAX_ANSWER_BYTES)


def _refused(answer: Answer) -> DaemonError:
    try:
        told = read_answer(answer.body, ErrorAnswer, "")
    except BriefcaseError:
        told = ErrorAnswer()
    message = told.message or f"the daemon said {answer.status}"
    return DaemonError(answer.status, told.code or "internal", message)


def _unreachable(error: BaseException) -> DaemonError:
    return DaemonError(0, "daemon_unreachable", f"the daemon cannot be reached ({type(error).__name__})")
