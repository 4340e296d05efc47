"""What the notifier tells of: a call that waits, or an alarm; each once, by an id that stays the same over restarts."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from briefcase.core.wire.anomalies import AnomalyRecord
from briefcase.core.wire.approvals import ApprovalRecord
from briefcase.core.wire.receipts import ReceiptRecord

Severity = Literal["low", "medium", "high"]
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high")
WAITS: Final = "waits"
WAITING: Final[tuple[Severity, str]] = ("medium", "a call waits for a person")

# Receipts that somebody wants to hear of who is not looking: what each says, and how much it matters.
ALARMS: Final[dict[str, tuple[Severity, str]]] = {
    "agent_added": ("low", "an agent was let in"),
    "operator_added": ("high", "a person was given a token"),
    "signer_paired": ("high", "a device was paired whose signature is a yes"),
    "signers_only_set": ("high", "signers only was switched, on or off, by who started the daemon"),
    "policy_set": ("high", "the policy was replaced"),
    "control_set": ("medium", "an operator tightened"),
    "control_lifted": ("medium", "an operator lifted a control"),
    "mcp_definitions_held": ("high", "a server changed its tools: they are held back"),
    "mcp_server_refused": ("medium", "a server was refused"),
    "outcome_unknown": ("medium", "nobody knows what came of a call"),
    "restored": ("high", "the receipt store is a copy of another one"),
    "control_plane_policy_bundle_refused": ("high", "a policy of the control plane was refused"),
    "control_plane_policy_bundle_incompatible": ("high", "a policy of the control plane is of another profile"),
}


class Event(msgspec.Struct, frozen=True):
    """One thing to tell. Its texts are as the daemon answered them: `wording` makes them harmless.

    `id` is unique and stays; `ref` is what a command takes to show it: an approval's id, a receipt's
    number, or nothing of a test.
    """

    id: str
    kind: str
    severity: Severity
    at: str
    ref: str
    says: str
    agent: str = ""
    tool: str = ""
    reason: str = ""
    summary: str = ""


def event_of_approval(one: ApprovalRecord, *, with_summary: bool) -> Event:
    """A call that waits, as an approver's list has it; its arguments go out as the redacted summary, or not at all."""
    return Event(
        id=f"approval:{one.id}",
        kind=WAITS,
        severity=WAITING[0],
        at=one.created_at,
        ref=one.id,
        says=WAITING[1],
        agent=one.principal,
        tool=one.tool_id,
        reason=one.reason,
        summary=one.summary if with_summary else "",
    )


def event_of_receipt(receipt: ReceiptRecord) -> Event | None:
    """What an auditor's receipt tells; None of one that nobody needs to hear of. Arguments are never read."""
    kind, approval_id = _text(receipt, "kind"), _text(receipt, "approval_id")
    waits = kind == "approval_required" and approval_id != ""
    if not waits and kind not in ALARMS:
        return None
    severity, says = WAITING if waits else ALARMS[kind]
    return Event(
        id=f"approval:{approval_id}" if waits else f"receipt:{receipt.id}",
        kind=WAITS if waits else kind,
        severity=severity,
        at=receipt.ts,
        ref=approval_id if waits else str(receipt.id),
        says=says,
        agent=_text(receipt, "principal", "agent", "operator", "by"),
        tool=_text(receipt, "tool_id", "server_id", "about"),
        reason=_text(receipt, "reason"),
    )


def event_of_anomaly(one: AnomalyRecord) -> Event:
    """What is unlike what came before, as an alarm."""
    return Event(
        id=f"anomaly:{one.kind}:{one.receipt_id}",
        kind=one.kind,
        severity=one.severity,
        at=one.ts_rfc3339,
        ref=str(one.receipt_id),
        says=one.message,
        agent=one.principal,
    )


def _text(receipt: ReceiptRecord, *names: str) -> str:
    """The first of these members that is there and is text."""
    found = (receipt.event.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), "")
