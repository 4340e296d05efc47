"""An operator sets and lifts controls: in force at once, with a receipt each, and after a restart what was in force."""

import asyncio

import pytest

from briefcase.core.controls import Controls
from briefcase.core.operator.controls import ControlChoice
from briefcase.model.errors import CallerError, StoreError
from support.clock import START_US, FakeClock
from support.controls import admin_of
from support.ledger import MemoryLedger
from support.principals import AGENT


async def test_controls_are_receipted_and_survive_a_restart_until_lifted():
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    controls = Controls(ledger, clock)
    frozen = await admin_of(controls, ledger, clock).add("freeze", "all", "", until_us=None, by="operator")
    await admin_of(controls, ledger, clock).add(
        "require_approval", "agent", "scout", until_us=clock.now_us() + 10, by="operator"
    )

    again = Controls(ledger, clock)
    assert [held.action for held in again.active()] == ["freeze", "require_approval"]
    clock.advance(us=10)
    assert again.active() == (frozen,)
    assert await admin_of(again, ledger, clock).lift(ControlChoice(action="freeze"), by="operator") == (frozen,)
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
async def test_what_makes_no_sense_is_refused_and_changes_nothing(action, subject, name, until_us):
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    controls = Controls(ledger, clock)

    with pytest.raises(CallerError):
        await admin_of(controls, ledger, clock).add(action, subject, name, until_us=until_us, by="operator")

    assert controls.active() == ()
    assert ledger.kinds() == []


async def test_a_control_that_can_not_be_stored_is_an_error_and_lifting_one_leaves_it_in_force():
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    controls = Controls(ledger, clock)
    await admin_of(controls, ledger, clock).add("freeze", "all", "", until_us=None, by="operator")
    ledger.broken = "EIO"

    with pytest.raises(StoreError):
        await admin_of(controls, ledger, clock).lift(ControlChoice(action="freeze"), by="operator")

    assert len(controls.active()) == 1


class SlowLedger(MemoryLedger):
    """Commits take effect in order, and answer only after others were asked for."""

    async def commit(self, entry):
        committed = await super().commit(entry)
        await asyncio.sleep(0)
        return committed


async def test_controls_changed_at_the_same_time_all_hold_and_are_all_stored():
    clock = FakeClock()
    ledger = SlowLedger(clock)
    controls = Controls(ledger, clock)

    admin = admin_of(controls, ledger, clock)
    old = await admin.add("disable", "tool", "echo", until_us=None, by="operator")
    await asyncio.gather(
        admin.add("freeze", "all", "", until_us=None, by="operator"),
        admin.lift(ControlChoice(id=old.id), by="operator"),
        admin.add("disable", "source", "http", until_us=None, by="operator"),
    )

    for held in (controls, Controls(ledger, clock)):
        assert sorted(one.action + one.subject for one in held.active()) == ["disablesource", "freezeall"]


@pytest.mark.parametrize(
    ("choice", "code"),
    [(ControlChoice(), "bad_request"), (ControlChoice(id="none"), "not_found"), (ControlChoice(name="x"), "not_found")],
)
async def test_lifting_nothing_is_refused_and_says_why(choice, code):
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    controls = Controls(ledger, clock)
    admin = admin_of(controls, ledger, clock)
    await admin.add("freeze", "all", "", until_us=None, by="operator")
    with pytest.raises(CallerError) as caught:
        await admin.lift(choice, by="operator")
    assert caught.value.code == code
    assert len(controls.active()) == 1


async def test_what_a_control_names_is_known_where_there_is_such_an_agent_or_tool():
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    admin = admin_of(Controls(ledger, clock), ledger, clock)

    async def known(subject, name):
        control = await admin.add("require_approval", subject, name, until_us=None, by="operator")
        return await admin.is_known(control, AGENT)

    async def all_of_them():
        named = [("agent", AGENT.name), ("agent", "nobody"), ("tool", "echo"), ("tool", "ehco")]
        return [await known(subject, name) for subject, name in named]

    assert await all_of_them() == [True, False, True, False]


async def test_an_error_while_receipts_cannot_be_made_durable_puts_nothing_in_force():
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    controls = Controls(ledger, clock)
    ledger.gate_problem = lambda: "the disk is full"
    with pytest.raises(StoreError):
        await admin_of(controls, ledger, clock).add("freeze", "all", "", until_us=None, by="operator")
    assert controls.active() == ()
