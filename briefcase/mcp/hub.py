"""All MCP servers behind the daemon: their tools in its registry, their descriptions and pins in its ledger.

What an operator says of a server, and which definitions they accepted, is stored in the transaction of its receipt. A
tool can be called when its server's current definition of it is the pinned one; one that is new or has changed is not
there for any agent until an operator has looked at the difference and accepted exactly that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from briefcase.mcp import events
from briefcase.mcp.changes import Changes, Followers
from briefcase.mcp.definitions import (
    Change,
    Definition,
    changes_between,
    listing_digest,
    read_definition,
)
from briefcase.mcp.exchanges import Exchange, Exchanges
from briefcase.mcp.flows import STATE_TTL_US, Ask, Continuation, Flows
from briefcase.mcp.jsonrpc import as_object
from briefcase.mcp.link import Link, State
from briefcase.mcp.param_headers import param_headers_of, write_param_headers
from briefcase.mcp.sealing import Sealer, derive_key
from briefcase.mcp.servers import MAX_SERVERS, ServerConfig, parse_server
from briefcase.mcp.tools import CONTINUE, OPERATIONS, ServerOperation, ServerTool, ask_for
from briefcase.mcp.transport import Transport
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
    """What was accepted of one server: its definitions by name.

    `is_listed` says that a listing was accepted, which may have been empty: what comes later is no first one.
    """

    tools: dict[str, dict[str, Any]]
    is_listed: bool = False


class Hub:
    """The servers. One event loop; `start` after the ledger is open, `stop` before it closes.

    Args:
        ledger: holds descriptions and pins.
        clock: for deadlines.
        entropy: names what goes on, once each.
        redactor: cuts secrets out of what servers say.
        new_transport: makes the way to a server.
        needs_profile: whether servers must announce our profile (`ga`).
    """

    def __init__(  # noqa: PLR0913 - the ports of the hub, each named once, here
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
        self._links: dict[str, Link] = {}
        self._pins: dict[str, dict[str, Definition]] = {}
        self._tools: dict[str, dict[str, ServerTool]] = {}
        self._operations: dict[str, dict[str, ServerOperation]] = {}
        self._held: dict[str, str] = {}
        sealer = Sealer(derive_key(ledger.approval_secret(), "continuation"))
        self._flows = Flows(sealer, clock, ledger.now_us, entropy, redactor)
        self.exchanges = Exchanges(redactor)
        self.changes = Changes()
        self.followers = Followers()

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read what is stored, and begin to connect in the background: a server that is down delays nobody."""
        for config in self._stored():
            self._pins[config.id] = self._stored_pins(config.id)
            self._open(config)

    async def stop(self) -> None:
        """End every connection and process."""
        self.changes.stop()
        for link in list(self._links.values()):
            await link.stop()

    # --- the registry (`ports.Tools`) -------------------------------------------------------------------------------

    def resolve(self, tool_id: str) -> Tool | None:
        """The tool of that id, where it is as it was accepted."""
        server_id, colon, operation = tool_id.partition(":")
        if colon:
            return self._operations.get(server_id, {}).get(operation)
        server_id, _, name = tool_id.partition(".")
        return self._tools.get(server_id, {}).get(name)

    def refusal(self, tool_id: str) -> str | None:
        """`remote_mcp_incompatible` for whatever is of a server that was refused, whether it was ever listed or not."""
        link = self._links.get(server_of(tool_id))
        return REMOTE_MCP_INCOMPATIBLE if link is not None and link.state is State.REFUSED else None

    def origin(self, call: ToolCall, principal: Principal) -> Origin | Deny | None:
        """What `server:continue` goes on with, by the seal it brings along. See `ports.Tools`."""
        server_id, _, operation = call.tool_id.partition(":")
        if operation != CONTINUE:
            return None
        try:
            tool, ask, found = self._opened(server_id, call.args, principal.owner)
        except UpstreamError as error:
            return Deny(with_detail(INVALID_ARGS, error.message))
        going_on = self._operations[server_id][CONTINUE].going_on_with(tool.spec)
        claim = ClaimNonce(found.nonce, found.sealed_us, self._ledger.now_us() - STATE_TTL_US)
        return Origin(tool, ask.args, going_on, found.first_intent_id, claim, found.question)

    def specs(self) -> Sequence[ToolSpec]:
        """All tools that can be called, sorted by id; the operations beside them are not listed."""
        return sorted(
            (tool.spec for tools in self._tools.values() for tool in tools.values() if not self.refusal(tool.spec.id)),
            key=lambda spec: spec.id,
        )

    # --- calls (`tools.Runner`) -------------------------------------------------------------------------------------

    async def run(self, server_id: str, ask: Ask, context: CallContext) -> JsonObject:
        """Send a request to a server. Raises `UpstreamError` as the peer does.

        A resource is followed by each agent for itself: the server hears of the end when nobody follows any more.
        """
        uri = str(ask.params.get("uri"))
        if ask.method == "resources/unsubscribe" and self.followers.remove(context.principal, server_id, uri):
            return {}
        answer = await self._request(server_id, ask, ask.params, context)
        if ask.method == "resources/subscribe":
            self.followers.add(context.principal, server_id, uri)
        listed = LISTED.get(ask.method, "")
        items = answer.get(listed)
        if not isinstance(items, list):
            return answer
        return {**answer, listed: self.link(server_id).without_secrets(listed, items)}

    async def go_on(self, server_id: str, args: JsonObject, context: CallContext) -> JsonObject:
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

    async def _request(self, server_id: str, ask: Ask, params: JsonObject, context: CallContext) -> JsonObject:
        link = self._links.get(server_id)
        if link is None:
            raise UpstreamError(f"no server `{server_id}`", code="upstream_refused", sent=False)
        left_ms = max(1, (context.deadline_ns - self._clock.monotonic_ns()) // _NS_PER_MS)
        timeout_ms = min(left_ms, link.config.timeout_ms)
        peer = await link.peer(min(READY_WAIT_S, timeout_ms / 1_000))
        exchange = self.exchange_of(context)
        headers = self._param_headers(link, ask)
        running = await peer.start(ask.method, params, exchange=exchange, timeout_ms=timeout_ms, headers=headers)
        return await self._flows.begin(peer, ask, context, running)

    def _param_headers(self, link: Link, ask: Ask) -> dict[str, str]:
        """What Streamable HTTP mirrors of a tool's arguments; a pinned schema keeps the rules for it."""
        tool = self._tools.get(link.config.id, {}).get(str(ask.params.get("name")))
        if ask.method != "tools/call" or tool is None:
            return {}
        return write_param_headers(param_headers_of(tool.spec.input_schema), ask.args)

    # --- what an operator does --------------------------------------------------------------------------------------

    def configs(self) -> Sequence[ServerConfig]:
        """All descriptions, by id."""
        return [self._links[server_id].config for server_id in sorted(self._links)]

    def config(self, server_id: str) -> ServerConfig:
        """One server's description. Raises as `link`."""
        return self.link(server_id).config

    def address(self, server_id: str) -> str | None:
        """Where a server is; None where there is no such server."""
        return self._links[server_id].config.address if server_id in self._links else None

    def check_known(self, server_id: str) -> None:
        """Raises as `link` where there is no such server."""
        self.link(server_id)

    def link(self, server_id: str) -> Link:
        """One server's connection.

        Raises:
            CallerError: there is no such server (`not_found`).
        """
        link = self._links.get(server_id)
        if link is None:
            raise CallerError(f"no server `{server_id}`", code="not_found", hint="see `briefcase mcp servers list`")
        return link

    async def set_server(self, server_id: str, body: JsonObject, by: str) -> ServerConfig:
        """Add a server, or replace its description; durable when this returns.

        Raises:
            CallerError: the description is not as expected, or there are too many servers.
        """
        config = parse_server(server_id, body)
        if server_id not in self._links and len(self._links) >= MAX_SERVERS:
            raise CallerError(f"expected at most {MAX_SERVERS} servers", code="conflict")
        kept = {known.id: known for known in self.configs()} | {server_id: config}
        await self._commit(events.server_set_event(by, config), _servers_effect(kept))
        await self._close(server_id)
        self._pins.setdefault(server_id, {})
        self._open(config)
        return config

    async def reopen(self, server_id: str) -> None:
        """Connect anew, now: what it is let in with has changed. Raises as `link`."""
        config = self.link(server_id).config
        await self._close(server_id)
        self._open(config)

    async def delete_server(self, server_id: str, by: str) -> None:
        """Remove a server and its pins; durable when this returns. Raises as `link`."""
        self.link(server_id)
        kept = {known.id: known for known in self.configs() if known.id != server_id}
        effects = (_servers_effect(kept), _pins_effect(server_id, Pins({})))
        await self._commit(events.server_deleted_event(by, server_id), *effects)
        await self._close(server_id)
        self._pins.pop(server_id, None)
        self._held.pop(server_id, None)
        self.followers.forget(server_id)
        self.changes.add(server_id, "tools", "")

    def differences(self, server_id: str) -> tuple[str, tuple[Change, ...]]:
        """The digest of what a server lists now, and how that differs from what was accepted. Raises as `link`."""
        link = self.link(server_id)
        current = self._pins[server_id] if link.definitions is None else link.definitions
        return listing_digest(current), changes_between(self._pins[server_id], current)

    async def accept(self, server_id: str, digest_hex: str, by: str) -> int:
        """Pin what a server lists now, if it is what the operator looked at; gives the number of tools.

        Raises:
            CallerError: there is no such server, or it lists something else by now (`conflict`).
        """
        link = self.link(server_id)
        if link.definitions is None or listing_digest(link.definitions) != digest_hex:
            raise CallerError(
                "the server lists something else than what was looked at",
                code="conflict",
                hint=f"look again with `briefcase mcp servers diff {server_id}`",
            )
        await self._pin(server_id, link.definitions, by)
        return len(link.definitions)

    def accepted_names(self, server_id: str) -> list[str]:
        """The names of a server's tools that can be called, sorted."""
        return sorted(self._tools.get(server_id, {}))

    def extras(self) -> Mapping[str, JsonObject]:
        """What only MCP knows of each tool that can be called, by tool id."""
        return {tool.spec.id: tool.extra for tools in self._tools.values() for tool in tools.values()}

    # --- what links tell (`link.LinkEvents`) --------------------------------------------------------------------------

    async def on_listed(self, link: Link) -> None:
        """Accept a first listing; hold back what differs from an accepted one."""
        if self._links.get(link.config.id) is not link:
            return  # it was replaced or removed while it listed
        server_id, current = link.config.id, link.definitions or {}
        pinned = self._pins.get(server_id, {})
        changes = changes_between(pinned, current)
        if not self._is_listed(server_id) and not link.config.review:
            await self._pin(server_id, current, FIRST_USE)
        elif any(change.after is not None for change in changes):
            await self._note_held(server_id, listing_digest(current), changes)
        self._refresh(server_id)

    async def on_refused(self, link: Link) -> None:
        """Leave a receipt: an operator will ask why its tools are not there."""
        await self._commit(events.server_refused_event(link.config.id, REMOTE_MCP_INCOMPATIBLE))
        self.changes.add(link.config.id, "tools", "")

    def on_change(self, link: Link, kind: str, uri: str) -> None:
        """Tell whoever listens; a list of tools is told of once it was read."""
        if kind != "tools":
            self.changes.add(link.config.id, kind, uri)

    # --- helpers ------------------------------------------------------------------------------------------------------

    async def _note_held(self, server_id: str, digest_hex: str, changes: tuple[Change, ...]) -> None:
        """One receipt for one listing, however often a server repeats it."""
        if self._held.get(server_id) != digest_hex:
            self._held[server_id] = digest_hex
            await self._commit(events.definitions_held_event(server_id, digest_hex, changes))

    async def _pin(self, server_id: str, current: dict[str, Definition], by: str) -> None:
        event = events.definitions_pinned_event(by, server_id, listing_digest(current), len(current))
        pins = Pins({name: definition.body for name, definition in current.items()}, is_listed=True)
        await self._commit(event, _pins_effect(server_id, pins))
        self._pins[server_id] = dict(current)
        self._refresh(server_id)

    def _refresh(self, server_id: str) -> None:
        """Put in force what can be called of a server now; a tool that did not change stays the same object."""
        link = self._links[server_id]
        before, after = self._tools.get(server_id, {}), dict[str, ServerTool]()
        for name, definition in self._accepted(link).items():
            known = before.get(name)
            if link.config.rule_for(name).hidden:
                continue
            is_same = known is not None and known.is_of(link.config, definition)
            after[name] = known if known is not None and is_same else ServerTool(self, link.config, definition)
        self._tools[server_id] = after
        self.changes.add(server_id, "tools", "")

    def _accepted(self, link: Link) -> dict[str, Definition]:
        """The tools that are now what they were when they were accepted; before a first listing, all accepted ones."""
        pinned = self._pins.get(link.config.id, {})
        if link.definitions is None:
            return pinned
        current = link.definitions
        return {
            name: definition
            for name, definition in pinned.items()
            if name in current and current[name].digest_hex == definition.digest_hex
        }

    async def _commit(self, event: JsonObject, *effects: Effect) -> None:
        committed = await self._ledger.commit(Entry(event, effects))
        if isinstance(committed, Refused):
            raise StoreError(f"the change was not stored: {committed.reason}")

    def _open(self, config: ServerConfig) -> None:
        link = Link(config, self._new_transport, self, self._redactor, needs_profile=self._needs_profile)
        self._links[config.id] = link
        self._operations[config.id] = {name: ServerOperation(self, config, name) for name in OPERATIONS}
        self._refresh(config.id)
        link.start()

    async def _close(self, server_id: str) -> None:
        link = self._links.pop(server_id, None)
        self._tools.pop(server_id, None)
        self._operations.pop(server_id, None)
        if link is not None:
            await link.stop()

    def _stored(self) -> Sequence[ServerConfig]:
        data = self._ledger.setting(SERVERS_SETTING)
        try:
            return msgspec.json.decode(data, type=list[ServerConfig]) if data else []
        except msgspec.DecodeError as error:
            raise StoreError("the stored MCP servers can not be read", detail=str(error)) from None

    def _is_listed(self, server_id: str) -> bool:
        """Whether any listing of the server was accepted yet; those before this was noted held at least one tool."""
        pins = self._read_pins(server_id)
        return pins.is_listed or bool(pins.tools)

    def _read_pins(self, server_id: str) -> Pins:
        data = self._ledger.setting(PINS_SETTING + server_id)
        try:
            return msgspec.json.decode(data, type=Pins) if data else Pins({})
        except msgspec.DecodeError as error:
            raise StoreError(f"the pins of the MCP server `{server_id}` can not be read", detail=str(error)) from None

    def _stored_pins(self, server_id: str) -> dict[str, Definition]:
        read = [read_definition(body) for body in self._read_pins(server_id).tools.values()]
        return {definition.name: definition for definition in read if isinstance(definition, Definition)}


def server_of(tool_id: str) -> str:
    """The server's part of a tool's id; whether there is such a server is another question."""
    return tool_id.partition(":")[0].partition(".")[0]


def _servers_effect(configs: Mapping[str, ServerConfig]) -> PutSetting:
    return PutSetting(SERVERS_SETTING, msgspec.json.encode([configs[server_id] for server_id in sorted(configs)]))


def _pins_effect(server_id: str, pins: Pins) -> PutSetting:
    return PutSetting(PINS_SETTING + server_id, msgspec.json.encode(pins))
