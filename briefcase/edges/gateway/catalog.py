"""What one agent may see: the daemon's tools as MCP lists them, and which servers offer what beside tools.

`GET /v1/tools` is the contract's list; `GET /v1/mcp/catalog` adds what a policy hides from this agent, each server's
capabilities, and the parts of a definition that only MCP knows. A daemon without the second serves tools alone.
"""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.param_headers import ParamHeaders, param_headers_of
from briefcase.edges.gateway.daemon import Daemon, DaemonError
from briefcase.edges.gateway.results import clean_meta
from briefcase.edges.gateway.view import View
from briefcase.model.types import COMPATIBILITY_PROFILE, JsonObject, JsonValue

_MCP_FIELDS: Final = ("title", "annotations", "icons")
_READ_ONLY: Final[JsonObject] = {"readOnlyHint": True}
_WRITING: Final[JsonObject] = {"readOnlyHint": False}


class Catalog(msgspec.Struct, frozen=True):
    """The daemon's profile and an agent's tools and servers, as of one moment."""

    tools: tuple[JsonObject, ...]
    servers: dict[str, JsonObject]
    extras: dict[str, JsonObject]
    mode: str
    compatibility_profile: str
    asking: frozenset[str] = frozenset()

    @property
    def compatibility(self) -> JsonObject:
        """What `_meta.compatibility` and `capabilities.briefcase` say."""
        return {"mode": self.mode, "compatibility_profile": self.compatibility_profile}

    def servers_with(self, capability: str, view: View) -> list[str]:
        """The servers of a view that announced a capability, sorted."""
        return sorted(
            server
            for server, entry in self.servers.items()
            if view.shows(server) and isinstance(as_object(entry.get("capabilities")).get(capability), dict)
        )

    def param_headers(self) -> dict[str, ParamHeaders]:
        """Which arguments of which tool are mirrored into headers; the daemon offers no tool that breaks the rules."""
        found = {}
        for spec in self.tools:
            with contextlib.suppress(ValueError):
                found[str(spec.get("id"))] = param_headers_of(spec.get("input_schema"))
        return found

    def listed_tools(self, view: View) -> list[JsonValue]:
        """The tools of a view in MCP's form, in the daemon's order."""
        listed: list[JsonValue] = []
        for spec in self.tools:
            tool_id = str(spec.get("id", ""))
            name = view.name_of(tool_id)
            if name is not None:
                tool = _tool(spec, name, self.extras.get(tool_id, {}))
                if tool_id in self.asking:
                    as_object(as_object(tool["_meta"])["briefcase"])["needs_approval"] = True
                listed.append(tool)
        return listed


async def fetch_catalog(daemon: Daemon, token: str) -> Catalog:
    """Ask the daemon what this agent may see. Raises `DaemonError` as the daemon's client does."""
    listed = (await daemon.get(token, "/v1/tools")).get("tools")
    try:
        catalog = await daemon.get(token, "/v1/mcp/catalog")
    except DaemonError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        catalog = await daemon.get(token, "/v1/profile")
    hidden_ids = _names(catalog.get("hidden"))
    tools = tuple(spec for spec in (listed if isinstance(listed, list) else []) if isinstance(spec, dict))
    return Catalog(
        tools=tuple(spec for spec in tools if spec.get("id") not in hidden_ids),
        servers=_objects(catalog.get("servers")),
        extras=_objects(catalog.get("tools")),
        mode=str(catalog.get("mode", "")),
        compatibility_profile=str(catalog.get("compatibility_profile", COMPATIBILITY_PROFILE)),
        asking=_names(catalog.get("needs_approval")),
    )


def _tool(spec: JsonObject, name: str, extra: JsonObject) -> JsonObject:
    category, cost = spec.get("category", "other"), as_object(spec.get("cost"))
    tool: JsonObject = {
        "name": name,
        "description": spec.get("description", ""),
        "inputSchema": {"type": "object", **as_object(spec.get("input_schema"))},
        # a server's own hints pass; without any, what the operator called the tool is the hint
        "annotations": dict(_READ_ONLY if category == "read" else _WRITING),
        "_meta": {
            **clean_meta(extra.get("_meta")),
            "briefcase": {"category": category, "estimated_usd": cost.get("estimated_usd", 0), "tool_id": spec["id"]},
        },
    }
    tool.update({field: extra[field] for field in _MCP_FIELDS if field in extra})
    output_schema = as_object(spec.get("output_schema"))
    if output_schema.get("type") == "object":
        tool["outputSchema"] = output_schema
    return tool


def _objects(value: JsonValue) -> dict[str, JsonObject]:
    return {key: item for key, item in as_object(value).items() if isinstance(item, dict)}


def _names(value: JsonValue) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()
