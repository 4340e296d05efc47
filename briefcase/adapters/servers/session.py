"""The conversation with one server: its era, its requests and answers, and the questions it asks back.

Which era a server is of is found out once, as the specification says: `server/discover` first; a server that answers
as a stateless one is, every other gets `initialize`, and over HTTP, where that is refused, the transport of 2024-11-05.

An answer reaches only the request whose id it carries, and over HTTP only in that request's own stream. What a server
sends for nobody is dropped. A question (2025-11-25: elicitation, sampling, roots) suspends the call it belongs to; one
that cannot be told to belong to exactly one call is refused, so that no agent is ever asked on another's behalf.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from orjson import Fragment

from briefcase import __version__
from briefcase.adapters.servers.exchanges import Exchange
from briefcase.adapters.servers.http_transport import HttpStatusError, HttpTransport
from briefcase.adapters.servers.shares import Shares
from briefcase.adapters.servers.transport import Outgoing, SessionLostError, Transport
from briefcase.adapters.telemetry.tracing import outgoing_traceparent
from briefcase.core.mcp.call_options import CallOptions
from briefcase.core.mcp.jsonrpc import (
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    UNSUPPORTED_REVISION,
    Message,
    Notification,
    Request,
    RequestId,
    Response,
    RpcError,
    Unreadable,
    as_object,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
)
from briefcase.core.mcp.protocol import (
    HANDSHAKE_REVISIONS,
    LATEST_HANDSHAKE,
    LATEST_STATELESS,
    META_CAPABILITIES,
    META_CLIENT,
    META_LOG_LEVEL,
    META_REVISION,
    NAMED_METHODS,
    encode_header_value,
    is_stateless,
    wants_input_of,
)
from briefcase.core.mcp.tasks import EXTENSION, related_task
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.redaction.redactor import excerpt_of
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Redactor
from briefcase.model.types import JsonObject

PROBE_TIMEOUT_MS: Final = 3_000
HANDSHAKE_TIMEOUT_MS: Final = 30_000
CHECK_TIMEOUT_MS: Final = 5_000
FIRST_PAUSE_S: Final = 1.0  # before the server is listened to again
LONGEST_PAUSE_S: Final = 60.0
MAX_REPLIES: Final = 64
MAX_QUESTIONS: Final = 16
MAX_QUESTION_BYTES: Final = 256 << 10  # of one call's together: they wait as long as a person takes
MAX_MESSAGE_CHARS: Final = 500
MAX_REVISION_CHARS: Final = 32
CLIENT_INFO: Final[JsonObject] = {"name": "briefcase", "version": __version__}
# How a server of the older HTTP transport answers a POST where it serves none.
_NOT_SERVED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_CHANGES: Final = {
    "notifications/tools/list_changed": "tools",
    "notifications/prompts/list_changed": "prompts",
    "notifications/resources/list_changed": "resources",
}


class ServerRpcError(UpstreamError):
    """The server answered with a JSON-RPC error: it decided, so nothing is in doubt."""

    def __init__(self, error: Mapping[str, object], redactor: Redactor) -> None:
        message = excerpt_of(redactor, str(error.get("message", "")), MAX_MESSAGE_CHARS)
        super().__init__(f"the server refused: {message}", code="upstream_refused")
        code = error.get("code")
        self.rpc_code = code if isinstance(code, int) else 0
        self.rpc_message = message
        self.rpc_data = error.get("data")


class Running:
    """One request of ours that is not answered yet; `principal` is None where the daemon itself asks.

    `task_id` is the task whose result is asked for; `tasks` says that the answer may be a task, or is about one.
    """

    def __init__(
        self, request_id: RequestId, method: str, exchange: Exchange | None, *, task_id: str = "", tasks: bool = False
    ) -> None:
        self.id = request_id
        self.method = method
        self.task_id = task_id
        self.tasks = tasks
        self.principal = None if exchange is None else exchange.principal
        self.exchange: Exchange | None = None
        self.answer: Response | None = None
        self.fault: UpstreamError | None = None
        self.questions: dict[str, Request] = {}
        self.is_suspended = False
        self.changed = asyncio.Event()
        self.sending: asyncio.Task[None] | None = None
        if exchange is not None:
            self.join(exchange)

    def join(self, exchange: Exchange) -> None:
        """Belong to this exchange from now on: its client hears of us, and may cancel."""
        self.exchange = exchange
        exchange.on_cancel = self.changed.set


class Session:
    """One server, from `open` to `close`.

    Args:
        transport: how its bytes travel.
        on_change: called with what changed (`tools`, `prompts`, `resources`, or `resource` and its URI).
        on_lost: called once when the server has gone.
        redactor: cuts secrets out of what the server says before it is cut short.
        probe: whether to try the stateless era first; not for a process that ended over it.
        start_timeout_ms: how long each step of the handshake may take.
        probe_timeout_ms: how long the stateless era is tried; a server of another may never answer.
    """

    def __init__(
        self,
        transport: Transport,
        on_change: Callable[[str, str], None],
        on_lost: Callable[[UpstreamError], None],
        redactor: Redactor,
        *,
        probe: bool = True,
        start_timeout_ms: int = HANDSHAKE_TIMEOUT_MS,
        probe_timeout_ms: int = PROBE_TIMEOUT_MS,
    ) -> None:
        self._transport = transport
        self._on_change = on_change
        self._on_lost = on_lost
        self._redactor = redactor
        self._probe = probe
        self._start_timeout_ms = start_timeout_ms
        self._probe_timeout_ms = probe_timeout_ms
        self.was_slow = False  # it did not answer the probe in time
        self._checking: asyncio.Task[None] | None = None
        self._is_closing = False
        self._running: dict[RequestId, Running] = {}
        self._shares = Shares()
        self._count = 0
        self._replies: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self.revision = ""
        self.capabilities: JsonObject = {}
        self.has_answered = False

    # --- opening and closing --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect the server and agree on a revision.

        Raises:
            UpstreamError: it cannot be reached, or speaks no revision we do.
        """
        await self._transport.open(self._take, self._lost)
        if self._probe and await self._discover():
            self._listening = asyncio.create_task(self._listen())
            return
        self.revision = ""
        try:
            await self._initialize()
        except HttpStatusError as error:
            if not isinstance(self._transport, HttpTransport) or error.status not in _NOT_SERVED:
                raise
            await self._transport.open_legacy()
            await self._initialize()
        self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """End the conversation; that the server ends with it is no loss."""
        self._is_closing = True
        tasks = [*self._replies, *filter(None, (self._listening, self._checking))]
        tasks += [running.sending for running in self._running.values() if running.sending is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()

    async def _discover(self) -> bool:
        """Ask as a stateless client does; whether the server is one (2026-07-28, versioning)."""
        self.revision = LATEST_STATELESS
        try:
            try:
                found = await self.request("server/discover", {}, timeout_ms=self._probe_timeout_ms)
            except HttpStatusError as error:
                if not _is_spoken(error):
                    raise
                found = await self.request("server/discover", {}, timeout_ms=self._probe_timeout_ms)
        except UpstreamError as error:
            if error.code == "upstream_refused" and not error.sent:
                raise  # it was never asked
            self.was_slow = error.code == "upstream_timeout"
            return False
        versions = found.get("supportedVersions")
        if not isinstance(versions, list) or LATEST_STATELESS not in versions:
            return False
        self.capabilities = as_object(found.get("capabilities"))
        return True

    async def _initialize(self) -> None:
        params: JsonObject = {
            "protocolVersion": LATEST_HANDSHAKE,
            "capabilities": {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}},
            "clientInfo": CLIENT_INFO,
        }
        found = await self.request("initialize", params, timeout_ms=self._start_timeout_ms)
        revision = found.get("protocolVersion")
        if revision not in HANDSHAKE_REVISIONS:
            shown = excerpt_of(self._redactor, str(revision), MAX_REVISION_CHARS)
            raise UpstreamError(f"the server speaks an unknown revision `{shown}`", code="upstream_refused")
        self.revision = str(revision)
        self.capabilities = as_object(found.get("capabilities"))
        await self._transport.send(
            Outgoing(encode_notification("notifications/initialized", {}), headers=self._headers("", {}))
        )
        if "logging" in self.capabilities:  # everything: what a client did not ask for is dropped here
            with contextlib.suppress(ServerRpcError):
                await self.request("logging/setLevel", {"level": "debug"}, timeout_ms=self._start_timeout_ms)

    async def _listen(self) -> None:
        """Hear what the server says unasked: a stream that ends is begun again, and what was missed is looked at.

        A server that broke off and does not answer a question either has gone.
        """
        pause_s, clock = FIRST_PAUSE_S, asyncio.get_running_loop().time
        has_heard = False
        while True:
            began_s = clock()
            try:
                if not await self._heard():
                    return
                has_heard = True
            except ServerRpcError:
                return  # it knows of no such thing
            except UpstreamError as error:
                if await self._is_gone():
                    self._lost(error)
                    return
                if not has_heard:
                    return  # it has no such stream, whatever status it says that with
            pause_s = FIRST_PAUSE_S if clock() - began_s > LONGEST_PAUSE_S else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            for kind in _CHANGES.values():
                self._on_change(kind, "")

    async def _heard(self) -> bool:
        """Listen once; whether it ended and there may be more."""
        if not is_stateless(self.revision):
            return await self._transport.listen(self._headers("", {}))
        wanted: JsonObject = {
            "notifications": {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
        }
        await self.request("subscriptions/listen", wanted, timeout_ms=None)
        return True

    async def _is_gone(self) -> bool:
        """Whether a server that failed once does not answer now either; a refusal is an answer."""
        try:
            await self.request(
                "server/discover" if is_stateless(self.revision) else "ping", {}, timeout_ms=CHECK_TIMEOUT_MS
            )
        except (ServerRpcError, HttpStatusError) as error:
            return isinstance(error, HttpStatusError) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        except UpstreamError:
            return True
        return False

    # --- requests -------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        params: JsonObject,
        *,
        timeout_ms: int | None,
        exchange: Exchange | None = None,
        headers: Mapping[str, str] = {},
        tasks: bool = False,
    ) -> JsonObject:
        """Ask, and give the result; a question of the server's on the way is refused.

        Raises:
            ServerRpcError: it answered with an error.
            UpstreamError: it did not answer in time, not as expected, or not at all.
        """
        running = await self.start(
            method, params, exchange=exchange, headers=headers, timeout_ms=timeout_ms, tasks=tasks
        )
        answer = await self.advance(running, timeout_ms)
        while answer is None:
            await self.reply(running, {})
            answer = await self.advance(running, timeout_ms)
        return answer

    async def start(
        self,
        method: str,
        params: JsonObject,
        *,
        timeout_ms: int | None,
        exchange: Exchange | None = None,
        headers: Mapping[str, str] = {},
        tasks: bool = False,
        task_id: str = "",
    ) -> Running:
        """Send a request, and come back to it with `advance`.

        Raises:
            UpstreamError: as `Shares.take`.
        """
        if exchange is not None:
            await self._shares.take(exchange.principal, timeout_ms)
        self._count += 1
        running = Running(self._count, method, exchange, task_id=task_id, tasks=tasks)
        self._running[running.id] = running
        body = canonical_bytes({**params, "_meta": self._meta(running)})  # the arguments in it are the bytes decided on
        data = encode_request(running.id, method, Fragment(body))
        outgoing = Outgoing(
            data, running.id, {**self._headers(method, params), **headers}, timeout_ms or HANDSHAKE_TIMEOUT_MS
        )
        if not self._transport.try_send(outgoing):
            running.sending = asyncio.create_task(self._send(running, outgoing))
        return running

    async def advance(self, running: Running, timeout_ms: int | None) -> JsonObject | None:
        """Wait for a request's result, or None where the server asks something first (`running.questions`).

        Raises:
            ServerRpcError: it answered with an error.
            UpstreamError: it did not answer in time, not as expected, not at all, or the client did not want it.
        """
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1_000):
                while running.answer is None and running.fault is None and not running.questions:
                    if running.exchange is not None and running.exchange.is_cancelled:
                        await self.abandon(running)
                        running.fault = UpstreamError("cancelled by the client")
                        break
                    running.changed.clear()
                    await running.changed.wait()
        except TimeoutError:
            await self.abandon(running)
            raise UpstreamError(f"the server did not answer within {timeout_ms} ms", code="upstream_timeout") from None
        except asyncio.CancelledError:
            await self.abandon(running)
            raise
        if running.answer is not None:
            self._finish(running)
            self.has_answered = True
            if running.answer.error is not None:
                raise ServerRpcError(running.answer.error, self._redactor)
            return running.answer.result
        if running.fault is not None:
            self._finish(running)
            raise running.fault
        running.is_suspended = True
        return None

    async def reply(self, running: Running, responses: JsonObject) -> None:
        """Answer the questions of a suspended request; one without an answer is refused.

        Raises:
            UpstreamError: the server has gone.
        """
        questions, running.questions, running.is_suspended = running.questions, {}, False
        for key, question in questions.items():
            response = responses.get(key)
            if isinstance(response, dict):
                data = encode_result(question.id, Fragment(canonical_bytes(response)))
            else:
                data = encode_error(RpcError(METHOD_NOT_FOUND, "the client cannot answer this"), question.id)
            await self._transport.send(Outgoing(data, headers=self._headers("", {})))

    async def abandon(self, running: Running) -> None:
        """Give a request up, and say so where the era has words for it (a stateless one just ends its stream)."""
        if running.id not in self._running:
            return
        self._finish(running)
        if self._transport.is_shared_line or not is_stateless(self.revision):
            told = encode_notification("notifications/cancelled", {"requestId": running.id})
            with contextlib.suppress(UpstreamError):
                await self._transport.send(Outgoing(told, headers=self._headers("", {}), timeout_ms=2_000))

    # --- what the server sends --------------------------------------------------------------------------------------

    def _take(self, message: Message | Unreadable, request_id: RequestId | None) -> None:
        match message:
            case Response():
                running = None if message.id is None else self._running.get(message.id)
                if running is not None and request_id in {None, message.id} and running.answer is None:
                    running.answer = message
                    running.changed.set()
            case Unreadable(is_request=True):
                self._answer(encode_error(RpcError(PARSE_ERROR, message.problem), message.id))
            case Unreadable():
                running = self._running.get(message.id)
                if running is not None and request_id in {None, message.id} and running.answer is None:
                    problem = f"the server's answer to `{running.method}` is no message: {message.problem}"
                    running.fault = running.fault or UpstreamError(problem)
                    running.changed.set()
            case Notification():
                self._take_notification(message, request_id)
            case Request("ping"):
                self._answer(encode_result(message.id, {}))
            case Request():
                self._take_question(message, request_id)

    def _take_notification(self, message: Notification, request_id: RequestId | None) -> None:
        params = message.params
        if message.method in _CHANGES:
            self._on_change(_CHANGES[message.method], "")
        elif message.method == "notifications/resources/updated":
            self._on_change("resource", str(params.get("uri", ""))[:2_048])
        elif message.method == "notifications/progress":
            token = params.get("progressToken")
            running = self._running.get(token) if isinstance(token, int | str) else None
            if running is not None and running.exchange is not None and running.exchange.options.progress:
                running.exchange.notify(message.method, _only(params, "progress", "total", "message"))
        elif message.method == "notifications/message":
            running = self._belongs_to(request_id)
            if running is not None and running.exchange is not None and running.exchange.options.log_level is not None:
                running.exchange.notify(message.method, _only(params, "level", "logger", "data"))

    def _take_question(self, message: Request, request_id: RequestId | None) -> None:
        running = self._belongs_to(request_id, related_task(message.params))
        exchange = None if running is None else running.exchange
        if (
            running is None
            or exchange is None
            or not _has_room_for(running.questions, message)
            or not wants_input_of(exchange.options.capabilities.declared(), message.method, message.params)
        ):
            refusal = RpcError(METHOD_NOT_FOUND, "no client of this call can answer that")
            self._answer(encode_error(refusal, message.id))
            return
        running.questions[f"{message.method.replace('/', '-')}-{len(running.questions) + 1}"] = message
        running.changed.set()

    def _belongs_to(self, request_id: RequestId | None, task_id: str | None = None) -> Running | None:
        """The request something came for: its own stream's, or on a shared line the only one that is not waiting.

        What names a task came for the request for its result, on whatever stream (2025-11-25, tasks).
        """
        if task_id is not None:
            asking = [known for known in self._running.values() if known.task_id == task_id and not known.is_suspended]
            return asking[0] if len(asking) == 1 else None
        if request_id is not None:
            return self._running.get(request_id)
        calls = [known for known in self._running.values() if known.exchange is not None and not known.is_suspended]
        return calls[0] if len(calls) == 1 else None

    def _lost(self, fault: UpstreamError) -> None:
        for running in list(self._running.values()):
            running.fault = running.fault or fault
            running.changed.set()
        if not self._is_closing:
            self._on_lost(fault)

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _send(self, running: Running, outgoing: Outgoing) -> None:
        try:
            await self._transport.send(outgoing)
            if not self._transport.is_shared_line and running.answer is None and running.fault is None:
                running.fault = UpstreamError("the server ended its answer without one")
        except SessionLostError as error:
            running.fault = error
            self._lost(error)
        except UpstreamError as error:
            running.fault = error
            if error.code == "upstream_failed" and not error.sent and running.exchange is not None:
                self._doubt(error)
        finally:
            running.changed.set()

    def _doubt(self, fault: UpstreamError) -> None:
        """Find out whether a server that could not be reached for a call has gone."""

        async def check() -> None:
            if await self._is_gone():
                self._lost(fault)

        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(check())

    def _answer(self, data: bytes) -> None:
        async def send() -> None:
            with contextlib.suppress(UpstreamError):
                await self._transport.send(Outgoing(data, headers=self._headers("", {})))

        if len(self._replies) < MAX_REPLIES:  # a server that floods us with questions gets no answers to the rest
            task = asyncio.create_task(send())
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

    def _finish(self, running: Running) -> None:
        if self._running.pop(running.id, None) is not None and running.principal is not None:
            self._shares.give_back(running.principal)
        if running.sending is not None:
            running.sending.cancel()

    def _meta(self, running: Running) -> JsonObject:
        """All that rides beside a request's own parameters: made here, of what `CallOptions` can hold."""
        options = CallOptions() if running.exchange is None else running.exchange.options
        meta: JsonObject = {}
        traceparent = (
            outgoing_traceparent() or options.trace.traceparent
        )  # where we trace, its trace goes on through us
        if traceparent is not None:
            meta["traceparent"] = traceparent
        if options.progress:
            meta["progressToken"] = running.id
        if is_stateless(self.revision):
            meta[META_REVISION] = self.revision
            meta[META_CLIENT] = CLIENT_INFO
            meta[META_CAPABILITIES] = options.capabilities.declared()
            if running.tasks:
                as_object(meta[META_CAPABILITIES])["extensions"] = {EXTENSION: {}}
            if options.log_level is not None:
                meta[META_LOG_LEVEL] = options.log_level
        return meta

    def _headers(self, method: str, params: JsonObject) -> dict[str, str]:
        if not self.revision:
            return {}
        headers = {"MCP-Protocol-Version": self.revision}
        if is_stateless(self.revision) and method:
            headers["Mcp-Method"] = method
            field = NAMED_METHODS.get(method)
            if field is not None:
                headers["Mcp-Name"] = encode_header_value(str(params.get(field, "")))
        return headers


def _is_spoken(error: HttpStatusError) -> bool:
    """Whether a server that refused a revision says that it speaks ours all the same (2026-07-28, versioning)."""
    refusal = error.error or {}
    data = refusal.get("data")
    supported = data.get("supported") if isinstance(data, dict) else None
    is_named = isinstance(supported, list) and LATEST_STATELESS in supported
    return refusal.get("code") == UNSUPPORTED_REVISION and is_named


def _only(params: JsonObject, *names: str) -> JsonObject:
    return {name: params[name] for name in names if name in params}


def _has_room_for(questions: Mapping[str, Request], message: Request) -> bool:
    """Whether one question more may wait with those of its call."""
    if len(questions) >= MAX_QUESTIONS:
        return False
    try:
        sizes = [len(canonical_bytes(question.params)) for question in (*questions.values(), message)]
    except CallerError:
        return False
    return sum(sizes) <= MAX_QUESTION_BYTES
