"""Agents: a token shown once, looked up without I/O, refused from the moment it is revoked."""

import asyncio
import hashlib
import itertools

import pytest

from briefcase.adapters.store.agents import Agents
from briefcase.adapters.store.database import Database
from briefcase.model.errors import StoreError
from briefcase.model.types import Principal, Role


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "briefcase.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def agents(database):
    return Agents(database)


TOKENS = itertools.count(1)


def digest(token):
    return hashlib.sha256(token.encode()).digest()


async def add(agents, name, groups, now_us):
    """Add one with a token of its own; gives the token."""
    token = f"bca_{next(TOKENS):040d}"
    await agents.add(name, groups, digest(token), now_us)
    return token


async def test_a_token_names_its_agent_across_restarts(agents, database):
    token = await add(agents, "scout", ("team-a", "team-b"), 7)
    expected = Principal("scout", Role.AGENT, ("team-a", "team-b"), identity="scout#1.7")
    assert agents.by_token_digest(digest(token)) == expected
    assert Agents(database).by_token_digest(digest(token)) == expected


async def test_an_unknown_token_names_nobody(agents):
    await add(agents, "scout", (), 7)
    assert agents.by_token_digest(digest("bca_guess")) is None


async def test_looking_a_token_up_touches_no_database(agents, database):
    token = await add(agents, "scout", (), 7)
    database.close()
    assert agents.by_token_digest(digest(token)).name == "scout"


async def test_neither_token_nor_its_text_is_in_the_files(agents, database, tmp_path):
    token = await add(agents, "scout", (), 7)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest(token) in kept
    assert token.encode() not in kept
    assert token.removeprefix("bca_").encode() not in kept


async def test_a_revoked_token_names_nobody_across_restarts(agents, database):
    token = await add(agents, "scout", (), 7)
    other = await add(agents, "ranger", (), 7)
    assert await agents.revoke("scout", 9) is True
    for reader in (agents, Agents(database)):
        assert reader.by_token_digest(digest(token)) is None
        assert reader.by_token_digest(digest(other)).name == "ranger"
    assert await agents.revoke("scout", 10) is False


async def test_a_revoked_name_may_be_taken_again_with_another_token(agents):
    old = await add(agents, "scout", (), 7)
    await agents.revoke("scout", 8)
    new = await add(agents, "scout", (), 9)
    assert agents.by_token_digest(digest(old)) is None
    assert agents.by_token_digest(digest(new)).name == "scout"
    assert [(a.name, a.created_us, a.revoked_us) for a in await agents.list()] == [
        ("scout", 7, 8),
        ("scout", 9, None),
    ]


async def test_a_revocation_that_overtakes_its_own_creation_wins(agents, database):
    async def race():
        adding = asyncio.create_task(add(agents, "scout", (), 7))
        await asyncio.sleep(0)
        revoked = await agents.revoke("scout", 8)
        return await adding, revoked

    token, revoked = await race()
    assert revoked is True
    assert agents.by_token_digest(digest(token)) is None
    assert Agents(database).by_token_digest(digest(token)) is None


async def test_a_revocation_that_could_not_be_stored_refuses_the_agent_all_the_same(agents, database):
    token = await add(agents, "scout", (), 7)
    database.run_now(lambda connection: connection.execute("PRAGMA query_only=ON"))
    with pytest.raises(StoreError):
        await agents.revoke("scout", 8)
    assert agents.by_token_digest(digest(token)) is None


async def test_of_many_that_add_one_name_at_once_exactly_one_gets_a_token(agents):
    async def race():
        return await asyncio.gather(*(add(agents, "scout", (), 7) for _ in range(20)), return_exceptions=True)

    answers = await race()
    assert sum(isinstance(answer, str) for answer in answers) == 1
    assert {answer.code for answer in answers if not isinstance(answer, str)} == {"conflict"}
