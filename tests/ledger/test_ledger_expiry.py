"""An approval that has ended stays ended: whatever the clock does, and whether the process lived on or not."""

import pytest

from briefcase.adapters.ledger.steady_clock import SteadyClock
from briefcase.core.approvals.lifecycle import status_at
from briefcase.core.receipts.events import approval_expired_event
from briefcase.model.effects import (
    Committed,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    Entry,
    ExpireApproval,
    Refused,
)
from briefcase.model.types import ApprovalStatus
from support.clock import START_US, FakeClock
from support.ledger_cases import LATER_US, approval, audited, intent, note

AN_HOUR_US = 3_600_000_000


def ask(approval_id: str = "a1") -> Entry:
    return Entry({"kind": "approval_required"}, (CreateApproval(approval(approval_id)),))


def yes(now_us: int, approval_id: str = "a1") -> Entry:
    decide = DecideApproval(approval_id, ApprovalStatus.APPROVED, "operator", now_us)
    return Entry({"kind": "approval_decided"}, (decide,))


async def swept(ledger) -> int:
    late = ledger.expired_approvals(100)
    entries = [Entry(approval_expired_event(one), (ExpireApproval(one.id, ledger.now_us()),)) for one in late]
    if entries:
        assert all(isinstance(done, Committed) for done in await ledger.commit_all(entries))
    return len(late)


def test_the_steady_clock_goes_on_where_the_wall_clock_goes_back():
    clock = FakeClock()
    steady = SteadyClock(clock, 0)
    assert steady.now_us() == START_US
    clock.advance(us=10)
    clock.wall_us -= AN_HOUR_US
    assert steady.now_us() == START_US + 10
    clock.mono_ns += 5_000
    assert steady.now_us() == START_US + 15
    clock.wall_us = START_US + AN_HOUR_US
    assert steady.now_us() == START_US + AN_HOUR_US


def test_the_steady_clock_begins_no_earlier_than_the_last_receipt():
    assert SteadyClock(FakeClock(), START_US + AN_HOUR_US).now_us() == START_US + AN_HOUR_US


@pytest.mark.parametrize("is_approved", [False, True])
async def test_an_expired_approval_does_not_come_back_with_the_clock(tmp_path, is_approved):
    clock = FakeClock()
    async with audited(tmp_path / "ledger", clock) as ledger:
        await ledger.commit(ask())
        if is_approved:
            await ledger.commit(yes(ledger.now_us()))
        clock.advance(us=LATER_US - START_US)
        assert status_at(ledger.approval("a1"), ledger.now_us()) is ApprovalStatus.EXPIRED
        clock.wall_us = START_US  # before any sweep
        assert status_at(ledger.approval("a1"), ledger.now_us()) is ApprovalStatus.EXPIRED
        use = ConsumeApproval("a1", "b" * 64, ledger.now_us())
        assert await ledger.commit(intent("r1", use)) == Refused("invalid_or_expired_approval")
        assert await ledger.commit(yes(ledger.now_us())) == Refused("conflict")


async def test_an_end_is_stored_and_receipted_once_and_outlives_the_process(tmp_path):
    clock = FakeClock()
    async with audited(tmp_path / "ledger", clock) as ledger:
        await ledger.commit(ask("a1"))
        await ledger.commit(ask("a2"))
        await ledger.commit(yes(ledger.now_us(), "a2"))
        assert await swept(ledger) == 0
        clock.advance(us=LATER_US - START_US)
        assert await swept(ledger) == 2
        assert await swept(ledger) == 0
    clock.wall_us = START_US - AN_HOUR_US
    async with audited(tmp_path / "ledger", clock) as ledger:
        for name in ("a1", "a2"):
            assert ledger.approval(name).status is ApprovalStatus.EXPIRED
        assert await ledger.commit(yes(START_US)) == Refused("conflict")
        use = ConsumeApproval("a2", "b" * 64, START_US)
        assert await ledger.commit(intent("r1", use)) == Refused("invalid_or_expired_approval")


async def test_what_has_not_expired_or_is_decided_is_not_ended(tmp_path):
    clock = FakeClock()
    async with audited(tmp_path / "ledger", clock) as ledger:
        await ledger.commit(note())
        await ledger.commit(ask())
        early = Entry({"kind": "approval_expired"}, (ExpireApproval("a1", LATER_US - 1),))
        assert await ledger.commit(early) == Refused("conflict")
        reject = DecideApproval("a1", ApprovalStatus.REJECTED, "operator", START_US)
        await ledger.commit(Entry({"kind": "approval_decided"}, (reject,)))
        late = Entry({"kind": "approval_expired"}, (ExpireApproval("a1", LATER_US),))
        assert await ledger.commit(late) == Refused("conflict")


async def test_an_approval_that_is_over_has_its_own_end_whoever_asks_again(tmp_path):
    clock = FakeClock()
    async with audited(tmp_path, clock) as ledger:
        await ledger.commit(ask("a1"))
        clock.advance(us=LATER_US - START_US)
        later = approval("a2", created_us=LATER_US, expires_us=LATER_US + AN_HOUR_US)
        assert isinstance(
            await ledger.commit(Entry({"kind": "approval_required"}, (CreateApproval(later),))), Committed
        )
        assert ledger.approval("a1").status is ApprovalStatus.PENDING  # as stored: its end has no receipt yet
        assert await swept(ledger) == 1
        assert ledger.approval("a1").status is ApprovalStatus.EXPIRED
        every = frozenset(ApprovalStatus)
        assert [one.id for one in await ledger.newest_approvals(every, 10)] == ["a1", "a2"]
        assert [one.id for one in await ledger.newest_approvals(every, 1)] == ["a2"]
        assert [one.id for one in await ledger.newest_approvals(frozenset({ApprovalStatus.EXPIRED}), 10)] == ["a1"]
