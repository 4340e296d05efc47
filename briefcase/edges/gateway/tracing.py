"""Traces of what agents ask the gateway for; composed only where tracing is on.

The client's context comes in `_meta.traceparent` (2026-07-28) or, over HTTP, in the `traceparent` header. It goes on to
the daemon in that header, and through the daemon to the server. One that is not sampled is carried on as such, so
that a daemon whose sampler is parent-based keeps the gateway's choice. Nothing of what a client wrote is shown but
the ids of its context and the id of a tool that exists.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from briefcase.adapters.telemetry.tracing import CURRENT, Parent, Sampling, Trace, parse_traceparent
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.edges.gateway.context import Context
from briefcase.edges.gateway.daemon import Daemon
from briefcase.edges.gateway.holding import Holding
from briefcase.edges.gateway.operations import Operation, Operations
from briefcase.edges.gateway.request_state import StateSealer
from briefcase.edges.http.exchange import DirectApp, DirectExchange
from briefcase.edges.http.routing import Reply
from briefcase.model.types import JsonObject

SendTrace = Callable[[Trace], None]
MAX_TRACEPARENT_CHARS: Final = 512

_INCOMING: Final[ContextVar[Parent | None]] = ContextVar("briefcase_incoming_parent", default=None)


class TracedOperations(Operations):
    """Operations with a span around each.

    Args:
        daemon: is asked.
        sealer: of request states.
        holding: of calls that wait for a person.
        sampling: which are traced.
        send_trace: takes each that is finished.
    """

    def __init__(
        self, daemon: Daemon, sealer: StateSealer, holding: Holding, sampling: Sampling, send_trace: SendTrace
    ) -> None:
        super().__init__(daemon, sealer, holding)
        self._sampling = sampling
        self._send_trace = send_trace

    async def run(self, operation: Operation, params: JsonObject, context: Context) -> JsonObject:
        """See `Operations.run`."""
        meta = as_object(params.get("_meta"))
        parent = _parent_in(meta) or _INCOMING.get()
        trace = Trace(parent, is_sampled=self._sampling.takes(parent))
        carried: JsonObject = {name: value for name, value in meta.items() if name != "tracestate"}
        token = CURRENT.set(trace)
        result: JsonObject | None = None
        try:
            carried["traceparent"] = trace.traceparent()
            result = await super().run(operation, {**params, "_meta": carried}, context)
            return result
        finally:
            CURRENT.reset(token)
            if trace.is_sampled:
                name = "gateway.call_tool" if operation.method == "tools/call" else "gateway.request"
                trace.finish(name, _shown(operation, result), is_error=result is None)
                self._send_trace(trace)


class TracedEndpoint:
    """The HTTP endpoint, which notes each request's `traceparent` for the operations that it becomes."""

    knows_principals = False

    def __init__(self, endpoint: DirectApp) -> None:
        self._endpoint = endpoint

    def redact(self, body: bytes, *, is_json: bool) -> bytes:
        """The body of an answer, as the endpoint has it."""
        return self._endpoint.redact(body, is_json=is_json)

    async def answer(self, exchange: DirectExchange) -> Reply:
        """Answer one request."""
        parent = None
        for name, value in exchange.head.headers:
            if name == b"traceparent":
                parent = parse_traceparent(value)
        token = _INCOMING.set(parent)
        try:
            return await self._endpoint.answer(exchange)
        finally:
            _INCOMING.reset(token)


def _parent_in(meta: JsonObject) -> Parent | None:
    value = meta.get("traceparent")
    if not isinstance(value, str) or len(value) > MAX_TRACEPARENT_CHARS:
        return None
    return parse_traceparent(value.encode("ascii", "replace"))


def _shown(operation: Operation, result: JsonObject | None) -> dict[str, str | int]:
    """The method; and the tool, where the answer shows that there is one of that id."""
    shown: dict[str, str | int] = {"mcp.method.name": operation.method}
    if result is None:
        return shown
    is_waiting = "approval" in as_object(result.get("_meta")) or result.get("resultType") == "input_required"
    status = "waiting" if is_waiting else "error" if result.get("isError") else "ok"
    if status != "error":
        shown["briefcase.tool_id"] = operation.tool_id
    return {**shown, "briefcase.status": status}
