"""A listing is taken a definition at a time, and ever more seldom from a server that does not stop."""

import asyncio
import itertools

import pytest

from briefcase.adapters.servers import connection as connections
from briefcase.adapters.servers import turns as turns_of
from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.connection import Connection
from briefcase.adapters.servers.definitions import MAX_DEFINITION_BYTES, Problem, read_definition
from support.redaction import NoRedaction


class ListingPeer:
    """A session that lists what it is told to."""

    def __init__(self, *pages) -> None:
        self.capabilities = {"tools": {}}
        self.pages = list(pages)
        self.asked = 0

    async def request(self, method, params, *, timeout_ms):
        self.asked += 1
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        return {"tools": page, "nextCursor": "more"}


class Told:
    def __init__(self) -> None:
        self.listed = 0
        self.again = 0

    async def on_listed(self, connection) -> None:
        self.listed += 1
        if self.listed < self.again:
            connection._relist.set()
        else:
            connection._lost.set()


def tool(number: int) -> dict:
    return {"name": f"t{number}", "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}


def connection() -> Connection:
    return Connection(
        ServerConfig(id="demo", endpoint_url="https://example.com"), None, Told(), NoRedaction(), needs_profile=False
    )


async def test_the_definitions_of_a_listing_are_compiled_in_turns_with_everybody_else(monkeypatch):
    monkeypatch.setattr(turns_of, "TURN_S", 0)  # every definition is a turn
    monkeypatch.setattr(turns_of, "MAX_PAUSE_S", 1e-6)

    async def scenario():
        turns, done = 0, asyncio.Event()

        async def others():
            nonlocal turns
            while not done.is_set():
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await connection()._list(ListingPeer([tool(number) for number in range(200)]))
        done.set()
        await beside
        return turns

    assert await scenario() >= 200


async def test_a_server_that_lists_for_ever_is_looked_at_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(connections, "MAX_LISTED", 20)
    session, one = ListingPeer([tool(number) for number in range(15)]), connection()

    await one._list(session)

    assert session.asked == 2
    assert len(one.definitions) + len(one.problems) <= 20


def test_a_definition_past_its_size_is_refused_before_it_is_compiled(monkeypatch):
    def compiled(_):
        raise AssertionError("it was compiled")

    monkeypatch.setattr("briefcase.adapters.servers.definitions.args_check", compiled)

    read = read_definition({"name": "t", "inputSchema": {"default": "x" * MAX_DEFINITION_BYTES}})

    assert isinstance(read, Problem)


async def test_a_server_that_always_has_a_new_listing_is_listened_to_ever_more_seldom(monkeypatch):
    pauses = []

    one, sleep = connection(), asyncio.sleep
    one._events.again = 14

    async def pause(seconds):
        pauses.extend([seconds] if seconds else [])
        await sleep(0)

    monkeypatch.setattr(connections.asyncio, "sleep", pause)
    one._relist.set()
    with pytest.raises(connections.UpstreamError):
        await asyncio.wait_for(one._stay(ListingPeer([])), 10)
    assert pauses[0] == connections.RELIST_PAUSE_S
    assert all(later in {before * 2, connections.LONGEST_PAUSE_S} for before, later in itertools.pairwise(pauses))
    assert pauses[-1] == connections.LONGEST_PAUSE_S
