"""Tools and MCP servers: what may be called, and what a server lists otherwise than it was accepted.

Accepting sends the digest of what was shown: a server that changed once more is looked at again.
"""

from __future__ import annotations

from typing import Final

import orjson

from briefcase.core.wire.servers import Accepted, Differences, ServerDetail, ServerList
from briefcase.core.wire.tools import ToolList, category_name
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Moved, Shown, View
from briefcase.model.types import JsonObject

_PRETTY: Final = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS


async def list_tools(asked: Asked) -> Shown:
    """`GET /tools`."""
    servers = (await asked.get("/v1/mcp/servers", ServerList)).servers
    tools = (await asked.get("/v1/tools", ToolList)).tools
    return Shown("tools", "Tools", {"servers": servers, "tools": tools, "category_name": category_name})


async def show_server(asked: Asked) -> Shown:
    """`GET /servers/{id}`: how it is reached, and what changed since its definitions were accepted."""
    at = asked.params["id"]
    detail = await asked.get(path_of("v1", "mcp", "servers", at), ServerDetail)
    found = await asked.get(path_of("v1", "mcp", "servers", at, "diff"), Differences)
    changes = [(one.name, _lines(one.before), _lines(one.after)) for one in found.changes]
    return Shown("server", at, {"detail": detail, "changes": changes, "digest": found.digest})


async def accept_definitions(asked: Asked) -> Moved:
    """`POST /servers/{id}/accept`: what was shown may be called."""
    at = asked.params["id"]
    await asked.post(path_of("v1", "mcp", "servers", at, "accept"), Accepted, digest=asked.form.get("digest", ""))
    return Moved(path_of("servers", at))


def _lines(definition: JsonObject | None) -> list[str] | None:
    return None if definition is None else orjson.dumps(definition, option=_PRETTY).decode().split("\n")


VIEWS: Final = (
    View("GET", "/tools", list_tools),
    View("GET", "/servers/{id}", show_server),
    View("POST", "/servers/{id}/accept", accept_definitions),
)
