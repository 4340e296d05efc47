"""A listing is taken a definition at a time, and ever more seldom from a server that does not stop."""

import asyncio
import itertools
import json
import sys
from pathlib import Path

import msgspec
import pytest

from briefcase.adapters.servers import connection as connections
from briefcase.adapters.servers import turns as turns_of
from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.connection import Connection
from briefcase.adapters.servers.definitions import (
    MAX_DEFINITION_BYTES,
    Definition,
    Problem,
    reading_definition,
)
from briefcase.adapters.servers.server import Server
from briefcase.adapters.servers.starts import Starts
from briefcase.adapters.servers.stored import Pins
from briefcase.core.pieces import finished
from briefcase.model.errors import CallerError, StoreError
from support.redaction import NoRedaction
from support.servers import SECRET, Rig
from support.waiting import until

LISTING = str(Path(__file__).parents[1] / "attacks" / "listing_server.py")


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


def read_definition(item: dict) -> Definition | Problem:
    return finished(reading_definition(item))


def connection() -> Connection:
    return Connection(
        ServerConfig(id="demo", endpoint_url="https://example.com"),
        None,
        Told(),
        NoRedaction(),
        Starts(1),
        needs_profile=False,
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


class PagingPeer(ListingPeer):
    """A session that lists pages, each with the cursor it is told to give."""

    async def request(self, method, params, *, timeout_ms):
        self.asked += 1
        page, cursor = self.pages[min(self.asked, len(self.pages)) - 1]
        return {"tools": page, **({} if cursor is None else {"nextCursor": cursor})}


@pytest.mark.parametrize(
    ("cursors", "asked"),
    [
        ((None,), 1),
        (("",), 1),
        (("a", None), 2),
        (("a", "a"), 2),
        (("a", "b", "a"), 3),
        (("a", "b", "b"), 3),
        ((7,), 1),
    ],
)
async def test_a_cursor_that_does_not_move_ends_the_listing(cursors, asked):
    session, one = PagingPeer(*[([tool(number)], cursor) for number, cursor in enumerate(cursors)]), connection()
    await one._list(session)
    assert session.asked == asked
    assert sorted(one.definitions) == [f"t{number}" for number in range(asked)]
    assert one.problems == ()


async def test_a_tool_that_is_listed_twice_the_same_is_one_and_otherwise_a_problem():
    other = {**tool(1), "description": "another"}
    session, one = PagingPeer(([tool(1), tool(2)], "a"), ([tool(2), other], None)), connection()
    await one._list(session)
    assert sorted(one.definitions) == ["t1", "t2"]
    assert [problem.name for problem in one.problems] == ["t1"]


async def test_a_server_that_pages_for_ever_is_looked_at_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(connections, "MAX_LISTED", 20)
    numbers = itertools.count()
    pages = [([tool(next(numbers)) for _ in range(8)], f"c{at}") for at in range(50)]
    session, one = PagingPeer(*pages), connection()
    await one._list(session)
    assert (session.asked, len(one.definitions)) == (3, 20)


async def test_a_server_that_repeats_itself_for_ever_is_looked_at_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(connections, "MAX_LISTED", 20)
    session, one = PagingPeer(*[([tool(number) for number in range(8)], f"c{at}") for at in range(50)]), connection()
    await one._list(session)
    assert (session.asked, len(one.definitions)) == (3, 8)


def test_a_definition_past_its_size_is_refused_before_it_is_compiled(monkeypatch):
    def compiled(_):
        raise AssertionError("it was compiled")

    monkeypatch.setattr("briefcase.adapters.servers.definitions.checking_schema", compiled)

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
        await one._stay(ListingPeer([]))
    assert pauses[0] == connections.RELIST_PAUSE_S
    assert all(later in {before * 2, connections.LONGEST_PAUSE_S} for before, later in itertools.pairwise(pauses))
    assert pauses[-1] == connections.LONGEST_PAUSE_S


def pieces_of(work) -> int:
    """How often work lets the others have the loop."""
    return sum(1 for _ in work)


def definitions(count: int) -> dict[str, Definition]:
    return {f"t{number}": read_definition(tool(number)) for number in range(count)}


@pytest.mark.parametrize(
    ("properties", "least"),
    [
        ({f"p{n}": {"pattern": f"^{n}[a-z]{{1,30}}$"} for n in range(100)}, 100),
        ({f"p{n}": {} for n in range(3_000)}, 3_000 // 64),
        ({f"p{n}": {"$ref": "#/$defs/a"} for n in range(1_000)}, 1_000 // 64),
    ],
    ids=["patterns", "subschemas", "references"],
)
def test_one_definition_is_compiled_in_pieces_however_much_is_in_it(properties, least):
    schema = {"$defs": {"a": {}}, "properties": properties}

    assert pieces_of(reading_definition({"name": "t", "inputSchema": schema})) >= least


async def test_an_entry_past_its_size_is_refused_before_anything_of_it_is_searched(monkeypatch):
    monkeypatch.setattr(connections, "holds_secret", None)
    one = connection()

    await one._list(ListingPeer([{"name": "t", "more": "x" * connections.MAX_ITEM_BYTES}]))

    assert not one.definitions
    assert str(connections.MAX_ITEM_BYTES) in one.problems[0].problem


async def test_the_definitions_of_a_server_are_bounded_together(monkeypatch):
    size = read_definition(tool(1)).size_bytes
    monkeypatch.setattr(connections, "MAX_LISTING_BYTES", 3 * size)
    monkeypatch.setattr(connections, "MAX_LISTED", 5)
    one = connection()

    await one._list(ListingPeer([tool(number) for number in range(5)]))

    assert sorted(one.definitions) == ["t0", "t1", "t2"]
    assert [problem.name for problem in one.problems] == ["t3", "t4"]


def registry_with_a_server() -> tuple[Rig, object]:
    rig = Rig(None)
    server = rig.registry._servers["demo"] = Server(ServerConfig(id="demo", command="true"), {})
    return rig, server


def test_a_listing_is_encoded_for_its_pins_a_definition_at_a_time_and_searched_so():
    rig, _ = registry_with_a_server()
    sizes, redact = [], rig.redactor.redact
    rig.redactor.redact = lambda value: sizes.append(len(value)) or redact(value)
    current = definitions(50)

    work = rig.registry._stored.encoding_pins("demo", current)
    pieces = 0
    try:
        while True:
            next(work)
            pieces += 1
    except StopIteration as end:
        stored = msgspec.json.decode(end.value.value, type=Pins)

    assert pieces == 50
    assert max(sizes) < 2 * read_definition(tool(1)).size_bytes
    assert stored.is_listed
    assert {name: bytes(body) for name, body in stored.tools.items()} == {
        name: definition.data for name, definition in current.items()
    }


async def test_a_definition_that_holds_a_secret_by_now_is_not_pinned():
    rig, server = registry_with_a_server()
    current = {"t": read_definition({"name": "t", "description": SECRET})}

    with pytest.raises(CallerError, match="secret"):
        await rig.registry._acceptance._pin(server, current, "operator")

    assert not rig.ledger.settings


async def test_a_server_that_is_removed_while_its_listing_is_encoded_gets_no_pins(monkeypatch):
    monkeypatch.setattr(turns_of, "TURN_S", 0)
    monkeypatch.setattr(turns_of, "MAX_PAUSE_S", 1e-6)

    async def scenario():
        rig, server = registry_with_a_server()
        pinning = asyncio.ensure_future(rig.registry._acceptance._pin(server, definitions(50), "first_use"))
        await asyncio.sleep(0)
        await rig.registry.delete_server("demo", "operator")
        with pytest.raises(CallerError, match="no server"):
            await pinning
        return rig.ledger

    ledger = await scenario()
    assert [receipt.event["kind"] for receipt in ledger.chain] == ["mcp_server_deleted"]
    assert msgspec.json.decode(ledger.settings["mcp.pins.demo"], type=Pins) == Pins({})


async def test_a_server_whose_removal_is_being_written_gets_no_pins_after_it():
    async def scenario():
        rig, server = registry_with_a_server()
        commit, written = rig.ledger.commit, asyncio.Event()

        async def slowly(entry):
            done = await commit(entry)
            if entry.event["kind"] == "mcp_server_deleted":
                await written.wait()
            return done

        rig.ledger.commit = slowly
        removing = asyncio.ensure_future(rig.registry.delete_server("demo", "operator"))
        await asyncio.sleep(0)
        pinning = asyncio.ensure_future(rig.registry._acceptance._pin(server, definitions(2), "operator"))
        for _ in range(20):
            await asyncio.sleep(0)
        written.set()
        await removing
        with pytest.raises(CallerError, match="no server"):
            await pinning
        return rig.ledger

    ledger = await scenario()
    assert msgspec.json.decode(ledger.settings["mcp.pins.demo"], type=Pins) == Pins({})


async def test_what_a_server_lists_otherwise_cannot_be_called_while_that_is_written_or_cannot_be(tmp_path):
    listed = tmp_path / "tools.json"

    async def scenario():
        rig = Rig(None)
        listed.write_text(json.dumps([tool(1)]))
        await rig.registry.set_server("demo", {"command": sys.executable, "args": [LISTING, str(listed)]}, "operator")
        await rig.ready("demo")
        connection = rig.registry.connection("demo")
        name = rig.registry.accepted_names("demo")[0]
        commit, callable_then = rig.ledger.commit, []

        async def fails_once(entry):
            if entry.event["kind"] == "mcp_definitions_held":
                callable_then.append(rig.registry.resolve(f"demo.{name}") is not None)
                if len(callable_then) == 1:
                    raise StoreError("the disk is full")
            return await commit(entry)

        rig.ledger.commit = fails_once
        listed.write_text(json.dumps([{**tool(1), "description": "another"}]))
        connection._relist.set()
        await until(lambda: len(callable_then) == 2)
        await rig.ready("demo")
        await rig.registry.stop()
        return callable_then

    assert await scenario() == [False, False]
