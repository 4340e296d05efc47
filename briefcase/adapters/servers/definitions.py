"""A server's tools as it defines them, and what the operator has accepted of them.

A definition is everything a person or a model reads of a tool, so a change of any of it makes another tool. It is held
against what was pinned when the operator first accepted the server; what differs is held back until they look again.
Nothing here does I/O.

A definition is kept as its bytes. A server may list 4 MiB of them again and again, and what they are when they are read
and compiled is fifty times as much to keep, and a stretch of the loop to let go.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Mapping
from typing import Any, Final

import msgspec

from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.tools.schema import checking_schema
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.param_headers import param_headers_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import SERVER_TOOL_NAME
from briefcase.model.types import JsonObject, JsonValue, OutputFirewall, ToolSpec

MAX_TOOLS: Final = 1_000
MAX_DEFINITION_BYTES: Final = 64 << 10
MAX_LISTING_BYTES: Final = 4 << 20  # of all definitions of a server: they are pinned in one transaction
MAX_TEXT_CHARS: Final = 16_000
MAX_RESULT_BYTES: Final = 8 << 20

_TOOL_NAME: Final = re.compile(SERVER_TOOL_NAME)
_FIELDS: Final = ("title", "description", "inputSchema", "outputSchema", "annotations", "icons", "execution", "_meta")


class Problem(msgspec.Struct, frozen=True):
    """A definition that cannot be used, and why."""

    name: str
    problem: str


class Definition(msgspec.Struct, frozen=True):
    """One tool as its server defines it.

    `data` is its body in JSON, in the server's order; `digest_hex` covers the canonical body of `size_bytes`.
    """

    name: str
    data: bytes
    digest_hex: str
    size_bytes: int

    @property
    def body(self) -> JsonObject:
        """What it says, read anew each time."""
        return as_object(msgspec.json.decode(self.data))


class Change(msgspec.Struct, frozen=True):
    """How one tool differs from what is pinned: `before` None is new, `after` None is gone."""

    name: str
    before: Definition | None
    after: Definition | None


def reading_definition(item: JsonValue) -> Generator[None, None, Definition | Problem]:
    """Read one entry of `tools/list`, and find out whether its schema can be used, in pieces."""
    read = _read(item)
    if isinstance(read, Problem):
        return read
    definition, schema = read
    try:
        yield
        yield from checking_schema(args_schema(schema))
        param_headers_of(schema)
    except (CallerError, ValueError) as error:
        return Problem(definition.name, str(error))
    return definition


def stored_definition(data: bytes) -> Definition | Problem:
    """Read one that was accepted. Its schema was found to be usable then, and is compiled at its first call.

    Raises:
        msgspec.DecodeError: it is no JSON object.
    """
    read = _read(msgspec.json.decode(data, type=dict[str, Any]))
    if isinstance(read, Problem):
        return read
    definition, schema = read
    try:
        param_headers_of(schema)
    except ValueError as error:
        return Problem(definition.name, str(error))
    return definition


def args_schema(schema: JsonValue) -> JsonObject:
    """What arguments are held against: a tool's `inputSchema`, which is of an object whether it says so or not."""
    return {"type": "object", **as_object(schema)}


def _read(item: JsonValue) -> tuple[Definition, JsonValue] | Problem:
    """A definition and its `inputSchema`, which nothing was asked about yet."""
    tool = as_object(item)
    name = tool.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        return Problem(str(name)[:64], "expected a tool name of 1 to 128 plain characters")
    body: JsonObject = {"name": name, **{field: tool[field] for field in _FIELDS if field in tool}}
    for field in ("title", "description"):
        if not isinstance(tool.get(field, ""), str) or len(str(tool.get(field, ""))) > MAX_TEXT_CHARS:
            return Problem(name, f"expected `{field}` as a string of at most {MAX_TEXT_CHARS} characters")
    for field in ("inputSchema", "outputSchema"):
        if not isinstance(tool.get(field, {}), dict):
            return Problem(name, f"expected `{field}` as an object")
    try:
        canonical = canonical_bytes(body)
    except CallerError as error:
        return Problem(name, str(error))
    if len(canonical) > MAX_DEFINITION_BYTES:
        return Problem(name, f"expected a definition of at most {MAX_DEFINITION_BYTES} bytes")
    digest_hex = hashlib.sha256(canonical).hexdigest()
    return Definition(name, msgspec.json.encode(body), digest_hex, len(canonical)), body.get("inputSchema")


def changes_between(pinned: Mapping[str, Definition], current: Mapping[str, Definition]) -> tuple[Change, ...]:
    """What an operator has to look at, by name."""
    found = []
    for name in sorted(pinned.keys() | current.keys()):
        before, after = pinned.get(name), current.get(name)
        if before is None or after is None or before.digest_hex != after.digest_hex:
            found.append(Change(name, before, after))
    return tuple(found)


def listing_digest(current: Mapping[str, Definition]) -> str:
    """One digest over a whole listing: what an operator looked at is what they accept."""
    lines = "".join(f"{name}\x00{current[name].digest_hex}\n" for name in sorted(current))
    return hashlib.sha256(lines.encode()).hexdigest()


def tool_spec(definition: Definition, config: ServerConfig) -> ToolSpec:
    """A definition as the daemon's own: an approval is bound to it, the operator's rules and who is reached."""
    rule, body = config.rule_for(definition.name), definition.body
    hints = as_object(body.get("annotations"))
    category = rule.category or ("read" if hints.get("readOnlyHint") is True else "write")
    cost_microusd = rule.cost_microusd or 0
    bound = canonical_bytes(
        {
            "definition": definition.digest_hex,
            "category": category,
            "cost": cost_microusd,
            "reach": config.reach_digest_hex,
        }
    )
    return ToolSpec(
        id=f"{config.id}.{definition.name}",
        name=f"{config.id}.{definition.name}",  # what an approver reads: never a title of the server's choosing
        description=str(body.get("description", "")),
        input_schema=as_object(body.get("inputSchema")),
        output_schema=as_object(body.get("outputSchema")),
        category=category,
        cost_microusd=cost_microusd,
        output_firewall=OutputFirewall(max_bytes=MAX_RESULT_BYTES),
        net_access=True,  # CONTRACT, built-in tools: remote MCP tools count as having network access
        source=f"mcp:{config.id}",
        timeout_ms=config.timeout_ms,
        digest_hex=hashlib.sha256(bound).hexdigest(),
    )
