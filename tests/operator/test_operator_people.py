"""People are let in and sent away with their receipts, and a name is one's alone."""

import asyncio
import hashlib

import pytest

from briefcase.core.operator import people as people_admin
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.agents import AgentAdmin
from briefcase.core.operator.people import PeopleAdmin
from briefcase.core.people import People
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.types import Principal, Role
from support.agents import FakeAgents
from support.clock import FakeClock
from support.crash import Crash, crashed
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger


class Desk:
    """People and agents over one ledger; `restart` reads them again."""

    def __init__(self) -> None:
        self.clock, self.entropy, self.agents = FakeClock(), FakeEntropy(), FakeAgents()
        self.ledger = MemoryLedger(self.clock)
        self.restart()

    def restart(self) -> None:
        self.people = People(self.ledger)
        administration = Administration(self.ledger)
        self.admin = PeopleAdmin(administration, self.people, self.agents, self.clock, self.entropy)
        self.agent_admin = AgentAdmin(administration, self.agents, self.people, self.clock, self.entropy)

    async def add(self, name="ann", role="approver"):
        return await self.admin.add(name, role, "operator")

    def who(self, token: str) -> Principal | None:
        return self.people.by_token_digest(hashlib.sha256(token.encode()).digest())


@pytest.fixture
def desk():
    return Desk()


async def test_each_has_a_token_a_role_and_an_identity_that_survive_a_restart(desk):
    tokens = {role: await desk.add(name, role) for name, role in (("ann", "approver"), ("bo", "operator"))}
    before = {role: desk.who(token) for role, token in tokens.items()}
    assert [(one.name, one.role) for one in before.values()] == [("ann", Role.APPROVER), ("bo", Role.OPERATOR)]
    desk.restart()
    assert {role: desk.who(token) for role, token in tokens.items()} == before
    assert desk.who("bco_made-up") is None
    assert all(token not in str(one.event) for one in desk.ledger.chain for token in tokens.values())
    added = desk.ledger.chain[0].event
    assert (added["kind"], added["operator"], added["role"], added["by"]) == (
        "operator_added", "ann", "approver", "operator",
    )  # fmt: skip


async def test_a_revoked_token_is_refused_and_the_name_may_be_taken_by_somebody_else(desk):
    token = await desk.add()
    was = desk.who(token)
    await desk.admin.revoke("ann", "operator")
    assert desk.who(token) is None
    again = await desk.add("ann", "auditor")
    assert desk.who(again).identity != was.identity
    desk.restart()
    assert (desk.who(token), desk.who(again).role) == (None, Role.AUDITOR)
    assert desk.ledger.kinds() == ["operator_added", "operator_revoked", "operator_added"]


async def test_who_stays_keeps_the_very_principal_that_their_connections_know(desk):
    token = await desk.add()
    was = desk.who(token)
    await desk.add("bo")
    await desk.admin.revoke("bo", "operator")
    assert desk.who(token) is was


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "a\n", "é", "x" * 65, "operator", "approver", "auditor"])
async def test_a_name_that_is_not_plain_or_is_a_roles_word_is_refused(desk, name):
    with pytest.raises(CallerError) as caught:
        await desk.add(name)
    assert (caught.value.code, desk.ledger.kinds()) == ("bad_request", [])


async def test_a_name_is_one_persons_or_one_agents(desk):
    await desk.add()
    with pytest.raises(CallerError, match="exists already") as caught:
        await desk.add()
    assert caught.value.code == "conflict"
    with pytest.raises(CallerError, match="a person has the name"):
        await desk.agent_admin.add("ann", (), "operator")
    await desk.agent_admin.add("scout", (), "operator")
    with pytest.raises(CallerError, match="an agent has the name"):
        await desk.add("scout")
    assert [one.name for one in desk.people.all()] == ["ann"]
    assert [one.name for one in await desk.agents.list()] == ["scout"]


@pytest.mark.parametrize("turns", range(6))
async def test_a_person_and_an_agent_that_come_at_once_do_not_both_get_the_name(desk, monkeypatch, turns):
    insert = desk.agents.add

    async def slow(*args):
        for _ in range(3):
            await asyncio.sleep(0)
        await insert(*args)

    async def later():
        for _ in range(turns):
            await asyncio.sleep(0)
        return await desk.add("scout")

    monkeypatch.setattr(desk.agents, "add", slow)
    came = await asyncio.gather(later(), desk.agent_admin.add("scout", (), "operator"), return_exceptions=True)
    assert sorted(type(one).__name__ for one in came) == ["CallerError", "str"]
    named = [one.name for one in (*desk.people.all(), *await desk.agents.list())]
    assert named == ["scout"]


async def test_who_is_not_there_cannot_be_revoked(desk):
    with pytest.raises(CallerError) as caught:
        await desk.admin.revoke("ann", "operator")
    assert (caught.value.code, desk.ledger.kinds()) == ("not_found", [])


async def test_what_could_not_be_made_durable_lets_nobody_in_and_still_keeps_out_who_was_revoked(desk, monkeypatch):
    token = await desk.add()

    async def failing(entry):
        raise StoreError("the disk is full")

    monkeypatch.setattr(desk.ledger, "commit", failing)
    with pytest.raises(StoreError):
        await desk.add("bo")
    with pytest.raises(StoreError):
        await desk.admin.revoke("ann", "operator")
    assert ([one.name for one in desk.people.all()], desk.who(token)) == (["ann"], None)
    monkeypatch.undo()
    await desk.admin.revoke("ann", "operator")
    await desk.add("bo")
    assert desk.ledger.kinds() == ["operator_added", "operator_revoked", "operator_added"]


async def test_while_receipts_cannot_be_made_durable_nobody_is_let_in_or_sent_away(desk):
    token = await desk.add()
    desk.ledger.broken = "EIO"
    with pytest.raises(StoreError):
        await desk.add("bo")
    with pytest.raises(StoreError):
        await desk.admin.revoke("ann", "operator")
    assert desk.who(token).name == "ann"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_person_is_there_with_the_receipt_or_not_at_all(desk, monkeypatch, when):
    with crashed(monkeypatch, desk.ledger, "commit", when), pytest.raises(Crash):
        await desk.add()
    desk.restart()
    came = when == "after"
    assert ([one.name for one in desk.people.all()], desk.ledger.kinds()) == (["ann"] * came, ["operator_added"] * came)

    with crashed(monkeypatch, desk.ledger, "commit", when), pytest.raises((Crash, CallerError)):
        await desk.admin.revoke("ann", "operator")
    desk.restart()
    assert desk.people.by_name("ann") is None
    assert desk.ledger.kinds() == ["operator_added", "operator_revoked"] * came


async def test_there_is_a_bound_of_people(desk, monkeypatch):
    monkeypatch.setattr(people_admin, "MAX_PEOPLE", 1)
    await desk.add()
    await desk.admin.revoke("ann", "operator")
    with pytest.raises(CallerError, match="are kept already"):
        await desk.add("bo")
