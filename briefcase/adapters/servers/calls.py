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
from briefcase.adapters.servers.tools import CONTINUE, ask_for
from briefcase.adapters.tools.definition import check_unchanged
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.param_headers import param_headers_of, write_param_headers
from briefcase.core.mcp.sealing import Sealer, derive_key
from briefcase.model.effects import ClaimNonce
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import CallContext, Clock, Entropy, Ledger, Origin, Redactor, Tool
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
        self.exchanges = Exchanges(redactor)
        self.followers = Followers()

    def origin(self, call: ToolCall, principal: Principal) -> Origin | Deny | None:
        """What `server:continue` goes on with, by the seal it brings along. See `ports.Tools`."""
        server_id, _, operation = call.tool_id.partition(":")
        if operation != CONTINUE:
            return None
        try:
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
        """Send a request over the server's session, which is waited for where there is none.

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
        exchange = self.exchange_of(context)
        headers = self._param_headers(connection, ask)
        running = await session.start(ask.method, params, exchange=exchange, timeout_ms=timeout_ms, headers=headers)
        return await self._flows.begin(session, ask, context, running)

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
