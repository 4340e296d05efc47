"""AuthZEN Authorization API 1.0: this daemon as a policy decision point.

A decision is the flow's third form (`Calls.delegate`): decided, receipted and closed in one transaction, since a policy
enforcement point never says what came of it. A yes is for one call, now; asked again, it is another call.

What names no call of this daemon is `decision: false` with its reason and a receipt: a subject nobody has or that the
asker may not ask for (alike, so that nobody learns names by asking), an action other than `tools/call`, a resource that
is no tool. What is no evaluation at all is a 400, and in a batch the `context.error` of its place.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec

from briefcase.core.approvals.lifecycle import parse_approval_token
from briefcase.core.calls.answers import ALLOWED, Answer
from briefcase.core.calls.subjects import principal_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.wire.access_requests import CAPABILITY
from briefcase.core.wire.authzen import (
    AGENT,
    TOOL,
    TOOLS_CALL,
    AccessRequest,
    DecisionContext,
    Evaluation,
    EvaluationError,
    EvaluationRequest,
    Evaluations,
    EvaluationsRequest,
    PdpMetadata,
    UsedApproval,
    approval_of,
    arguments_of,
)
from briefcase.core.wire.calls import NOT_ALLOWED, CallDenied, CallNeedsApproval
from briefcase.core.wire.fields import given
from briefcase.edges.api.routing import CALLERS, NOBODY_NEEDED, Request, Route, converted
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model import reasons
from briefcase.model.errors import CallerError
from briefcase.model.types import ApprovalStatus, JsonObject, Principal, ToolCall, format_rfc3339

SUBJECT_TYPES: Final = frozenset({AGENT, "identity"})
AT_ONCE: Final = 32  # questions of one batch that are decided beside each other, so that they share commits
EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
SEARCH: Final = "/access/v1/search"
REQUESTS: Final = "/access/v1/requests"

_WITH_DEFAULTS: Final = ("subject", "action", "resource")
_PERMITS: Final = {"deny_on_first_deny": False, "permit_on_first_permit": True}
_T = TypeVar("_T")


async def evaluate(services: Services, request: Request) -> Reply:
    """`POST /access/v1/evaluation`: one decision."""
    evaluation = await _decide(services, request, body_of(request, EvaluationRequest))
    return Reply(evaluation, is_filtered=evaluation.decision)  # a yes has no words but ours


async def evaluate_several(services: Services, request: Request) -> Evaluations:
    """`POST /access/v1/evaluations`: several decisions, in order; as one evaluation where it holds none."""
    wanted = body_of(request, EvaluationsRequest)
    if not wanted.evaluations:
        one = await _decide(services, request, body_of(request, EvaluationRequest))
        return Evaluations(decision=one.decision, context=one.context)
    defaults = {name: getattr(wanted, name) for name in (*_WITH_DEFAULTS, "context")}
    questions = [_merged(defaults, question) for question in wanted.evaluations]
    ends_with = _PERMITS.get(wanted.options.evaluations_semantic)
    decided: list[Evaluation] = []
    if ends_with is None:
        for at in range(0, len(questions), AT_ONCE):
            asked = (_decide_one(services, request, question) for question in questions[at : at + AT_ONCE])
            decided += await asyncio.gather(*asked)
        return Evaluations(decided)
    for question in questions:
        decided.append(await _decide_one(services, request, question))
        if decided[-1].decision is ends_with:
            break
    return Evaluations(decided)


async def describe(_: Services, request: Request) -> PdpMetadata:
    """`GET /.well-known/authzen-configuration`: where each part answers."""
    base = f"http://{request.authority or 'localhost'}"
    return PdpMetadata(
        base,
        base + EVALUATION,
        base + EVALUATIONS,
        f"{base}{SEARCH}/subject",
        f"{base}{SEARCH}/resource",
        f"{base}{SEARCH}/action",
        base + REQUESTS,
        [CAPABILITY],
    )


def body_of(request: Request, kind: type[_T]) -> _T:
    """The body of a request of this API.

    Raises:
        CallerError: not declared as JSON, or not of that kind.
    """
    media = request.header(b"content-type").partition(b";")[0].strip().lower()
    if media != b"application/json":
        raise CallerError("expected the header `content-type: application/json`")
    return request.body_as(kind)


async def _decide_one(services: Services, request: Request, question: JsonObject) -> Evaluation:
    try:
        wanted = converted(question, EvaluationRequest, strict=True)
    except CallerError as error:
        return Evaluation(
            decision=False, context=DecisionContext(error=EvaluationError(HTTPStatus.BAD_REQUEST, error.message))
        )
    return await _decide(services, request, wanted)


async def _decide(services: Services, request: Request, wanted: EvaluationRequest) -> Evaluation:
    principal = principal_of(request.principal, wanted.subject.id, services.agents)
    refused_as = _no_call(wanted, principal)
    if refused_as is not None or principal is None:
        reason = refused_as or reasons.UNKNOWN_SUBJECT
        receipt_id = await services.calls.refusals.turn_down(request.principal, reason, request.body)
        return _denied(DecisionContext(reason, receipt_id))
    args = arguments_of(wanted.resource.properties, wanted.context)
    approval_id = approval_of(wanted.context)
    if args is None or approval_id is None:
        told = "expected one object of arguments, and an approval's id as text"
        reason = reasons.with_detail(reasons.INVALID_ARGS, told)
        receipt_id = await services.calls.refusals.turn_down(request.principal, reason, request.body)
        return _denied(DecisionContext(reason, receipt_id))
    call = ToolCall(
        tool_id=wanted.resource.id,
        args=args,
        canonical_args=canonical_bytes(args),
        request_id=services.entropy.uuid(),
        began_ns=services.clock.monotonic_ns(),
        approval_token=None if isinstance(approval_id, msgspec.UnsetType) else approval_id,
    )
    answer = await services.calls.delegate(principal, call)
    services.meter.count_answer(answer.status, answer.reason, answer.timing_us)
    return _shown(services, answer, call.approval_token)


def _no_call(wanted: EvaluationRequest, principal: Principal | None) -> str | None:
    if wanted.subject.type not in SUBJECT_TYPES or principal is None:
        return reasons.UNKNOWN_SUBJECT
    if wanted.action.name != TOOLS_CALL:
        return reasons.UNKNOWN_ACTION
    return None if wanted.resource.type == TOOL else reasons.UNKNOWN_RESOURCE


def _shown(services: Services, answer: Answer, token: str | None) -> Evaluation:
    """The flow's answer in the API's words."""
    receipt_id = answer.receipt_id
    if answer.status == ALLOWED:
        used = None if token is None else _used(services, token)
        return Evaluation(decision=True, context=DecisionContext(receipt_id=receipt_id, approval=used))
    said = NOT_ALLOWED.decode(answer.body)
    match said:
        case CallNeedsApproval():
            approval = said.approval
            waiting = AccessRequest(approval.id, approval.expires_at, approval.kind, approval.reason, requestable=True)
            context = DecisionContext(answer.status, receipt_id, evaluation_id=approval.id, access_request=waiting)
        case CallDenied():
            context = DecisionContext(said.reason, receipt_id, given(said.policy_ids, []), given(said.advice, ""))
    return _denied(context)


def _denied(context: DecisionContext) -> Evaluation:
    context = msgspec.structs.replace(context, next_step=reasons.next_step_of(context.reason))
    return Evaluation(decision=False, context=context)


def _used(services: Services, token: str) -> UsedApproval | None:
    """The approval that an allowed call brought along, where it was used up; one that was not needed is not."""
    approval_id = parse_approval_token(services.ledger.approval_secret(), token)
    approval = None if approval_id is None else services.ledger.approval(approval_id)
    if approval is None or approval.status is not ApprovalStatus.CONSUMED:
        return None
    return UsedApproval(approval.id, format_rfc3339(approval.expires_us))


def _merged(defaults: dict[str, Any], question: JsonObject) -> JsonObject:
    """A question with what it leaves out: a whole entity, or the `type`, `id` or `name` of one."""
    merged: JsonObject = {**{name: value for name, value in defaults.items() if value}, **question}
    for entity in _WITH_DEFAULTS:
        own = question.get(entity)
        if isinstance(own, dict):
            known = {name: defaults[entity][name] for name in ("type", "id", "name") if name in defaults[entity]}
            merged[entity] = {**known, **own}
    return merged


ROUTES: Final = (
    Route(
        "GET",
        "/.well-known/authzen-configuration",
        NOBODY_NEEDED,
        describe,
        "Where this policy decision point answers",
        PdpMetadata,
    ),
    Route(
        "POST",
        EVALUATION,
        CALLERS,
        evaluate,
        "Decide one call",
        Evaluation,
        body=EvaluationRequest,
        is_correlated=True,
    ),
    Route(
        "POST",
        EVALUATIONS,
        CALLERS,
        evaluate_several,
        "Decide several calls",
        Evaluations,
        body=EvaluationsRequest,
        is_correlated=True,
    ),
)
