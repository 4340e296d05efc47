"""Deciding an approval: who may, over which document, and what becomes of it."""

import json

import msgspec
import pytest
from test_calls import NEEDS, Desk

from briefcase.core.approvals.lifecycle import MAX_SUMMARY_CHARS
from briefcase.core.calls.settings import CallSettings
from briefcase.core.operator.approvals import EITHER, MAY_DECIDE, Means, Ruling, shown_digest_of
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.model.errors import CallerError
from briefcase.model.ports import Destination
from briefcase.model.types import (
    Approval,
    ApprovalKind,
    ApprovalStatus,
    NeedsApproval,
    PaymentTerms,
    Role,
    ShownCall,
    ShownTool,
)
from support.clock import FakeClock
from support.grants import approvers_of
from support.ledger import MemoryLedger
from support.principals import AGENT
from support.redaction import KnownSecrets
from support.tools import FakeTool, spec

YES, NO = ApprovalStatus.APPROVED, ApprovalStatus.REJECTED
SECRET = "kX93hd-0a7Qp21zzWm8tR4"
LONG = {"a_memo": "Monthly rent, as agreed. " * 170, "amount": 999_999, "to": "mallory"}


class Counter:
    """A ledger with one pending approval, and the function that decides it."""

    def __init__(self, kind=ApprovalKind.LOCAL, *, text='{"text":"hi"}', yes_by=EITHER, shown=True, **changes) -> None:
        self.clock = FakeClock()
        self.ledger = MemoryLedger(self.clock)
        self.approvers = approvers_of(self.ledger, changes.pop("redactor", None), yes_by=yes_by)
        now_us = self.clock.now_us()
        call = ShownCall(text, ShownTool("note_add", "Keeps a note", "write", 0, "builtin"), ("secret_like",))
        fields = ("id", ApprovalStatus.PENDING, kind, now_us, now_us + 900, AGENT.name, "note_add")
        approval = Approval(*fields, "0" * 64, "1" * 64, "2" * 64, "why", f"note_add {text}")
        approval = msgspec.structs.replace(approval, **changes)
        self.ledger.stored_approvals["id"] = approval
        if shown:
            self.ledger.shown["id"] = call

    @property
    def document(self) -> dict:
        return self.approvers.shown(self.ledger.approval("id"))

    async def decide(self, to=YES, *, role=Role.OPERATOR, digest=None, **fields) -> Approval:
        ruling = Ruling("id", to, "ann", role, shown_digest_hex=digest, **fields)
        return await self.approvers.decide(ruling)

    async def refusal(self, *args, **fields) -> str:
        with pytest.raises(CallerError) as refused:
            await self.decide(*args, **fields)
        assert self.ledger.approval("id").status is ApprovalStatus.PENDING
        assert self.ledger.kinds() == []
        return refused.value.code


async def test_a_yes_to_the_document_that_was_shown_is_kept_with_its_digest():
    counter = Counter()
    digest = counter.document["shown_digest_hex"]
    decided = await counter.decide(digest=digest, reason="checked")
    assert (decided.status, decided.decided_by) == (YES, "ann")
    event = counter.ledger.chain[-1].event
    assert (event["status"], event["shown_digest"], event["reason"]) == ("approved", digest, "checked")


async def test_a_yes_to_anything_else_is_a_conflict():
    counter = Counter()
    assert await counter.refusal(digest="0" * 64) == "conflict"
    shown = counter.ledger.shown["id"]
    seen = counter.document["shown_digest_hex"]
    for other in (
        msgspec.structs.replace(shown, args_text='{"text":"ho"}'),
        msgspec.structs.replace(shown, risk=()),
        msgspec.structs.replace(shown, tool=msgspec.structs.replace(shown.tool, destination="elsewhere")),
    ):
        counter.ledger.shown["id"] = other
        assert await counter.refusal(digest=seen) == "conflict"


def test_the_digest_is_that_of_the_document_less_the_digest_itself():
    document = Counter().document
    assert shown_digest_of(json.loads(json.dumps(document))) == document["shown_digest_hex"]
    assert document["args_text"] == '{"text":"hi"}'
    assert document["tool"]["description"] == "Keeps a note"
    assert document["risk"] == ["secret_like"]


async def test_without_a_digest_only_what_stood_whole_in_the_summary_is_approved():
    assert (await Counter().decide()).status is YES
    long = Counter(summary="x" * (MAX_SUMMARY_CHARS + 1))
    assert await long.refusal() == "conflict"
    assert (await long.decide(digest=long.document["shown_digest_hex"])).status is YES


async def test_what_pays_somebody_is_approved_by_the_digest_of_all_that_was_shown_however_short_it_is():
    counter = Counter()
    terms = PaymentTerms("demo", "x402_v2", 2_000, "0x" + "a" * 40, asset="0x" + "b" * 40, network="eip155:8453")
    counter.ledger.shown["id"] = msgspec.structs.replace(counter.ledger.shown["id"], payment=terms)
    assert await counter.refusal() == "conflict"
    seen = counter.document
    assert (seen["payment"]["amount_microusd"], seen["payment"]["pay_to"]) == (2_000, "0x" + "a" * 40)
    dearer = msgspec.structs.replace(terms, amount_microusd=3_000)
    counter.ledger.shown["id"] = msgspec.structs.replace(counter.ledger.shown["id"], payment=dearer)
    assert await counter.refusal(digest=seen["shown_digest_hex"]) == "conflict"
    assert (await counter.decide(digest=counter.document["shown_digest_hex"])).status is YES


async def test_a_no_needs_no_digest():
    assert (await Counter(summary="x" * (MAX_SUMMARY_CHARS + 1)).decide(NO)).status is NO


@pytest.mark.parametrize("kind", ApprovalKind)
@pytest.mark.parametrize("to", [YES, NO])
@pytest.mark.parametrize("means", Means)
@pytest.mark.parametrize("yes_by", [EITHER, frozenset({Means.SIGNER})])
async def test_who_may_decide_is_the_table_and_a_setting_can_take_signers_only(kind, to, means, yes_by):
    counter = Counter(kind, yes_by=yes_by)
    allowed = means in MAY_DECIDE[kind, to] and (to is NO or means in yes_by)
    assert allowed == (means is Means.SIGNER or to is NO or (kind is ApprovalKind.LOCAL and yes_by is EITHER))
    if allowed:
        assert (await counter.decide(to, means=means)).status is to
    else:
        assert await counter.refusal(to, means=means) == "signer_required"


@pytest.mark.parametrize("role", [Role.AGENT, Role.AUDITOR])
@pytest.mark.parametrize("to", [YES, NO])
@pytest.mark.parametrize("means", Means)
async def test_no_agent_and_no_auditor_decides_whatever_the_edge_let_through(role, to, means):
    assert await Counter().refusal(to, role=role, means=means) == "forbidden"


@pytest.mark.parametrize("to", sorted(set(ApprovalStatus) - {YES, NO}))
async def test_nothing_but_a_yes_or_a_no_is_a_decision(to):
    assert await Counter().refusal(to) == "signer_required"


@pytest.mark.parametrize("state", sorted(set(ApprovalStatus) - {ApprovalStatus.PENDING}))
async def test_what_waits_no_more_is_decided_by_nobody(state):
    counter = Counter(status=state)
    with pytest.raises(CallerError) as refused:
        await counter.decide()
    assert refused.value.code == "conflict"
    assert state.value in refused.value.message


@pytest.mark.parametrize("kind", ApprovalKind)
async def test_a_yes_that_was_not_used_is_taken_back_with_a_receipt_that_says_so(kind):
    counter = Counter(kind)
    await counter.decide(means=Means.SIGNER)
    assert (await counter.decide(NO, reason="the wrong account")).status is NO
    event = counter.ledger.chain[-1].event
    assert [event[name] for name in ("kind", "status", "was", "by", "reason")] == [
        "approval_decided", "rejected", "approved", "ann", "the wrong account",
    ]  # fmt: skip
    with pytest.raises(CallerError, match="an approval that is not used yet, got one that is rejected"):
        await counter.decide(NO)


async def test_an_approval_that_an_older_version_stored_is_decided_by_its_summary():
    old = Counter(shown=False)
    assert old.document["args_text"] == 'note_add {"text":"hi"}'
    assert (await old.decide(digest=old.document["shown_digest_hex"])).status is YES


async def test_an_older_approval_that_was_cut_cannot_be_approved_at_all():
    cut = Counter(shown=False, summary="x" * (MAX_SUMMARY_CHARS + 1))
    assert await cut.refusal() == "conflict"
    assert await cut.refusal(digest=cut.document["shown_digest_hex"]) == "conflict"


# --- the whole call, as the flow keeps it -----------------------------------------------------------------------------


async def asked(desk: Desk, args: dict, tool_id: str = "bank.pay") -> ShownCall:
    approval = (await desk.call(tool_id, args))["approval"]
    return desk.ledger.shown[approval["id"]]


async def test_an_approval_keeps_the_whole_call_and_what_stands_beside_it():
    tool = FakeTool(spec("bank.pay", category="write", cost_microusd=2_000, description="Pays\u202e out"))
    tool.destination = Destination("https://bank.example", server="bank")
    desk = Desk(tool, verdict=NeedsApproval(ApprovalKind.LOCAL, "pays", ("ask",), "`ask`: pays"))

    shown = await asked(desk, LONG)

    assert json.loads(shown.args_text) == LONG
    assert shown.tool == ShownTool(
        "bank.pay", "Pays<U+202E> out", "write", 2_000, "https://bank.example", server="bank"
    )
    assert (shown.policy_ids, shown.reasons) == (("ask",), ("budget_exceeded",))


async def test_risk_is_shown_also_where_the_policy_asked_first():
    desk = Desk(FakeTool(spec("bank.pay")), verdict=NEEDS)
    shown = await asked(desk, {"to": "al\u200bice"})
    assert shown.risk == ("invisible_text",)
    assert shown.reasons == ("approval_by_policy", "risk:invisible_text")
    assert shown.args_text == '{"to":"al<U+200B>ice"}'


async def test_what_was_cut_out_of_a_call_is_named_and_counted_and_a_mark_of_the_agents_own_is_not():
    tool = FakeTool(spec("bank.pay", description=f"Pays with {SECRET}"))
    tool.destination = Destination(f"https://bank.example/?key={SECRET}")
    desk = Desk(tool, verdict=NEEDS, redactor=SecretRedactor(KnownSecrets(SECRET.encode()), lambda _: "demo"))
    shown = await asked(desk, {"a": SECRET, "b": f"{SECRET}, {SECRET}", "c": "[redacted: secret of demo]"})
    mark = "[redacted: secret of demo]"
    assert json.loads(shown.args_text) == {"a": mark, "b": f"{mark}, {mark}", "c": mark}
    assert (shown.tool.description, shown.tool.destination) == (
        f"Pays with {mark}",
        f"https://bank.example/?key={mark}",
    )
    assert shown.redacted_places == 5


async def test_a_call_too_large_to_be_shown_is_refused_and_stored_nowhere():
    desk = Desk(FakeTool(spec("bank.pay")), verdict=NEEDS, settings=CallSettings(max_shown_bytes=4_300))
    assert (await asked(desk, LONG)).size_bytes <= 4_300
    answer = await desk.call("bank.pay", {**LONG, "b": "x" * 100})
    assert answer == {"status": "denied", "reason": "too_large_to_show"}
    assert len(desk.ledger.stored_approvals) == 1


async def test_a_call_that_needs_nobody_may_be_larger_than_what_is_shown():
    desk = Desk(settings=CallSettings(max_shown_bytes=10))
    assert (await desk.call("echo", {"text": "x" * 1_000}))["status"] == "ok"


async def test_the_last_yes_for_the_same_agent_and_tool_stands_beside_the_call():
    desk = Desk(FakeTool(spec("bank.pay")), verdict=NEEDS)
    first = (await desk.call("bank.pay", {"to": "alice"}))["approval"]
    assert desk.ledger.shown[first["id"]].last_approved is None
    await desk.call("bank.pay", {"to": "alice"}, approval_token=await desk.approve(first["id"]))
    last = (await asked(desk, {"to": "mallory"})).last_approved
    assert (last.approval_id, last.by) == (first["id"], "operator")
