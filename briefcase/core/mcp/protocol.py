"""The protocol's revisions: which there are, what each one calls things, and what a method may do in which.

Two eras. Up to 2025-11-25 a client opens with `initialize` and the connection has state; from 2026-07-28 on there is
no handshake: every request says its revision and the client's capabilities in `_meta`, and a server that needs input
answers `input_required` instead of asking back. Nothing here does I/O.

Source: https://modelcontextprotocol.io/specification, the pages of each revision.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from briefcase.model.types import COMPATIBILITY_PROFILE, JsonObject

HANDSHAKE_REVISIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS_REVISIONS: Final = ("2026-07-28",)
REVISIONS: Final = HANDSHAKE_REVISIONS + STATELESS_REVISIONS
LATEST_HANDSHAKE: Final = HANDSHAKE_REVISIONS[-1]
LATEST_STATELESS: Final = STATELESS_REVISIONS[-1]
BATCH_REVISIONS: Final = frozenset({"2024-11-05", "2025-03-26"})  # 2025-06-18 removed JSON-RPC batches
HEADERLESS_REVISION: Final = "2025-03-26"  # what a request without MCP-Protocol-Version speaks (2025-11-25, transports)

META_REVISION: Final = "io.modelcontextprotocol/protocolVersion"
META_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
META_LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"
META_SUBSCRIPTION: Final = "io.modelcontextprotocol/subscriptionId"
# What only the daemon and the gateway write into a result's `_meta` (CONTRACT: MCP gateway).
OWN_META_KEYS: Final = frozenset({"provenance", "approval", "compatibility"})

LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

METHODS: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(
        (
            "completion/complete",
            "prompts/get",
            "prompts/list",
            "resources/list",
            "resources/read",
            "resources/templates/list",
            "tools/call",
            "tools/list",
        ),
        frozenset(REVISIONS),
    ),
    **dict.fromkeys(
        ("initialize", "logging/setLevel", "ping", "resources/subscribe", "resources/unsubscribe"),
        frozenset(HANDSHAKE_REVISIONS),
    ),
    **dict.fromkeys(("server/discover", "subscriptions/listen", "tasks/update"), frozenset(STATELESS_REVISIONS)),
    **dict.fromkeys(("tasks/get", "tasks/cancel"), frozenset(("2025-11-25", *STATELESS_REVISIONS))),
    "tasks/result": frozenset(("2025-11-25",)),
}
# The methods whose routing name is mirrored into `Mcp-Name`, and the parameter that holds it.
NAMED_METHODS: Final = {
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/cancel": "taskId",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tools/call": "name",
}
CACHEABLE_METHODS: Final = frozenset(
    {
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "server/discover",
        "tools/list",
    }
)

_SENTINEL: Final = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_PLAIN_VALUE: Final = re.compile(r"(?:[!-~](?:[ -~\t]*[!-~])?)?")


def is_stateless(revision: str) -> bool:
    """Whether a revision carries its metadata on every request instead of in a handshake."""
    return revision in STATELESS_REVISIONS


def is_defined(method: str, revision: str) -> bool:
    """Whether a revision knows a request method."""
    return revision in METHODS.get(method, frozenset())


def encode_header_value(text: str) -> str:
    """Write a name for `Mcp-Name` or `Mcp-Param-*`: as it is where it is plain, else `=?base64?…?=` (2026-07-28)."""
    if _PLAIN_VALUE.fullmatch(text) and not _SENTINEL.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decode_header_value(value: str) -> str | None:
    """Read such a header back; None where it claims to be base64 and is not, in one canonical form, UTF-8 text."""
    match = _SENTINEL.fullmatch(value)
    if match is None:
        return value if _PLAIN_VALUE.fullmatch(value) else None
    try:
        data = base64.b64decode(match[1], validate=True)
        text = data.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text if base64.b64encode(data).decode() == match[1] else None


def announces_profile(capabilities: object) -> bool:
    """Whether a peer's capabilities name our compatibility profile the way ours do (CONTRACT: MCP gateway)."""
    announced = capabilities.get("briefcase") if isinstance(capabilities, dict) else None
    return isinstance(announced, dict) and announced.get("compatibility_profile") == COMPATIBILITY_PROFILE


def wants_input_of(capabilities: JsonObject, method: str, params: JsonObject) -> bool:
    """Whether a client that declared these capabilities can be asked this (2026-07-28, MRTR; elicitation modes)."""
    match method:
        case "elicitation/create":
            declared = capabilities.get("elicitation")
            if not isinstance(declared, dict):
                return False
            mode = params.get("mode", "form")
            return mode in declared or (mode == "form" and not declared)
        case "sampling/createMessage":
            return isinstance(capabilities.get("sampling"), dict)
        case "roots/list":
            return isinstance(capabilities.get("roots"), dict)
        case _:
            return False
