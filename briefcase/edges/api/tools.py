"""Tools: list them, call one, or have a call decided and report what became of it.

The flow of a call is `briefcase/core/calls/flow.py`; here is only its way in and out. Every outcome of a call is a 200
whose `status` says which; `Server-Timing` (W3C) tells where the time went.
"""

from __future__ import annotations

from typing import Final

from briefcase.core.calls.answers import Answer
from briefcase.core.wire.call_requests import CallRequest, OutcomeReport
from briefcase.core.wire.calls import (
    CallDenied,
    CallFailed,
    CallNeedsApproval,
    CallOk,
    DecisionAllowed,
    OutcomeRecorded,
)
from briefcase.core.wire.tools import Cost, Firewall, ToolList, ToolRecord, ToolsLoaded, wire_category
from briefcase.edges.api.routing import CALLERS, OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.types import MICROUSD_PER_USD, ToolSpec


async def list_tools(services: Services, _: Request) -> ToolList:
    """`GET /v1/tools`."""
    return ToolList([_record(spec) for spec in services.tools.specs()])


async def reload_tools(services: Services, request: Request) -> ToolsLoaded:
    """`POST /v1/tools/reload`: what the manifests say now is in force, with its receipt, when this answers."""
    loaded = await services.operator.tools.reload(request.principal.name)
    return ToolsLoaded(loaded.tools, loaded.added, loaded.changed, loaded.removed)


async def call_tool(services: Services, request: Request) -> Reply:
    """`POST /v1/tools/call`."""
    call = await services.calls.read(request.principal, request.body)
    return _counted(services, await services.calls.call(request.principal, call))


async def decide_call(services: Services, request: Request) -> Reply:
    """`POST /v1/decide`."""
    call = await services.calls.read(request.principal, request.body)
    return _counted(services, await services.calls.decide(request.principal, call))


async def close_call(services: Services, request: Request) -> Reply:
    """`POST /v1/outcomes`."""
    answer = await services.calls.close(request.principal, request.body)
    return Reply(answer.body, timing_us=answer.timing_us, is_filtered=answer.is_filtered)


def _counted(services: Services, answer: Answer) -> Reply:
    services.meter.count_answer(answer.status, answer.reason, answer.timing_us)
    return Reply(answer.body, timing_us=answer.timing_us, is_filtered=answer.is_filtered)


def _record(spec: ToolSpec) -> ToolRecord:
    firewall = spec.output_firewall
    return ToolRecord(
        id=spec.id,
        name=spec.name,
        description=spec.description,
        input_schema=spec.input_schema,
        output_schema=spec.output_schema,
        category=wire_category(spec.category),
        cost=Cost(spec.cost_microusd / MICROUSD_PER_USD),
        output_firewall=Firewall(firewall.mode.value, list(firewall.allowed_paths)),
        digest_hex=spec.digest_hex,
    )


ROUTES: Final = (
    Route("GET", "/v1/tools", CALLERS, list_tools, "All tools", ToolList),
    Route("POST", "/v1/tools/reload", OPERATOR, reload_tools, "Load the manifests again", ToolsLoaded),
    Route(
        "POST",
        "/v1/tools/call",
        CALLERS,
        call_tool,
        "Call a tool",
        CallOk | CallNeedsApproval | CallDenied | CallFailed,
        body=CallRequest,
        is_call=True,
    ),
    Route(
        "POST",
        "/v1/decide",
        CALLERS,
        decide_call,
        "Decide a call that the caller executes",
        DecisionAllowed | CallNeedsApproval | CallDenied,
        body=CallRequest,
        is_call=True,
    ),
    Route(
        "POST",
        "/v1/outcomes",
        CALLERS,
        close_call,
        "Report what became of a decided call",
        OutcomeRecorded,
        body=OutcomeReport,
    ),
)
