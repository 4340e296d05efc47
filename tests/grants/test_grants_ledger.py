"""Grants in the ledger of a real directory: counted with the intent, settled with the outcome, both or neither."""

import asyncio
import shutil

import msgspec
import pytest

from briefcase.adapters.ledger import Ledger
from briefcase.adapters.ledger.grants_table import StoredGrant
from briefcase.core.grants.bounds import settle_grant, status_of, use_grant
from briefcase.model.effects import (
    Committed,
    CreateGrant,
    Entry,
    OpenIntent,
    Refused,
    ReserveBudget,
    RevokeGrant,
    SettleBudget,
    StartFromCopy,
    UseGrant,
)
from briefcase.model.grants import Grant, GrantTerms
from support.clock import START_US, FakeClock
from support.ledger_cases import DAY, LATER_US, SMALL, audited, committed, edit, intent, outcome
from support.principals import AGENT

OVER = Refused("invalid_or_expired_approval")
RACERS = 1_000


def grant(grant_id="g1", *, cedar="permit(principal,action,resource);", **terms) -> Grant:
    return Grant(
        id=grant_id,
        owner=AGENT.owner,
        principal=AGENT.name,
        tool_id="t",
        tool_digest_hex="d" * 64,
        terms=GrantTerms(**(terms or {"max_uses": 2})),
        cedar=cedar,
        sentence="it may",
        by=("ann",),
        created_us=START_US,
    )


def use(grant_id="g1", *, cost=0, **changes) -> UseGrant:
    one = UseGrant(grant_id, AGENT.owner, "t", "d" * 64, cost, START_US)
    return msgspec.structs.replace(one, **changes)


def paid(request_id, grant_id="g1", *, cost):
    """An intent that a grant lets pass, as the flow makes it."""
    entry = intent(request_id)
    claim, _ = entry.effects
    settle = SettleBudget("read", DAY, cost, cost, grant_id)
    effects = (claim, use(grant_id, cost=cost), ReserveBudget("read", DAY, cost), OpenIntent(settle))
    return Entry({**entry.event, "grant_id": grant_id}, effects)


async def given(ledger, **changes):
    await committed(ledger, Entry({"kind": "approval_decided"}, (CreateGrant(grant(**changes)),)))


@pytest.mark.parametrize("crowds", [1, 7])
async def test_the_last_use_is_had_by_one_of_a_thousand(tmp_path, crowds):
    async with audited(tmp_path / "l") as ledger:
        await given(ledger, max_uses=1)
        entries = [intent(f"r{number}", use()) for number in range(RACERS)]
        crowd = [asyncio.gather(*map(ledger.commit, entries[at::crowds])) for at in range(crowds)]
        results = [result for chunk in await asyncio.gather(*crowd) for result in chunk]
        assert sum(isinstance(result, Committed) for result in results) == 1
        assert results.count(OVER) == RACERS - 1
        assert ledger.grant("g1").uses == 1


async def test_the_last_money_is_had_by_one_of_a_thousand(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await given(ledger, max_uses=10_000, max_microusd=7)
        results = await asyncio.gather(*(ledger.commit(paid(f"r{number}", cost=4)) for number in range(RACERS)))
        assert sum(isinstance(result, Committed) for result in results) == 1
        assert results.count(OVER) == RACERS - 1
        assert (ledger.grant("g1").reserved_microusd, ledger.budget("read", DAY).reserved_microusd) == (4, 4)


async def test_a_use_and_a_revocation_at_once_come_one_after_the_other(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await given(ledger)
        revoke = Entry({"kind": "grant_revoked"}, (RevokeGrant("g1", "ann", START_US),))
        results = await asyncio.gather(*map(ledger.commit, [intent("r1", use()), revoke, intent("r2", use()), revoke]))
        assert [isinstance(result, Committed) for result in results] == [True, True, False, False]
        assert (ledger.grant("g1").uses, status_of(ledger.grant("g1"), START_US)) == (1, "revoked")


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "scout#other"},
        {"tool_id": "u"},
        {"tool_digest_hex": "e" * 64},
        {"now_us": LATER_US},
        {"grant_id": "g2"},
        {"cost_microusd": 8},
    ],
)
def test_a_use_that_is_not_what_was_granted_is_refused(changes):
    one = grant(max_uses=2, max_microusd=7, expires_us=LATER_US)
    wanted = msgspec.structs.replace(use(), **changes)
    assert use_grant(one if wanted.grant_id == one.id else None, wanted) == OVER
    assert use_grant(one, use(now_us=LATER_US - 1)).uses == 1


async def test_what_was_set_aside_is_settled_as_what_it_cost(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await given(ledger, max_uses=9, max_microusd=1_000)
        opened = await committed(ledger, paid("r1", cost=900))
        closing = outcome(opened.receipt_id)
        settle = SettleBudget("read", DAY, 900, 300, "g1")
        await committed(ledger, Entry(closing.event, (*closing.effects, settle)))
        held = ledger.grant("g1")
        assert (held.uses, held.reserved_microusd, held.spent_microusd) == (1, 0, 300)
    assert settle_grant(grant(), 0, 0) == grant()


async def test_a_call_that_a_crash_cut_off_spent_all_that_was_set_aside(tmp_path):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    await given(ledger, max_uses=9, max_microusd=1_000)
    await committed(ledger, paid("r1", cost=900))
    shutil.copytree(tmp_path / "l", tmp_path / "killed")
    await ledger.close()
    async with audited(tmp_path / "killed") as ledger:
        held = ledger.grant("g1")
        assert (held.uses, held.reserved_microusd, held.spent_microusd) == (1, 0, 900)
        assert await ledger.commit(paid("r2", cost=101)) == OVER


async def test_what_is_refused_with_its_intent_counts_nothing(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await given(ledger)
        await committed(ledger, intent("r1", use()))
        assert await ledger.commit(intent("r1", use())) == Refused("replay_detected")
        assert ledger.grant("g1").uses == 1


async def test_a_copy_that_is_opened_has_no_grant_in_force(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await given(ledger)
        await given(ledger, grant_id="g2", expires_us=START_US - 1)
        await committed(ledger, Entry({"kind": "restored"}, (StartFromCopy(DAY, START_US),)))
        assert (ledger.grant("g1").revoked_by, ledger.grant("g2").revoked_us) == ("restored", None)
        assert (await ledger.receipt(ledger.head().id)).event["revoked_grants"] == 1
        assert await ledger.commit(intent("r1", use())) == OVER


def widened(transaction, env):
    table = env.open_db(b"grants", txn=transaction)
    stored = msgspec.msgpack.decode(transaction.get(b"g1", db=table), type=StoredGrant)
    wider = msgspec.structs.replace(stored.grant, uses=0)
    transaction.put(b"g1", msgspec.msgpack.encode(StoredGrant(stored.receipt_id, wider)), db=table)


def forged(transaction, env):
    table = env.open_db(b"grants", txn=transaction)
    transaction.put(b"g2", transaction.get(b"g1", db=table), db=table)


def removed(transaction, env):
    transaction.delete(b"g1", db=env.open_db(b"grants", txn=transaction))


@pytest.mark.parametrize(("change", "row"), [(widened, "grant:g1"), (forged, "grant:g2"), (removed, "grant:g1")])
async def test_a_row_of_another_hand_is_named(tmp_path, change, row):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    await given(ledger)
    await committed(ledger, intent("r1", use()))
    assert (await ledger.verify(ledger.head(), agents=())).ok
    await ledger.close()
    edit(tmp_path / "l", change)
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    found = await ledger.verify(ledger.head(), agents=())
    await ledger.close()
    assert (found.ok, found.difference.row) == (False, row)
