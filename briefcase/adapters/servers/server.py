"""One MCP server behind the daemon: what is stored of it, and what stands behind that now."""

from __future__ import annotations

from collections.abc import Mapping

from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.connection import Connection
from briefcase.adapters.servers.definitions import Definition
from briefcase.adapters.servers.tools import ServerOperation, ServerTool
from briefcase.model.errors import CallerError
from briefcase.model.ports import Tool


class Server:
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


def server_of(tool_id: str) -> str:
    """The server's part of a tool's id; whether there is such a server is another question."""
    return tool_id.partition(":")[0].partition(".")[0]


def tool_of(servers: Mapping[str, Server], tool_id: str) -> Tool | None:
    """The tool of that id, where it is as it was accepted."""
    server_id, colon, operation = tool_id.partition(":")
    if colon:
        server = servers.get(server_id)
        return None if server is None else server.operations.get(operation)
    server_id, _, name = tool_id.partition(".")
    server = servers.get(server_id)
    return None if server is None else server.tools.get(name)


def no_server(server_id: str) -> CallerError:
    """The fault of naming a server that is not there."""
    return CallerError(f"no server `{server_id}`", code="not_found", hint="see `briefcase mcp servers list`")
