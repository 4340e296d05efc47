"""Incident controls: each concerns what it names, ends when it says, survives a restart, and never allows."""

import asyncio

import pytest
from fakes import AGENT, OTHER_AGENT, START_US, FakeClock, FakeEntropy, MemoryLedger, spec
from hypothesis import given
from hypothesis import strategies as st

from briefcase.controls import SUBJECTS, Control, Controls, apply_controls
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.types import Allow, ApprovalKind, Deny, NeedsApproval

TOOL = spec("tickets.close", category="write", source="http")
ALLOW, DENY = Allow(("p",)), Deny("policy_denied", ("f",))
ASK = NeedsApproval(ApprovalKind.MOBILE_SIGNER, "approval_by_policy")


def control(action="require_approval", subject="tool", name="tickets.close", until_us=None) -> Control:
    return Control("c1", action, subject, name, "operator", START_US, until_us)


@pytest.mark.parametrize(
    ("held", "verdict", "expected"),
    [
        (control("freeze", "all", ""), ALLOW, "frozen"),
        (control("freeze", "all", ""), ASK, "frozen"),
        (control("freeze", "all", ""), DENY, "policy_denied"),
        (control("disable", "tool"), ALLOW, "disabled"),
        (control("disable", "source", "http"), ALLOW, "disabled"),
        (control("require_approval", "tool"), ALLOW, "tightened"),
        (control("require_approval", "category", "write"), ALLOW, "tightened"),
        (control("require_approval", "agent", "scout"), ALLOW, "tightened"),
        (control("require_approval", "source", "http"), ALLOW, "tightened"),
        (control("require_approval", "tool"), ASK, "approval_by_policy"),
    ],
)
def test_a_control_tightens_what_it_is_about(held, verdict, expected):
    assert apply_controls(verdict, [held], AGENT, TOOL, START_US).reason == expected


@pytest.mark.parametrize(
    "held",
    [
        control("disable", "tool", "tickets.list"),
        control("require_approval", "agent", "ranger"),
        control("require_approval", "category", "read"),
        control("disable", "source", "mcp:files"),
        control("freeze", "all", "", until_us=START_US),
    ],
)
def test_a_control_leaves_everything_else_and_ends_at_its_time(held):
    assert apply_controls(ALLOW, [held], AGENT, TOOL, START_US) is ALLOW


STRICTNESS = {Allow: 0, NeedsApproval: 1, Deny: 2}
any_control = st.sampled_from(sorted(SUBJECTS)).flatmap(
    lambda action: st.builds(
        control,
        st.just(action),
        st.sampled_from(sorted(SUBJECTS[action])),
        st.sampled_from(["", "tickets.close", "write", "scout", "http", "other"]),
        st.sampled_from([None, START_US - 1, START_US, START_US + 1]),
    )
)


@given(st.lists(any_control, max_size=5), st.sampled_from([ALLOW, ASK, DENY]), st.sampled_from([AGENT, OTHER_AGENT]))
def test_no_set_of_controls_ever_loosens_a_verdict(held, verdict, principal):
    after = apply_controls(verdict, held, principal, TOOL, START_US)

    assert STRICTNESS[type(after)] >= STRICTNESS[type(verdict)]


def test_controls_are_receipted_and_survive_a_restart_until_lifted():
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    controls = Controls(ledger, clock, FakeEntropy())
    frozen = asyncio.run(controls.add("freeze", "all", "", until_us=None, by="operator"))
    asyncio.run(controls.add("require_approval", "agent", "scout", until_us=clock.now_us() + 10, by="operator"))

    again = Controls(ledger, clock, FakeEntropy())
    assert [held.action for held in again.active()] == ["freeze", "require_approval"]
    clock.advance(us=10)
    assert again.active() == (frozen,)
    assert asyncio.run(again.lift(lambda held: held.action == "freeze", by="operator")) == (frozen,)
    assert again.active() == ()
    assert ledger.kinds() == ["control_set", "control_set", "control_lifted"]


@pytest.mark.parametrize(
    ("action", "subject", "name", "until_us"),
    [
        ("freeze", "tool", "x", None),
        ("freeze", "all", "x", None),
        ("disable", "agent", "x", None),
        ("disable", "tool", "", None),
        ("disable", "tool", "x" * 300, None),
        ("disable", "tool", "x", START_US),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(action, subject, name, until_us):
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    controls = Controls(ledger, clock, FakeEntropy())

    with pytest.raises(CallerError):
        asyncio.run(controls.add(action, subject, name, until_us=until_us, by="operator"))

    assert controls.active() == ()
    assert ledger.kinds() == []


def test_a_control_that_can_not_be_stored_is_an_error_and_lifting_one_leaves_it_in_force():
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    controls = Controls(ledger, clock, FakeEntropy())
    asyncio.run(controls.add("freeze", "all", "", until_us=None, by="operator"))
    ledger.broken = "EIO"

    with pytest.raises(StoreError):
        asyncio.run(controls.lift(lambda held: True, by="operator"))

    assert len(controls.active()) == 1


class SlowLedger(MemoryLedger):
    """Commits take effect in order, and answer only after others were asked for."""

    async def commit(self, entry):
        committed = await super().commit(entry)
        await asyncio.sleep(0)
        return committed


def test_controls_changed_at_the_same_time_all_hold_and_are_all_stored():
    clock = FakeClock()
    ledger = SlowLedger(clock)
    controls = Controls(ledger, clock, FakeEntropy())

    async def change():
        old = await controls.add("disable", "tool", "echo", until_us=None, by="operator")
        await asyncio.gather(
            controls.add("freeze", "all", "", until_us=None, by="operator"),
            controls.lift(lambda one: one.id == old.id, by="operator"),
            controls.add("disable", "source", "http", until_us=None, by="operator"),
        )

    asyncio.run(change())

    for held in (controls, Controls(ledger, clock, FakeEntropy())):
        assert sorted(one.action + one.subject for one in held.active()) == ["disablesource", "freezeall"]
