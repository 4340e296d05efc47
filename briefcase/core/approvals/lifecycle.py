"""Approvals: a person's yes, or several people's, to one exact call, used at most once.

Lifecycle (`LIFECYCLE`):

    pending  -> approved | rejected | expired
    approved -> consumed | expired | rejected (a yes that was not used yet is taken back)

Rules: an approval is bound to principal, tool, definition digest and canonical arguments (`binding_hex`);
it expires by the ledger's clock, which never goes back, whatever state it waits in, and its end is stored and receipted
within a second; consuming happens in the transaction that appends the intent. A denial is remembered for a time from
its decision on: within it, the same call is refused and asks nobody.
Nothing here does I/O: the ledger applies these functions inside its transaction.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from briefcase.core.jose.base64url import encode_base64url
from briefcase.model.effects import Refused
from briefcase.model.grants import GrantTerms
from briefcase.model.lifecycle import Lifecycle
from briefcase.model.reasons import BUDGET_EXCEEDED, CONFLICT, INVALID_OR_EXPIRED_APPROVAL, with_detail
from briefcase.model.types import Approval, ApprovalKind, ApprovalStatus, NeedsApproval, ShownCall

APPROVAL_TTL_US: Final = 15 * 60 * 1_000_000
DENIAL_TTL_US: Final = 15 * 60 * 1_000_000
MAX_PENDING_PER_PRINCIPAL: Final = 100
MAX_SUMMARY_CHARS: Final = 4_000
MAX_SHOWN_BYTES: Final = 64 << 10

LIFECYCLE: Final = Lifecycle(
    "an approval",
    {
        ApprovalStatus.PENDING: frozenset({ApprovalStatus.APPROVED, ApprovalStatus.REJECTED, ApprovalStatus.EXPIRED}),
        ApprovalStatus.APPROVED: frozenset({ApprovalStatus.CONSUMED, ApprovalStatus.EXPIRED, ApprovalStatus.REJECTED}),
        ApprovalStatus.REJECTED: frozenset(),
        ApprovalStatus.EXPIRED: frozenset(),
        ApprovalStatus.CONSUMED: frozenset(),
    },
)


def status_at(approval: Approval, now_us: int) -> ApprovalStatus:
    """The state at a moment: what waits past its expiry has expired, stored or not."""
    if approval.expires_us <= now_us and LIFECYCLE.may(approval.status, ApprovalStatus.EXPIRED):
        return ApprovalStatus.EXPIRED
    return approval.status


def is_waiting(approval: Approval, now_us: int) -> bool:
    """Whether it waits for a person, or for its call."""
    return status_at(approval, now_us) in {ApprovalStatus.PENDING, ApprovalStatus.APPROVED}


def is_denied(approval: Approval, now_us: int, ttl_us: int) -> bool:
    """Whether a person said no to it, at most so long ago."""
    is_no = approval.status is ApprovalStatus.REJECTED
    return is_no and now_us < (approval.decided_us or 0) + ttl_us


def covers(approval: Approval, verdict: NeedsApproval, kind: ApprovalKind) -> bool:
    """Whether an approval was asked for what is needed now.

    Passing a budget is never implied by another reason, nor a signer's approval by the operator's, nor the yes of
    several people by that of fewer, nor one without who set the policy by one that may be theirs.
    """
    if approval.approvers < verdict.approvers or (verdict.excludes_author and not approval.excludes_author):
        return False
    if kind is ApprovalKind.MOBILE_SIGNER and approval.kind is not kind:
        return False
    return verdict.reason != BUDGET_EXCEEDED or approval.reason == BUDGET_EXCEEDED


def decide_approval(
    approval: Approval | None,
    to: ApprovalStatus,
    by: str,
    now_us: int,
    reason: str = "",
    *,
    after: Sequence[str] = (),
    grant: GrantTerms | None = None,
) -> Approval | Refused:
    """Approve or reject; a yes that needs others' beside it leaves the approval pending, with this one's name.

    Refused (`conflict`) unless it waits: a yes for a person, a no also for its call. A yes is said `after` those it
    knows of, by somebody who is none of them. A `grant` is asked for with the first yes; the others see it, and say yes
    to it as well.
    """
    if approval is None or not LIFECYCLE.may(status_at(approval, now_us), to):
        return Refused(CONFLICT)
    if to is ApprovalStatus.APPROVED:
        if by in approval.approved_by or tuple(after) != approval.approved_by:
            return Refused(CONFLICT)
        if grant is not None and approval.approved_by and grant != approval.grant:
            return Refused(CONFLICT)
        approval = msgspec.structs.replace(
            approval, approved_by=(*approval.approved_by, by), grant=grant or approval.grant
        )
        if len(approval.approved_by) < approval.approvers:
            return approval
        by = ", ".join(approval.approved_by)
    return msgspec.structs.replace(approval, status=to, decided_by=by, decided_us=now_us, decision_reason=reason)


def expire_approval(approval: Approval | None, now_us: int) -> Approval | Refused:
    """End an approval. Refused (`conflict`) unless it waits past its expiry."""
    if approval is None or status_at(approval, now_us) is approval.status:
        return Refused(CONFLICT)
    return msgspec.structs.replace(approval, status=ApprovalStatus.EXPIRED)


def consume_approval(approval: Approval | None, binding_hex: str, now_us: int) -> Approval | Refused:
    """Use an approval. Refused (`invalid_or_expired_approval`) unless approved, unexpired and bound to these bytes."""
    if (
        approval is None
        or status_at(approval, now_us) is not ApprovalStatus.APPROVED
        or not hmac.compare_digest(approval.binding_hex, binding_hex)
    ):
        return Refused(INVALID_OR_EXPIRED_APPROVAL)
    return msgspec.structs.replace(approval, status=ApprovalStatus.CONSUMED)


def why_of_no_use(used: Refused, approval: Approval | None, binding_hex: str) -> str:
    """The reason of a call whose approval is of no use; whoever asked hears why a person said no to this very call."""
    if approval is None or approval.status is not ApprovalStatus.REJECTED or approval.binding_hex != binding_hex:
        return used.reason
    return why_denied(approval) if approval.decision_reason else used.reason


def why_denied(approval: Approval) -> str:
    """The reason of a call that a person said no to, in their words where they gave any."""
    said = approval.decision_reason
    return with_detail(INVALID_OR_EXPIRED_APPROVAL, f"a person said no: {said}" if said else "a person said no")


def binding_hex(principal: str, tool_id: str, tool_digest_hex: str, args_digest_hex: str) -> str:
    """SHA-256 over the four things an approval is for, length-prefixed so that no two lists share bytes."""
    digest = hashlib.sha256()
    for part in (principal, tool_id, tool_digest_hex, args_digest_hex):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def approval_token(secret: bytes, approval_id: str) -> str:
    """The token that attaches an approval to a retry: `<approval id>.<HMAC-SHA256>`; derived, so never stored."""
    mac = hmac.new(secret, b"approval\x00" + approval_id.encode(), hashlib.sha256).digest()
    return f"{approval_id}.{encode_base64url(mac)}"


def parse_approval_token(secret: bytes, token: str) -> str | None:
    """The approval id a token is for, or None where it is not one of ours. Constant time in the MAC.

    A bare id stands for itself: the approval is bound to the principal that asked, so it serves nobody else.
    """
    approval_id, dot, _ = token.partition(".")
    if not dot:
        return approval_id
    expected = approval_token(secret, approval_id)
    return approval_id if hmac.compare_digest(expected.encode(), token.encode(errors="replace")) else None


def summary_of(shown: ShownCall) -> str:
    """The line an approver reads in a list: the tool and its arguments; the whole call where that is short."""
    text = f"{shown.tool.name} {shown.args_text}{shown.question and f' answers {shown.question}'}"
    if shown.payment is not None:
        text += f" pays {shown.payment.amount_microusd:,} micro-USD to {shown.payment.pay_to}"
    if len(text) <= MAX_SUMMARY_CHARS:
        return text
    return f"{text[:MAX_SUMMARY_CHARS]}… ({len(text) - MAX_SUMMARY_CHARS} more characters)"
