"""Approvals: what waits for a person, and the person's yes or no.

Operators and approvers decide, and only what was shown whole (`operator.approvals`). An agent sees its own approvals
and nobody else's: another's id is answered like one that does not exist. Once approved, an approval shows its token,
which works for exactly the call it was made for.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from briefcase.core.approvals.lifecycle import approval_token, status_at
from briefcase.core.grants.drafting import grant_digest
from briefcase.core.operator.approvals import DECIDING_ROLES, SHOWN_DIGEST, Ruling, shown_digest_of
from briefcase.core.operator.grants import GrantRequest
from briefcase.core.wire.approvals import (
    ApprovalList,
    ApprovalListQuery,
    ApprovalQuery,
    Approved,
    Consent,
    Denial,
    Denied,
    ShownApproval,
    wire_approval,
)
from briefcase.core.wire.grants import DraftedGrant, GrantTermsRecord, terms_of, wire_drafted
from briefcase.edges.api.routing import CALLERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import Approval, ApprovalStatus, JsonObject

MAX_WAIT_MS: Final = 60_000
RECHECK_MS: Final = 1_000  # how late a waiter may learn of what nobody announced: an expiry, another signer's yes
_NS_PER_MS: Final = 1_000_000
_LISTED: Final = {
    "pending": (ApprovalStatus.PENDING,),
    "approved": (ApprovalStatus.APPROVED,),
    "open": (ApprovalStatus.PENDING, ApprovalStatus.APPROVED),
}


async def list_approvals(services: Services, request: Request) -> JsonObject:
    """`GET /v1/approvals`: the pending ones, each unused yes, what has ended, or those named; an agent's own."""
    query = request.query_as(ApprovalListQuery)
    names_decider = request.principal.role in DECIDING_ROLES
    if query.ids:
        named = [services.ledger.approval(approval_id) for approval_id in query.ids.split(",")]
        now_us = services.ledger.now_us()
        as_of_now = [
            msgspec.structs.replace(approval, status=status_at(approval, now_us))
            for approval in named
            if approval is not None and _may_see(request, approval)
        ]
        return {"approvals": [wire_approval(approval, names_decider=names_decider) for approval in as_of_now]}
    if query.status not in _LISTED:
        ended = frozenset(ApprovalStatus) if query.status == "all" else frozenset({ApprovalStatus(query.status)})
        newest = await services.ledger.newest_approvals(ended, query.limit)
        seen = [approval for approval in newest if _may_see(request, approval)]
        return {"approvals": [wire_approval(approval, names_decider=names_decider) for approval in seen]}
    now_us, wanted = services.ledger.now_us(), _LISTED[query.status]
    found = [
        approval
        for status in wanted
        for approval in services.ledger.approvals(status)
        if status_at(approval, now_us) is status and _may_see(request, approval)
    ]
    if len(wanted) > 1:
        found.sort(key=lambda approval: approval.created_us)
    return {"approvals": [wire_approval(approval, names_decider=names_decider) for approval in found]}


async def show_approval(services: Services, request: Request) -> JsonObject:
    """`GET /v1/approvals/{id}`: at once, or when its status changes, or after `wait_ms`."""
    wait_ms = min(request.query_as(ApprovalQuery).wait_ms, MAX_WAIT_MS)
    approval = visible(services, request, request.params["id"])
    if wait_ms:
        approval = await changed(services, request, approval, wait_ms)
    may_decide = request.principal.role in DECIDING_ROLES
    record = services.operator.approvals.shown(approval) if may_decide else wire_approval(approval)
    if approval.status is ApprovalStatus.APPROVED:
        record["approval_token"] = approval_token(services.ledger.approval_secret(), approval.id)
        if may_decide:
            record[SHOWN_DIGEST] = shown_digest_of(record)  # of all the other fields, the token too
    return record


async def approve(services: Services, request: Request) -> Approved:
    """`POST /v1/approvals/{id}/approve`: durable when this answers."""
    said = request.body_as(Consent)
    return approved(services, await _decide(services, request, ApprovalStatus.APPROVED, said))


async def deny(services: Services, request: Request) -> Denied:
    """`POST /v1/approvals/{id}/deny`: also of a yes that was not used yet; durable when this answers."""
    approval = await _decide(services, request, ApprovalStatus.REJECTED, request.body_as(Denial))
    return Denied(approval.id, "rejected")


async def preview_grant(services: Services, request: Request) -> JsonObject:
    """`POST /v1/approvals/{id}/grant`: what a yes with this grant would let pass. Nothing is granted."""
    terms = terms_of(request.body_as(GrantTermsRecord))
    drafted = services.operator.grants.preview(request.params["id"], terms)
    return wire_drafted(drafted, grant_digest(drafted))


async def _decide(services: Services, request: Request, to: ApprovalStatus, said: Consent | Denial) -> Approval:
    asker = request.principal
    consent = said if isinstance(said, Consent) else Consent()
    grant = None
    if consent.grant is not None:
        grant = GrantRequest(terms_of(consent.grant), consent.grant_digest_hex or "")
    approval = await services.operator.approvals.decide(
        Ruling(
            approval_id=request.params["id"],
            to=to,
            by=asker.name,
            role=asker.role,
            shown_digest_hex=consent.shown_digest_hex,
            reason=said.reason,
            grant=grant,
        )
    )
    tell(services, approval, to)
    return approval


def tell(services: Services, approval: Approval, to: ApprovalStatus) -> None:
    """Count a ruling, and wake those who wait for it."""
    if approval.status is not ApprovalStatus.PENDING:
        services.meter.count_decision(to.value)
    services.changes.announce(approval.id)


def approved(services: Services, approval: Approval) -> Approved:
    """The answer of a yes: the token, or how many yeses it takes beside this one."""
    if approval.status is ApprovalStatus.PENDING:
        return Approved(
            approval.id, status="pending", approvers=approval.approvers, approvals_given=len(approval.approved_by)
        )
    token = approval_token(services.ledger.approval_secret(), approval.id)
    return Approved(approval.id, token, grant_id=msgspec.UNSET if approval.grant is None else approval.id)


async def changed(services: Services, request: Request, approval: Approval, wait_ms: int) -> Approval:
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
            approval = visible(services, request, approval.id)
    finally:
        gone.cancel()
    return approval


def visible(services: Services, request: Request, approval_id: str) -> Approval:
    """An approval with its status as of now.

    Raises:
        CallerError: there is none, or it is none of the asker's business (`not_found`).
    """
    approval = services.ledger.approval(approval_id)
    if approval is None or not _may_see(request, approval):
        raise CallerError("no approval has this id", code="not_found")
    return msgspec.structs.replace(approval, status=status_at(approval, services.ledger.now_us()))


def _may_see(request: Request, approval: Approval) -> bool:
    owner = approval.owner or approval.principal
    return request.principal.role in DECIDING_ROLES or owner == request.principal.owner


_SEEING: Final = CALLERS | DECIDING_ROLES
ROUTES: Final = (
    Route(
        "GET",
        "/v1/approvals",
        _SEEING,
        list_approvals,
        "What waits for a person",
        ApprovalList,
        query=ApprovalListQuery,
    ),
    Route("GET", "/v1/approvals/{id}", _SEEING, show_approval, "One approval", ShownApproval, query=ApprovalQuery),
    Route(
        "POST",
        "/v1/approvals/{id}/grant",
        DECIDING_ROLES,
        preview_grant,
        "What a yes with this grant would let pass",
        DraftedGrant,
        body=GrantTermsRecord,
    ),
    Route("POST", "/v1/approvals/{id}/approve", DECIDING_ROLES, approve, "Say yes", Approved, body=Consent),
    Route("POST", "/v1/approvals/{id}/deny", DECIDING_ROLES, deny, "Say no", Denied, body=Denial),
)
