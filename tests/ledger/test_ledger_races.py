"""A thousand racers: exactly one wins."""

import asyncio

import pytest

from briefcase.model.effects import (
    Committed,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    Entry,
    Refused,
    ReserveBudget,
    SetBudgetLimit,
)
from briefcase.model.types import ApprovalStatus
from support.clock import START_US
from support.ledger_cases import DAY, approval, audited, committed, intent
from support.principals import AGENT

RACERS = 1_000


async def race(ledger, entries):
    """Commit all at once, in a few crowds, and return how they ended."""
    return await asyncio.gather(*(ledger.commit(entry) for entry in entries))


@pytest.mark.parametrize("crowds", [1, 7])
async def test_one_approval_is_used_by_one_of_a_thousand(tmp_path, crowds):
    async with audited(tmp_path / "l") as ledger:
        await committed(ledger, Entry({"kind": "x"}, (CreateApproval(approval()),)))
        approve = DecideApproval("a1", ApprovalStatus.APPROVED, "op", START_US)
        await committed(ledger, Entry({"kind": "x"}, (approve,)))
        use = ConsumeApproval("a1", "b" * 64, START_US)
        entries = [intent(f"r{number}", use) for number in range(RACERS)]
        results = [
            result
            for chunk in await asyncio.gather(*(race(ledger, entries[at::crowds]) for at in range(crowds)))
            for result in chunk
        ]
        assert sum(isinstance(result, Committed) for result in results) == 1
        assert results.count(Refused("invalid_or_expired_approval")) == RACERS - 1


async def test_the_last_unit_of_a_budget_is_reserved_by_one_of_a_thousand(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await committed(ledger, Entry({"kind": "x"}, (SetBudgetLimit("read", 7),)))
        results = await race(ledger, [Entry({"kind": "x"}, (ReserveBudget("read", DAY, 4),))] * RACERS)
        assert sum(isinstance(result, Committed) for result in results) == 1
        assert results.count(Refused("budget_exceeded")) == RACERS - 1
        assert ledger.budget("read", DAY).reserved_microusd == 4


async def test_one_request_id_is_taken_by_one_of_a_thousand(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        results = await race(ledger, [intent("same")] * RACERS)
        assert sum(isinstance(result, Committed) for result in results) == 1
        assert results.count(Refused("replay_detected")) == RACERS - 1


async def test_one_decision_is_made_by_one_of_a_thousand(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await committed(ledger, Entry({"kind": "x"}, (CreateApproval(approval()),)))
        both = [
            Entry({"kind": "x"}, (DecideApproval("a1", status, "op", START_US),))
            for status in (ApprovalStatus.REJECTED, ApprovalStatus.APPROVED)
        ]
        results = await race(ledger, both * (RACERS // 2))
        assert isinstance(results[0], Committed)
        assert ledger.approval("a1").status is ApprovalStatus.REJECTED
        assert results.count(Refused("conflict")) == RACERS - 1


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_yes_is_either_used_or_taken_back(tmp_path, is_first):
    async with audited(tmp_path / "l") as ledger:
        await committed(ledger, Entry({"kind": "x"}, (CreateApproval(approval()),)))
        yes = DecideApproval("a1", ApprovalStatus.APPROVED, "op", START_US)
        await committed(ledger, Entry({"kind": "x"}, (yes,)))
        no = Entry({"kind": "x"}, (DecideApproval("a1", ApprovalStatus.REJECTED, "op", START_US),))
        use = intent("r1", ConsumeApproval("a1", approval().binding_hex, START_US))
        results = await race(ledger, [no, use] if is_first else [use, no])
        assert sum(isinstance(result, Committed) for result in results) == 1
        ended = ApprovalStatus.REJECTED if is_first else ApprovalStatus.CONSUMED
        assert ledger.approval("a1").status is ended
        assert (ledger.last_approval(AGENT.name, "t") is None) is is_first  # taken back: it was no last yes
