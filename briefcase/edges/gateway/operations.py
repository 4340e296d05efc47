"""One governed operation, from the client's request to its result: the daemon decides, and we carry.

`tools/call`, `prompts/get`, `resources/read` and every other request a server answers are calls of one daemon tool each
(`server.tool`, or `server:prompts.get` and its kind), so that policy, approval and receipt are the same for all.

A call that stops halfway has two reasons, and each becomes what the client can use:

| why | up to 2025-11-25 | 2026-07-28 |
|---|---|---|
| a person must approve | `isError`, `_meta.approval` | `input_required`, its state holds the approval |
| the server asks the client | we ask over the request's stream | `input_required`, its state holds the server's |
| a person must approve the answers | as for a call; the gateway keeps the answers | its state holds the answers |

Before that a call is held for a while (`holding.py`), so that most agents need not come back: a handshake client's when
it is first made, a stateless one's in each of its rounds, the first of which shows its user what to approve.
After `MAX_WAITING_ROUNDS` retries a stateless client too gets the `isError` result, so that its loop ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import uuid
from collections import OrderedDict
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
import orjson

from briefcase.adapters.telemetry.log_context import note_call_request
from briefcase.core.mcp.call_options import TRACEPARENT, known_capabilities
from briefcase.core.mcp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_CAPABILITY,
    RESOURCE_NOT_FOUND,
    RpcError,
    as_object,
)
from briefcase.core.mcp.protocol import LOG_LEVELS, wants_input_of
from briefcase.core.mcp.tasks import HANDSHAKE_REVISION, TTLS_MS, declares_tasks
from briefcase.core.wire.approvals import ApprovalRecord, ShownApproval
from briefcase.core.wire.calls import (
    CALL_ANSWER,
    CallAnswer,
    CallDenied,
    CallFailed,
    CallNeedsApproval,
    CallOk,
    ServerError,
)
from briefcase.core.wire.fields import given
from briefcase.core.wire.servers import CallCancelled, CallNotifications
from briefcase.edges.client.reply import Reply
from briefcase.edges.gateway import results
from briefcase.edges.gateway.context import Context
from briefcase.edges.gateway.daemon import Daemon, DaemonError
from briefcase.edges.gateway.holding import Holding
from briefcase.edges.gateway.request_state import GoingOn, RequestState, StateSealer
from briefcase.edges.gateway.results import APPLICATION_ERROR, is_task
from briefcase.model.reasons import APPROVAL_DECLINED, APPROVAL_REJECTED, with_detail
from briefcase.model.types import JsonObject, JsonValue

MAX_WAITING_ROUNDS: Final = 8
MAX_INPUT_ROUNDS: Final = 16
MAX_ASKED: Final = 4_096
MAX_KEPT_BYTES: Final = 8 << 20  # of answers to servers that wait for a person, for all agents together
PACE_S: Final = 0.2  # of a client that comes back at once
HELD: Final = frozenset({"", "continue", "resources.read", "prompts.get"})  # tools, and what stands for one request
EVENTS_WAIT_MS: Final = 10_000
RETRY_S: Final = 0.005
SAID_NO: Final = "a person said no to this call"
PLAIN_PATH: Final = "/v1/tools/call"
SERVER_PATH: Final = "/v1/mcp/call"

_TRACEPARENT: Final = re.compile(TRACEPARENT)


class Operation(msgspec.Struct, frozen=True):
    """A daemon tool and its arguments, standing for a client's request. `server` is None for the daemon's own tools.

    `can_wait`: its result may be that a person must approve it first; otherwise that is an error.
    """

    method: str
    tool_id: str
    args: JsonObject
    server: str | None = None
    can_wait: bool = True

    @property
    def digest(self) -> bytes:
        """What a retry must repeat: the method, the tool and the arguments."""
        body = orjson.dumps([self.method, self.tool_id, self.args], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(body).digest()


class Waiting(NamedTuple):
    """An approval that a request waits for, and its document as the client is given it."""

    approval_id: str
    document: JsonObject


class Awaited(msgspec.Struct, frozen=True):
    """The approval that a request waits for; where `going_on` is set, it is for going on with the call by it."""

    approval_id: str
    going_on: GoingOn | None = None

    @property
    def kept_bytes(self) -> int:
        """What remembering it takes beside its own small size."""
        going_on = self.going_on
        return 0 if going_on is None else len(going_on.state) + len(going_on.responses or b"")


class Operations:
    """Runs operations against one daemon."""

    def __init__(self, daemon: Daemon, sealer: StateSealer, holding: Holding) -> None:
        self._daemon = daemon
        self._sealer = sealer
        self._holding = holding
        self._asked: OrderedDict[bytes, Awaited] = OrderedDict()
        self._kept_bytes = 0
        self._cancelling: set[asyncio.Task[None]] = set()

    async def run(self, operation: Operation, params: JsonObject, context: Context) -> JsonObject:
        """Take one request to its result.

        Args:
            operation: what it asks for.
            params: the request's own parameters, for what rides beside: tokens, states, responses, `_meta`.
            context: who asks, and how.

        Raises:
            RpcError: it cannot be asked, or, but for `tools/call`, did not run.
        """
        state = self._opened(operation, params, context)
        approval_token = params.get("approvalToken")
        if not isinstance(approval_token, str | None):
            raise RpcError(INVALID_PARAMS, "expected `approvalToken` as a string")
        round_ = 0 if state is None else state.round
        awaited = self._awaited(operation, state, context)
        decided: ApprovalRecord | None = None
        if approval_token is None and awaited is not None:
            if _is_declined(params):
                return self._failed(
                    operation, with_detail(APPROVAL_DECLINED, "the user does not want this call to wait")
                )
            approval = await self._approval(awaited.approval_id, context)
            decided = None if approval is None else approval.answer
            if approval is not None and approval.answer.status == "pending":
                decided = await self._held(approval.answer.id, params, context, PACE_S)
                if decided is None:
                    waiting = Waiting(approval.answer.id, approval.document)
                    return self._waiting(operation, waiting, context, round_, awaited.going_on)
            if decided is not None and decided.status == "approved":
                approval_token = given(decided.approval_token, decided.id)
        self._forget(operation, context)
        if decided is not None and decided.status == "rejected":
            return self._failed(operation, _rejection(decided))

        going_on = _going_on(state, awaited, approval_token, params)
        if going_on is None:
            reply = await self._call(operation.tool_id, operation.args, approval_token, params, context)
        else:
            reply = await self._continue(operation, going_on, approval_token, params, context)
        return await self._answered(operation, reply, params, context, round_, going_on)

    # --- from the daemon's answer to the client's result ----------------------------------------------------------

    async def _answered(  # noqa: PLR0917 - a request, its answer so far, and where it stands
        self,
        operation: Operation,
        reply: Reply[CallAnswer],
        params: JsonObject,
        context: Context,
        round_: int,
        going_on: GoingOn | None,
    ) -> JsonObject:
        for asked in range(round_, MAX_INPUT_ROUNDS):
            wanted = _wanted_input(operation, reply.answer)
            if wanted is None:
                return self._settled(operation, reply, context, asked, going_on)
            if context.is_stateless:
                return self._input_required(operation, wanted, context, asked)
            responses = await gather_input(wanted, context)
            if not responses and wanted.get("inputRequests"):
                return self._failed(operation, "error: the server asks for input this client cannot give")
            going_on = GoingOn(str(wanted.get("requestState", "")), orjson.dumps(responses))
            reply = await self._continue(operation, going_on, None, params, context)
        return self._failed(operation, "error: the server keeps asking for input")

    def _settled(
        self, operation: Operation, reply: Reply[CallAnswer], context: Context, round_: int, going_on: GoingOn | None
    ) -> JsonObject:
        match reply.answer:
            case CallNeedsApproval(record):
                waiting = Waiting(record.id, as_object(reply.document.get("approval")))
                return self._waiting(operation, waiting, context, round_, going_on)
            case CallDenied() as denied:
                return self._failed(operation, results.denial_text(denied))
            case CallOk(result):
                is_tool = operation.method == "tools/call"
                if is_tool and operation.server is not None and is_task(result):
                    return results.task_result(result, is_stateless=context.is_stateless)
                return results.tool_result(result, context.view) if is_tool else results.feature_result(result)
            case CallFailed(message, error):
                if isinstance(error, ServerError):
                    raise _server_error(error, context)
                return self._failed(operation, message)

    def _waiting(
        self, operation: Operation, waiting: Waiting, context: Context, round_: int, going_on: GoingOn | None
    ) -> JsonObject:
        approval_id, approval = waiting
        self._remember(operation, context, Awaited(approval_id, going_on))
        if not operation.can_wait or not context.is_stateless or round_ >= MAX_WAITING_ROUNDS:
            if operation.can_wait and operation.method == "tools/call":
                return results.blocked_tool(approval)
            raise RpcError(APPLICATION_ERROR, "approval_required", data={"approval": approval})
        wanted: JsonObject = {
            "resultType": "input_required",
            "requestState": self._sealer.seal(
                operation.digest,
                context.principal_digest,
                round_=round_ + 1,
                approval_id=approval_id,
                going_on=going_on,
            ),
            "_meta": {"approval": approval},
        }
        asked = results.waiting_input(approval, context.capabilities)
        if asked:
            wanted["inputRequests"] = asked
        return wanted

    def _input_required(self, operation: Operation, wanted: JsonObject, context: Context, round_: int) -> JsonObject:
        """Hand the server's questions to the client, but only those it declared it can answer."""
        asked = as_object(wanted.get("inputRequests"))
        may = {key: request for key, request in asked.items() if _may_ask(as_object(request), context)}
        state = self._sealer.seal(
            operation.digest,
            context.principal_digest,
            round_=round_ + 1,
            going_on=GoingOn(str(wanted.get("requestState", ""))),
        )
        result: JsonObject = {"resultType": "input_required", "requestState": state}
        if asked and not may:
            raise _missing_capability(asked)
        if may:
            result["inputRequests"] = may
        return result

    def _failed(self, operation: Operation, reason: str) -> JsonObject:
        if operation.can_wait and operation.method == "tools/call":
            return results.failed_tool(reason)
        raise results.denied_request(reason)

    # --- approvals awaited ------------------------------------------------------------------------------------------
    # An agent that can only repeat its call, without a token or a state beside it, gets through once it is approved:
    # the approval is for this agent and these arguments, and the daemon lets it be used once.

    def _awaited(self, operation: Operation, state: RequestState | None, context: Context) -> Awaited | None:
        if state is not None:
            return None if state.approval_id is None else Awaited(state.approval_id, state.going_on)
        return None if not self._asked else self._asked.get(context.principal_digest + operation.digest)

    def _remember(self, operation: Operation, context: Context, awaited: Awaited) -> None:
        self._forget(operation, context)
        self._asked[context.principal_digest + operation.digest] = awaited
        self._kept_bytes += awaited.kept_bytes
        while len(self._asked) > MAX_ASKED or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= self._asked.popitem(last=False)[1].kept_bytes

    def _forget(self, operation: Operation, context: Context) -> None:
        if self._asked:
            known = self._asked.pop(context.principal_digest + operation.digest, None)
            self._kept_bytes -= 0 if known is None else known.kept_bytes

    # --- the daemon -----------------------------------------------------------------------------------------------

    def _opened(self, operation: Operation, params: JsonObject, context: Context) -> RequestState | None:
        text = params.get("requestState")
        if text is None or not context.is_stateless:
            return None
        return self._sealer.open(text, operation.digest, context.principal_digest)

    async def _approval(self, approval_id: str, context: Context) -> Reply[ShownApproval] | None:
        path = f"/v1/approvals/{approval_id}"
        try:
            return await self._daemon.get(context.token, path, ShownApproval)
        except DaemonError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None  # forgotten, or never this agent's: the call stands on its own
            raise rpc_error(error) from None

    async def _continue(
        self,
        operation: Operation,
        going_on: GoingOn,
        approval_token: str | None,
        params: JsonObject,
        context: Context,
    ) -> Reply[CallAnswer]:
        args: JsonObject = {
            "target": operation.tool_id,
            "arguments": operation.args,
            "state": going_on.state,
            "responses": orjson.loads(going_on.responses or b"{}"),
        }
        return await self._call(f"{operation.server}:continue", args, approval_token, params, context)

    async def _call(
        self, tool_id: str, args: JsonObject, approval_token: str | None, params: JsonObject, context: Context
    ) -> Reply[CallAnswer]:
        """Call a daemon's tool.

        The daemon names the approval that waits for this very call. Where a person approved it already (we restarted
        since, or the client came with a wrong token before), the call is made with it instead of waiting again; where
        they do while a handshake client's call is held, likewise.
        """
        reply = await self._call_once(tool_id, args, approval_token, params, context)
        approval = reply.answer.approval if isinstance(reply.answer, CallNeedsApproval) else None
        if approval_token is not None or approval is None:
            return reply
        if approval.status == "pending" and not context.is_stateless and tool_id.partition(":")[2] in HELD:
            approval = await self._held(approval.id, params, context)
        if approval is not None and approval.status == "approved":
            return await self._call_once(tool_id, args, approval.id, params, context)
        if approval is not None and approval.status == "rejected":
            return Reply(CallDenied(_rejection(approval)), b"{}", "")
        return reply

    async def _held(
        self, approval_id: str, params: JsonObject, context: Context, at_least_s: float = 0.0
    ) -> ApprovalRecord | None:
        try:
            return await self._holding.decided(approval_id, context, _progress_token(params), at_least_s)
        except DaemonError as error:
            raise rpc_error(error) from None

    async def _call_once(
        self, tool_id: str, args: JsonObject, approval_token: str | None, params: JsonObject, context: Context
    ) -> Reply[CallAnswer]:
        request_id = str(uuid.uuid4())
        note_call_request(request_id)
        call: JsonObject = {"tool_id": tool_id, "args": args, "context": _call_context(request_id, context)}
        if approval_token is not None:
            call["approval_token"] = approval_token
        try:
            if "." not in tool_id and ":" not in tool_id:
                return await self._daemon.post(context.token, PLAIN_PATH, CALL_ANSWER, orjson.dumps({"call": call}))
            return await self._call_server(request_id, call, params, context)
        except DaemonError as error:
            if error.code == "unexpected_answer":
                return Reply(CallFailed(f"error: {error.message}; the call may have run"), b"{}", "")
            raise rpc_error(error) from None

    async def _call_server(
        self, request_id: str, call: JsonObject, params: JsonObject, context: Context
    ) -> Reply[CallAnswer]:
        """Call something of an MCP server: with what it may ask the client, and its notifications as they come."""
        progress_token = _progress_token(params)
        wants_progress = progress_token is not None
        exchange: JsonObject = {
            "capabilities": known_capabilities(context.capabilities).declared(),
            "log_level": context.log_level,
            "progress": wants_progress,
            "trace": _trace(as_object(params.get("_meta"))),
        }
        if wish := task_wish(params, context):
            exchange["task"] = wish
        body = orjson.dumps({"call": call, "exchange": exchange})
        try:
            if not wants_progress and context.log_level is None:
                return await self._daemon.post(context.token, SERVER_PATH, CALL_ANSWER, body)
            running = asyncio.create_task(self._daemon.post(context.token, SERVER_PATH, CALL_ANSWER, body))
            try:
                await self._relay(request_id, running, progress_token, context)
                return await running
            finally:
                running.cancel()
        except asyncio.CancelledError:
            self._cancel(request_id, context)
            raise

    async def _relay(
        self, request_id: str, running: asyncio.Task[Reply[CallAnswer]], progress_token: JsonValue, context: Context
    ) -> None:
        """Pass a call's notifications on until it is answered; the answer never overtakes one."""
        seen, has_ended = 0, False
        while not has_ended:
            has_ended = running.done()
            wait_ms = 0 if has_ended else EVENTS_WAIT_MS
            path = f"/v1/mcp/calls/{request_id}?after={seen}&wait_ms={wait_ms}"
            try:
                batch = (await self._daemon.get(context.token, path, CallNotifications)).answer
            except DaemonError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                if not has_ended:
                    await asyncio.wait({running}, timeout=RETRY_S)  # it has not begun, or never will
                continue
            seen = batch.next
            for message in batch.notifications:
                await self._notify(message, progress_token, context)

    def _cancel(self, request_id: str, context: Context) -> None:
        """Tell the daemon that nobody waits any more. The call is over for us whatever it says."""

        async def tell() -> None:
            with contextlib.suppress(DaemonError):
                await self._daemon.post(context.token, f"/v1/mcp/calls/{request_id}/cancel", CallCancelled, b"{}")

        task = asyncio.create_task(tell())
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _notify(self, message: JsonObject, progress_token: JsonValue, context: Context) -> None:
        method, params = message.get("method"), as_object(message.get("params"))
        if method == "notifications/progress" and progress_token is not None:
            await context.channel.notify(method, {**params, "progressToken": progress_token})
        elif method == "notifications/message" and is_loud_enough(params.get("level"), context.log_level):
            await context.channel.notify(method, params)


def task_wish(params: JsonObject, context: Context) -> JsonObject | None:
    """What a client says that can go on with a call which becomes a task; None where it cannot.

    Raises:
        RpcError: `task` is not as expected.
    """
    if context.is_stateless:
        return {"is_asked": False} if declares_tasks(context.capabilities) else None
    wanted = params.get("task")
    if context.revision != HANDSHAKE_REVISION or wanted is None:
        return None
    ttl_ms = wanted.get("ttl") if isinstance(wanted, dict) else -1
    is_number = isinstance(ttl_ms, int | float) and not isinstance(ttl_ms, bool) and ttl_ms >= 0
    if ttl_ms is not None and not is_number:
        raise RpcError(INVALID_PARAMS, "expected `task` as an object, with a `ttl` in milliseconds or none")
    wish: JsonObject = {"is_asked": True}
    if isinstance(ttl_ms, int | float):
        wish["ttl_ms"] = next((longer for longer in TTLS_MS if ttl_ms <= longer), TTLS_MS[-1])
    return wish


def is_loud_enough(level: JsonValue, wanted: str | None) -> bool:
    """Whether a log message reaches the level a client asked for; a client that asked for none gets none."""
    if wanted is None or level not in LOG_LEVELS:
        return False
    return LOG_LEVELS.index(str(level)) >= LOG_LEVELS.index(wanted)


def rpc_error(error: DaemonError) -> RpcError:
    """A fault between us and the daemon, as a JSON-RPC error that gives away no more than its message."""
    if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return RpcError(APPLICATION_ERROR, error.message, data={"code": error.code}, http_status=error.status)
    is_callers = HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    code = INVALID_PARAMS if is_callers else INTERNAL_ERROR
    return RpcError(code, error.message, data={"code": error.code})


def _server_error(error: ServerError, context: Context) -> RpcError:
    """A JSON-RPC error of the server's own, in the code of the client's revision."""
    code = error.code
    if code == RESOURCE_NOT_FOUND and context.is_stateless:
        code = INVALID_PARAMS  # 2026-07-28, resources: -32002 is no longer emitted
    if not context.is_stateless and code == MISSING_CAPABILITY:
        code = APPLICATION_ERROR
    status = HTTPStatus.BAD_REQUEST if code == MISSING_CAPABILITY else HTTPStatus.OK
    data = None if isinstance(error.data, msgspec.UnsetType) else error.data
    return RpcError(code, error.message, data=data, http_status=status)


def _missing_capability(asked: JsonObject) -> RpcError:
    """The client declared nothing that could answer the server (2026-07-28, `MissingRequiredClientCapability`)."""
    wanted: JsonObject = {str(as_object(request).get("method", "")).partition("/")[0]: {} for request in asked.values()}
    return RpcError(
        MISSING_CAPABILITY,
        f"the server needs a capability this client did not declare: {', '.join(wanted)}",
        data={"requiredCapabilities": wanted},
        http_status=HTTPStatus.BAD_REQUEST,
    )


def _wanted_input(operation: Operation, answer: CallAnswer) -> JsonObject | None:
    """What a server wants of the client before it goes on, or None; the daemon's own tools want nothing."""
    if operation.server is None or not isinstance(answer, CallOk):
        return None
    content = as_object(answer.result.content)
    return content if content.get("resultType") == "input_required" else None


def _call_context(request_id: str, context: Context) -> JsonObject:
    found: JsonObject = {"request_id": request_id}
    if context.session is not None:
        found["session_id"] = context.session
    if context.agent is not None:
        found["agent_id"] = context.agent
    return found


def _trace(meta: JsonObject) -> JsonObject:
    """The client's trace context (2026-07-28, `_meta`): what has a grammar; `tracestate` and `baggage` end here."""
    traceparent = meta.get("traceparent")
    is_one = isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent) is not None
    return {"traceparent": traceparent} if is_one else {}


def _progress_token(params: JsonObject) -> JsonValue:
    """What the client wants to hear of its request's progress by, or None."""
    token = as_object(params.get("_meta")).get("progressToken")
    return token if isinstance(token, str | int) and not isinstance(token, bool) else None


def _rejection(approval: ApprovalRecord) -> str:
    why = given(approval.decision_reason, "")
    return with_detail(APPROVAL_REJECTED, f"{SAID_NO}: {why}" if why else SAID_NO)


def _may_ask(request: JsonObject, context: Context) -> bool:
    return wants_input_of(context.capabilities, str(request.get("method")), as_object(request.get("params")))


def _responses(params: JsonObject) -> JsonObject:
    responses = params.get("inputResponses", {})
    if not isinstance(responses, dict):
        raise RpcError(INVALID_PARAMS, "expected `inputResponses` as an object", http_status=HTTPStatus.BAD_REQUEST)
    return responses


def _going_on(
    state: RequestState | None, awaited: Awaited | None, approval_token: str | None, params: JsonObject
) -> GoingOn | None:
    """What a request goes on with, or None where it is a call of its own."""
    if awaited is None:
        unanswered = None if state is None else state.going_on
        return None if unanswered is None else GoingOn(unanswered.state, orjson.dumps(_responses(params)))
    is_for_it = approval_token is None or approval_token.partition(".")[0] == awaited.approval_id
    return awaited.going_on if is_for_it else None


def _is_declined(params: JsonObject) -> bool:
    return as_object(_responses(params).get("approval")).get("action") in {"decline", "cancel"}


async def gather_input(wanted: JsonObject, context: Context) -> JsonObject:
    """Ask a handshake client everything a server wants to know, one question after the other."""
    responses: JsonObject = {}
    for key, wish in as_object(wanted.get("inputRequests")).items():
        request = as_object(wish)
        if _may_ask(request, context):
            responses[key] = await context.channel.ask(str(request["method"]), as_object(request.get("params")))
    return responses
