"""The access-request profile of AuthZEN over this daemon's approvals.

The approval is there when the decision says that it waits: asking for it is binding a task to it. A request names the
denied question once more, and its `evaluation_id`, which is that approval's: another subject, tool or arguments is
`invalid_denial_binding`. A task shows what became of the approval to whoever may ask for its agent. A yes comes back as
`approval_context`; the question asked again with it is a new decision, and the yes is used up in its transaction.

| the approval | the task |
|---|---|
| pending, approved, expired | `pending`, `approved` with `approved_until`, `expired` |
| rejected | `denied`, with the person's words |
| consumed | `consumed`: no status of the profile's own, so that no PEP takes it for a yes |
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.approvals.lifecycle import binding_hex, status_at
from briefcase.core.calls.subjects import principal_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.wire.access_requests import (
    EXPIRED_DENIAL,
    INVALID_BINDING,
    NOT_REQUESTABLE,
    PROBLEM,
    UNKNOWN_TASK,
    AccessResult,
    AccessSubmission,
    AccessTask,
    AccessTaskAnswer,
    ApprovalContext,
    CompletedApproval,
    Problem,
    TaskDisplay,
    TaskStatus,
)
from briefcase.core.wire.authzen import TOOL, TOOLS_CALL, arguments_of
from briefcase.core.wire.fields import given
from briefcase.edges.api.authzen import REQUESTS, SUBJECT_TYPES, body_of
from briefcase.edges.api.routing import CALLERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.errors import CallerError
from briefcase.model.types import Approval, ApprovalStatus, format_rfc3339

_TITLES: Final = {
    NOT_REQUESTABLE: (HTTPStatus.BAD_REQUEST, "the denial is not requestable"),
    INVALID_BINDING: (HTTPStatus.BAD_REQUEST, "the request is not bound to a denial of this question"),
    EXPIRED_DENIAL: (HTTPStatus.GONE, "the denial's approval is over: ask for a decision again"),
    UNKNOWN_TASK: (HTTPStatus.NOT_FOUND, "no such task"),
}
_STATUSES: Final[Mapping[ApprovalStatus, TaskStatus]] = {
    ApprovalStatus.PENDING: "pending",
    ApprovalStatus.APPROVED: "approved",
    ApprovalStatus.REJECTED: "denied",
    ApprovalStatus.EXPIRED: "expired",
    ApprovalStatus.CONSUMED: "consumed",
}


async def submit_request(services: Services, request: Request) -> Reply:
    """`POST /access/v1/requests`: the task of a denied call; 202 while it waits, 201 where it has ended."""
    wanted = body_of(request, AccessSubmission)
    if given(wanted.items, None) is not None or given(wanted.callback, None) is not None:
        raise CallerError("expected one action and resource without a callback: bundles and callbacks are not served")
    if wanted.denial.decision.decision or not wanted.denial.access_request.requestable:
        return _problem(NOT_REQUESTABLE)
    approval = _bound(services, request, wanted)
    if approval is None:
        return _problem(INVALID_BINDING)
    status = status_at(approval, services.ledger.now_us())
    if status is ApprovalStatus.EXPIRED:
        return _problem(EXPIRED_DENIAL)
    answer = _task_of(request, approval, status)
    waits = status is ApprovalStatus.PENDING
    location = ((b"location", answer.task.status_endpoint.encode()),)
    return Reply(answer, HTTPStatus.ACCEPTED if waits else HTTPStatus.CREATED, location)


async def show_task(services: Services, request: Request) -> AccessTaskAnswer | Reply:
    """`GET /access/v1/requests/{id}`: what became of it so far."""
    approval = services.ledger.approval(request.params["id"])
    if approval is None or not _may_ask(services, request, approval):
        return _problem(UNKNOWN_TASK)
    return _task_of(request, approval, status_at(approval, services.ledger.now_us()))


def _bound(services: Services, request: Request, wanted: AccessSubmission) -> Approval | None:
    """The approval that a denial names, where the question is the one that was denied."""
    evaluation_id = given(wanted.denial.evaluation_id, "")
    approval = services.ledger.approval(evaluation_id) if evaluation_id else None
    principal = principal_of(request.principal, wanted.subject.id, services.agents)
    tool, args = services.tools.resolve(wanted.resource.id), arguments_of(wanted.resource.properties, wanted.context)
    is_call = wanted.subject.type in SUBJECT_TYPES and wanted.resource.type == TOOL and wanted.action.name == TOOLS_CALL
    if approval is None or principal is None or tool is None or args is None or not is_call:
        return None
    args_hex = hashlib.sha256(canonical_bytes(args)).hexdigest()
    binding = binding_hex(principal.owner, tool.spec.id, tool.spec.digest_hex, args_hex)
    return approval if approval.binding_hex == binding else None


def _may_ask(services: Services, request: Request, approval: Approval) -> bool:
    principal = principal_of(request.principal, approval.principal, services.agents)
    return principal is not None and principal.owner == approval.owner


def _task_of(request: Request, approval: Approval, status: ApprovalStatus) -> AccessTaskAnswer:
    expires_at = format_rfc3339(approval.expires_us)
    task = AccessTask(
        id=approval.id,
        status=_STATUSES[status],
        status_endpoint=f"http://{request.authority or 'localhost'}{REQUESTS}/{approval.id}",
        expires_at=expires_at,
        display=TaskDisplay(approval.decision_reason) if approval.decision_reason else None,
    )
    if status is not ApprovalStatus.APPROVED:
        return AccessTaskAnswer(task)
    completed = CompletedApproval(approval.id, format_rfc3339(approval.decided_us), expires_at)
    return AccessTaskAnswer(task, AccessResult(completed, ApprovalContext(approval.id)))


def _problem(word: str) -> Reply:
    status, title = _TITLES[word]
    body = msgspec.json.encode(Problem(f"{PROBLEM}{word}", title, status))
    return Reply(body, status, ((b"content-type", b"application/problem+json"),))


ROUTES: Final = (
    Route(
        "POST",
        REQUESTS,
        CALLERS,
        submit_request,
        "Ask for the approval of a call that was denied",
        AccessTaskAnswer,
        body=AccessSubmission,
        is_correlated=True,
    ),
    Route(
        "GET",
        f"{REQUESTS}/{{id}}",
        CALLERS,
        show_task,
        "What became of an access request",
        AccessTaskAnswer,
        is_correlated=True,
    ),
)
