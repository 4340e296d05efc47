"""Approvals: what waits for a person, and the person's yes or no.

Only an operator decides, and only what was shown whole (`operator.approvals`). An agent sees its own approvals and
nobody else's: another's id is answered like one that does not exist. Once approved, an approval shows its token, which
works for exactly the call it was made for.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal

import msgspec

from briefcase.core.approvals.lifecycle import approval_token, status_at
from briefcase.core.operator.approvals import DECIDING_ROLES, Ruling
from briefcase.core.wire import wire_approval
from briefcase.edges.api.routing import CALLERS, OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import Approval, ApprovalStatus, JsonObject, Role

MAX_WAIT_MS: Final = 60_000
RECHECK_MS: Final = 1_000  # how late a waiter may learn of what nobody announced: an expiry, another signer's yes
MAX_REASON_CHARS: Final = 1_000
_NS_PER_MS: Final = 1_000_000


class ApprovalRecord(msgspec.Struct):
    """One approval; `approval_token` is there once it is approved."""

    id: str
    status: Literal["pending", "approved", "rejected", "expired", "consumed"]
    created_at: str
    expires_at: str
    principal: str
    tool_id: str
    reason: str
    kind: Literal["local", "mobile_signer"]
    summary: str
    approval_token: str | None = None


class ShownCost(msgspec.Struct):
    """What one call is expected to cost, in dollars."""

    estimated_usd: float


class ShownCategory(msgspec.Struct):
    """A category of the operator's own."""

    other: str


class ShownToolRecord(msgspec.Struct):
    """The tool as it was when the call was asked for; `server`, or `host` and `method`, where the call leaves."""

    name: str
    description: str
    category: Literal["read", "write", "admin"] | ShownCategory
    cost: ShownCost
    server: str | None = None
    host: str | None = None
    method: str | None = None


class LastApproved(msgspec.Struct):
    """The last yes this principal got for this tool; `is_same_call` where definition and arguments are the same."""

    approval_id: str
    at: str
    by: str
    is_same_call: bool


class ShownApproval(ApprovalRecord, kw_only=True):
    """One approval; to those who may decide also the whole call, as it is shown.

    `shown_digest_hex` is the SHA-256 of the RFC 8785 JSON of all the other fields. `args_text` is the arguments'
    canonical JSON with known secrets cut out and invisible or confusable characters written as `<U+XXXX>`.
    `redacted_places` says at how many places secrets were cut out of what is shown. `question_text` is what an MCP
    server asked, written as `args_text` is, where the call is the answer, and `question_digest_hex` its SHA-256.
    """

    args_text: str | None = None
    args_digest_hex: str | None = None
    tool_digest_hex: str | None = None
    tool: ShownToolRecord | None = None
    destination: str | None = None
    risk: list[str] | None = None
    policy_ids: list[str] | None = None
    reasons: list[str] | None = None
    redacted_places: Annotated[int, msgspec.Meta(ge=0)] | None = None
    last_approved: LastApproved | None = None
    question_text: str | None = None
    question_digest_hex: str | None = None
    shown_digest_hex: str | None = None


class ApprovalList(msgspec.Struct):
    """What waits, oldest first."""

    approvals: list[ApprovalRecord]


class ApprovalQuery(msgspec.Struct):
    """`wait_ms` above 0 waits that long, at most a minute, for the status to change."""

    wait_ms: Annotated[int, msgspec.Meta(ge=0)] = 0


class Consent(msgspec.Struct):
    """What was shown to whoever says yes, and why they do. Without a digest only a short call can be approved."""

    shown_digest_hex: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)] = ""


class Approved(msgspec.Struct):
    """Said yes; the token attaches it to the retried call."""

    approval_id: str
    approval_token: str


class Denial(msgspec.Struct):
    """Why not, for the receipt."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)] = ""


class Denied(msgspec.Struct):
    """Said no."""

    approval_id: str
    status: Literal["rejected"]


async def list_approvals(services: Services, request: Request) -> JsonObject:
    """`GET /v1/approvals`: the pending ones; an agent's own, an operator's all."""
    now_us = services.ledger.now_us()
    return {
        "approvals": [
            wire_approval(approval)
            for approval in services.ledger.approvals(ApprovalStatus.PENDING)
            if status_at(approval, now_us) is ApprovalStatus.PENDING and _may_see(request, approval)
        ]
    }


async def show_approval(services: Services, request: Request) -> JsonObject:
    """`GET /v1/approvals/{id}`: at once, or when its status changes, or after `wait_ms`."""
    wait_ms = min(request.query_as(ApprovalQuery).wait_ms, MAX_WAIT_MS)
    approval = _visible(services, request)
    if wait_ms:
        approval = await _changed(services, request, approval, wait_ms)
    may_decide = request.principal.role in DECIDING_ROLES
    record = services.operator.approvals.shown(approval) if may_decide else wire_approval(approval)
    if approval.status is ApprovalStatus.APPROVED:
        record["approval_token"] = approval_token(services.ledger.approval_secret(), approval.id)
    return record


async def approve(services: Services, request: Request) -> Approved:
    """`POST /v1/approvals/{id}/approve`: durable when this answers."""
    said = request.body_as(Consent)
    approval = await _decide(services, request, ApprovalStatus.APPROVED, said.reason, said.shown_digest_hex)
    return Approved(approval.id, approval_token(services.ledger.approval_secret(), approval.id))


async def deny(services: Services, request: Request) -> Denied:
    """`POST /v1/approvals/{id}/deny`: also of a yes that was not used yet; durable when this answers."""
    approval = await _decide(services, request, ApprovalStatus.REJECTED, request.body_as(Denial).reason)
    return Denied(approval.id, "rejected")


async def _decide(
    services: Services, request: Request, to: ApprovalStatus, reason: str, shown_digest_hex: str | None = None
) -> Approval:
    asker = request.principal
    approval = await services.operator.approvals.decide(
        Ruling(
            approval_id=request.params["id"],
            to=to,
            by=asker.name,
            role=asker.role,
            shown_digest_hex=shown_digest_hex,
            reason=reason,
        )
    )
    services.meter.count_decision(to.value)
    services.changes.announce(approval.id)
    return approval


async def _changed(services: Services, request: Request, approval: Approval, wait_ms: int) -> Approval:
    """Wait for another status, holding a future and no thread; stop when the client leaves."""
    gone = asyncio.ensure_future(request.gone())
    try:
        deadline_ns = services.clock.monotonic_ns() + wait_ms * _NS_PER_MS
        was = approval.status
        while approval.status is was and not gone.done() and not services.changes.is_stopped:
            left_ms = (deadline_ns - services.clock.monotonic_ns()) / _NS_PER_MS
            if left_ms <= 0:
                break
            changed = asyncio.ensure_future(services.changes.wait(approval.id, min(left_ms, RECHECK_MS) / 1_000))
            await asyncio.wait({changed, gone}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            approval = _visible(services, request)
    finally:
        gone.cancel()
    return approval


def _visible(services: Services, request: Request) -> Approval:
    """The approval of the path with its status as of now.

    Raises:
        CallerError: there is none, or it is none of the asker's business (`not_found`).
    """
    approval = services.ledger.approval(request.params["id"])
    if approval is None or not _may_see(request, approval):
        raise CallerError("no approval has this id", code="not_found")
    return msgspec.structs.replace(approval, status=status_at(approval, services.ledger.now_us()))


def _may_see(request: Request, approval: Approval) -> bool:
    owner = approval.owner or approval.principal
    return request.principal.role is Role.OPERATOR or owner == request.principal.owner


ROUTES: Final = (
    Route("GET", "/v1/approvals", CALLERS, list_approvals, "What waits for a person", ApprovalList),
    Route("GET", "/v1/approvals/{id}", CALLERS, show_approval, "One approval", ShownApproval, query=ApprovalQuery),
    Route("POST", "/v1/approvals/{id}/approve", OPERATOR, approve, "Say yes", Approved, body=Consent),
    Route("POST", "/v1/approvals/{id}/deny", OPERATOR, deny, "Say no", Denied, body=Denial),
)
