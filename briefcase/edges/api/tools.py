"""Tools: list them, call one, or have a call decided and report what became of it.

The flow of a call is `briefcase/core/calls/flow.py`; here is only its way in and out. Every outcome of a call is a 200
whose `status` says which; `Server-Timing` (W3C) tells where the time went.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

from briefcase.core.calls.answers import Answer
from briefcase.core.receipts.events import APPROVAL_REQUIRED
from briefcase.core.wire.call_requests import CallQuery, CallRequest, OutcomeReport
from briefcase.core.wire.calls import (
    WAITING_ANSWER,
    CallDenied,
    CallFailed,
    CallNeedsApproval,
    CallOk,
    DecisionAllowed,
    OutcomeRecorded,
)
from briefcase.core.wire.tools import Cost, Firewall, ToolList, ToolRecord, ToolsLoaded, ToolsQuery, wire_category
from briefcase.edges.api.approvals import changed, visible
from briefcase.edges.api.routing import CALLERS, OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.errors import CallerError
from briefcase.model.types import MICROUSD_PER_USD, ApprovalStatus, Principal, Role, ToolCall, ToolSpec

Take: TypeAlias = Callable[[Principal, ToolCall], Awaitable[Answer]]


async def list_tools(services: Services, request: Request) -> ToolList:
    """`GET /v1/tools`: what can be called, or with `clients=true` also what coding agents run themselves."""
    with_clients = request.query_as(ToolsQuery).clients
    return ToolList([_record(spec) for spec in services.tools.specs() if with_clients or not spec.runs_at_client])


async def reload_tools(services: Services, request: Request) -> ToolsLoaded:
    """`POST /v1/tools/reload`: what the manifests say now is in force, with its receipt, when this answers."""
    loaded = await services.operator.tools.reload(request.principal.name)
    return ToolsLoaded(loaded.tools, loaded.added, loaded.changed, loaded.removed)


async def call_tool(services: Services, request: Request) -> Reply:
    """`POST /v1/tools/call`: at once, or when a person has decided, or after `wait_ms`."""
    wait_ms = request.query_as(CallQuery).wait_ms if request.head.query else 0
    call = await services.calls.read(request.principal, request.body)
    answer = await services.calls.call(request.principal, call)
    if wait_ms and answer.status == APPROVAL_REQUIRED:
        answer = await waited(services, request, call, answer, wait_ms, services.calls.call)
    return _counted(services, answer)


async def decide_call(services: Services, request: Request) -> Reply:
    """`POST /v1/decide`: as `call_tool`."""
    wait_ms = request.query_as(CallQuery).wait_ms if request.head.query else 0
    call = await services.calls.read(request.principal, request.body)
    answer = await services.calls.decide(request.principal, call)
    if wait_ms and answer.status == APPROVAL_REQUIRED:
        answer = await waited(services, request, call, answer, wait_ms, services.calls.decide)
    return _counted(services, answer)


async def close_call(services: Services, request: Request) -> Reply:
    """`POST /v1/outcomes`."""
    answer = await services.calls.close(request.principal, request.body)
    return Reply(answer.body, timing_us=answer.timing_us, is_filtered=answer.is_filtered)


async def waited(  # noqa: PLR0917 - the call, and how long for what
    services: Services, request: Request, call: ToolCall, answer: Answer, wait_ms: int, take: Take
) -> Answer:
    """What the call comes to once a person has decided; the same answer where nobody has within the time.

    # INVARIANT: whoever asked is asked for again after the wait, since the call is taken only then.
    """
    principal = request.principal
    approval = visible(services, request, WAITING_ANSWER.decode(answer.body).approval.id)
    if approval.status is ApprovalStatus.PENDING:
        approval = await changed(services, request, approval, wait_ms)
    if approval.status is ApprovalStatus.PENDING:
        return answer
    if principal.role is Role.AGENT and services.agents.by_name(principal.name) != principal:
        raise CallerError("the token ended while the call waited", code="unauthorized")
    began_ns = services.clock.monotonic_ns()
    return await take(principal, msgspec.structs.replace(call, approval_token=approval.id, began_ns=began_ns))


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
    Route("GET", "/v1/tools", CALLERS, list_tools, "All tools", ToolList, query=ToolsQuery),
    Route("POST", "/v1/tools/reload", OPERATOR, reload_tools, "Load the manifests again", ToolsLoaded),
    Route(
        "POST",
        "/v1/tools/call",
        CALLERS,
        call_tool,
        "Call a tool",
        CallOk | CallNeedsApproval | CallDenied | CallFailed,
        body=CallRequest,
        query=CallQuery,
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
        query=CallQuery,
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
