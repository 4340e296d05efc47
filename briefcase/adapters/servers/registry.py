"""All MCP servers behind the daemon: their tools in its registry, their descriptions and pins in its ledger.

What an operator says of a server, and which definitions they accepted, is stored in the transaction of its receipt. A
tool can be called when its server's current definition of it is the pinned one; one that is new or has changed is not
there for any agent until an operator has looked at the difference and accepted exactly that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from briefcase.adapters.servers import events
from briefcase.adapters.servers.changes import Changes, Followers
from briefcase.adapters.servers.config import MAX_SERVERS, ServerConfig, parse_server
from briefcase.adapters.servers.connection import Connection, State
from briefcase.adapters.servers.definitions import (
    Change,
    Definition,
    changes_between,
    listing_digest,
    stored_definition,
)
from briefcase.adapters.servers.exchanges import Exchange, Exchanges
from briefcase.adapters.servers.flows import STATE_TTL_US, Answered, Ask, Continuation, Flows
from briefcase.adapters.servers.tools import CONTINUE, OPERATIONS, ServerOperation, ServerTool, ask_for
from briefcase.adapters.servers.transport import Transport
from briefcase.adapters.servers.turns import LettingGo, Turn
from briefcase.adapters.tools.definition import check_unchanged
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.param_headers import param_headers_of, write_param_headers
from briefcase.core.mcp.sealing import Sealer, derive_key
from briefcase.core.redaction.redactor import redact_value
from briefcase.model.effects import ClaimNonce, Effect, Entry, PutSetting, Refused
from briefcase.model.errors import CallerError, StoreError, UpstreamError
from briefcase.model.ports import CallContext, Clock, Entropy, Ledger, Origin, Redactor, Tool
from briefcase.model.reasons import INVALID_ARGS, REMOTE_MCP_INCOMPATIBLE, with_detail
from briefcase.model.types import Deny, JsonObject, Principal, ToolCall, ToolSpec

SERVERS_SETTING: Final = "mcp.servers"
PINS_SETTING: Final = "mcp.pins."
LISTED: Final = {  # methods that list, and what they list
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
FIRST_USE: Final = "first_use"
READY_WAIT_S: Final = 10.0
_NS_PER_MS: Final = 1_000_000


class Pins(msgspec.Struct, frozen=True):
    """What was accepted of one server: its definitions by name, as they are stored.

    `is_listed` says that a listing was accepted, which may have been empty: what comes later is no first one.
    """

    tools: dict[str, msgspec.Raw]
    is_listed: bool = False


class _Server:
    """One server: what is stored of it, and what stands behind that now.

    `config` and `pins` are what the ledger holds. `connection` is None while it is closed to be opened anew; nothing
    can be called then. `is_listed`: a listing was accepted, which may have been empty. `held_hex` is the listing
    of which a receipt says that it was held back.
    """

    __slots__ = ("config", "connection", "held_hex", "is_listed", "operations", "pins", "tools")

    def __init__(self, config: ServerConfig, pins: dict[str, Definition], *, is_listed: bool = False) -> None:
        self.config = config
        self.pins = pins
        self.is_listed = is_listed
        self.connection: Connection | None = None
        self.tools: dict[str, ServerTool] = {}
        self.operations: dict[str, ServerOperation] = {}
        self.held_hex = ""

    def current(self) -> dict[str, Definition]:
        """What it lists now; before a first listing, what was accepted."""
        listed = self.connection.definitions if self.connection is not None else None
        return self.pins if listed is None else listed

    def accepted(self) -> dict[str, Definition]:
        """The tools that are now what they were when they were accepted; before a first listing, all accepted ones."""
        current = self.current()
        return {
            name: definition
            for name, definition in self.pins.items()
            if name in current and current[name].digest_hex == definition.digest_hex
        }


class ServerRegistry:
    """The servers. One event loop; `start` after the ledger is open, `stop` before it closes.

    Args:
        ledger: holds descriptions and pins.
        clock: for deadlines.
        entropy: names what goes on, once each.
        redactor: cuts secrets out of what servers say.
        new_transport: makes the way to a server.
        needs_profile: whether servers must announce our profile (`ga`).
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        entropy: Entropy,
        redactor: Redactor,
        new_transport: Callable[[ServerConfig], Awaitable[Transport]],
        needs_profile: bool,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._new_transport = new_transport
        self._needs_profile = needs_profile
        self._redactor = redactor
        self._servers: dict[str, _Server] = {}
        self._changing = asyncio.Lock()  # the stored list is written whole: one change after the other
        sealer = Sealer(derive_key(ledger.approval_secret(), "continuation"))
        self._flows = Flows(sealer, clock, ledger.now_us, entropy, redactor)
        self.exchanges = Exchanges(redactor)
        self.changes = Changes()
        self.followers = Followers()
        self._letting_go = LettingGo()

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read what is stored, and begin to connect in the background: a server that is down delays nobody."""
        for config in self._stored():
            pins, is_listed = self._read_pins(config.id)
            server = self._servers[config.id] = _Server(config, pins, is_listed=is_listed)
            self._open(server)

    async def stop(self) -> None:
        """End every connection and process."""
        self.changes.stop()
        self._letting_go.stop()
        for server in list(self._servers.values()):
            if server.connection is not None:
                await server.connection.stop()

    # --- the registry (`ports.Tools`) -------------------------------------------------------------------------------

    def resolve(self, tool_id: str) -> Tool | None:
        """The tool of that id, where it is as it was accepted."""
        server_id, colon, operation = tool_id.partition(":")
        if colon:
            server = self._servers.get(server_id)
            return None if server is None else server.operations.get(operation)
        server_id, _, name = tool_id.partition(".")
        server = self._servers.get(server_id)
        return None if server is None else server.tools.get(name)

    def refusal(self, tool_id: str) -> str | None:
        """`remote_mcp_incompatible` for whatever is of a server that was refused, whether it was ever listed or not."""
        server = self._servers.get(server_of(tool_id))
        connection = None if server is None else server.connection
        return REMOTE_MCP_INCOMPATIBLE if connection is not None and connection.state is State.REFUSED else None

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

    def specs(self) -> Sequence[ToolSpec]:
        """All tools that can be called, sorted by id; the operations beside them are not listed."""
        return sorted(
            (tool.spec for tool in self._all_tools() if not self.refusal(tool.spec.id)),
            key=lambda spec: spec.id,
        )

    # --- calls (`tools.Runner`) -------------------------------------------------------------------------------------

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
        shown = self.connection(server_id).without_secrets(listed, items)
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
        tool = self.resolve(target)
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
        tool = self.resolve(ask.target.id)
        check_unchanged(ask.target.id, None if tool is None else tool.spec, ask.target.digest_hex)

    def _param_headers(self, connection: Connection, ask: Ask) -> dict[str, str]:
        """What Streamable HTTP mirrors of a tool's arguments; a pinned schema keeps the rules for it."""
        server = self._servers.get(connection.config.id)
        tool = None if server is None else server.tools.get(str(ask.params.get("name")))
        if ask.method != "tools/call" or tool is None:
            return {}
        return write_param_headers(param_headers_of(tool.spec.input_schema), ask.args)

    # --- what an operator does --------------------------------------------------------------------------------------

    def configs(self) -> Sequence[ServerConfig]:
        """All descriptions, by id."""
        return [self._servers[server_id].config for server_id in sorted(self._servers)]

    def config(self, server_id: str) -> ServerConfig:
        """One server's description. Raises as `connection`."""
        return self._server(server_id).config

    def address(self, server_id: str) -> str | None:
        """Where a server is; None where there is no such server."""
        return self._servers[server_id].config.address if server_id in self._servers else None

    def check_known(self, server_id: str) -> None:
        """Raises as `connection` where there is no such server."""
        self._server(server_id)

    def connection(self, server_id: str) -> Connection:
        """One server's connection.

        Raises:
            CallerError: there is no such server (`not_found`).
        """
        connection = self._server(server_id).connection
        if connection is None:
            raise _no_server(server_id)
        return connection

    def connections(self) -> Sequence[Connection]:
        """All that are open, by id."""
        servers = [self._servers[server_id] for server_id in sorted(self._servers)]
        return [server.connection for server in servers if server.connection is not None]

    async def set_server(self, server_id: str, body: JsonObject, by: str) -> ServerConfig:
        """Add a server, or replace its description; durable when this returns.

        Raises:
            CallerError: the description is not as expected, or there are too many servers.
        """
        config = parse_server(server_id, body)
        async with self._changing:
            server = self._servers.get(server_id)
            if server is None and len(self._servers) >= MAX_SERVERS:
                raise CallerError(f"expected at most {MAX_SERVERS} servers", code="conflict")
            kept = {known.id: known for known in self.configs()} | {server_id: config}
            await self._commit(events.server_set_event(by, config), _servers_effect(kept))
            if server is None:
                server = self._servers[server_id] = _Server(config, {})
            server.config = config
        await self._reopen(server)
        return config

    async def reopen(self, server_id: str) -> None:
        """Connect anew, now: what it is let in with has changed. Raises as `connection`."""
        await self._reopen(self._server(server_id))

    async def delete_server(self, server_id: str, by: str) -> None:
        """Remove a server and its pins; durable when this returns. Raises as `connection`."""
        async with self._changing:
            server = self._server(server_id)
            kept = {known.id: known for known in self.configs() if known.id != server_id}
            effects = (_servers_effect(kept), PutSetting(PINS_SETTING + server_id, msgspec.json.encode(Pins({}))))
            await self._commit(events.server_deleted_event(by, server_id), *effects)
            del self._servers[server_id]
        await self._close(server)
        self.followers.forget(server_id)
        self.changes.add(server_id, "tools", "")

    def differences(self, server_id: str) -> tuple[str, tuple[Change, ...]]:
        """The digest of what a server lists now, and how it differs from what was accepted. Raises as `connection`."""
        server = self._server(server_id)
        current = server.current()
        return listing_digest(current), changes_between(server.pins, current)

    async def accept(self, server_id: str, digest_hex: str, by: str) -> int:
        """Pin what a server lists now, if it is what the operator looked at; gives the number of tools.

        Raises:
            CallerError: there is no such server, or it lists something else by now (`conflict`).
        """
        server, connection = self._server(server_id), self.connection(server_id)
        if connection.definitions is None or listing_digest(connection.definitions) != digest_hex:
            raise CallerError(
                "the server lists something else than what was looked at",
                code="conflict",
                hint=f"look again with `briefcase mcp servers diff {server_id}`",
            )
        current = connection.definitions
        await self._pin(server, current, by)
        return len(current)

    def accepted_names(self, server_id: str) -> list[str]:
        """The names of a server's tools that can be called, sorted."""
        return sorted(self._servers[server_id].tools) if server_id in self._servers else []

    def extras(self) -> Mapping[str, JsonObject]:
        """What only MCP knows of each tool that can be called, by tool id."""
        return {tool.spec.id: tool.extra for tool in self._all_tools()}

    # --- what connections tell (`connection.ConnectionEvents`) --------------------------------------------------------

    async def on_listed(self, connection: Connection) -> None:
        """Accept a first listing; hold back what differs from an accepted one, before its receipt is written."""
        server_id, current = connection.config.id, connection.definitions or {}
        server = self._servers.get(server_id)
        if server is None or server.connection is not connection:
            return  # it was replaced or removed while it listed
        changes = changes_between(server.pins, current)
        if not server.is_listed and not connection.config.review:
            await self._pin_first(server, current)
            return
        self._refresh(server)
        if any(change.after is not None for change in changes):
            await self._note_held(server, listing_digest(current), changes)

    async def on_refused(self, connection: Connection) -> None:
        """Leave a receipt: an operator will ask why its tools are not there."""
        await self._commit(events.server_refused_event(connection.config.id, REMOTE_MCP_INCOMPATIBLE))
        self.changes.add(connection.config.id, "tools", "")

    def on_change(self, connection: Connection, kind: str, uri: str) -> None:
        """Tell whoever listens; a list of tools is told of once it was read."""
        if kind != "tools":
            self.changes.add(connection.config.id, kind, uri)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _server(self, server_id: str) -> _Server:
        server = self._servers.get(server_id)
        if server is None:
            raise _no_server(server_id)
        return server

    def _all_tools(self) -> Iterator[ServerTool]:
        return (tool for server in self._servers.values() for tool in server.tools.values())

    async def _note_held(self, server: _Server, digest_hex: str, changes: tuple[Change, ...]) -> None:
        """One receipt for one listing, however often a server repeats it."""
        if server.held_hex != digest_hex:
            await self._commit(events.definitions_held_event(server.config.id, digest_hex, changes))
            server.held_hex = digest_hex

    async def _pin_first(self, server: _Server, current: dict[str, Definition]) -> None:
        try:
            await self._pin(server, current, FIRST_USE)
        except CallerError as error:  # listed once more, what holds a secret by now is held back
            raise UpstreamError(error.message) from None

    async def _pin(self, server: _Server, current: dict[str, Definition], by: str) -> None:
        server_id = server.config.id
        pins = await Turn().run(self._encoding_pins(server_id, current))
        event = events.definitions_pinned_event(by, server_id, listing_digest(current), len(current))
        async with self._changing:  # or they could be stored after the removal that is being written
            if self._servers.get(server_id) is not server:
                raise _no_server(server_id)  # it was removed meanwhile, and its pins with it
            await self._committed(Entry(redact_value(self._redactor, event), (pins,), is_filtered=True, is_large=True))
            server.pins, server.is_listed = dict(current), True
        self._refresh(server)

    def _encoding_pins(self, server_id: str, current: Mapping[str, Definition]) -> Generator[None, None, PutSetting]:
        """Encode `Pins`, a definition at a time.

        # INVARIANT (settings): each definition is asked here what the ledger asks of a setting that comes unfiltered.
        """
        pieces = list[bytes]()
        for name, definition in sorted(current.items()):
            piece = b"%b:%b" % (msgspec.json.encode(name), definition.data)
            if self._redactor.redact(b"{%b}" % piece) != b"{%b}" % piece:
                raise CallerError(
                    "a definition holds a secret of the vault by now",
                    code="conflict",
                    hint=f"look again with `briefcase mcp servers diff {server_id}`",
                )
            pieces.append(piece)
            yield
        return PutSetting(PINS_SETTING + server_id, b'{"tools":{%b},"is_listed":true}' % b",".join(pieces))

    def _refresh(self, server: _Server) -> None:
        """Put in force what can be called of a server now; a tool that did not change stays the same object."""
        connection, before, after = server.connection, server.tools, dict[str, ServerTool]()
        if connection is None:
            return  # it is being closed: nothing of it can be called until it is opened again
        for name, definition in server.accepted().items():
            known = before.get(name)
            if connection.config.rule_for(name).hidden:
                continue
            is_same = known is not None and known.is_of(connection.config, definition)
            after[name] = known if known is not None and is_same else ServerTool(self, connection.config, definition)
        server.tools = after
        self._letting_go.add(tool for name, tool in before.items() if after.get(name) is not tool)
        if after != before:
            self.changes.add(server.config.id, "tools", "")

    async def _commit(self, event: JsonObject, *effects: Effect) -> None:
        await self._committed(Entry(event, effects))

    async def _committed(self, entry: Entry) -> None:
        committed = await self._ledger.commit(entry)
        if isinstance(committed, Refused):
            raise StoreError(f"the change was not stored: {committed.reason}")

    def _open(self, server: _Server) -> None:
        config = server.config
        connection = Connection(config, self._new_transport, self, self._redactor, needs_profile=self._needs_profile)
        server.connection = connection
        server.operations = {name: ServerOperation(self, config, name) for name in OPERATIONS}
        self._refresh(server)
        connection.start()

    async def _reopen(self, server: _Server) -> None:
        await self._close(server)
        if self._servers.get(server.config.id) is server and server.connection is None:  # nobody was faster
            self._open(server)

    async def _close(self, server: _Server) -> None:
        connection, tools = server.connection, server.tools
        server.connection, server.tools, server.operations = None, {}, {}
        self._letting_go.add(tools.values())
        if connection is not None:
            await connection.stop()

    def _stored(self) -> Sequence[ServerConfig]:
        data = self._ledger.setting(SERVERS_SETTING)
        try:
            return msgspec.json.decode(data, type=list[ServerConfig]) if data else []
        except msgspec.DecodeError as error:
            raise StoreError("the stored MCP servers cannot be read", detail=str(error)) from None

    def _read_pins(self, server_id: str) -> tuple[dict[str, Definition], bool]:
        """What was accepted of a server, and whether a listing was."""
        data = self._ledger.setting(PINS_SETTING + server_id)
        try:
            pins = msgspec.json.decode(data, type=Pins) if data else Pins({})
            read = [stored_definition(bytes(body)) for body in pins.tools.values()]
            is_listed = pins.is_listed or bool(pins.tools)  # those before `is_listed` was noted held at least one tool
            return {definition.name: definition for definition in read if isinstance(definition, Definition)}, is_listed
        except msgspec.DecodeError as error:
            raise StoreError(f"the pins of the MCP server `{server_id}` cannot be read", detail=str(error)) from None


def server_of(tool_id: str) -> str:
    """The server's part of a tool's id; whether there is such a server is another question."""
    return tool_id.partition(":")[0].partition(".")[0]


def _servers_effect(configs: Mapping[str, ServerConfig]) -> PutSetting:
    return PutSetting(SERVERS_SETTING, msgspec.json.encode([configs[server_id] for server_id in sorted(configs)]))


def _no_server(server_id: str) -> CallerError:
    return CallerError(f"no server `{server_id}`", code="not_found", hint="see `briefcase mcp servers list`")
