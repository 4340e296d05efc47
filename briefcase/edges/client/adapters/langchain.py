"""LangChain 1: middleware that has each tool call of an agent decided before it runs, and reported after.

    agent = create_agent(model, tools, middleware=[BoundaryMiddleware(Boundary())])

A denied call answers the model with its reason and what to do. One that waits for a person does so for the boundary's
own time; with `interrupts` the run stops instead, as `HumanInTheLoopMiddleware` stops it, to be resumed once somebody
has decided at the boundary. Resuming approves nothing: the daemon is asked again, under the same request id.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import ToolMessage
from langgraph.types import Command, interrupt

from briefcase.client import ApprovalPending, AsyncBoundary, Boundary, BoundaryError
from briefcase.edges.client.conversations import encode_args

CALLS: Final = uuid.UUID("6e4f2b58-0a43-5f0e-9d1c-5d3a0b6c7e21")  # names the request ids of this module
_Answer: TypeAlias = "ToolMessage | Command[Any]"


class BoundaryMiddleware(AgentMiddleware):
    """Each tool call through the boundary.

    Args:
        boundary: a `Boundary` for `invoke`, an `AsyncBoundary` for `ainvoke`.
        prefix: what stands before a tool's name in the daemon's ids.
        interrupts: whether a call that waits stops the run; that needs a checkpointer.
    """

    def __init__(self, boundary: Boundary | AsyncBoundary, *, prefix: str = "", interrupts: bool = False) -> None:
        super().__init__()
        self._boundary = boundary
        self._prefix = prefix
        self._interrupts = interrupts

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], _Answer]) -> _Answer:
        """Decide, run, report."""
        if not isinstance(self._boundary, Boundary):
            raise TypeError("expected a `Boundary` for `invoke`")
        while True:
            try:
                wanted, same = self._wanted(request)
                with self._boundary.call(**wanted):
                    return handler(same)
            except ApprovalPending as pending:
                if refused := self._stopped(request, pending):
                    return refused
            except BoundaryError as error:
                return _told(request, error)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[_Answer]]
    ) -> _Answer:
        """The same in a loop."""
        if not isinstance(self._boundary, AsyncBoundary):
            raise TypeError("expected an `AsyncBoundary` for `ainvoke`")
        while True:
            try:
                wanted, same = self._wanted(request)
                async with self._boundary.call(**wanted):
                    return await handler(same)
            except ApprovalPending as pending:
                if refused := self._stopped(request, pending):
                    return refused
            except BoundaryError as error:
                return _told(request, error)

    def _wanted(self, request: ToolCallRequest) -> tuple[dict[str, Any], ToolCallRequest]:
        """The call to ask for, and the request with the very arguments that are sent."""
        asked, args = request.tool_call, json.loads(encode_args(request.tool_call["args"]))
        thread = ((getattr(request.runtime, "config", None) or {}).get("configurable") or {}).get("thread_id", "")
        request_id = str(uuid.uuid5(CALLS, f"{thread}\n{asked['id']}"))
        wait = {"wait_s": 0.0} if self._interrupts else {}
        wanted = {"tool_id": self._prefix + asked["name"], "args": args, "request_id": request_id, **wait}
        return wanted, request.override(tool_call={**asked, "args": args})

    def _stopped(self, request: ToolCallRequest, pending: ApprovalPending) -> ToolMessage | None:
        """Stop the run, where that is wanted; the answer for the model where the call is not to go on."""
        if not self._interrupts:
            return _told(request, pending)
        name, args = (request.tool_call[key] for key in ("name", "args"))
        about = f"{pending.summary} (approval {pending.approval_id})"
        request_of = {"action_requests": [{"name": name, "args": args, "description": about}]}
        reviews = [{"action_name": name, "allowed_decisions": ["approve", "reject"]}]
        resumed = interrupt({**request_of, "review_configs": reviews})
        said = resumed.get("decisions", [{}])[0].get("type") if isinstance(resumed, dict) else resumed
        return None if said == "approve" else _told(request, pending)


def _told(request: ToolCallRequest, error: BoundaryError) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(str(error), tool_call_id=call["id"], name=call["name"], status="error")
