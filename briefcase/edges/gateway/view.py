"""What a client sees: everything under `server.name`, or one server under its own names.

The daemon knows a tool as `server.tool`. The full view shows those ids, prompts as `server.prompt`, and resources with
the server in front of the scheme (`server+file:///notes`), so that two servers' names never meet. The view of one
server (`/mcp/<server>`, `--server`) takes the prefix away: a drop-in for a client that knew that server directly.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core.mcp.jsonrpc import INVALID_PARAMS, RpcError, as_object
from briefcase.model.identifiers import is_server_id
from briefcase.model.types import JsonValue

_MAX_BLOCKS: Final = 10_000


class View(msgspec.Struct, frozen=True):
    """The names of one endpoint. `server` is None for the full view.

    `keeps_ids`: tools and their arguments have no other names than their own, which some clients do not take (`names`).
    """

    server: str | None = None
    keeps_ids: bool = False

    def shows(self, server: str) -> bool:
        """Whether a server's things are seen here."""
        return self.server in {None, server}

    def id_of(self, name: str) -> str:
        """The daemon's id of a tool or prompt that the client named."""
        return name if self.server is None else f"{self.server}.{name}"

    def name_of(self, tool_id: str) -> str | None:
        """The client's name of a tool, or None where this view does not show it."""
        if self.server is None:
            return tool_id
        server, _, name = tool_id.partition(".")
        return name if server == self.server and name else None

    def split_name(self, name: object) -> tuple[str, str]:
        """The server of a prompt the client named, and its name there.

        Raises:
            RpcError: no such name can exist (`-32602`).
        """
        server, _, own = self.id_of(name).partition(".") if isinstance(name, str) else ("", "", "")
        if not is_server_id(server) or not own:
            raise RpcError(INVALID_PARAMS, f"unknown prompt `{str(name)[:128]}`")
        return server, own

    def split_uri(self, uri: object) -> tuple[str, str]:
        """The server of a resource the client named, and its URI there.

        Raises:
            RpcError: no such resource can exist.
        """
        if isinstance(uri, str) and self.server is not None:
            return self.server, uri
        server, _, own = uri.partition("+") if isinstance(uri, str) else ("", "", "")
        if not is_server_id(server) or not own:
            raise UnknownResourceError(uri)
        return server, own

    def uri_of(self, server: str, uri: str) -> str:
        """A server's URI as the client names it."""
        return uri if self.server is not None else f"{server}+{uri}"

    def name_in(self, server: str, name: str) -> str:
        """A server's prompt as the client names it."""
        return name if self.server is not None else f"{server}.{name}"

    def rename_blocks(self, server: str, blocks: JsonValue) -> JsonValue:
        """Content blocks with the resources they name or embed as this view names them."""
        if self.server is not None or not isinstance(blocks, list):
            return blocks
        return [self._renamed(server, block) for block in blocks[:_MAX_BLOCKS]]

    def _renamed(self, server: str, block: JsonValue) -> JsonValue:
        if not isinstance(block, dict):
            return block
        if block.get("type") == "resource_link":
            return {**block, "uri": self.uri_of(server, str(block.get("uri")))}
        if block.get("type") == "resource":
            resource = as_object(block.get("resource"))
            return {**block, "resource": {**resource, "uri": self.uri_of(server, str(resource.get("uri")))}}
        return block


class UnknownResourceError(Exception):
    """A URI that names no resource here. Its error code depends on the revision."""

    def __init__(self, uri: object) -> None:
        super().__init__(f"unknown resource `{str(uri)[:256]}`")
        self.uri = uri
