"""Agents are added and revoked with their receipts, and a crash in between is settled by the next start."""

import asyncio
import hashlib

import pytest

from briefcase.adapters.store.agents import Agents
from briefcase.adapters.store.database import Database
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.agents import MAX_GROUPS, AgentAdmin
from briefcase.core.people import People
from briefcase.model.errors import CallerError
from support.clock import FakeClock
from support.crash import Crash, crashed
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger


class Desk:
    """Agents in a real database; `restart` is what the next start does."""

    def __init__(self, path) -> None:
        self.clock, self.entropy = FakeClock(), FakeEntropy()
        self.ledger = MemoryLedger(self.clock)
        self.database = Database(path / "briefcase.sqlite")
        self.open()

    def open(self) -> None:
        self.agents = Agents(self.database)
        administration = Administration(self.ledger)
        self.people = People(self.ledger)
        self.admin = AgentAdmin(administration, self.agents, self.people, self.clock, self.entropy)
        self.settle = lambda: administration.settle(self.admin.settlers())

    async def add(self, name="scout", groups=()):
        return await self.admin.add(name, groups, "operator")

    async def revoke(self, name="scout"):
        await self.admin.revoke(name, "operator")

    async def restart(self) -> dict:
        self.open()
        await self.settle()
        assert not self.ledger.open_intents
        return self.ledger.chain[-1].event

    async def active(self) -> list[str]:
        return [agent.name for agent in await self.agents.active()]


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.database.close()


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "a/b", "a\n", "é", "x" * 65, 'a"', "operator", "auditor", "a\u200b", "a\x00"]
)
async def test_a_name_that_is_not_plain_or_is_reserved_is_refused(desk, name):
    with pytest.raises(CallerError) as caught:
        await desk.add(name)
    assert caught.value.code == "bad_request"
    assert (await desk.active(), desk.ledger.kinds()) == ([], [])


@pytest.mark.parametrize("groups", [("Team",), ("a b",), ("",), tuple(f"g{n}" for n in range(MAX_GROUPS + 1))])
async def test_groups_that_are_not_plain_are_refused(desk, groups):
    with pytest.raises(CallerError):
        await desk.add(groups=groups)
    assert (await desk.active(), desk.ledger.kinds()) == ([], [])


@pytest.mark.parametrize("pattern", ["Team*", "a b", "a" * 65, "a?", "[ab]", "a*\n", "é*"])
async def test_a_pattern_of_whom_it_decides_for_is_names_with_stars(desk, pattern):
    with pytest.raises(CallerError, match="agents' names"):
        await desk.admin.add("gate", (), "operator", pattern)
    assert desk.ledger.kinds() == []


async def test_whom_an_agent_decides_for_is_kept_and_in_its_receipt(desk):
    await desk.admin.add("gate", (), "operator", "team-*")
    (agent,) = await desk.agents.list()
    assert agent.decides_for == "team-*"
    assert [receipt.event["decides_for"] for receipt in desk.ledger.chain] == ["team-*", "team-*"]


async def test_an_agents_groups_are_kept_sorted_and_once(desk):
    await desk.add(groups=("team-b", "team-a", "team-b"))
    (agent,) = await desk.agents.active()
    assert agent.groups == ("team-a", "team-b")


async def test_of_many_that_add_one_name_at_once_exactly_one_gets_a_token(desk):
    async def race():
        return await asyncio.gather(
            *(desk.admin.add("scout", (), "operator") for _ in range(20)), return_exceptions=True
        )

    answers = await race()
    (token,) = [answer for answer in answers if isinstance(answer, str)]
    assert {answer.code for answer in answers if answer is not token} == {"conflict"}
    assert desk.agents.by_token_digest(hashlib.sha256(token.encode()).digest()).name == "scout"


async def test_the_intent_and_the_receipt_of_an_agent_name_its_tokens_digest_and_not_the_token(desk):
    token = await desk.add()
    intent, added = (receipt.event for receipt in desk.ledger.chain)
    digest_hex = hashlib.sha256(token.encode()).hexdigest()
    assert intent["token_digest"] == added["token_digest"] == digest_hex
    assert token not in repr(desk.ledger.chain)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_agent_whose_addition_a_crash_cut_off_is_ended_by_the_next_start(desk, monkeypatch, when):
    with crashed(monkeypatch, desk.agents, "add", when), pytest.raises(Crash):
        await desk.add()
    assert await desk.active() == (["scout"] if when == "after" else [])
    closed = await desk.restart()
    assert (closed["kind"], closed["change"], closed["error"]) == ("change_failed", "agent_added", "interrupted")
    assert await desk.active() == []
    await desk.add()
    assert await desk.active() == ["scout"]


async def test_an_addition_that_a_crash_cut_off_before_its_conflict_ends_nobody_else(desk, monkeypatch):
    token = await desk.add()
    with crashed(monkeypatch, desk.agents, "add", "before"), pytest.raises(Crash):
        await desk.add()
    await desk.restart()
    assert desk.agents.by_token_digest(hashlib.sha256(token.encode()).digest()) is not None


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_revocation_that_a_crash_cut_off_is_finished_by_the_next_start(desk, monkeypatch, when):
    await desk.add()
    with crashed(monkeypatch, desk.agents, "revoke", when), pytest.raises(Crash):
        await desk.revoke()
    closed = await desk.restart()
    assert (closed["kind"], closed["agent"], closed["by"]) == ("agent_revoked", "scout", "operator")
    assert closed["is_settled"] is True
    assert await desk.active() == []


async def test_an_intent_of_before_digests_is_closed_as_unknown(desk, monkeypatch):
    with crashed(monkeypatch, desk.agents, "add", "after"), pytest.raises(Crash):
        await desk.add()
    del desk.ledger.chain[0].event["token_digest"]
    closed = await desk.restart()
    assert (closed["kind"], closed["change"], closed["agent"]) == ("outcome_unknown", "agent_added", "scout")
