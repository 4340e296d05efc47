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
from briefcase.core.mcp.tasks import HANDSHAKE_REVISION, serves_tasks
from briefcase.core.wire import servers as wire
from briefcase.core.wire.identity import ProfileAnswer
from briefcase.core.wire.servers import ServerOffer
from briefcase.core.wire.tools import ToolList, ToolRecord
from briefcase.edges.gateway.daemon import Daemon, DaemonError
from briefcase.edges.gateway.names import Names, given_arguments, given_names, inverted, renamed_schema
from briefcase.edges.gateway.results import clean_meta
from briefcase.edges.gateway.view import View
from briefcase.model.types import JsonObject, JsonValue

_MCP_FIELDS: Final = ("title", "annotations", "icons")
_READ_ONLY: Final[JsonObject] = {"readOnlyHint": True}
_WRITING: Final[JsonObject] = {"readOnlyHint": False}


class Catalog(msgspec.Struct, frozen=True):
    """The daemon's profile and an agent's tools and servers, as of one moment."""

    tools: tuple[ToolRecord, ...]
    servers: dict[str, ServerOffer]
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
            if view.shows(server) and isinstance(entry.capabilities.get(capability), dict)
        )

    def serves_tasks(self, view: View, revision: str | None = None) -> bool:
        """Whether a server of a view takes calls as tasks; only one of this revision, where it is given."""
        return any(view.shows(server) and self._has_tasks(server, revision) for server in self.servers)

    def _has_tasks(self, server: str, revision: str | None = None) -> bool:
        offer = self.servers.get(server)
        return (
            offer is not None
            and revision in {None, offer.revision}
            and serves_tasks(offer.capabilities, offer.revision)
        )

    def param_headers(self) -> dict[str, ParamHeaders]:
        """Which arguments of which tool are mirrored into headers; the daemon offers no tool that breaks the rules."""
        found = {}
        for spec in self.tools:
            with contextlib.suppress(ValueError):
                found[spec.id] = param_headers_of(spec.input_schema)
        return found

    def listed_tools(self, view: View) -> tuple[list[JsonValue], Names]:
        """The tools of a view in MCP's form, in the daemon's order, and what their names stand for."""
        listed: list[JsonValue] = []
        own = {spec.id: name for spec in self.tools if (name := view.name_of(spec.id))}
        given = {name: name for name in own.values()} if view.keeps_ids else given_names(own.values())
        arguments = {}
        for spec in self.tools:
            name = own.get(spec.id)
            if name is not None:
                schema = spec.input_schema
                renamed = {} if view.keeps_ids or _mirrors(schema) else given_arguments(schema)
                if renamed:
                    arguments[spec.id] = inverted(renamed)
                extra = self.extras.get(spec.id, {})
                tool = _tool(spec, given[name], renamed_schema(schema, renamed), extra)
                if "execution" in extra and self._has_tasks(spec.id.partition(".")[0], HANDSHAKE_REVISION):
                    tool["execution"] = extra["execution"]
                if spec.id in self.asking:
                    as_object(as_object(tool["_meta"])["briefcase"])["needs_approval"] = True
                listed.append(tool)
        return listed, Names(inverted(given), arguments)


async def fetch_catalog(daemon: Daemon, token: str) -> Catalog:
    """Ask the daemon what this agent may see. Raises `DaemonError` as the daemon's client does."""
    listed = (await daemon.get(token, "/v1/tools", ToolList)).answer.tools
    try:
        seen = (await daemon.get(token, "/v1/mcp/catalog", wire.Catalog)).answer
    except DaemonError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        profile = (await daemon.get(token, "/v1/profile", ProfileAnswer)).answer
        seen = wire.Catalog(profile.mode, profile.compatibility_profile)
    hidden_ids = frozenset(seen.hidden)
    return Catalog(
        tools=tuple(spec for spec in listed if spec.id not in hidden_ids),
        servers=seen.servers,
        extras=seen.tools,
        mode=seen.mode,
        compatibility_profile=seen.compatibility_profile,
        asking=frozenset(seen.needs_approval),
    )


def _mirrors(schema: JsonObject) -> bool:
    """Whether arguments are mirrored into headers, by their own names."""
    try:
        return bool(param_headers_of(schema))
    except ValueError:
        return True


def _tool(spec: ToolRecord, name: str, schema: JsonObject, extra: JsonObject) -> JsonObject:
    category: JsonValue = spec.category if isinstance(spec.category, str) else {"other": spec.category.other}
    tool: JsonObject = {
        "name": name,
        "description": spec.description,
        "inputSchema": {"type": "object", **schema},
        # a server's own hints pass; without any, what the operator called the tool is the hint
        "annotations": dict(_READ_ONLY if category == "read" else _WRITING),
        "_meta": {
            **clean_meta(extra.get("_meta")),
            "briefcase": {"category": category, "estimated_usd": spec.cost.estimated_usd, "tool_id": spec.id},
        },
    }
    tool.update({field: extra[field] for field in _MCP_FIELDS if field in extra})
    if spec.output_schema.get("type") == "object":
        tool["outputSchema"] = spec.output_schema
    return tool
