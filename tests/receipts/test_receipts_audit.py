"""An audit counts each call where it was decided, by day and agent, and is bounded whatever the receipts are."""

from briefcase.core.receipts import audit as audits
from briefcase.core.receipts.audit import Audit
from briefcase.model.types import Receipt


def audit_of(*events):
    audit = Audit()
    for number, event in enumerate(events, start=1):
        ts = f"{event.pop('on', '2026-11-28')}T10:00:00.000000Z"
        audit.add(Receipt(number, ts, "", "", {"id": number, "ts": ts, **event}))
    return audit


def call(kind, **event):
    return {"kind": kind, "principal": "scout", "tool_id": "echo", **event}


def test_calls_count_where_they_are_decided_and_how_they_ended():
    audit = audit_of(
        call("intent"),
        call("outcome", status="ok", cost_microusd=2_000),
        call("intent"),
        call("outcome", status="ok", tool_error=True, cost_microusd=1),
        call("intent"),
        call("outcome_unknown"),
        call("denied", reason="policy_denied"),
        call("refusals_counted", reason="rate_limited", count=41),
        call("approval_required"),
        call("delegated", spent={"category": "read", "day": "2026-11-28", "microusd": 300}),
        call("delegated"),
        call("denied", reason="invalid_args: `x`", on="2026-11-29"),
    )
    first, second = audit.days["2026-11-28", "scout"], audit.days["2026-11-29", "scout"]
    assert (first.allowed, first.denied, first.waiting) == (5, 42, 1)
    assert (first.ok, first.failed, first.unknown, first.spent_microusd) == (1, 1, 1, 2_301)
    assert first.reasons == {"policy_denied": 1, "rate_limited": 41}
    assert (second.denied, second.reasons) == (1, {"invalid_args": 1})


def test_decisions_and_changes_are_told_with_who_made_them():
    audit = audit_of(
        {"kind": "approval_decided", "by": "ann", "principal": "scout", "tool_id": "pay", "status": "rejected",
         "reason": "wrong customer"},
        {"kind": "approval_expired", "principal": "scout", "tool_id": "pay", "status": "pending"},
        {"kind": "change_intent", "change": "agent_added", "by": "ann", "agent": "scout"},
        {"kind": "agent_added", "by": "ann", "agent": "scout", "intent_id": 3},
        {"kind": "boot", "version": "1", "clean": True},
    )  # fmt: skip
    said = [(one.by, one.status, one.reason) for one in audit.decisions]
    assert said == [("ann", "rejected", "wrong customer"), ("nobody", "expired", "")]
    assert [(one.by, one.kind, one.about) for one in audit.changes] == [("ann", "agent_added", "agent scout")]
    assert audit.days == {}


def test_what_is_kept_is_bounded_and_what_is_not_is_counted(monkeypatch):
    monkeypatch.setattr(audits, "MAX_PAIRS", 2)
    audit = audit_of(*(call("denied", principal=f"agent-{number}") for number in range(5)))
    assert (len(audit.days), audit.not_counted) == (2, 3)
    many = audit_of(*({"kind": "policy_set", "by": "ann"} for _ in range(audits.MAX_LISTED + 7)))
    assert (len(many.changes), many.changed) == (audits.MAX_LISTED, audits.MAX_LISTED + 7)
