"""Which tools of an MCP server can be called: those whose current definition is the one that was accepted.

A first listing is accepted as it comes, unless the operator wants to review it. What differs from an accepted one is
not there for any agent until an operator has looked at the difference and accepted exactly that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from briefcase.adapters.servers import events
from briefcase.adapters.servers.changes import Changes
from briefcase.adapters.servers.connection import Connection
from briefcase.adapters.servers.definitions import Change, Definition, changes_between, listing_digest
from briefcase.adapters.servers.server import Server, no_server
from briefcase.adapters.servers.stored import StoredServers
from briefcase.adapters.servers.tools import Runner, ServerTool
from briefcase.adapters.servers.turns import LettingGo, Turn
from briefcase.model.errors import CallerError, UpstreamError

FIRST_USE: Final = "first_use"


class Acceptance:
    """Judges listings, pins what was accepted, and puts in force what can be called.

    Args:
        servers: the servers by id, as they are now; the registry changes them.
        stored: keeps the pins.
        runner: runs the tools.
        changes: tells who listens that a server's tools are others.
        letting_go: lets go of tools a few at a time.
    """

    def __init__(
        self,
        servers: Mapping[str, Server],
        stored: StoredServers,
        runner: Runner,
        changes: Changes,
        letting_go: LettingGo,
    ) -> None:
        self._servers = servers
        self._stored = stored
        self._runner = runner
        self._changes = changes
        self._letting_go = letting_go

    async def judge(self, connection: Connection) -> None:
        """Accept a first listing; hold back what differs from an accepted one, before its receipt is written."""
        server_id, current = connection.config.id, connection.definitions or {}
        server = self._servers.get(server_id)
        if server is None or server.connection is not connection:
            return  # it was replaced or removed while it listed
        changes = changes_between(server.pins, current)
        if not server.is_listed and not connection.config.review:
            await self._pin_first(server, current)
            return
        self.refresh(server)
        if any(change.after is not None for change in changes):
            await self._note_held(server, listing_digest(current), changes)

    def differences(self, server_id: str) -> tuple[str, tuple[Change, ...]]:
        """The digest of what a server lists now, and how it differs from what was accepted. Raises as `accept`."""
        server = self._server(server_id)
        current = server.current()
        return listing_digest(current), changes_between(server.pins, current)

    async def accept(self, server_id: str, digest_hex: str, by: str) -> int:
        """Pin what a server lists now, if it is what the operator looked at; gives the number of tools.

        Raises:
            CallerError: there is no such server, or it lists something else by now (`conflict`).
        """
        server = self._server(server_id)
        connection = server.connection
        if connection is None:
            raise no_server(server_id)
        if connection.definitions is None or listing_digest(connection.definitions) != digest_hex:
            raise CallerError(
                "the server lists something else than what was looked at",
                code="conflict",
                hint=f"look again with `briefcase mcp servers diff {server_id}`",
            )
        current = connection.definitions
        await self._pin(server, current, by)
        return len(current)

    def refresh(self, server: Server) -> None:
        """Put in force what can be called of a server now; a tool that did not change stays the same object."""
        connection, before, after = server.connection, server.tools, dict[str, ServerTool]()
        if connection is None:
            return  # it is being closed: nothing of it can be called until it is opened again
        for name, definition in server.accepted().items():
            known = before.get(name)
            if connection.config.rule_for(name).hidden:
                continue
            if known is None or not known.is_of(connection.config, definition):
                known = ServerTool(self._runner, connection.config, definition)
            after[name] = known
        server.tools = after
        self._letting_go.add(tool for name, tool in before.items() if after.get(name) is not tool)
        if after != before:
            self._changes.add(server.config.id, "tools", "")

    async def _note_held(self, server: Server, digest_hex: str, changes: tuple[Change, ...]) -> None:
        """One receipt for one listing, however often a server repeats it."""
        if server.held_hex != digest_hex:
            await self._stored.commit(events.definitions_held_event(server.config.id, digest_hex, changes))
            server.held_hex = digest_hex

    async def _pin_first(self, server: Server, current: dict[str, Definition]) -> None:
        try:
            await self._pin(server, current, FIRST_USE)
        except CallerError as error:  # listed once more, what holds a secret by now is held back
            raise UpstreamError(error.message) from None

    async def _pin(self, server: Server, current: dict[str, Definition], by: str) -> None:
        server_id = server.config.id
        pins = await Turn().run(self._stored.encoding_pins(server_id, current))
        event = events.definitions_pinned_event(by, server_id, listing_digest(current), len(current))
        async with self._stored.changing:  # or they could be stored after the removal that is being written
            if self._servers.get(server_id) is not server:
                raise no_server(server_id)  # it was removed meanwhile, and its pins with it
            await self._stored.commit_pins(event, pins)
            server.pins, server.is_listed = dict(current), True
        self.refresh(server)

    def _server(self, server_id: str) -> Server:
        server = self._servers.get(server_id)
        if server is None:
            raise no_server(server_id)
        return server
