"""The state of one handshake client: what it agreed on, what is running for it, and what we asked it.

Sessions are named by 256 random bits and belong to the token that opened them: to any other token they do not exist.
Their number is bounded, in all and per token (a token's own oldest makes room), and an idle one expires.
Nothing here does I/O.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from briefcase.core.mcp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    RequestId,
    Response,
    RpcError,
    as_object,
    encode_request,
)
from briefcase.core.mcp.protocol import LOG_LEVELS
from briefcase.edges.gateway.context import principal_digest
from briefcase.edges.gateway.stream import Stream
from briefcase.edges.gateway.view import View
from briefcase.model.types import JsonObject

MAX_SESSIONS: Final = 1_024
MAX_SESSIONS_PER_TOKEN: Final = 64
MAX_RUNNING: Final = 64
MAX_STREAMS: Final = 16
MAX_SUBSCRIPTIONS: Final = 1_024
MAX_SUBSCRIPTION_BYTES: Final = 64 << 10  # of one session's addresses together
IDLE_S: Final = 30 * 60.0
ASK_TIMEOUT_S: Final = 5 * 60.0


class Session:
    """One client between its `initialize` and its end."""

    def __init__(self, token: str, view: View, revision: str, params: JsonObject) -> None:
        self.id = secrets.token_urlsafe(32)
        self.token = token
        self.principal = principal_digest(token)
        self.view = view
        self.revision = revision
        self.capabilities = as_object(params.get("capabilities"))
        self.agent = str(as_object(params.get("clientInfo")).get("name", ""))[:64] or None
        self.log_level: str | None = None
        self.subscriptions: set[str] = set()
        self._subscription_bytes = 0
        self.running: dict[RequestId, asyncio.Task[Any]] = {}
        self.streams: OrderedDict[str, Stream] = OrderedDict()
        self.last_used_s = 0.0
        self._asked: dict[str, asyncio.Future[Response]] = {}
        self._asked_count = 0

    @property
    def public_name(self) -> str:
        """A name for receipts that gives nobody the session."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:16]

    def set_log_level(self, level: object) -> None:
        """Take `logging/setLevel`.

        Raises:
            RpcError: no such level.
        """
        if level not in LOG_LEVELS:
            raise RpcError(INVALID_PARAMS, f"expected `level` as one of {', '.join(LOG_LEVELS)}")
        self.log_level = str(level)

    def subscribe(self, uri: str) -> None:
        """Note what the client follows; past the bound it is told of nothing more."""
        size_bytes = len(uri.encode("utf-8", "surrogatepass"))
        is_new = uri not in self.subscriptions and len(self.subscriptions) < MAX_SUBSCRIPTIONS
        if is_new and self._subscription_bytes + size_bytes <= MAX_SUBSCRIPTION_BYTES:
            self.subscriptions.add(uri)
            self._subscription_bytes += size_bytes

    def unsubscribe(self, uri: str) -> None:
        """Note what it does not follow any more."""
        if uri in self.subscriptions:
            self.subscriptions.discard(uri)
            self._subscription_bytes -= len(uri.encode("utf-8", "surrogatepass"))

    def start(self, request_id: RequestId, task: asyncio.Task[Any]) -> None:
        """Note a request that runs. The caller checked it with `check_startable` first."""
        self.running[request_id] = task

    def finish(self, request_id: RequestId) -> None:
        """Note that a request has ended: its id may be used again."""
        self.running.pop(request_id, None)

    def check_startable(self, request_id: RequestId) -> None:
        """Refuse a request id that is in use, and more than a client may have running.

        Raises:
            RpcError: either.
        """
        if request_id in self.running:
            raise RpcError(INVALID_REQUEST, f"the request id `{str(request_id)[:64]}` is in use", request_id=request_id)
        if len(self.running) >= MAX_RUNNING:
            raise RpcError(INVALID_REQUEST, f"more than {MAX_RUNNING} requests are running", request_id=request_id)

    def cancel(self, request_id: object) -> None:
        """Stop a running request, where there is one."""
        task = self.running.get(request_id) if isinstance(request_id, str | int) else None
        if task is not None:
            task.cancel()

    async def ask(self, write: Callable[[bytes], Awaitable[None]], method: str, params: JsonObject) -> JsonObject:
        """Send the client a request of ours and await its result.

        Raises:
            RpcError: it answered with an error, or not in time.
        """
        self._asked_count += 1
        asked_id = f"briefcase-{self._asked_count}"
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._asked[asked_id] = answer
        try:
            await write(encode_request(asked_id, method, params))
            async with asyncio.timeout(ASK_TIMEOUT_S):
                response = await answer
        except TimeoutError:
            raise RpcError(INTERNAL_ERROR, "the client did not answer the server's question in time") from None
        finally:
            del self._asked[asked_id]
        if response.error is not None:
            raise RpcError(INTERNAL_ERROR, "the client refused the server's question")
        return response.result

    def settle(self, response: Response) -> None:
        """Take the client's answer to a request of ours; an answer to nothing is dropped."""
        future = self._asked.get(response.id) if isinstance(response.id, str) else None
        if future is not None and not future.done():
            future.set_result(response)

    def keep(self, stream: Stream) -> None:
        """Keep a stream for its client to resume; the oldest that has ended makes room."""
        self.streams[stream.id] = stream
        while len(self.streams) > MAX_STREAMS:
            ended = next((key for key, kept in self.streams.items() if kept.has_ended), next(iter(self.streams)))
            self.streams.pop(ended).forget()

    def close(self) -> None:
        """End everything that runs for this client."""
        for task in list(self.running.values()):
            task.cancel()
        for future in list(self._asked.values()):
            future.cancel()
        for stream in self.streams.values():
            stream.end()
            if stream.is_read:
                stream.forget()


class Sessions:
    """All sessions of the HTTP endpoint.

    Args:
        monotonic_s: a clock that does not step.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._kept: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, session: Session) -> None:
        """Keep a new session.

        Raises:
            RpcError: too many are open; none of another token is closed for it.
        """
        self.expire()
        own = [kept for kept in self._kept.values() if hmac.compare_digest(kept.principal, session.principal)]
        if len(own) >= MAX_SESSIONS_PER_TOKEN:
            self.remove(own[0])
        elif len(self._kept) >= MAX_SESSIONS:
            raise RpcError(INVALID_REQUEST, "too many sessions are open", http_status=HTTPStatus.SERVICE_UNAVAILABLE)
        session.last_used_s = self._monotonic_s()
        self._kept[session.id] = session

    def find(self, session_id: str, token: str, view: View) -> Session | None:
        """The session of that id, for its own token on its own endpoint; to anyone else there is none."""
        session = self._kept.get(session_id)
        if (
            session is None
            or session.view != view
            or not hmac.compare_digest(session.principal, principal_digest(token))
        ):
            return None
        if self._monotonic_s() - session.last_used_s > IDLE_S and not session.running:
            self.remove(session)
            return None
        session.last_used_s = self._monotonic_s()
        self._kept.move_to_end(session_id)
        return session

    def remove(self, session: Session) -> None:
        """End one session."""
        self._kept.pop(session.id, None)
        session.close()

    def expire(self) -> None:
        """End the idle ones: they stand at the front."""
        now_s = self._monotonic_s()
        for session in list(self._kept.values()):
            if now_s - session.last_used_s <= IDLE_S:
                break
            if not session.running:
                self.remove(session)

    def close(self) -> None:
        """End all."""
        for session in list(self._kept.values()):
            self.remove(session)
