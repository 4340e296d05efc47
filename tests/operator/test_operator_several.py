"""A call that takes the yes of several people: each of another one, over what they saw, and all of them or none."""

import msgspec
import pytest
from test_calls import Desk
from test_operator_approvals import NO, YES, Counter

from briefcase.core.approvals.lifecycle import covers
from briefcase.core.controls import Control, apply_controls, stricter
from briefcase.core.operator.approvals import Ruling
from briefcase.core.risk import tighten
from briefcase.model.errors import CallerError
from briefcase.model.types import Allow, ApprovalKind, ApprovalStatus, Deny, NeedsApproval, RiskSignals, Role
from support.principals import AGENT
from support.tools import FakeTool, spec

LOCAL = ApprovalKind.LOCAL
TWO = NeedsApproval(LOCAL, "money leaves", ("pay",), approvers=2)


async def decide(counter, by, to=YES, *, role=Role.APPROVER, digest=None):
    digest = counter.document["shown_digest_hex"] if digest is None else digest
    return await counter.approvers.decide(Ruling("id", to, by, role, shown_digest_hex=digest))


async def test_it_waits_until_as_many_different_people_said_yes_as_it_takes():
    counter = Counter(approvers=3)
    for names in (["ann"], ["ann", "bo"]):
        said = await decide(counter, names[-1])
        assert (said.status, list(said.approved_by), said.decided_by) == (ApprovalStatus.PENDING, names, None)
        assert counter.ledger.chain[-1].event["status"] == "pending"
        assert counter.ledger.last_approval(AGENT.name, "note_add") is None
    said = await decide(counter, "cy")
    assert (said.status, said.decided_by) == (YES, "ann, bo, cy")
    event = counter.ledger.chain[-1].event
    assert (event["status"], event["by"], event["approved_by"], event["approvers"]) == (
        "approved", "cy", ["ann", "bo"], 3,
    )  # fmt: skip


async def test_nobody_counts_twice():
    counter = Counter(approvers=2)
    await decide(counter, "ann")
    with pytest.raises(CallerError, match="`ann` said yes already") as refused:
        await decide(counter, "ann")
    assert refused.value.code == "conflict"
    assert counter.ledger.approval("id").approved_by == ("ann",)


async def test_who_comes_second_says_yes_to_what_has_the_first_ones_name_in_it():
    counter = Counter(approvers=2)
    before = counter.document
    assert (before["approvers"], before["approvals_given"], before["approved_by"]) == (2, 0, [])
    await decide(counter, "ann")
    with pytest.raises(CallerError, match="not as it was shown"):
        await decide(counter, "bo", digest=before["shown_digest_hex"])
    assert (counter.document["approvals_given"], counter.document["approved_by"]) == (1, ["ann"])
    assert (await decide(counter, "bo")).status is YES


async def test_who_comes_second_says_what_they_saw():
    counter = Counter(approvers=2)
    await counter.approvers.decide(Ruling("id", YES, "ann", Role.APPROVER))
    with pytest.raises(CallerError, match="expected `shown_digest_hex`") as refused:
        await counter.approvers.decide(Ruling("id", YES, "bo", Role.APPROVER))
    assert refused.value.code == "conflict"
    assert counter.ledger.approval("id").approved_by == ("ann",)


async def test_of_two_that_decide_at_once_one_looks_again(monkeypatch):
    """Both saw the call before the other's yes; the ledger takes one after the other."""
    counter = Counter(approvers=2)
    commit = counter.ledger.commit

    async def with_another_before(entry):
        monkeypatch.undo()
        await decide(counter, "bo")
        return await commit(entry)

    monkeypatch.setattr(counter.ledger, "commit", with_another_before)
    with pytest.raises(CallerError, match="somebody else said yes meanwhile"):
        await decide(counter, "ann")
    assert counter.ledger.approval("id").approved_by == ("bo",)
    assert counter.ledger.kinds() == ["approval_decided"]


async def test_one_persons_no_ends_it_and_takes_all_of_them_back():
    counter = Counter(approvers=2)
    await decide(counter, "ann")
    assert (await decide(counter, "bo", NO)).status is NO
    counter = Counter(approvers=2)
    for name in ("ann", "bo"):
        await decide(counter, name)
    assert (await decide(counter, "ann", NO)).status is NO


async def test_a_call_runs_after_the_last_yes_and_not_after_the_first():
    tool = FakeTool(spec("note_add", category="write"))
    desk = Desk(tool, verdict=TWO)
    asked = await desk.call("note_add")
    approval_id = asked["approval"]["id"]
    assert (asked["approval"]["approvers"], asked["approval"]["approvals_given"]) == (2, 0)
    assert "approved_by" not in asked["approval"]
    for done, name in enumerate(("ann", "bo")):
        assert (await desk.call("note_add", approval_token=approval_id))["status"] == "denied"
        await desk.approve(approval_id, by=name, after=("ann", "bo")[:done])
    assert (await desk.call("note_add", approval_token=approval_id))["status"] == "ok"
    assert len(tool.executed) == 1


async def test_a_yes_of_fewer_people_than_the_policy_wants_by_now_asks_again():
    tool = FakeTool(spec("note_add", category="write"))
    desk = Desk(tool, verdict=msgspec.structs.replace(TWO, approvers=1))
    asked = await desk.call("note_add")
    token = await desk.approve(asked["approval"]["id"])
    desk.policy.verdict = TWO
    again = await desk.call("note_add", approval_token=token)
    assert (again["status"], again["approval"]["approvers"]) == ("approval_required", 2)
    assert again["approval"]["id"] != asked["approval"]["id"]
    assert tool.executed == []


def test_whatever_else_asks_for_a_person_asks_for_as_many_as_the_policy_says():
    allowed, signals, tool = Allow(("pay",), approvers=2), RiskSignals(("secret_like",)), spec()
    assert tighten(allowed, signals).approvers == 2
    control = Control("1", "require_approval", "tool", tool.id, "ann", 0)
    assert apply_controls(allowed, [control], AGENT, tool, 1).approvers == 2
    one = NeedsApproval(LOCAL, "why")
    assert stricter(one, allowed) == NeedsApproval(LOCAL, "why", ("pay",), approvers=2)
    assert stricter(TWO, Deny("frozen")) == Deny("frozen", ("pay",))
    approval = msgspec.structs.replace(Counter().ledger.approval("id"), approvers=2)
    assert covers(approval, TWO, LOCAL)
    assert not covers(approval, msgspec.structs.replace(TWO, approvers=3), LOCAL)
