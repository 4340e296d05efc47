"""Calls to MCP servers (`tools.Runner`): one request over its server's session, and what goes on with one that asked.

A request is sent to what it was decided for: the tool is looked up again after every wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from briefcase.adapters.servers.changes import Followers
from briefcase.adapters.servers.connection import Connection
from briefcase.adapters.servers.exchanges import Exchange, Exchanges
from briefcase.adapters.servers.flows import STATE_TTL_US, Answered, Ask, Continuation, Flows
from briefcase.adapters.servers.server import Server, no_server, server_of, tool_of
from briefcase.adapters.servers.session import Session
from briefcase.adapters.servers.tasks import Tasks, shown_of
from briefcase.adapters.servers.tools import CONTINUE, TASK_OPERATIONS, TASK_UPDATE, ServerOperation, ask_for
from briefcase.adapters.tools.definition import check_unchanged
from briefcase.core.mcp.call_options import TaskWish
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.param_headers import param_headers_of, write_param_headers
from briefcase.core.mcp.protocol import is_stateless
from briefcase.core.mcp.sealing import Sealer, derive_key
from briefcase.core.mcp.tasks import TASK, created_task, serves_tasks
from briefcase.model.effects import ClaimNonce
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import CallContext, Clock, Entropy, FirstCall, Ledger, Origin, Redactor, Tool
from briefcase.model.reasons import INVALID_ARGS, with_detail
from briefcase.model.types import Deny, JsonObject, Principal, ToolCall

LISTED: Final = {  # methods that list, and what they list
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
READY_WAIT_S: Final = 10.0
_NS_PER_MS: Final = 1_000_000


class ServerCalls:
    """Runs what agents ask of servers. One event loop.

    Args:
        servers: the servers by id, as they are now; the registry changes them.
        ledger: keeps the key of the seals, and the time.
        clock: for deadlines.
        entropy: names what goes on, once each.
        redactor: cuts secrets out of what servers say.
    """

    def __init__(
        self, servers: Mapping[str, Server], ledger: Ledger, clock: Clock, entropy: Entropy, redactor: Redactor
    ) -> None:
        self._servers = servers
        self._ledger = ledger
        self._clock = clock
        sealer = Sealer(derive_key(ledger.approval_secret(), "continuation"))
        self._flows = Flows(sealer, clock, ledger.now_us, entropy, redactor)
        self._tasks = Tasks(ledger.now_us, entropy, redactor)
        self.exchanges = Exchanges(redactor)
        self.followers = Followers()

    def origin(self, call: ToolCall, principal: Principal) -> Origin | Deny | None:
        """What `server:continue` goes on with, by the seal it brings along, and of which call a task is.

        See `ports.Tools`.
        """
        server_id, _, operation = call.tool_id.partition(":")
        if operation not in {CONTINUE, *TASK_OPERATIONS}:
            return None
        try:
            if operation != CONTINUE:
                return self._origin_of_task(operation, server_id, call.args, principal)
            tool, ask, found = self._opened(server_id, call.args, principal.owner)
        except UpstreamError as error:
            return Deny(with_detail(INVALID_ARGS, error.message))
        going_on = self._servers[server_id].operations[CONTINUE].going_on_with(tool.spec)
        claim = ClaimNonce(found.nonce, found.sealed_us, self._ledger.now_us() - STATE_TTL_US)
        return Origin(tool, ask.args, going_on, found.first_intent_id, claim, found.question)

    async def run(self, server_id: str, ask: Ask, context: CallContext) -> Answered:
        """Send a request to a server. Raises `UpstreamError` as the session does.

        A resource is followed by each agent for itself: the server hears of the end when nobody follows any more.
        """
        uri = str(ask.params.get("uri"))
        if ask.method == "resources/unsubscribe" and self.followers.remove(context.principal, server_id, uri):
            return Answered({})
        answer = await self._request(server_id, ask, ask.params, context)
        if ask.method == "resources/subscribe":
            self.followers.add(context.principal, server_id, uri)
        listed = LISTED.get(ask.method, "")
        items = answer.result.get(listed)
        if not isinstance(items, list):
            return answer
        server = self._servers.get(server_id)
        if server is None or server.connection is None:
            raise no_server(server_id)
        shown = server.connection.without_secrets(listed, items)
        return Answered({**answer.result, listed: shown}, answer.inexact)

    async def go_on(self, server_id: str, args: JsonObject, context: CallContext) -> Answered:
        """Go on with a call that waits for input, with what its client answered; its seal was used up before."""
        _, ask, found = self._opened(server_id, args, context.principal)
        responses = as_object(args.get("responses"))
        if found.is_suspended:
            return await self._flows.resume(found, responses, ask, context, self.exchange_of(context))
        params: JsonObject = {**ask.params, "inputResponses": responses}
        if found.server_state is not None:
            params["requestState"] = found.server_state
        return await self._request(server_id, ask, params, context)

    async def on_task(self, operation: str, server_id: str, args: JsonObject, context: CallContext) -> Answered:
        """Ask of a task, answer it, or end it (`TASK_OPERATIONS`). Raises `UpstreamError` as `Tasks` does."""
        task = self._tasks.find(args.get("task"), context.principal, server_id)
        _, session, timeout_ms = await self._reached(server_id, task.ask, context)
        exchange = self.exchange_of(context)
        if operation == TASK_UPDATE:
            now = self._operation(server_id, operation).going_on_with(task.ask.target, task.nonce).spec
            if not self._tasks.is_asked(task) or now.digest_hex != context.tool_digest_hex:
                raise UpstreamError("the server asks something else by now", code="upstream_refused", sent=False)
            await self._tasks.answer(task, session, as_object(args.get("responses")), exchange, timeout_ms)
            return Answered({})
        if operation == "tasks.cancel":
            return Answered(await self._tasks.cancel(task, session, exchange, timeout_ms))
        return Answered(await self._tasks.look(task, session, exchange, timeout_ms))

    def _origin_of_task(self, operation: str, server_id: str, args: JsonObject, principal: Principal) -> Origin | Deny:
        """The call that became a task. Raises `UpstreamError` where there is none of this agent."""
        task = self._tasks.find(args.get("task"), principal.owner, server_id)
        tool, own = tool_of(self._servers, task.ask.target.id), self._operation(server_id, operation)
        if tool is None or tool.spec.digest_hex != task.ask.target.digest_hex:
            return Deny(with_detail(INVALID_ARGS, "the tool of the task is another by now"))
        if operation != TASK_UPDATE:
            first: FirstCall = "is_past" if operation == "tasks.cancel" else "denies"
            return Origin(tool, task.ask.args, own, task.first_intent_id, first=first)
        if not self._tasks.is_asked(task):
            return Deny(with_detail(INVALID_ARGS, "the server of the task asks nothing, as far as `tasks/get` told"))
        claim = ClaimNonce(task.nonce, task.asked_us, self._ledger.now_us() - STATE_TTL_US)
        going_on = own.going_on_with(tool.spec, task.nonce)
        return Origin(tool, task.ask.args, going_on, task.first_intent_id, claim, task.question)

    def _operation(self, server_id: str, operation: str) -> ServerOperation:
        server = self._servers.get(server_id)
        if server is None or operation not in server.operations:
            raise UpstreamError(f"no server `{server_id}`", code="upstream_refused", sent=False)
        return server.operations[operation]

    def _opened(self, server_id: str, args: JsonObject, principal: str) -> tuple[Tool, Ask, Continuation]:
        """What arguments of `server:continue` go on with. Raises `UpstreamError` where that is nothing."""
        target = str(args.get("target"))
        tool = tool_of(self._servers, target)
        if tool is None or server_of(target) != server_id:
            raise UpstreamError(
                "the call cannot go on: its tool is not there any more", code="upstream_refused", sent=False
            )
        ask = ask_for(tool.spec, as_object(args.get("arguments")))
        return tool, ask, self._flows.opened(args.get("state"), ask, principal)

    def exchange_of(self, context: CallContext) -> Exchange:
        """The call's exchange."""
        return self.exchanges.of(context)

    async def _request(self, server_id: str, ask: Ask, params: JsonObject, context: CallContext) -> Answered:
        """Send a request over the server's session; where its client can go on with a task, the answer may be one."""
        connection, session, timeout_ms = await self._reached(server_id, ask, context)
        exchange = self.exchange_of(context)
        headers = self._param_headers(connection, ask)
        wish = self._task_wish(session, ask, exchange)
        if wish is not None:
            self._tasks.check_room(context.principal)
            if not is_stateless(session.revision):
                params = {**params, "task": {} if wish.ttl_ms is None else {"ttl": wish.ttl_ms}}
        running = await session.start(
            ask.method, params, exchange=exchange, timeout_ms=timeout_ms, headers=headers, tasks=wish is not None
        )
        answered = await self._flows.begin(session, ask, context, running)
        return self._with_task(session, ask, context, answered, may_be_task=wish is not None)

    def _with_task(
        self, session: Session, ask: Ask, context: CallContext, answered: Answered, *, may_be_task: bool
    ) -> Answered:
        """What a server answered; a task it told of is kept, and has an id of ours from here on."""
        try:
            told = created_task(answered.result, session.revision) if may_be_task else None
        except ValueError as error:
            raise UpstreamError(f"the server's task is none: {error}") from None
        if told is None:
            if answered.result.get("resultType") == TASK:
                raise UpstreamError("the server answered with a task that nobody can go on with")
            return answered
        server_id = server_of(ask.target.id)
        task = self._tasks.add(context.principal, server_id, ask, told, context.first_intent_id)
        return Answered({"resultType": TASK, **shown_of(task, told.status, {})})

    def _task_wish(self, session: Session, ask: Ask, exchange: Exchange) -> TaskWish | None:
        """What a client wishes that can go on with a task, where this server may make one of this call.

        Raises:
            UpstreamError: the tool runs as a task alone, and the client can go on with none.
        """
        wish = exchange.options.task
        if ask.method != "tools/call" or not serves_tasks(session.capabilities, session.revision):
            return None
        if is_stateless(session.revision):
            return wish
        server = self._servers.get(server_of(ask.target.id))
        tool = None if server is None else server.tools.get(str(ask.params.get("name")))
        support = "forbidden" if tool is None else tool.task_support
        if wish is None and support == "required":
            message = f"`{ask.target.id}` runs as a task alone, and this client knows no tasks"
            raise UpstreamError(message, code="upstream_refused", sent=False)
        return wish if support == "required" or (wish is not None and wish.is_asked and support == "optional") else None

    async def _reached(self, server_id: str, ask: Ask, context: CallContext) -> tuple[Connection, Session, int]:
        """The server's connection, its session, which is waited for where there is none, and what time is left.

        # INVARIANT (who is reached): from the last check to the session that is used nothing is awaited; a server that
        # comes back while a call waits for it has listed its tools again.
        """
        server = self._servers.get(server_id)
        connection = None if server is None else server.connection
        if connection is None:
            raise UpstreamError(f"no server `{server_id}`", code="upstream_refused", sent=False)
        left_ms = max(1, (context.deadline_ns - self._clock.monotonic_ns()) // _NS_PER_MS)
        timeout_ms = min(left_ms, connection.config.timeout_ms or left_ms)
        self._check_unchanged(ask)
        session = await connection.session(min(READY_WAIT_S, timeout_ms / 1_000))
        self._check_unchanged(ask)
        return connection, session, timeout_ms

    def _check_unchanged(self, ask: Ask) -> None:
        """Raises `UpstreamError` where what a call was decided for is there no more, or is another."""
        tool = tool_of(self._servers, ask.target.id)
        check_unchanged(ask.target.id, None if tool is None else tool.spec, ask.target.digest_hex)

    def _param_headers(self, connection: Connection, ask: Ask) -> dict[str, str]:
        """What Streamable HTTP mirrors of a tool's arguments; a pinned schema keeps the rules for it."""
        server = self._servers.get(connection.config.id)
        tool = None if server is None else server.tools.get(str(ask.params.get("name")))
        if ask.method != "tools/call" or tool is None:
            return {}
        return write_param_headers(param_headers_of(tool.spec.input_schema), ask.args)
