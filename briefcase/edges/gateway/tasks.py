"""The methods of tasks: what a client asks of a call whose result comes later, each one governed operation.

| | 2025-11-25 | 2026-07-28, where the client declares the extension |
|---|---|---|
| `tasks/get` | how it stands | how it stands, with the result or what the server asks |
| `tasks/result` | waits for the result; what the server asks meanwhile is asked over the request's stream | |
| `tasks/update` | | the answers to what the server asks |
| `tasks/cancel` | the task, cancelled | an empty result |

The daemon knows whose a task is; nothing is remembered here. Answers to a server that need a person are an error that
holds the approval: once that is given, the same request goes through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from briefcase.core.mcp.jsonrpc import INVALID_PARAMS, MISSING_CAPABILITY, RpcError, as_object
from briefcase.core.mcp.tasks import EXTENSION, META_RELATED, declares_tasks, handshake_task
from briefcase.edges.gateway import results
from briefcase.edges.gateway.context import Context
from briefcase.edges.gateway.operations import Operation, Operations, gather_input
from briefcase.edges.gateway.results import APPLICATION_ERROR
from briefcase.model.identifiers import is_server_id
from briefcase.model.reasons import UNKNOWN_TOOL, word_of
from briefcase.model.types import JsonObject

FIRST_POLL_MS: Final = 500
LONGEST_POLL_MS: Final = 10_000
MAX_ID_CHARS: Final = 256


class TaskMethods:
    """Answers the methods of tasks; one for the process."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self.table: Final[dict[str, Callable[[JsonObject, Context], Awaitable[JsonObject]]]] = {
            "tasks/get": self.get,
            "tasks/result": self.result,
            "tasks/update": self.update,
            "tasks/cancel": self.cancel,
        }

    async def get(self, params: JsonObject, context: Context) -> JsonObject:
        """How a task stands. Raises `RpcError` as `Operations.run`."""
        shown = await self._look(params, context)
        if context.is_stateless:
            return shown
        return {**handshake_task(shown), "_meta": as_object(shown.get("_meta"))}

    async def result(self, params: JsonObject, context: Context) -> JsonObject:
        """Wait for the result, and ask the client what the server wants to know meanwhile. Raises as `get`."""
        pause_ms = FIRST_POLL_MS
        while True:
            shown = await self._look(params, context)
            match shown["status"]:
                case "completed":
                    result = as_object(shown["result"])
                    related: JsonObject = {META_RELATED: {"taskId": shown["taskId"]}}
                    return {**result, "_meta": {**as_object(result.get("_meta")), **related}}
                case "failed":
                    error = as_object(shown["error"])
                    code = error.get("code")
                    raise RpcError(
                        code if isinstance(code, int) else APPLICATION_ERROR, str(error.get("message", "failed"))
                    )
                case "cancelled":
                    raise RpcError(INVALID_PARAMS, "the task was cancelled")
                case "input_required":
                    responses = await gather_input(shown, context)
                    if not responses:
                        raise RpcError(APPLICATION_ERROR, "the server asks for input this client cannot give")
                    await self._update(params, responses, context)
                    pause_ms = FIRST_POLL_MS
                case _:
                    told = shown.get("pollIntervalMs")
                    await asyncio.sleep(min(told if isinstance(told, int) else pause_ms, LONGEST_POLL_MS) / 1_000)
                    pause_ms = min(2 * pause_ms, LONGEST_POLL_MS)

    async def update(self, params: JsonObject, context: Context) -> JsonObject:
        """Answer what the server of a task asks. Raises as `get`."""
        responses = params.get("inputResponses")
        if not isinstance(responses, dict):
            raise RpcError(INVALID_PARAMS, "expected `inputResponses` as an object", http_status=HTTPStatus.BAD_REQUEST)
        return await self._update(params, responses, context)

    async def cancel(self, params: JsonObject, context: Context) -> JsonObject:
        """Have the server of a task stop. Raises as `get`."""
        shown = await self._run("cancel", params, {}, context)
        return {} if context.is_stateless else {**handshake_task(shown), "_meta": as_object(shown.get("_meta"))}

    async def _look(self, params: JsonObject, context: Context) -> JsonObject:
        shown = await self._run("get", params, {}, context)
        if isinstance(shown.get("result"), dict):
            server, _ = _split(params, context)
            shown["result"] = results.task_outcome(as_object(shown["result"]), server, context.view, shown)
        return shown

    async def _update(self, params: JsonObject, responses: JsonObject, context: Context) -> JsonObject:
        await self._run("update", params, {"responses": responses}, context)
        return {}

    async def _run(self, verb: str, params: JsonObject, args: JsonObject, context: Context) -> JsonObject:
        if context.is_stateless and not declares_tasks(context.capabilities):
            raise RpcError(
                MISSING_CAPABILITY,
                f"the client does not declare the extension `{EXTENSION}`",
                data={"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
                http_status=HTTPStatus.BAD_REQUEST,
            )
        server, task_id = _split(params, context)
        operation = Operation(
            f"tasks/{verb}", f"{server}:tasks.{verb}", {"task": task_id, **args}, server, can_wait=False
        )
        try:
            return await self._operations.run(operation, {"_meta": as_object(params.get("_meta"))}, context)
        except RpcError as error:
            if word_of(str(error)) != UNKNOWN_TOOL:
                raise
        raise RpcError(INVALID_PARAMS, "unknown task")  # the id names a server that is not there


def _split(params: JsonObject, context: Context) -> tuple[str, str]:
    """The server that a task is of, and the task's id."""
    task_id = params.get("taskId")
    server = task_id.partition(".")[0] if isinstance(task_id, str) and len(task_id) <= MAX_ID_CHARS else ""
    if not isinstance(task_id, str) or not is_server_id(server) or not context.view.shows(server):
        raise RpcError(INVALID_PARAMS, "unknown task")
    return server, task_id
