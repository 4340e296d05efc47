"""The receipts' events about MCP servers: who added or changed one, which definitions were accepted, what was refused.

| kind | when |
|---|---|
| mcp_server_set, mcp_server_deleted | an operator added, changed or removed a server |
| mcp_definitions_pinned | a listing was accepted: at the first connection, or by an operator who looked at it |
| mcp_definitions_held | a listing differs from what is pinned: what changed is held back |
| mcp_server_refused | a server that does not announce our profile was refused |
"""

from __future__ import annotations

from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.definitions import Change
from briefcase.model.types import JsonObject, JsonValue

MAX_NAMES: int = 100


def server_set_event(by: str, config: ServerConfig) -> JsonObject:
    """The event of a server's description. Secrets appear by name, plain variables by theirs."""
    return {
        "kind": "mcp_server_set",
        "by": by,
        "server_id": config.id,
        "address": config.address,
        "args": list[JsonValue](config.args),
        "variables": list[JsonValue](sorted(config.env)),
        "headers": list[JsonValue](sorted({*config.headers, *config.secret_headers})),
        "secrets": list[JsonValue](
            sorted({*config.secret_env.values(), *(sent.secret for sent in config.secret_headers.values())})
        ),
        "rules": len(config.rules),
        "review": config.review,
        "allow_incompatible": config.allow_incompatible,
    }


def server_deleted_event(by: str, server_id: str) -> JsonObject:
    """The event of a server's removal."""
    return {"kind": "mcp_server_deleted", "by": by, "server_id": server_id}


def definitions_pinned_event(by: str, server_id: str, digest_hex: str, tools: int) -> JsonObject:
    """The event of a listing that was accepted."""
    return {
        "kind": "mcp_definitions_pinned",
        "by": by,
        "server_id": server_id,
        "definitions_digest": digest_hex,
        "tools": tools,
    }


def definitions_held_event(server_id: str, digest_hex: str, changes: tuple[Change, ...]) -> JsonObject:
    """The event of a listing that is not what was accepted."""
    return {
        "kind": "mcp_definitions_held",
        "server_id": server_id,
        "definitions_digest": digest_hex,
        "changed": list[JsonValue]([change.name for change in changes[:MAX_NAMES]]),
        "changes": len(changes),
    }


def server_refused_event(server_id: str, reason: str) -> JsonObject:
    """The event of a server that may not be used in this mode."""
    return {"kind": "mcp_server_refused", "server_id": server_id, "reason": reason}
