"""OpenAI Agents SDK: a function tool whose calls are decided before they run, and reported after.

    agent = Agent(name="scout", tools=[governed(send_mail, AsyncBoundary())])

The tool's `needs_approval` is the boundary's: the run is interrupted where a person must decide, and is resumed with
`state.approve(...)` once somebody has, at the boundary. Approving there approves nothing: the daemon is asked again,
under the same request id. A denied call answers the model with its reason and what to do.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any, Final

from agents import FunctionTool, RunContextWrapper
from agents.tool_context import ToolContext

from briefcase.client import Allowed, AsyncBoundary, BoundaryError, BoundaryFault, Waiting
from briefcase.edges.client.conversations import encode_args

CALLS: Final = uuid.UUID("1f6a9c1e-7b0d-5c8a-8a55-0f2f4c9e1b73")  # names the request ids of this module
MAX_ASKED: Final = 1_024


class _Governed:
    """One tool at the boundary. A yes that `needs_approval` got is kept for the call it is for, and used once."""

    def __init__(self, tool: FunctionTool, boundary: AsyncBoundary, tool_id: str) -> None:
        self._tool = tool
        self._boundary = boundary
        self._tool_id = tool_id
        self._allowed: dict[tuple[str, str], Allowed] = {}

    async def needs_approval(self, _: RunContextWrapper[Any], parameters: dict[str, Any], call_id: str) -> bool:
        """Whether a person must decide; what they need not is decided by this."""
        args_json = encode_args(parameters)
        if (call_id, args_json) in self._allowed:
            return False
        try:
            decision = await self._boundary.decide(
                self._tool_id, parameters, wait_s=0.0, request_id=_request_id(call_id)
            )
        except BoundaryError:
            return False  # `invoke` asks again, and tells the model
        if isinstance(decision, Allowed):
            if len(self._allowed) >= MAX_ASKED:
                self._allowed.pop(next(iter(self._allowed)))  # the daemon closes it at its deadline
            self._allowed[call_id, args_json] = decision
        return isinstance(decision, Waiting)

    async def invoke(self, context: ToolContext[Any], arguments: str) -> object:
        """Run the tool with what was decided on; what is denied is what the model reads."""
        try:
            parsed = _object_in(arguments)
            args_json = encode_args(parsed)
            allowed = self._allowed.pop((context.tool_call_id, args_json), None)
            request_id = _request_id(context.tool_call_id)
            asked = self._boundary.call(self._tool_id, parsed, request_id=request_id)
            async with asked if allowed is None else self._boundary.allowed_call(allowed):
                return await self._tool.on_invoke_tool(context, args_json)
        except BoundaryError as error:
            return str(error)


def governed(tool: FunctionTool, boundary: AsyncBoundary, *, tool_id: str | None = None) -> FunctionTool:
    """The tool behind the boundary.

    Args:
        tool: of the program.
        boundary: in the loop that runs the agent.
        tool_id: its id at the daemon; the tool's name where it is None.
    """
    held = _Governed(tool, boundary, tool_id or tool.name)
    return dataclasses.replace(tool, on_invoke_tool=held.invoke, needs_approval=held.needs_approval)


def _object_in(arguments: str) -> dict[str, Any]:
    try:
        found = json.loads(arguments or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BoundaryFault("invalid_args", "expected the arguments as one JSON object")
    return found


def _request_id(call_id: str) -> str:
    return str(uuid.uuid5(CALLS, call_id))
