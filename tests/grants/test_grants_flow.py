"""A granted call passes without asking, and nothing that anything but the policy's question asks for does."""

import asyncio

import msgspec
import pytest
from test_calls import Desk, body

from briefcase.core.calls.ratelimits import RateLimit
from briefcase.core.controls import Control
from briefcase.core.grants.drafting import grant_digest
from briefcase.core.operator.approvals import Means, Ruling, shown_digest_of
from briefcase.core.operator.grants import GrantRequest
from briefcase.model.effects import Entry, SetBudgetLimit
from briefcase.model.errors import CallerError
from briefcase.model.grants import GrantTerms
from briefcase.model.types import (
    Allow,
    ApprovalKind,
    ApprovalStatus,
    Deny,
    NeedsApproval,
    PaymentTerms,
    Principal,
    Role,
)
from support.calls import decide_with
from support.clock import START_US
from support.grants import approvers_of
from support.ledger_cases import audited
from support.principals import AGENT
from support.tools import FakeSignallingTool, FakeTool, spec

ASKS = NeedsApproval(ApprovalKind.LOCAL, "asks", ("ask",))
ARGS = {"to": "ann@example.com", "text": "See you at noon", "count": 3}
YES, NO = ApprovalStatus.APPROVED, ApprovalStatus.REJECTED
TEN = GrantTerms(max_uses=10)
FREE = GrantTerms(fixed=("/to",), max_uses=10)


class Granted(Desk):
    """A flow whose policy asks for each call of one tool."""

    def __init__(self, tool=None, **of_desk) -> None:
        self.tool = tool or FakeTool(spec("mail.send", category="write"))
        super().__init__(self.tool, verdict=ASKS, **of_desk)

    async def send(self, args=ARGS, **changes):
        return await self.call("mail.send", args, **changes)

    async def grant(self, terms=TEN, args=ARGS, *, by="ann", use=True):
        """Ask, say yes with a grant, and have the approved call run."""
        asked = (await self.send(args))["approval"]["id"]
        await self.say_yes(asked, terms, by=by)
        if use:
            assert (await self.send(args, approval_token=asked))["status"] == "ok"
        return asked

    async def say_yes(self, approval_id, terms=TEN, *, by="ann", **changes):
        approvers = approvers_of(self.ledger, grants=self.grants)
        shown = approvers.shown(self.ledger.approval(approval_id))["shown_digest_hex"]
        digest = grant_digest(approvers._grants.preview(approval_id, terms))
        request = GrantRequest(terms, changes.pop("digest", digest))
        fields = {"shown_digest_hex": shown, "grant": request, **changes}
        return await approvers.decide(Ruling(approval_id, YES, by, Role.APPROVER, **fields))

    @property
    def last(self) -> dict:
        return self.ledger.chain[-1].event


async def refused(desk, terms, **changes) -> CallerError:
    asked = (await desk.send())["approval"]["id"]
    before = len(desk.ledger.chain)
    with pytest.raises(CallerError) as error:
        await desk.say_yes(asked, terms, **changes)
    assert (len(desk.ledger.chain), desk.ledger.grants()) == (before, [])
    assert desk.ledger.approval(asked).status is ApprovalStatus.PENDING
    return error.value


async def test_the_approved_call_is_no_use_and_the_next_ones_are():
    desk = Granted()
    grant_id = await desk.grant(GrantTerms(max_uses=2))
    assert desk.ledger.grant(grant_id).uses == 0
    for used in (1, 2):
        assert (await desk.send())["status"] == "ok"
        intent = desk.ledger.chain[-2].event
        assert (intent["kind"], intent["grant_id"], intent["approval_id"]) == ("intent", grant_id, None)
        assert (intent["decision"], intent["policy_ids"]) == ("allow", ["ask"])
        assert desk.ledger.grant(grant_id).uses == used
    assert (await desk.send())["status"] == "approval_required"
    assert len(desk.tool.executed) == 3


async def test_the_same_request_goes_on_by_its_approval_and_not_by_the_grant():
    desk = Granted()
    request_id = "00000000-0000-4000-8000-000000000007"
    asked = (await desk.send(request_id=request_id))["approval"]["id"]
    await desk.say_yes(asked)
    assert (await desk.send(request_id=request_id))["status"] == "ok"
    assert desk.ledger.grant(asked).uses == 0
    assert desk.ledger.approval(asked).status is ApprovalStatus.CONSUMED


async def test_what_the_yes_granted_is_in_its_receipt_and_none_of_the_arguments():
    desk = Granted()
    asked = (await desk.send())["approval"]["id"]
    await desk.say_yes(asked, FREE)
    event = desk.last
    assert (event["kind"], event["status"]) == ("approval_decided", "approved")
    told = event["grant"]
    assert told == {
        "grant_id": asked,
        "digest": grant_digest(desk.ledger.grant(asked)),
        "args": {"fixed": ["/to"]},
        "max_uses": 10,
    }
    assert "example.com" not in str(event["grant"])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"text": "See you at one"}, "ok"),
        ({"text": "See you"}, "ok"),
        ({"count": 0}, "ok"),
        ({"to": "mallory@example.com"}, "another fixed member"),
        ({"text": "See you at noon!"}, "a longer text"),
        ({"text": "See you; rm"}, "a character that was not shown"),
        ({"text": "S\u0435e you"}, "a letter of another script"),
        ({"text": "evil.com"}, "a place"),
        ({"count": 4}, "a greater number"),
        ({"count": -1}, "a number below zero"),
        ({"count": 1.5}, "another type"),
        ({"count": "3"}, "another type"),
        ({"count": True}, "another type"),
        ({"text": None}, "another type"),
        ({"text": ["See"]}, "another type"),
        ({"more": 1}, "a member more"),
    ],
)
async def test_what_is_not_fixed_is_free_within_what_was_shown(changes, what):
    desk = Granted()
    await desk.grant(FREE)
    status = (await desk.send({**ARGS, **changes}))["status"]
    assert status == ("ok" if what == "ok" else "approval_required"), what


async def test_a_member_less_is_not_within_what_was_shown():
    desk = Granted()
    await desk.grant(FREE)
    assert (await desk.send({"to": ARGS["to"], "count": 1}))["status"] == "approval_required"


async def test_an_exact_grant_is_for_the_same_arguments_only():
    desk = Granted()
    await desk.grant()
    assert (await desk.send({**ARGS, "count": 2}))["status"] == "approval_required"
    assert (await desk.send(dict(reversed(ARGS.items()))))["status"] == "ok"


async def test_a_grant_is_its_principals_own():
    desk = Granted()
    await desk.grant()
    same_name = msgspec.structs.replace(AGENT, identity="scout#other", owner="")
    other = Principal("mallory", Role.AGENT)
    for principal in (same_name, other):
        assert (await desk.send(principal=principal))["status"] == "approval_required"


async def test_a_tool_whose_definition_changed_is_asked_about():
    desk = Granted()
    await desk.grant()
    desk.redefine("mail.send")
    assert (await desk.send())["status"] == "approval_required"


async def test_a_grant_ends_by_the_ledgers_clock_and_comes_back_by_none():
    desk = Granted()
    expires_us = desk.ledger.now_us() + 60_000_000
    await desk.grant(GrantTerms(expires_us=expires_us))
    assert (await desk.send())["status"] == "ok"
    desk.clock.advance(us=60_000_000)
    assert (await desk.send())["status"] == "approval_required"
    desk.clock.wall_us -= 60_000_000
    assert (await desk.send())["status"] == "approval_required"


async def test_a_revoked_grant_lets_nothing_pass_after_a_restart_either():
    desk = Granted()
    grant_id = await desk.grant()
    admin = approvers_of(desk.ledger, grants=desk.grants)._grants
    await admin.revoke(grant_id, "bo")
    assert (desk.last["kind"], desk.last["by"], desk.last["uses"]) == ("grant_revoked", "bo", 0)
    for _ in range(2):
        assert (await desk.send())["status"] == "approval_required"
        desk.restart()
    with pytest.raises(CallerError) as again:
        await admin.revoke(grant_id, "bo")
    assert again.value.code == "conflict"


async def test_a_grant_lives_over_a_restart_with_what_was_used_of_it():
    desk = Granted()
    await desk.grant(GrantTerms(max_uses=2))
    assert (await desk.send())["status"] == "ok"
    desk.restart()
    assert (await desk.send())["status"] == "ok"
    desk.restart()
    assert (await desk.send())["status"] == "approval_required"


async def test_a_no_to_the_unused_yes_ends_its_grant(tmp_path):
    desk = Granted()
    async with audited(tmp_path / "l", desk.clock) as desk.ledger:
        desk.restart()
        asked = await desk.grant(use=False)
        approvers = approvers_of(desk.ledger, grants=desk.grants)
        await approvers.decide(Ruling(asked, NO, "bo", Role.APPROVER))
        assert desk.ledger.grant(asked).revoked_by == "bo"
        desk.clock.advance(us=desk.settings.denial_ttl_us)  # nobody's no stands in the way any more
        assert (await desk.send())["status"] == "approval_required"


async def test_a_no_to_this_very_call_stands_for_its_time():
    desk = Granted()
    await desk.grant(FREE)
    other = {**ARGS, "text": "See you; at"}
    asked = (await desk.send(other))["approval"]["id"]
    approvers = approvers_of(desk.ledger, grants=desk.grants)
    await approvers.decide(Ruling(asked, NO, "bo", Role.APPROVER))
    await desk.grant(GrantTerms(fixed=("/to",), max_uses=3), {**ARGS, "text": "See you; at noon"})
    assert (await desk.send(other))["status"] == "denied"


# --- nothing but the policy's question is stood in for -----------------------------------------------------------


async def test_a_policy_that_denies_by_now_denies():
    desk = Granted()
    await desk.grant()
    desk.policy.verdict = Deny("policy_denied", ("no",))
    assert (await desk.send())["reason"] == "policy_denied"


async def test_a_call_that_takes_a_signer_by_now_asks():
    desk = Granted()
    await desk.grant()
    desk.policy.verdict = NeedsApproval(ApprovalKind.MOBILE_SIGNER, "asks", ("ask",))
    assert (await desk.send())["status"] == "approval_required"


async def test_a_risk_signal_asks():
    tool = FakeSignallingTool(spec("mail.send", category="write"))
    desk = Granted(tool)
    await desk.grant()
    tool.words = ("new_destination",)
    assert (await desk.send())["status"] == "approval_required"


@pytest.mark.parametrize("action", ["require_approval", "disable", "freeze"])
async def test_a_control_asks_or_denies(action):
    desk = Granted()
    await desk.grant()
    subject = ("all", "") if action == "freeze" else ("tool", "mail.send")
    control = Control("c1", action, *subject, "bo", desk.clock.now_us())
    await desk.calls._controls.switch_on(control, {"kind": "control_set"})
    wanted = "approval_required" if action == "require_approval" else "denied"
    assert (await desk.send())["status"] == wanted


async def test_a_budget_that_is_used_up_asks():
    desk = Granted(FakeTool(spec("mail.send", category="read", cost_microusd=1_000_000)))
    await desk.grant()
    await desk.ledger.commit(Entry({"kind": "budget_set"}, (SetBudgetLimit("read", 1_000_000),)))
    assert (await desk.send())["status"] == "approval_required"


async def test_more_people_than_said_yes_to_it_are_asked():
    desk = Granted()
    await desk.grant()
    desk.policy.verdict = msgspec.structs.replace(ASKS, approvers=2)
    assert (await desk.send())["status"] == "approval_required"


async def test_a_tool_that_pays_somebody_by_now_asks():
    desk = Granted()
    await desk.grant()
    desk.tool.payment = PaymentTerms("quotes", "x402", 1_000, "0xabc")
    assert (await desk.send())["status"] == "approval_required"


async def test_a_call_that_is_allowed_uses_nothing_of_a_grant():
    desk = Granted()
    grant_id = await desk.grant()
    desk.policy.verdict = Allow(("permit",))
    assert (await desk.send())["status"] == "ok"
    assert desk.ledger.grant(grant_id).uses == 0
    assert "grant_id" not in desk.ledger.chain[-2].event


# --- money ------------------------------------------------------------------------------------------------------------


async def test_money_is_set_aside_before_and_settled_after():
    tool = FakeTool(spec("mail.send", category="read", cost_microusd=300_000))
    desk = Granted(tool)
    grant_id = await desk.grant(GrantTerms(max_uses=10, max_microusd=700_000))
    assert (await desk.send())["status"] == "ok"
    grant = desk.ledger.grant(grant_id)
    assert (grant.uses, grant.reserved_microusd, grant.spent_microusd) == (1, 0, 300_000)
    answer = await decide_with(desk.calls, AGENT, body("mail.send", ARGS))
    assert answer.payload["status"] == "allowed"
    grant = desk.ledger.grant(grant_id)
    assert (grant.reserved_microusd, grant.spent_microusd) == (300_000, 300_000)
    assert (await desk.send())["status"] == "approval_required"  # 100,000 are left


# --- races ------------------------------------------------------------------------------------------------------------


async def test_of_a_thousand_at_the_last_use_one_passes_and_the_others_ask_one_person(tmp_path):
    """Over the ledger of a real directory, whose commits the racers await: all have seen the last use unused."""
    desk = Granted(limit=RateLimit(per_second=2_000, burst=2_000))
    async with audited(tmp_path / "l") as desk.ledger:
        desk.restart()
        grant_id = await desk.grant(GrantTerms(max_uses=1))
        answers = await asyncio.gather(*(desk.send() for _ in range(1_000)))
        statuses = [answer["status"] for answer in answers]
        assert (statuses.count("ok"), statuses.count("approval_required")) == (1, 999)
        assert len(desk.tool.executed) == 2
        assert desk.ledger.grant(grant_id).uses == 1
        assert desk.ledger.counters.refused > 0
        assert len({answer["approval"]["id"] for answer in answers if "approval" in answer}) == 1


# --- the yes ----------------------------------------------------------------------------------------------------------


async def test_a_yes_with_another_grants_digest_is_refused():
    error = await refused(Granted(), TEN, digest="0" * 64)
    assert (error.code, "grant_digest_hex" in error.message) == ("conflict", True)
    error = await refused(Granted(), TEN, shown_digest_hex=None)
    assert (error.code, "shown_digest_hex" in error.message) == ("conflict", True)


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (GrantTerms(), "a grant ends"),
        (GrantTerms(max_microusd=5), "a grant ends"),
        (GrantTerms(max_uses=0), "`max_uses` of 1"),
        (GrantTerms(max_uses=10_001), "`max_uses` of 1"),
        (GrantTerms(expires_us=1), "within 90 days"),
        (GrantTerms(expires_us=START_US + 91 * 86_400_000_000), "within 90 days"),
        (GrantTerms(max_uses=1, max_microusd=-1), "`max_microusd` of 0"),
        (GrantTerms(("/nowhere",), max_uses=1), "nothing at `/nowhere`"),
        (GrantTerms(("/to/0",), max_uses=1), "nothing at `/to/0`"),
    ],
)
async def test_a_grant_that_is_not_bounded_or_names_nothing_is_refused(terms, says):
    error = await refused(Granted(), terms)
    assert (error.code, says in error.message) == ("bad_request", True)


async def test_a_call_that_a_signer_a_risk_a_control_or_the_budget_asks_for_is_never_granted():
    desk = Granted()
    desk.policy.verdict = NeedsApproval(ApprovalKind.MOBILE_SIGNER, "asks", ("ask",))
    assert "a signer device" in (await refused(desk, TEN)).message
    tool = FakeSignallingTool(spec("mail.send", category="write"), "new_destination")
    assert "risk signals new_destination" in (await refused(Granted(tool), TEN)).message
    desk = Granted(FakeTool(spec("mail.send", category="write", cost_microusd=1)))
    desk.policy.verdict = Allow()
    assert "`budget_exceeded`" in (await refused(desk, TEN)).message
    desk = Granted()
    desk.tool.payment = PaymentTerms("quotes", "x402", 1_000, "0xabc")
    assert "it pays somebody" in (await refused(desk, TEN)).message


async def test_arguments_that_were_not_shown_as_they_are_can_be_granted_exactly_only():
    desk = Granted()
    desk.policy.verdict = ASKS
    asked = (await desk.send({**ARGS, "text": "na\u00efve"}))["approval"]["id"]
    kept = desk.ledger.shown[asked]
    desk.ledger.shown[asked] = msgspec.structs.replace(kept, args_text=kept.args_text.replace("na", "<U+006E>a"))
    with pytest.raises(CallerError, match="shown otherwise than they are"):
        await desk.say_yes(asked, FREE)
    await desk.say_yes(asked, TEN)


async def test_of_several_people_all_see_the_grant_before_it_is_given():
    desk = Granted()
    desk.policy.verdict = msgspec.structs.replace(ASKS, approvers=2)
    asked = (await desk.send())["approval"]["id"]
    await desk.say_yes(asked, TEN)
    assert desk.ledger.grants() == []
    approvers = approvers_of(desk.ledger, grants=desk.grants)
    shown = approvers.shown(desk.ledger.approval(asked))
    assert shown["grant"]["max_uses"] == 10
    assert shown["grant"]["cedar"].startswith("@id(")
    with pytest.raises(CallerError, match="another grant or none"):
        await desk.say_yes(asked, GrantTerms(max_uses=11), by="bo")
    without = {name: value for name, value in shown.items() if name not in {"grant", "shown_digest_hex"}}
    with pytest.raises(CallerError, match="not as it was shown"):
        await approvers.decide(Ruling(asked, YES, "bo", Role.APPROVER, shown_digest_hex=shown_digest_of(without)))
    said = Ruling(asked, YES, "bo", Role.APPROVER, shown_digest_hex=shown["shown_digest_hex"])
    await approvers.decide(said)
    assert desk.ledger.grant(asked).by == ("ann", "bo")
    assert (await desk.send(approval_token=asked))["status"] == "ok"
    assert (await desk.send())["status"] == "ok"


async def test_a_grant_is_not_added_after_somebody_said_yes_without():
    desk = Granted()
    desk.policy.verdict = msgspec.structs.replace(ASKS, approvers=2)
    asked = (await desk.send())["approval"]["id"]
    approvers = approvers_of(desk.ledger, grants=desk.grants)
    await approvers.decide(Ruling(asked, YES, "ann", Role.APPROVER))
    with pytest.raises(CallerError, match="another grant or none"):
        await desk.say_yes(asked, TEN, by="bo")


async def test_no_grant_is_given_with_a_signers_signature():
    error = await refused(Granted(), TEN, means=Means.SIGNER)
    assert "signature is over one call" in error.message
