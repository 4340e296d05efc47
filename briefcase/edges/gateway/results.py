"""The daemon's answers as MCP results, with the fields only we write: nothing a tool returns can stand in for them.

| the daemon says | `tools/call` answers | other methods answer |
|---|---|---|
| ok | the content, `_meta.provenance` | the server's own result |
| approval_required | `isError: true`, `_meta.approval` (2026-07-28: `input_required` first) | the same as an error |
| denied, error | `isError: true`: the reason word, what to do next | a JSON-RPC error with both |

`_meta` of a server's result passes but for the keys in `OWN_META_KEYS` and the protocol's own server info.
"""

from __future__ import annotations

from typing import Final

import msgspec
import orjson

from briefcase import __version__
from briefcase.core.mcp.jsonrpc import INVALID_PARAMS, RpcError, as_object
from briefcase.core.mcp.protocol import CACHEABLE_METHODS, META_SERVER, OWN_META_KEYS, is_stateless
from briefcase.core.mcp.tasks import TASK, handshake_task
from briefcase.core.wire.calls import CallDenied, CallResult
from briefcase.core.wire.fields import given
from briefcase.edges.gateway.view import View
from briefcase.model.reasons import INVALID_ARGS, next_step_of, with_detail, word_of
from briefcase.model.types import JsonObject, JsonValue

SERVER_INFO: Final[JsonObject] = {"name": "briefcase", "title": "briefcase", "version": __version__}
MCP_SOURCE: Final = "mcp:"
LIST_TTL_MS: Final = 5_000
APPLICATION_ERROR: Final = -31_000  # outside JSON-RPC's reserved range, as 2026-07-28 asks of applications
_TOOL_FIELDS: Final = ("content", "structuredContent", "isError")


def clean_meta(meta: JsonValue) -> JsonObject:
    """A foreign `_meta` without the keys that only the daemon and the gateway write."""
    return {key: value for key, value in as_object(meta).items() if key not in OWN_META_KEYS and key != META_SERVER}


def tool_result(answer: CallResult, view: View) -> JsonObject:
    """The result of a tool that ran."""
    content, source = answer.content, answer.provenance.source
    provenance: JsonObject = msgspec.structs.asdict(answer.provenance)
    if source.startswith(MCP_SOURCE) and isinstance(content, dict):
        return _server_result(content, source.removeprefix(MCP_SOURCE), view, provenance)
    text = content if isinstance(content, str) else orjson.dumps(content).decode()
    result: JsonObject = {
        "content": [{"type": "text", "text": text}],
        "isError": False,
        "_meta": {"provenance": provenance},
    }
    if isinstance(content, dict):
        result["structuredContent"] = content
    return result


def is_task(answer: CallResult) -> bool:
    """Whether a call of a server's tool became a task; the daemon lets no server say so by itself."""
    content = answer.content
    return isinstance(content, dict) and content.get("resultType") == TASK


def task_result(answer: CallResult, *, is_stateless: bool) -> JsonObject:
    """What a call that became a task is answered with, in the form of the client's era."""
    shown, provenance = as_object(answer.content), msgspec.structs.asdict(answer.provenance)
    meta: JsonObject = {"provenance": provenance}
    return {**shown, "_meta": meta} if is_stateless else {"task": handshake_task(shown), "_meta": meta}


def task_outcome(content: JsonObject, server: str, view: View, shown: JsonObject) -> JsonObject:
    """The result of a tool that ran as a task, out of what was told of the task."""
    return _server_result(content, server, view, as_object(shown.get("_meta")).get("provenance"))


def _server_result(content: JsonObject, server: str, view: View, provenance: JsonValue) -> JsonObject:
    result: JsonObject = {"isError": False, **{name: content[name] for name in _TOOL_FIELDS if name in content}}
    result["content"] = _clean_blocks(view.rename_blocks(server, content.get("content")))
    result["_meta"] = {**clean_meta(content.get("_meta")), "provenance": provenance}
    return result


def feature_result(answer: CallResult) -> JsonObject:
    """The result of a resource, prompt or completion request: the server's own, with provenance."""
    content = answer.content
    if not isinstance(content, dict):
        raise RpcError(APPLICATION_ERROR, "the server answered something else than was asked")
    provenance: JsonObject = msgspec.structs.asdict(answer.provenance)
    return {**content, "_meta": {**clean_meta(content.get("_meta")), "provenance": provenance}}


def failed_tool(reason: str) -> JsonObject:
    """A call that did not run, or whose tool failed: the reason word first, as the agent may branch on it.

    What the agent can do about it is a second block of text.
    """
    said = filter(None, (reason, next_step_of(reason)))
    return {"content": [{"type": "text", "text": text} for text in said], "isError": True}


def blocked_tool(approval: JsonObject) -> JsonObject:
    """A call that waits for a person, with everything the agent needs to come back."""
    text = (
        f"approval required: {approval.get('reason', '')}. A person must approve this exact call "
        f"(`briefcase approvals approve {approval.get('id', '')}`, before {approval.get('expires_at', '')}). "
        "Then send exactly the same call again; the approval token may stand beside `name` and `arguments` as "
        "`approvalToken`."
    )
    return {"content": [{"type": "text", "text": text}], "isError": True, "_meta": {"approval": approval}}


def waiting_input(approval: JsonObject, capabilities: JsonObject) -> JsonObject:
    """What a stateless client can show its user while an approval waits: a page to open, or a form to confirm."""
    declared = capabilities.get("elicitation")
    if not isinstance(declared, dict):
        return {}
    message = f"approval required: {approval.get('summary', '')}"
    url = approval.get("url")
    if "url" in declared and isinstance(url, str):
        return {"approval": {"method": "elicitation/create", "params": {"mode": "url", "message": message, "url": url}}}
    if "form" in declared or not declared:
        how = f"{message}\nApprove it with `briefcase approvals approve {approval.get('id', '')}`, then continue."
        schema: JsonObject = {"type": "object", "properties": {}}
        params: JsonObject = {"mode": "form", "message": how, "requestedSchema": schema}
        return {"approval": {"method": "elicitation/create", "params": params}}
    return {}


def denial_text(denied: CallDenied) -> str:
    """Why the daemon denied a call, in a line: the word, the policies that said no, and what they advise."""
    reason, ids, advice = denied.reason, given(denied.policy_ids, []), given(denied.advice, "")
    if ids:
        reason = with_detail(reason, f"by {', '.join(f'`{name}`' for name in ids)}")
    return f"{reason}: {advice}" if advice else reason


def denied_request(reason: str) -> RpcError:
    """A resource, prompt or completion request that did not run."""
    code = INVALID_PARAMS if word_of(reason) == INVALID_ARGS else APPLICATION_ERROR
    next_step = next_step_of(reason)
    return RpcError(code, reason, data={"next_step": next_step} if next_step else None)


def finish(result: JsonObject, method: str, revision: str) -> JsonObject:
    """Add what a revision asks of every result."""
    if not is_stateless(revision):
        for name in ("resultType", "ttlMs", "cacheScope"):
            result.pop(name, None)
        return result
    result.setdefault("resultType", "complete")
    result["_meta"] = {**as_object(result.get("_meta")), META_SERVER: SERVER_INFO}
    if method in CACHEABLE_METHODS and result["resultType"] == "complete":
        ttl_ms = result.get("ttlMs")
        result["ttlMs"] = ttl_ms if isinstance(ttl_ms, int) and ttl_ms >= 0 else LIST_TTL_MS
        result["cacheScope"] = "private"  # what an agent sees depends on who it is, whatever the server thinks
    return result


def _clean_blocks(blocks: JsonValue) -> JsonValue:
    if not isinstance(blocks, list):
        return []
    return [
        {**block, "_meta": clean_meta(block["_meta"])} if isinstance(block, dict) and "_meta" in block else block
        for block in blocks
    ]
