"""Sealed states are used once: in one transaction with their intent, across restarts, clock steps and copies."""

import asyncio

import pytest

from briefcase.adapters.ledger.nonces import FORGOTTEN_AT_ONCE
from briefcase.model.effects import ClaimNonce, Committed, Entry, Refused, StartFromCopy
from briefcase.model.errors import InternalError
from support.clock import START_US, FakeClock
from support.ledger_cases import audited, intent, note

REPLAYED = Refused("replay_detected")
DAY_US = 86_400_000_000


def claim(nonce: str = "n1", sealed_us: int = START_US, forget_before_us: int = 0) -> ClaimNonce:
    return ClaimNonce(nonce, sealed_us, forget_before_us)


async def test_of_many_in_one_group_one_takes_the_nonce_and_the_others_leave_nothing(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        assert not ledger.is_nonce_taken(claim())
        results = await asyncio.gather(*(ledger.commit(intent(f"r{n}", claim())) for n in range(8)))
        assert [isinstance(result, Committed) for result in results].count(True) == 1
        assert results.count(REPLAYED) == 7
        assert ledger.is_nonce_taken(claim())
        assert ledger.claimed_request("scout", "r7") is None
        assert isinstance(await ledger.commit(intent("other", claim("n2"))), Committed)


async def test_what_was_taken_stays_taken_after_a_restart(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        assert isinstance(await ledger.commit(intent("r1", claim())), Committed)
    async with audited(tmp_path / "l") as ledger:
        assert ledger.is_nonce_taken(claim())
        assert await ledger.commit(intent("r2", claim())) == REPLAYED


async def test_what_is_forgotten_is_refused_whatever_the_clock_does(tmp_path):
    clock = FakeClock()
    async with audited(tmp_path / "l", clock) as ledger:
        for n in range(FORGOTTEN_AT_ONCE + 2):
            assert isinstance(await ledger.commit(intent(f"r{n}", claim(f"n{n}", START_US + n))), Committed)
        later_us = START_US + DAY_US
        entry = intent("late", claim("late", later_us, forget_before_us=later_us))
        assert isinstance(await ledger.commit(entry), Committed)
        with ledger._tables.begin_read() as transaction:
            kept = transaction.stat(ledger._tables.nonces)["entries"]
        assert kept == 3, "the oldest are not forgotten, or too many are"
        clock.wall_us = START_US  # a step back, to when the first state was still good
        for n in range(FORGOTTEN_AT_ONCE + 2):
            assert await ledger.commit(intent(f"again{n}", claim(f"n{n}", START_US + n))) == REPLAYED


async def test_a_copy_takes_no_state_that_was_sealed_before_it_was_opened(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        copied = Entry({"kind": "restored"}, (StartFromCopy("2026-01-01", START_US),))
        assert isinstance(await ledger.commit(copied), Committed)
        assert ledger.is_nonce_taken(claim(sealed_us=START_US))
        assert await ledger.commit(intent("r1", claim(sealed_us=START_US))) == REPLAYED
        assert isinstance(await ledger.commit(intent("r2", claim(sealed_us=START_US + 1))), Committed)


@pytest.mark.parametrize(
    "entry", [Entry(note().event, (claim(),)), intent("r1", claim("")), intent("r1", claim("x" * 129))]
)
async def test_only_an_intent_takes_a_nonce_of_ours(tmp_path, entry):
    async with audited(tmp_path / "l") as ledger:
        with pytest.raises(InternalError):
            await ledger.commit(entry)
