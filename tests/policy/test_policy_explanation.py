"""Why a policy set decides as it does: each change that is told of is so, and no other of its kind is."""

import msgspec
import pytest

from briefcase.core.policy.check import check_policy, parse_policy
from briefcase.core.policy.engine import CompiledPolicy
from briefcase.core.policy.explanation import Asked, explain, outcome_of
from briefcase.core.risk import NO_SIGNALS
from briefcase.model.types import Allow, Deny
from support.principals import AGENT
from support.tools import spec

POLICY = """
@id("all") permit (principal, action == Action::"Call", resource);
@id("alone") permit (principal in Group::"crew", action == Action::"CallWithoutApproval", resource);
@id("unsigned") permit (principal, action == Action::"CallWithoutSigner", resource);
@id("no-echo") @reason("it is closed") forbid (principal in Group::"guests", action == Action::"Call", resource);
"""
CREW = msgspec.structs.replace(AGENT, groups=("crew",))


def explained(principal=CREW, text=POLICY):
    parsed = check_policy(text, [spec()])
    policy = CompiledPolicy(parsed)
    asked = Asked(principal, spec(), {"text": "hi"}, NO_SIGNALS, 0)
    return explain(parsed, policy, asked), parsed, asked


def test_each_question_names_the_policies_its_answer_rests_on():
    told, _, _ = explained()
    assert isinstance(told.verdict, Allow)
    assert [(q.action, q.is_permitted, [basis.id for basis in q.determining]) for q in told.questions] == [
        ("Call", True, ["all"]), ("CallWithoutApproval", True, ["alone"]), ("CallWithoutSigner", True, ["unsigned"]),
    ]  # fmt: skip


def test_a_forbid_stands_with_its_reason_and_what_would_lift_it():
    guest = msgspec.structs.replace(AGENT, groups=("crew", "guests"))
    told, _, _ = explained(guest)
    assert isinstance(told.verdict, Deny)
    (basis,) = told.questions[0].determining
    assert (basis.id, basis.effect, basis.reason) == ("no-echo", "forbid", "it is closed")
    assert {(change.kind, change.name, change.outcome) for change in told.changes} == {
        ("without_policy", "no-echo", "allowed"),
        ("without_group", "guests", "allowed"),
    }


@pytest.mark.parametrize("groups", [(), ("crew",), ("guests",), ("crew", "guests"), ("other",)])
def test_every_change_that_is_told_is_so_and_no_other_of_its_kind_is(groups):
    told, parsed, asked = explained(msgspec.structs.replace(AGENT, groups=groups))
    found = {(change.kind, change.name): change.outcome for change in told.changes}
    for name in parsed.names:
        rest = {known: rule for known, rule in parsed.policies.items() if known != name}
        without = CompiledPolicy(msgspec.structs.replace(parsed, policies=rest))
        outcome = outcome_of(without.decide(asked.principal, asked.spec, asked.args, asked.signals, 0))
        assert found.get(("without_policy", name), outcome_of(told.verdict)) == outcome
    for group in ("crew", "guests"):
        others = tuple(one for one in groups if one != group) if group in groups else (*groups, group)
        principal = msgspec.structs.replace(asked.principal, groups=others)
        outcome = outcome_of(CompiledPolicy(parsed).decide(principal, asked.spec, asked.args, asked.signals, 0))
        kind = "without_group" if group in groups else "with_group"
        assert found.get((kind, group), outcome_of(told.verdict)) == outcome
    assert "other" not in {name for _, name in found}


def test_a_policy_that_errs_is_named_with_what_was_wrong():
    text = POLICY + '@id("late") forbid (principal, action == Action::"Call", resource) when { context.args.n > 1 };'
    parsed = parse_policy(text)
    asked = Asked(CREW, spec(), {"n": "many"}, NO_SIGNALS, 0)
    told = explain(parsed, CompiledPolicy(parsed), asked)
    assert (told.verdict.reason, told.questions[0].is_permitted) == ("policy_error", False)
    (basis,) = told.questions[0].erring
    assert basis.id == "late"
    assert basis.problem
    assert ("without_policy", "late", "allowed") in {(one.kind, one.name, one.outcome) for one in told.changes}
