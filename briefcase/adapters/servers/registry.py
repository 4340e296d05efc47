"""All MCP servers behind the daemon: which there are, and what is done to one as a whole.

`server` is the state of one of them, `stored` what the ledger holds of them all, `acceptance` decides which of their
tools can be called, `calls` runs those, `connection` and `session` reach a server. Here they are put together: servers
are added, moved and removed, opened and closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from briefcase.adapters.servers import events
from briefcase.adapters.servers.acceptance import Acceptance
from briefcase.adapters.servers.calls import ServerCalls
from briefcase.adapters.servers.changes import Changes
from briefcase.adapters.servers.config import MAX_SERVERS, ServerConfig, parse_server
from briefcase.adapters.servers.connection import Connection, State
from briefcase.adapters.servers.server import Server, no_server, server_of, tool_of
from briefcase.adapters.servers.starts import Starts
from briefcase.adapters.servers.stored import StoredServers, configs_effect, no_pins_effect
from briefcase.adapters.servers.tools import OPERATIONS, ServerOperation, ServerTool
from briefcase.adapters.servers.transport import Transport
from briefcase.adapters.servers.turns import LettingGo
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock, Entropy, Ledger, Redactor, Tool
from briefcase.model.reasons import REMOTE_MCP_INCOMPATIBLE
from briefcase.model.types import JsonObject, ToolSpec


class ServerRegistry:
    """The servers. One event loop; `start` after the ledger is open, `stop` before it closes.

    Args:
        ledger: holds descriptions and pins.
        clock: for deadlines.
        entropy: names what goes on, once each.
        redactor: cuts secrets out of what servers say.
        new_transport: makes the way to a server.
        starts: says which processes may start now.
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
        starts: Starts,
        needs_profile: bool,
    ) -> None:
        self._new_transport = new_transport
        self._starts = starts
        self._needs_profile = needs_profile
        self._redactor = redactor
        self._servers: dict[str, Server] = {}
        self._stored = StoredServers(ledger, redactor)
        self._calls = ServerCalls(self._servers, ledger, clock, entropy, redactor)
        self.changes = Changes()
        self._letting_go = LettingGo()
        self._acceptance = Acceptance(self._servers, self._stored, self._calls, self.changes, self._letting_go)
        # what the parts do for those who know the registry alone
        self.exchanges = self._calls.exchanges
        self.followers = self._calls.followers
        self.origin = self._calls.origin
        self.differences = self._acceptance.differences
        self.accept = self._acceptance.accept

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read what is stored, and begin to connect in the background: a server that is down delays nobody."""
        for config in self._stored.configs():
            pins, is_listed = self._stored.pins(config.id)
            server = self._servers[config.id] = Server(config, pins, is_listed=is_listed)
            self._open(server)

    async def stop(self) -> None:
        """End every connection and process, all at once: each has some seconds to end by itself."""
        self.changes.stop()
        self._letting_go.stop()
        await asyncio.gather(*(connection.stop() for connection in self.connections()))

    # --- the registry (`ports.Tools`) -------------------------------------------------------------------------------

    def resolve(self, tool_id: str) -> Tool | None:
        """The tool of that id, where it is as it was accepted."""
        return tool_of(self._servers, tool_id)

    def refusal(self, tool_id: str) -> str | None:
        """`remote_mcp_incompatible` for whatever is of a server that was refused, whether it was ever listed or not."""
        server = self._servers.get(server_of(tool_id))
        connection = None if server is None else server.connection
        return REMOTE_MCP_INCOMPATIBLE if connection is not None and connection.state is State.REFUSED else None

    def specs(self) -> Sequence[ToolSpec]:
        """All tools that can be called, sorted by id; the operations beside them are not listed."""
        return sorted(
            (tool.spec for tool in self._all_tools() if not self.refusal(tool.spec.id)),
            key=lambda spec: spec.id,
        )

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
            raise no_server(server_id)
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
        async with self._stored.changing:
            server = self._servers.get(server_id)
            if server is None and len(self._servers) >= MAX_SERVERS:
                raise CallerError(f"expected at most {MAX_SERVERS} servers", code="conflict")
            kept = {known.id: known for known in self.configs()} | {server_id: config}
            await self._stored.commit(events.server_set_event(by, config), configs_effect(kept))
            if server is None:
                server = self._servers[server_id] = Server(config, {})
            server.config = config
        await self._reopen(server)
        return config

    async def reopen(self, server_id: str) -> None:
        """Connect anew, now: what it is let in with has changed. Raises as `connection`."""
        await self._reopen(self._server(server_id))

    async def delete_server(self, server_id: str, by: str) -> None:
        """Remove a server and its pins; durable when this returns. Raises as `connection`."""
        async with self._stored.changing:
            server = self._server(server_id)
            kept = {known.id: known for known in self.configs() if known.id != server_id}
            effects = (configs_effect(kept), no_pins_effect(server_id))
            await self._stored.commit(events.server_deleted_event(by, server_id), *effects)
            del self._servers[server_id]
        await self._close(server)
        self.followers.forget(server_id)
        self.changes.add(server_id, "tools", "")

    def accepted_names(self, server_id: str) -> list[str]:
        """The names of a server's tools that can be called, sorted."""
        return sorted(self._servers[server_id].tools) if server_id in self._servers else []

    def extras(self) -> Mapping[str, JsonObject]:
        """What only MCP knows of each tool that can be called, by tool id."""
        return {tool.spec.id: tool.extra for tool in self._all_tools()}

    # --- what connections tell (`connection.ConnectionEvents`) --------------------------------------------------------

    async def on_listed(self, connection: Connection) -> None:
        """Accept a first listing; hold back what differs from an accepted one, before its receipt is written."""
        await self._acceptance.judge(connection)

    async def on_refused(self, connection: Connection) -> None:
        """Leave a receipt: an operator will ask why its tools are not there."""
        await self._stored.commit(events.server_refused_event(connection.config.id, REMOTE_MCP_INCOMPATIBLE))
        self.changes.add(connection.config.id, "tools", "")

    def on_change(self, connection: Connection, kind: str, uri: str) -> None:
        """Tell whoever listens; a list of tools is told of once it was read."""
        if kind != "tools":
            self.changes.add(connection.config.id, kind, uri)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _server(self, server_id: str) -> Server:
        server = self._servers.get(server_id)
        if server is None:
            raise no_server(server_id)
        return server

    def _all_tools(self) -> Iterator[ServerTool]:
        return (tool for server in self._servers.values() for tool in server.tools.values())

    def _open(self, server: Server) -> None:
        config = server.config
        connection = Connection(
            config, self._new_transport, self, self._redactor, self._starts, needs_profile=self._needs_profile
        )
        server.connection = connection
        server.operations = {name: ServerOperation(self._calls, config, name) for name in OPERATIONS}
        self._acceptance.refresh(server)
        connection.start()

    async def _reopen(self, server: Server) -> None:
        await self._close(server)
        if self._servers.get(server.config.id) is server and server.connection is None:  # nobody was faster
            self._open(server)

    async def _close(self, server: Server) -> None:
        connection, tools = server.connection, server.tools
        server.connection, server.tools, server.operations = None, {}, {}
        self._letting_go.add(tools.values())
        if connection is not None:
            await connection.stop()
