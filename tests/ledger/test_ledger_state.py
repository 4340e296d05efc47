"""Rows that were edited beside the chain are found by a replay of it, in archived receipts too."""

import asyncio
import re
import struct

import msgspec
import pytest

from briefcase.adapters.ledger import Ledger
from briefcase.adapters.ledger.approvals_table import StoredApproval
from briefcase.adapters.ledger.state import NEVER_COMPARED
from briefcase.adapters.ledger.tables import TABLES
from briefcase.adapters.store.database import MIGRATIONS
from briefcase.edges.cli.receipts import NOT_CHECKED
from briefcase.model.effects import (
    CloseIntent,
    CreateApproval,
    DecideApproval,
    Entry,
    OpenIntent,
    PutSetting,
    SetBudgetLimit,
)
from briefcase.model.ports import ActiveAgent
from briefcase.model.types import ApprovalStatus
from support.clock import FakeClock
from support.ledger_cases import DAY, LATER_US, SMALL, approval, committed, delegated, edit, intent, note, outcome

SCOUT = ActiveAgent("scout", ("crew",), "ab" * 32)


async def lived(path) -> None:
    """A ledger in which something of everything happened."""
    ledger = Ledger.open(path, FakeClock(), SMALL)
    for name in ("pending", "approved", "rejected"):
        made = approval(name, binding=name[0] * 64)
        await committed(ledger, Entry({"kind": "approval_required"}, (CreateApproval(made),)))
    for name, to in (("approved", ApprovalStatus.APPROVED), ("rejected", ApprovalStatus.REJECTED)):
        effect = DecideApproval(name, to, "operator", LATER_US - 1_000_000)
        await committed(ledger, Entry({"kind": "approval_decided"}, (effect,)))
    await committed(ledger, Entry({"kind": "policy_set"}, (PutSetting("policy", b"permit"),)))
    await committed(ledger, Entry({"kind": "budget_set"}, (SetBudgetLimit("write", 5_000),)))
    opened = await committed(ledger, intent("r1", cost=300))
    closed = outcome(opened.receipt_id, reserved=300, spent=200)
    await committed(ledger, Entry({**closed.event, "cost_microusd": 200}, closed.effects))
    await committed(ledger, intent("r2", cost=70))
    await committed(ledger, delegated("r3", cost=40))
    change = {"agent": "scout", "groups": ["crew"], "by": "operator"}
    opened = await committed(ledger, Entry({"kind": "change_intent", **change}, (OpenIntent(),)))
    added = {"kind": "agent_added", **change, "token_digest": SCOUT.token_digest, "intent_id": opened.receipt_id}
    await committed(ledger, Entry(added, (CloseIntent(opened.receipt_id),)))
    await ledger.close()


async def verified(path, agents=(SCOUT,)):
    ledger = Ledger.open(path, FakeClock(), SMALL)
    try:
        return await ledger.verify(ledger.head(), agents=agents)
    finally:
        await ledger.close()


async def test_what_was_not_edited_verifies_and_says_what_it_could_not_compare(tmp_path):
    await lived(tmp_path / "l")
    for _ in range(2):
        found = await verified(tmp_path / "l")
        assert found.ok, found
        assert found.not_checked == NEVER_COMPARED


def change_approval(transaction, env, name, **changes):
    table = env.open_db(b"approvals", txn=transaction)
    stored = msgspec.msgpack.decode(transaction.get(name.encode(), db=table), type=StoredApproval)
    changed = StoredApproval(stored.receipt_id, msgspec.structs.replace(stored.approval, **changes))
    transaction.put(name.encode(), msgspec.msgpack.encode(changed), db=table)


def put(name, key, value):
    def change(transaction, env):
        table = env.open_db(name, txn=transaction)
        transaction.delete(key, db=table) if value is None else transaction.put(key, value, db=table)

    return change


EDITS = {
    "approval:pending": lambda t, env: change_approval(t, env, "pending", status=ApprovalStatus.APPROVED),
    "approval:approved": lambda t, env: change_approval(t, env, "approved", binding_hex="f" * 64),
    "approval:rejected": lambda t, env: change_approval(t, env, "rejected", status=ApprovalStatus.APPROVED),
    "setting:policy": put(b"settings", b"policy", b"permit all"),
    "setting:new": put(b"settings", b"new", b"x"),
    "limit:write": put(b"limits", b"write", struct.pack(">q", 1 << 40)),
    "limit:read": put(b"limits", b"read", None),
    f"budget:{DAY}:read": put(b"spend", f"{DAY}read".encode(), struct.pack(">qq", 1, 70)),
}


@pytest.mark.parametrize("row", EDITS)
async def test_a_row_that_was_edited_beside_the_chain_is_named(tmp_path, row):
    await lived(tmp_path / "l")
    edit(tmp_path / "l", EDITS[row])
    found = await verified(tmp_path / "l")
    assert found.first_bad is None
    assert (found.ok, found.difference.row) == (False, row)


@pytest.mark.parametrize(
    "agents",
    [
        (),
        (SCOUT, ActiveAgent("mallory", (), "cd" * 32)),
        (msgspec.structs.replace(SCOUT, groups=("crew", "admins")),),
        (msgspec.structs.replace(SCOUT, decides_for="*"),),
        (msgspec.structs.replace(SCOUT, token_digest="cd" * 32),),
    ],
    ids=["removed", "added", "other groups", "decides for others", "another token"],
)
async def test_an_agent_that_is_not_what_the_chain_says_is_named(tmp_path, agents):
    await lived(tmp_path / "l")
    found = await verified(tmp_path / "l", agents)
    assert not found.ok
    assert found.difference.row.startswith("agent:")


async def test_a_ledger_of_before_state_was_noted_gets_its_baseline_at_the_next_start(tmp_path):
    await lived(tmp_path / "l")

    def forget(transaction, env):
        transaction.delete(b"state_noted", db=env.open_db(b"meta", txn=transaction))

    edit(tmp_path / "l", forget)
    assert (await verified(tmp_path / "l")).ok
    edit(tmp_path / "l", EDITS["approval:pending"])
    assert (await verified(tmp_path / "l")).difference.row == "approval:pending"


async def test_a_replay_reads_on_in_archived_receipts(tmp_path):
    async def run():
        await lived(tmp_path / "l")
        ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
        while ledger.head().id < 10_000:
            await asyncio.gather(*(ledger.commit(note()) for _ in range(1_000)))
        await ledger.close()
        ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
        for open_id in list(ledger._intents.open):
            await committed(ledger, outcome(open_id, reserved=70, spent=70))
        await committed(ledger, note())
        done = await ledger.archive("operator", 1_000)
        found = await ledger.verify(ledger.head(), agents=(SCOUT,))
        await ledger.close()
        return done, found

    done, found = await run()
    assert done.receipts > 0
    assert found.ok, found


def test_every_table_is_compared_or_named_as_one_that_is_not():
    compared = {"approvals", "shown", "limits", "settings", "spend", "agents", "grants"}
    follows = {"receipts", "meta", "waiting", "store"}  # the chain itself, what it begins from, an index, the tie
    never = {"claims": "request_claims", "nonces": "used_states"}
    made = set(re.findall(r"CREATE TABLE (\w+)", "".join(MIGRATIONS)))
    every = made | set(TABLES)
    assert {never.get(name, name) for name in every - compared - follows} == set(NEVER_COMPARED)
    assert set(NEVER_COMPARED) <= set(NOT_CHECKED), "the command says each in words"
