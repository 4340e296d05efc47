"""Tools: list them, call one, or have a call decided and report what became of it.

The flow of a call is `briefcase/core/calls/flow.py`; here is only its way in and out. Every outcome of a call is a 200
whose `status` says which; `Server-Timing` (W3C) tells where the time went.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from briefcase.core.calls.answers import Answer
from briefcase.core.wire import CallRequest, OutcomeReport, wire_category
from briefcase.edges.api.approvals import ApprovalRecord
from briefcase.edges.api.routing import CALLERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.types import MICROUSD_PER_USD, JsonObject, ToolSpec


class OtherCategory(msgspec.Struct):
    """A category of the operator's own."""

    other: str


class Cost(msgspec.Struct):
    """What one call is expected to cost, in dollars."""

    estimated_usd: float


class Firewall(msgspec.Struct):
    """How much of a result may come back: all of it, or what these JSON pointers name."""

    mode: Literal["allow_all", "allow_paths"]
    allowed_paths: list[str]


class ToolRecord(msgspec.Struct):
    """One tool's definition."""

    id: str
    name: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    category: Literal["read", "write", "admin"] | OtherCategory
    cost: Cost
    output_firewall: Firewall
    digest_hex: str


class ToolList(msgspec.Struct):
    """All tools, sorted by id."""

    tools: list[ToolRecord]


class Provenance(msgspec.Struct):
    """Where a result came from, and the receipt that says so."""

    source: str
    cost_usd: float
    timestamp: str
    receipt_id: int


class CallResult(msgspec.Struct):
    """What the tool answered, after the output firewall."""

    content: Any
    provenance: Provenance


class CallOk(msgspec.Struct, tag_field="status", tag="ok"):
    """It ran."""

    result: CallResult


class CallNeedsApproval(msgspec.Struct, tag_field="status", tag="approval_required"):
    """A person must say yes first."""

    approval: ApprovalRecord


class CallDenied(msgspec.Struct, tag_field="status", tag="denied"):
    """It did not run; `reason` is a stable word. Of a refusal that is counted, `receipt_id` is the first one's.

    Where the policy said no, `policy_ids` are the policies that did and `advice` is what their `@advice` says.
    """

    reason: str
    receipt_id: int | None = None
    policy_ids: list[str] | None = None
    advice: str | None = None


class CallFailed(msgspec.Struct, tag_field="status", tag="error"):
    """It ran, or may have, and there is no result."""

    message: str


class DecisionAllowed(msgspec.Struct, tag_field="status", tag="allowed"):
    """It may run now; `POST /v1/outcomes` with `receipt_id` closes it."""

    call_id: str
    receipt_id: int
    tool_digest_hex: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]*$")]
    args_digest_hex: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class OutcomeRecorded(msgspec.Struct, tag_field="status", tag="recorded"):
    """The decided call is closed; `receipt_id` is the outcome's."""

    receipt_id: int


async def list_tools(services: Services, _: Request) -> JsonObject:
    """`GET /v1/tools`."""
    return {"tools": [_record(spec) for spec in services.tools.specs()]}


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
    return _timed(await services.calls.close(request.principal, request.body))


def _counted(services: Services, answer: Answer) -> Reply:
    services.meter.count_answer(answer.status, answer.reason, answer.timing_us)
    return _timed(answer)


def _timed(answer: Answer) -> Reply:
    return Reply(answer.body, timing_us=answer.timing_us, is_filtered=answer.is_filtered)


def _record(spec: ToolSpec) -> JsonObject:
    return {
        "id": spec.id,
        "name": spec.name,
        "description": spec.description,
        "input_schema": spec.input_schema,
        "output_schema": spec.output_schema,
        "category": wire_category(spec.category),
        "cost": {"estimated_usd": spec.cost_microusd / MICROUSD_PER_USD},
        "output_firewall": {
            "mode": spec.output_firewall.mode.value,
            "allowed_paths": list(spec.output_firewall.allowed_paths),
        },
        "digest_hex": spec.digest_hex,
    }


ROUTES: Final = (
    Route("GET", "/v1/tools", CALLERS, list_tools, "All tools", ToolList),
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
