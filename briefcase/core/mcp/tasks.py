"""Tasks: calls whose result comes later (2025-11-25; in 2026-07-28 the extension `io.modelcontextprotocol/tasks`).

A server of either era is read into one form, the extension's: a task with its status, and beside it what the status
brings: the result, the error, or what the server asks. A client of the older era is shown the older form of it.

| | 2025-11-25 | 2026-07-28 |
|---|---|---|
| who decides that a call is a task | the client, `params.task` | the server, where the client declares the extension |
| what it is answered with | `task` in the result | `resultType: "task"` |
| the result | `tasks/result`, which waits | in `tasks/get` |
| what the server asks | requests beside `tasks/result` | `inputRequests` in `tasks/get`, answered by `tasks/update` |

Nothing here does I/O.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, cast

import msgspec

from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.protocol import is_stateless
from briefcase.model.types import JsonObject, JsonValue

EXTENSION: Final = "io.modelcontextprotocol/tasks"
META_RELATED: Final = "io.modelcontextprotocol/related-task"
TASK: Final = "task"  # `resultType` of what is answered in place of a result
HANDSHAKE_REVISION: Final = "2025-11-25"  # the one handshake revision that has tasks
Status: TypeAlias = Literal["working", "input_required", "completed", "failed", "cancelled"]
ENDED: Final = frozenset({"completed", "failed", "cancelled"})
TTLS_MS: Final = (60_000, 600_000, 3_600_000, 86_400_000)  # what a server is asked to keep a task for, one of these
MAX_TTL_MS: Final = TTLS_MS[-1]
MAX_ID_CHARS: Final = 1_024
MAX_MESSAGE_CHARS: Final = 500

_STATUSES: Final = frozenset({"working", "input_required", *ENDED})
_MAX_TIME_CHARS: Final = 64
_POLL_MS: Final = (200, 60_000)  # the least and the most that a client is told to wait


class Task(msgspec.Struct, frozen=True):
    """A task as its server tells of it. `payload` is the result, the error or the questions, by the status."""

    id: str
    status: Status
    message: str = ""
    created_at: str = ""
    updated_at: str = ""
    ttl_ms: int | None = None
    poll_ms: int | None = None
    payload: JsonObject = {}

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ENDED


def serves_tasks(capabilities: JsonObject, revision: str) -> bool:
    """Whether a server takes calls of tools as tasks."""
    if is_stateless(revision):
        return declares_tasks(capabilities)
    if revision != HANDSHAKE_REVISION:
        return False
    requests = as_object(as_object(capabilities.get("tasks")).get("requests"))
    return isinstance(requests.get("tools"), dict)  # the official Python SDK 1.26 leaves out the `call` in it


def declares_tasks(capabilities: JsonObject) -> bool:
    """Whether a peer of 2026-07-28 declares the extension."""
    return isinstance(as_object(capabilities.get("extensions")).get(EXTENSION), dict)


def created_task(result: JsonObject, revision: str) -> Task | None:
    """The task that is answered in place of a result; None where the answer is a result.

    Raises:
        ValueError: it says that it is a task, and is none.
    """
    if is_stateless(revision):
        return read_task(result) if result.get("resultType") == TASK else None
    told = result.get("task")
    return read_task(told) if isinstance(told, dict) and "content" not in result else None


def read_task(told: JsonObject) -> Task:
    """Read a task of either era.

    Raises:
        ValueError: it has no id or no status that there is.
    """
    task_id, status = told.get("taskId"), told.get("status")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= MAX_ID_CHARS:
        raise ValueError(f"expected `taskId` as a string of 1 to {MAX_ID_CHARS} characters")
    if status not in _STATUSES:
        raise ValueError(f"expected `status` as one of {', '.join(sorted(_STATUSES))}")
    names = {"completed": "result", "failed": "error", "input_required": "inputRequests"}
    return Task(
        id=task_id,
        status=cast("Status", status),
        message=_text(told.get("statusMessage"), MAX_MESSAGE_CHARS),
        created_at=_text(told.get("createdAt"), _MAX_TIME_CHARS),
        updated_at=_text(told.get("lastUpdatedAt"), _MAX_TIME_CHARS),
        ttl_ms=_count(told.get("ttlMs", told.get("ttl"))),
        poll_ms=_count(told.get("pollIntervalMs", told.get("pollInterval"))),
        payload=as_object(told.get(names.get(str(status), ""))),
    )


def shown_task(task: Task) -> JsonObject:
    """A task as the extension writes it (`DetailedTask`)."""
    shown: JsonObject = {
        "taskId": task.id,
        "status": task.status,
        "createdAt": task.created_at,
        "lastUpdatedAt": task.updated_at or task.created_at,
        "ttlMs": task.ttl_ms,
    }
    if task.message:
        shown["statusMessage"] = task.message
    if task.poll_ms is not None:
        shown["pollIntervalMs"] = min(max(task.poll_ms, _POLL_MS[0]), _POLL_MS[1])
    match task.status:
        case "completed":
            shown["result"] = task.payload
        case "failed":
            shown["error"] = task.payload
        case "input_required":
            shown["inputRequests"] = task.payload
    return shown


def handshake_task(shown: JsonObject) -> JsonObject:
    """The same as 2025-11-25 writes it; the result is not in it there."""
    names = {"ttlMs": "ttl", "pollIntervalMs": "pollInterval"}
    kept = ("taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs")
    return {names.get(name, name): shown[name] for name in kept if name in shown}


def related_task(message_params: JsonObject) -> str | None:
    """The task that a server's message belongs to, as its `_meta` says."""
    told = as_object(as_object(message_params.get("_meta")).get(META_RELATED)).get("taskId")
    return told if isinstance(told, str) else None


def of_task(told: JsonObject, task_id: str) -> JsonObject:
    """What a server said of a task, with our id of it in the place of the server's (`_meta`)."""
    meta = told.get("_meta")
    if not isinstance(meta, dict) or META_RELATED not in meta:
        return told
    return {**told, "_meta": {**meta, META_RELATED: {"taskId": task_id}}}


def _text(value: JsonValue, most: int) -> str:
    return value[:most] if isinstance(value, str) else ""


def _count(value: JsonValue) -> int | None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TTL_MS * 365
    return int(value) if is_one and isinstance(value, int | float) else None
