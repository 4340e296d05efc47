"""Approvals on the wire: what waits for a person, the whole call as it is shown, and the person's yes or no."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

import msgspec

from briefcase.core.wire.fields import HashHex, Maybe
from briefcase.core.wire.grants import DraftedGrant, GrantTermsRecord
from briefcase.core.wire.tools import OtherCategory, wire_category
from briefcase.model.identifiers import REQUEST_ID
from briefcase.model.types import MICROUSD_PER_USD, Approval, JsonObject, PaymentTerms, ShownCall, format_rfc3339

MAX_REASON_CHARS: Final = 1_000
MAX_LISTED: Final = 1_000
MAX_IDS: Final = 50


class ApprovalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One approval; `approval_token` is there once it is approved.

    Once it is decided, `decided_at` and `decision_reason` (empty where none was given) are there; `decided_by` for
    those who may decide. `stands_in` is there where a signer should decide and no device is paired: the operator stands
    in until one is. Where several people must say yes, `approvers` says how many and `approvals_given` how many did;
    `approved_by`, for those who may decide, names these.
    `approvers_exclude` is `author` where none of them may be who set the policy.
    """

    id: str
    status: Literal["pending", "approved", "rejected", "expired", "consumed"] = "pending"
    created_at: str
    expires_at: str
    principal: str = ""
    tool_id: str
    reason: str
    kind: Literal["local", "mobile_signer"]
    summary: str
    stands_in: Maybe[Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["signer"]})]] = msgspec.UNSET
    approval_token: Maybe[str] = msgspec.UNSET
    decided_at: Maybe[str] = msgspec.UNSET
    decided_by: Maybe[str] = msgspec.UNSET
    decision_reason: Maybe[str] = msgspec.UNSET
    approvers: Maybe[Annotated[int, msgspec.Meta(ge=1)]] = msgspec.UNSET
    approvals_given: Maybe[Annotated[int, msgspec.Meta(ge=0)]] = msgspec.UNSET
    approved_by: Maybe[list[str]] = msgspec.UNSET
    approvers_exclude: Maybe[str] = msgspec.UNSET


class ShownCost(msgspec.Struct, frozen=True):
    """What one call is expected to cost, in dollars."""

    estimated_usd: float


class ShownCategory(OtherCategory, frozen=True):
    """A category of the operator's own."""


class ShownToolRecord(msgspec.Struct, frozen=True):
    """The tool as it was when the call was asked for; `server`, or `host` and `method`, where the call leaves."""

    name: str
    description: str
    category: Literal["read", "write", "admin"] | ShownCategory
    cost: ShownCost
    server: Maybe[str] = msgspec.UNSET
    host: Maybe[str] = msgspec.UNSET
    method: Maybe[str] = msgspec.UNSET


class ShownPayment(msgspec.Struct, frozen=True):
    """What a provider is paid before it serves the call.

    `rail` is `x402_v2`, `x402` or `l402`; of the first `network`, `asset` and `amount` in its smallest units are there.
    """

    provider_id: str
    rail: str
    amount_microusd: int
    pay_to: str
    asset: Maybe[str] = msgspec.UNSET
    network: Maybe[str] = msgspec.UNSET
    amount: Maybe[str] = msgspec.UNSET
    resource: Maybe[str] = msgspec.UNSET


class LastApproved(msgspec.Struct, frozen=True):
    """The last yes this principal got for this tool; `is_same_call` where definition and arguments are the same."""

    approval_id: str = ""
    at: str = ""
    by: str = ""
    is_same_call: bool = False


class ShownApproval(ApprovalRecord, frozen=True, kw_only=True):
    """One approval; to those who may decide also the whole call, as it is shown.

    `shown_digest_hex` is the SHA-256 of the RFC 8785 JSON of all the other fields. `args_text` is the arguments'
    canonical JSON with known secrets cut out and invisible or confusable characters written as `<U+XXXX>`.
    `redacted_places` says at how many places secrets were cut out of what is shown. `question_text` is what an MCP
    server asked, written as `args_text` is, where the call is the answer, and `question_digest_hex` its SHA-256.
    `grant` is what the yes lets pass beside the call, where somebody asked for that.
    """

    status: Literal["pending", "approved", "rejected", "expired", "consumed"]
    args_text: Maybe[str] = msgspec.UNSET
    args_digest_hex: Maybe[str] = msgspec.UNSET
    tool_digest_hex: Maybe[str] = msgspec.UNSET
    tool: Maybe[ShownToolRecord] = msgspec.UNSET
    destination: Maybe[str] = msgspec.UNSET
    payment: Maybe[ShownPayment] = msgspec.UNSET
    risk: Maybe[list[str]] = msgspec.UNSET
    policy_ids: Maybe[list[str]] = msgspec.UNSET
    reasons: Maybe[list[str]] = msgspec.UNSET
    redacted_places: Maybe[Annotated[int, msgspec.Meta(ge=0)]] = msgspec.UNSET
    question_text: Maybe[str] = msgspec.UNSET
    question_digest_hex: Maybe[str] = msgspec.UNSET
    last_approved: Maybe[LastApproved] = msgspec.UNSET
    grant: Maybe[DraftedGrant] = msgspec.UNSET
    shown_digest_hex: Maybe[str] = msgspec.UNSET


class ApprovalList(msgspec.Struct, frozen=True):
    """What was asked for, oldest first."""

    approvals: list[ApprovalRecord]


class ApprovalListQuery(msgspec.Struct, frozen=True):
    """`approved` lists each yes that was not used yet, `open` these beside what waits, `all` what has ended, too.

    Where ended ones are asked for, the newest `limit` are listed. `ids`, with commas between them, asks for these
    whatever their status is; those that the asker may not see are left out.
    """

    status: Literal["pending", "approved", "open", "rejected", "expired", "consumed", "all"] = "pending"
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 100
    ids: Annotated[str, msgspec.Meta(pattern=f"^({REQUEST_ID}(,{REQUEST_ID}){{0,{MAX_IDS - 1}}})?$")] = ""


class ApprovalQuery(msgspec.Struct, frozen=True):
    """`wait_ms` above 0 waits that long, at most a minute, for the status to change."""

    wait_ms: Annotated[int, msgspec.Meta(ge=0)] = 0


class Consent(msgspec.Struct, frozen=True):
    """What was shown to whoever says yes, and why they do. Without a digest only a short call can be approved.

    `grant` lets further calls like it pass; it takes both digests, `grant_digest_hex` as
    `POST /v1/approvals/{id}/grant` shows it.
    """

    shown_digest_hex: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)] = ""
    grant: GrantTermsRecord | None = None
    grant_digest_hex: HashHex | None = None


class Approved(msgspec.Struct, frozen=True, omit_defaults=True):
    """Said yes; the token attaches it to the retried call.

    Where several people must say yes and this one is not the last, `status` is `pending` and there is no token yet.
    `grant_id` is there where the yes gave a grant.
    """

    approval_id: str
    approval_token: Maybe[str] = msgspec.UNSET
    status: Literal["approved", "pending"] = "approved"
    approvers: int = 1
    approvals_given: int = 1
    grant_id: Maybe[str] = msgspec.UNSET


class Denial(msgspec.Struct, frozen=True):
    """Why not, for the receipt and for the agent."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)] = ""


class Denied(msgspec.Struct, frozen=True):
    """Said no."""

    approval_id: str
    status: Literal["rejected"]


def wire_approval(approval: Approval, *, names_decider: bool = False) -> JsonObject:
    """An approval as the contract writes it (ApprovalRequest, with its stored `status`), and how it was decided."""
    wire: JsonObject = {
        "id": approval.id,
        "status": approval.status.value,
        "created_at": format_rfc3339(approval.created_us),
        "expires_at": format_rfc3339(approval.expires_us),
        "principal": approval.principal,
        "tool_id": approval.tool_id,
        "reason": approval.reason,
        "kind": approval.kind.value,
        "summary": approval.summary,
    }
    if approval.stands_in:
        wire["stands_in"] = approval.stands_in
    if approval.approvers > 1:
        wire["approvers"], wire["approvals_given"] = approval.approvers, len(approval.approved_by)
        if names_decider:
            wire["approved_by"] = list(approval.approved_by)
    if approval.excludes_author:
        wire["approvers_exclude"] = "author"
    if approval.decided_us is not None:
        wire["decided_at"] = format_rfc3339(approval.decided_us)
        wire["decision_reason"] = approval.decision_reason
        if names_decider:
            wire["decided_by"] = approval.decided_by
    return wire


def wire_shown(approval: Approval, shown: ShownCall) -> JsonObject:
    """An approval and its whole call, as whoever decides reads it."""
    tool, last = shown.tool, shown.last_approved
    category = wire_category(tool.category)
    wire_tool: JsonObject = {
        "name": tool.name,
        "description": tool.description,
        "category": category if isinstance(category, str) else {"other": category.other},
        "cost": {"estimated_usd": tool.cost_microusd / MICROUSD_PER_USD},
    }
    places = {"server": tool.server, "host": tool.host, "method": tool.method}
    wire_tool.update({name: value for name, value in places.items() if value})
    return {
        **wire_approval(approval, names_decider=True),
        "args_text": shown.args_text,
        "args_digest_hex": approval.args_digest_hex,
        "tool_digest_hex": approval.tool_digest_hex,
        "tool": wire_tool,
        "destination": tool.destination,
        **_wire_payment(shown.payment),
        "risk": list(shown.risk),
        "policy_ids": list(shown.policy_ids),
        "reasons": list(shown.reasons),
        "redacted_places": shown.redacted_places,
        **_wire_question(shown.question),
        "last_approved": None
        if last is None
        else {
            "approval_id": last.approval_id,
            "at": format_rfc3339(last.at_us),
            "by": last.by,
            "is_same_call": last.binding_hex == approval.binding_hex,
        },
    }


def _wire_payment(terms: PaymentTerms | None) -> JsonObject:
    """What is paid to whom; nothing where the call pays nobody, nor of a field that the rail does not have."""
    if terms is None:
        return {}
    return {"payment": {name: value for name, value in msgspec.to_builtins(terms).items() if value != ""}}


def _wire_question(question: str) -> JsonObject:
    """What a server asked, and its digest; nothing where the call answers no question."""
    digest = hashlib.sha256(question.encode()).hexdigest()
    return {"question_text": question, "question_digest_hex": digest} if question else {}
