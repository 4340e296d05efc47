"""Who sets the policy is not who lets calls pass by it, where it says so; and tools that ask for several people."""

import msgspec
import pytest
from test_calls import Desk, body
from test_operator_approvals import NO, YES, Counter

from briefcase.adapters.tools.caller import parse_caller_tools
from briefcase.adapters.tools.definition import with_digest
from briefcase.adapters.tools.manifest import parse_manifests
from briefcase.core.approvals.lifecycle import covers
from briefcase.core.controls import Control, apply_controls, stricter
from briefcase.core.operator.approvals import Ruling
from briefcase.core.policy.check import check_policy
from briefcase.core.policy.engine import compile_policy
from briefcase.core.policy.reference import ReferencePolicy
from briefcase.core.risk import tighten
from briefcase.model.effects import CreateGrant, Entry
from briefcase.model.errors import CallerError
from briefcase.model.grants import Grant, GrantTerms
from briefcase.model.types import Allow, ApprovalKind, ApprovalStatus, Deny, NeedsApproval, RiskSignals, Role
from support.grants import approvers_of
from support.principals import AGENT
from support.tools import FakeTool, spec

LOCAL = ApprovalKind.LOCAL
OTHERS = NeedsApproval(LOCAL, "money leaves", ("pay",), excludes_author=True)
PERMIT = '@id("pay") @approvers_exclude("author") permit(principal, action == Action::"Call", resource);'
ALONE = 'permit(principal, action in [Action::"CallWithoutApproval", Action::"CallWithoutSigner"], resource);'
UNSIGNED = 'permit(principal, action == Action::"CallWithoutSigner", resource);'


def approvers(counter, author):
    return approvers_of(counter.ledger, author=lambda: author)


async def decide(counter, by, to=YES, *, author="ann"):
    deciding = approvers(counter, author)
    digest = deciding.shown(counter.ledger.approval("id"))["shown_digest_hex"]
    return await deciding.decide(Ruling("id", to, by, Role.OPERATOR, shown_digest_hex=digest))


async def test_who_set_the_policy_says_no_yes_to_a_call_whose_policy_excludes_them():
    counter = Counter(excludes_author=True)
    with pytest.raises(CallerError, match="`ann` set the policy") as refused:
        await decide(counter, "ann")
    assert (refused.value.code, counter.ledger.kinds()) == ("forbidden", [])
    assert counter.document["approvers_exclude"] == "author"
    assert (await decide(counter, "bo")).status is YES
    assert (await decide(Counter(), "ann")).status is YES  # whose policy says nothing of it


async def test_who_set_the_policy_may_say_no():
    assert (await decide(Counter(excludes_author=True), "ann", NO)).status is NO


async def test_a_yes_of_who_became_the_author_since_does_not_count():
    counter = Counter(excludes_author=True, approvers=2)
    await decide(counter, "bo")
    with pytest.raises(CallerError, match="`bo` set the policy"):
        await decide(counter, "cy", author="bo")
    assert counter.ledger.approval("id").status is ApprovalStatus.PENDING


def test_a_yes_that_may_be_the_authors_covers_no_call_that_excludes_them():
    plain, excluding = Counter().ledger.approval("id"), Counter(excludes_author=True).ledger.approval("id")
    assert not covers(plain, OTHERS, LOCAL)
    assert covers(excluding, OTHERS, LOCAL)
    assert covers(excluding, msgspec.structs.replace(OTHERS, excludes_author=False), LOCAL)


def test_whatever_asks_for_a_person_the_author_stays_excluded():
    allowed = Allow(("pay",), excludes_author=True)
    assert tighten(allowed, RiskSignals(("secret_like",))).excludes_author
    control = Control("c", "require_approval", "all", "", "bo", 0)
    assert apply_controls(allowed, [control], AGENT, spec(), 1).excludes_author
    assert stricter(OTHERS, NeedsApproval(LOCAL, "asks")).excludes_author
    assert stricter(NeedsApproval(LOCAL, "asks"), OTHERS).excludes_author
    assert isinstance(stricter(OTHERS, Deny("no")), Deny)


async def test_where_the_budget_asks_for_a_person_the_author_stays_excluded():
    desk = Desk(FakeTool(spec(cost_microusd=5_000_000)), verdict=Allow(excludes_author=True))
    asked = await desk.call()
    assert asked["approval"]["reason"] == "budget_exceeded"
    assert desk.ledger.approval(asked["approval"]["id"]).excludes_author


async def test_no_clients_prompt_and_no_grant_stands_in_where_the_author_is_excluded():
    desk = Desk(FakeTool(spec("note_add", category="write")), verdict=OTHERS)
    call = await desk.calls.read(AGENT, body("note_add"))
    hooked = await desk.calls.hook(AGENT, call, asks_client=True)
    assert hooked.payload["status"] == "approval_required"
    cedar = 'permit(principal, action == Action::"CallWithoutApproval", resource);'
    digest_hex = desk.tools.resolve("note_add").spec.digest_hex
    grant = Grant(
        id="g", owner=AGENT.owner, principal=AGENT.name, tool_id="note_add", tool_digest_hex=digest_hex,
        terms=GrantTerms(max_uses=5), cedar=cedar, sentence="", by=("ann",), created_us=0,
    )  # fmt: skip
    await desk.ledger.commit(Entry({"kind": "approval_decided"}, (CreateGrant(grant),)))
    desk.restart()
    assert (await desk.call("note_add"))["status"] == "approval_required"
    desk.policy.verdict = msgspec.structs.replace(OTHERS, excludes_author=False)
    assert (await desk.call("note_add", {"text": "else"}))["status"] == "ok"


@pytest.mark.parametrize("text", [PERMIT + ALONE, PERMIT + UNSIGNED])
def test_a_policy_that_excludes_who_set_it_says_so_of_each_call_it_permits(text):
    for policy in (compile_policy(text), ReferencePolicy(check_policy(text).facts())):
        assert policy.decide(AGENT, spec(), {}, RiskSignals(), 0).excludes_author
    other = compile_policy(text.replace('@approvers_exclude("author") ', ""))
    assert not other.decide(AGENT, spec(), {}, RiskSignals(), 0).excludes_author


@pytest.mark.parametrize(
    "said",
    [
        PERMIT.replace('"author"', '"ann"'),
        PERMIT.replace('("author")', ""),
        PERMIT.replace('"Call"', '"CallWithoutApproval"'),
        PERMIT.replace("permit", "forbid"),
        PERMIT.replace("approvers_exclude", "approvers_excludes"),
        PERMIT.replace("approvers_exclude", "Approvers_exclude"),
        PERMIT.replace("approvers_exclude", "approver_exclude"),
    ],
)
def test_an_exclusion_that_would_not_count_is_refused_where_the_policy_is_set(said):
    with pytest.raises(CallerError) as refused:
        check_policy(said)
    assert refused.value.code == "invalid_policy"


TOOL = """
[[tools]]
id = "pay"
method = "POST"
url = "https://pay.example/v1"
category = "write"
allowed_hosts = ["pay.example"]
"""
CALLERS = '[[caller_tools]]\nid = "pay"\ncategory = "write"\n'


def test_a_tool_asks_for_as_many_people_as_its_manifest_says_and_the_larger_number_counts():
    (http,) = parse_manifests((TOOL + "approvers = 3\n").encode(), "f")
    (callers,) = parse_caller_tools((CALLERS + "approvers = 3\n").encode(), "f")
    for asked, expected in (("", 3), ('@approvers("2")', 3), ('@approvers("4")', 4)):
        text = f'{asked} permit(principal, action == Action::"Call", resource);' + UNSIGNED
        for tool in (http.spec, callers.spec):
            for policy in (compile_policy(text), ReferencePolicy(check_policy(text).facts())):
                assert policy.decide(AGENT, tool, {}, RiskSignals(), 0).approvers == expected
    deny = compile_policy("")
    assert isinstance(deny.decide(AGENT, http.spec, {}, RiskSignals(), 0), Deny)


@pytest.mark.parametrize("wrong", ["1", "0", "11", '"2"', "2.5", "true"])
def test_a_number_of_people_that_is_none_is_refused(wrong):
    for text, read in ((TOOL, parse_manifests), (CALLERS, parse_caller_tools)):
        with pytest.raises(CallerError) as refused:
            read(f"{text}approvers = {wrong}\n".encode(), "f")
        assert refused.value.code == "invalid_manifest"


def test_a_tool_of_before_keeps_its_digest_and_a_number_makes_another_tool_of_it():
    (before,) = parse_manifests(TOOL.encode(), "f")
    (several,) = parse_manifests((TOOL + "approvers = 2\n").encode(), "f")
    (more,) = parse_manifests((TOOL + "approvers = 3\n").encode(), "f")
    assert len({with_digest(one.spec, one.manifest).digest_hex for one in (before, several, more)}) == 3
    (callers,) = parse_caller_tools(CALLERS.encode(), "f")
    assert callers.spec.digest_hex == "cd5aa37b4d36b2a744c1acfa0731a9a436112efc457a1f84509c21ddf4c0cd25"
