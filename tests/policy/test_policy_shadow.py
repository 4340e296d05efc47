"""Shadowing: live decisions are sampled, compared off the way of the answer, and a disagreement stops everything."""

import pytest
from policies import NO_RISK, PERMIT_ALL

from briefcase.core.policy.check import DEFAULT_POLICY_TEXT
from briefcase.core.policy.engine import compile_policy
from briefcase.core.policy.reference import ReferencePolicy
from briefcase.core.policy.shadow import MAX_WAITING, Shadow
from briefcase.model.types import Allow, Deny
from support.clock import START_US
from support.principals import AGENT
from support.tools import spec


class Later:
    """Keeps what it was given until it is told to run it."""

    def __init__(self):
        self.kept = []

    def __call__(self, work):
        self.kept.append(work)

    def run(self):
        while self.kept:
            self.kept.pop(0)()


def make(every=1, text=DEFAULT_POLICY_TEXT):
    later = Later()
    shadow = Shadow(every, later)
    return shadow.over(compile_policy(text)), shadow, later


def ask(policy, args=None, tool=None):
    return policy.decide(AGENT, tool or spec(), args or {}, NO_RISK, START_US)


def test_nothing_is_compared_before_the_answer():
    policy, shadow, later = make()
    assert isinstance(ask(policy), Allow)
    assert (shadow.compared, len(later.kept)) == (0, 1)
    later.run()
    assert (shadow.compared, shadow.mismatches) == (1, 0)


@pytest.mark.parametrize(("every", "expected"), [(1, 100), (10, 10), (50, 2), (0, 100)])
def test_one_decision_of_each_so_many_is_compared(every, expected):
    policy, shadow, later = make(every)
    for _ in range(100):
        ask(policy)
        later.run()
    assert shadow.compared == expected


def test_calls_that_repeat_in_a_rhythm_are_all_compared_in_the_end():
    policy, shadow, later = make(10)
    compared = set()
    shadow._submit = lambda work: (compared.add(turn % 2), later(work))
    for turn in range(200):
        ask(policy, tool=spec(("odd", "even")[turn % 2]))
        later.run()
    assert compared == {0, 1}


def test_a_disagreement_denies_every_call_from_then_on_and_raises_the_alarm(monkeypatch):
    policy, shadow, later = make()
    assert isinstance(ask(policy), Allow)
    monkeypatch.setattr(ReferencePolicy, "decide", lambda *_: Deny("policy_denied", ("forbid-admin-tools",)))
    later.run()
    assert shadow.mismatches == 1
    denied = ask(policy)
    assert denied.reason == "policy_error"
    assert "the engines disagree" in denied.detail
    assert ask(shadow.over(compile_policy(PERMIT_ALL))).reason == "policy_error"


DISAGREEMENTS = [
    ("another verdict", Deny("policy_denied", ("permit-calls", "reads-without-approval", "calls-without-signer"))),
    ("other policies", Allow(("permit-calls",))),
]


@pytest.mark.parametrize("reference", [row[1] for row in DISAGREEMENTS], ids=[row[0] for row in DISAGREEMENTS])
def test_verdict_and_policies_must_both_agree(reference, monkeypatch):
    policy, shadow, later = make()
    monkeypatch.setattr(ReferencePolicy, "decide", lambda *_: reference)
    ask(policy)
    later.run()
    assert shadow.mismatches == 1


def test_what_cannot_be_asked_of_the_reference_is_counted_apart(monkeypatch):
    text = f"{PERMIT_ALL}forbid(principal, action, resource) when {{ !(context.args has x) }};"
    policy, shadow, later = make(text=text)
    for args in ({"x": {"__entity": {"type": "Agent", "id": "a"}}}, {"x": [None]}, {"x": 1e-9}):
        assert isinstance(ask(policy, args), Allow)
    later.run()
    assert (shadow.compared, shadow.incomparable, shadow.mismatches) == (0, 3, 0)

    def broken(*_):
        raise MemoryError

    monkeypatch.setattr(ReferencePolicy, "decide", broken)
    ask(policy, {"x": 1})
    later.run()
    assert (shadow.incomparable, shadow.mismatches) == (4, 0)
    assert isinstance(ask(policy, {"x": 1}), Allow)


def test_a_slow_reference_costs_samples_and_never_memory():
    policy, shadow, later = make()
    for _ in range(10 * MAX_WAITING):
        ask(policy)
    assert len(later.kept) == MAX_WAITING
    later.run()
    ask(policy)
    assert len(later.kept) == 1
    assert shadow.compared == MAX_WAITING
