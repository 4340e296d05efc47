"""What a proxy is about to forward to an MCP server over Streamable HTTP, as far as it may be forwarded.

| request | is |
|---|---|
| `POST` of one `tools/call` | a call of the tool `<server>.<name>` |
| `POST` of `resources/read` and its kind (`OPERATIONS`) | a call of the daemon's tool `<server>:<operation>` |
| `POST` of a request that opens, lists or ends (`UNASKED`), of a notification (`NOTIFICATIONS`), of an empty answer | \
forwarded unasked |
| `GET` (the server's stream) and `DELETE` (the end of a session), without a body | forwarded unasked |
| anything else | refused |

The server reads the same bytes with a reader of its own, so what two readers could understand differently is refused:
what is not strict JSON, a batch, a member that the envelope or a call does not have (a reader that ignores case would
take `Method` for `method`), a body that is encoded or cut, a header that says something else than the body.

Source: MCP 2025-11-25 and 2026-07-28, transports; JSON-RPC 2.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from briefcase.core.mcp.jsonrpc import Notification, Request, RpcError, parse_message
from briefcase.core.mcp.param_headers import PREFIX
from briefcase.core.mcp.protocol import NAMED_METHODS, decode_header_value
from briefcase.model.types import JsonObject

OPERATIONS: Final = {
    "completion/complete": "complete",
    "prompts/get": "prompts.get",
    "prompts/list": "prompts.list",
    "resources/list": "resources.list",
    "resources/read": "resources.read",
    "resources/subscribe": "resources.subscribe",
    "resources/templates/list": "resources.templates",
    "resources/unsubscribe": "resources.unsubscribe",
}
UNASKED: Final = frozenset({"initialize", "logging/setLevel", "ping", "server/discover", "tools/list"})
NOTIFICATIONS: Final = frozenset(
    f"notifications/{name}" for name in ("cancelled", "initialized", "progress", "roots/list_changed")
)
PARTIAL: Final = "x-envoy-auth-partial-body"  # what Envoy says of the body that it passes on

_CALL: Final = "tools/call"
_CALL_MEMBERS: Final = frozenset({"name", "arguments", "_meta"})
_ENVELOPE: Final = frozenset({"jsonrpc", "id", "method", "params"})
_ANSWER: Final = frozenset({"jsonrpc", "id", "result"})
_ONCE: Final = frozenset(
    {"content-encoding", "content-length", "content-type", "mcp-method", "mcp-name", "mcp-session-id", PARTIAL}
)
_JSON: Final = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
_Members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class NotForwardedError(Exception):
    """A request that is not forwarded, whoever asks; `about` says why, and repeats nothing of it."""

    def __init__(self, about: str) -> None:
        super().__init__(about)
        self.about = about


class ToolUse(msgspec.Struct, frozen=True):
    """A call of one tool of the daemon, which decides."""

    tool_id: str
    args: JsonObject


def read_forwarded(server: str, method: str, headers: Iterable[tuple[str, str]], body: bytes) -> ToolUse | None:
    """What a request to a server asks for: a call, or None where it is forwarded unasked.

    Args:
        server: which server it goes to, by its id at the daemon.
        method: of HTTP.
        headers: those that the proxy shows, names in lower case.
        body: as it will be forwarded.

    Raises:
        NotForwardedError: it is nothing that may be forwarded.
    """
    shown = _headers(headers)
    if shown.get(PARTIAL, "false") != "false":
        raise NotForwardedError("expected the whole body, got a part of it")
    if shown.get("content-length", str(len(body))) != str(len(body)):
        raise NotForwardedError("expected a body as long as its `content-length` says")
    if shown.get("content-encoding", "identity") != "identity":
        raise NotForwardedError("expected a body without a content coding")
    if method in {"GET", "DELETE"}:
        if body:
            raise NotForwardedError("expected no body of a GET or a DELETE")
        return None
    if method != "POST":
        raise NotForwardedError("expected POST, GET or DELETE")
    if shown.get("content-type", "").lower() not in _JSON:
        raise NotForwardedError("expected the header `content-type: application/json`")
    return _asked(server, shown, body)


def _headers(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    shown: dict[str, str] = {}
    for name, value in headers:
        if name in _ONCE or name.startswith(PREFIX):
            if name in shown:
                raise NotForwardedError("expected each header that says something of the body once")
            shown[name] = value.strip(" \t")
    return shown


def _asked(server: str, shown: Mapping[str, str], body: bytes) -> ToolUse | None:
    try:
        message = parse_message(body)
    except RpcError:
        raise NotForwardedError("expected one message of JSON-RPC 2.0 in strict JSON") from None
    members = _Members.decode(body).keys()
    if not isinstance(message, Request | Notification):
        # what a client answers to the server's `ping` is empty; anything else would be data that nobody looked at
        if members != _ANSWER or message.result or message.id is None:
            raise NotForwardedError("expected a request, a notification or an empty answer")
        return None
    if not members <= _ENVELOPE:
        raise NotForwardedError("expected no member of a message but `jsonrpc`, `id`, `method` and `params`")
    name = message.params.get(NAMED_METHODS.get(message.method, ""))
    _check_mirrored(shown, message.method, name)
    if isinstance(message, Notification):
        if message.method not in NOTIFICATIONS:
            raise NotForwardedError("expected a notification of a client")
        return None
    if message.method in UNASKED:
        return None
    if message.method == _CALL:
        return _call(server, name, message.params)
    operation = OPERATIONS.get(message.method)
    if operation is None:
        raise NotForwardedError("expected a method that a policy can decide about")
    args = {name: value for name, value in message.params.items() if name != "_meta"}
    return ToolUse(f"{server}:{operation}", args)


def _call(server: str, name: object, params: JsonObject) -> ToolUse:
    if not params.keys() <= _CALL_MEMBERS:
        raise NotForwardedError("expected no parameter of a call but `name`, `arguments` and `_meta`")
    args = params.get("arguments", {})
    if not isinstance(name, str) or not isinstance(args, dict):
        raise NotForwardedError("expected `name` as text and `arguments` as an object")
    return ToolUse(f"{server}.{name}", args)


def _check_mirrored(shown: Mapping[str, str], method: str, name: object) -> None:
    """Check the headers that repeat the body (2026-07-28): who routes by them must not be told something else."""
    if shown.get("mcp-method", method) != method:
        raise NotForwardedError("expected `mcp-method` to repeat the method of the body")
    if "mcp-name" in shown and decode_header_value(shown["mcp-name"]) != name:
        raise NotForwardedError("expected `mcp-name` to repeat the name of the body")
