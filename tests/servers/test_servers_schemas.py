"""A server's schema is tried when it is listed, compiled when it is first called, and let go of by itself."""

import asyncio
import weakref

import msgspec
import pytest

from briefcase.adapters.servers import turns as turns_of
from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.connection import Connection
from briefcase.adapters.servers.definitions import Definition, Problem, reading_definition, stored_definition
from briefcase.adapters.servers.server import Server
from briefcase.adapters.servers.starts import Starts
from briefcase.adapters.servers.stored import SERVERS_SETTING
from briefcase.adapters.servers.turns import LettingGo
from briefcase.adapters.tools import schema as schemas
from briefcase.core.pieces import finished
from support.servers import Rig, until

CONFIG = ServerConfig(id="demo", command="true")
BROKEN = {"properties": {"a": {"type": "nothing"}}}  # within every bound, and no schema


def definition(number: int, **schema: object) -> Definition:
    properties = {"a": {"type": "string", "pattern": f"^{number}$"}}
    read = finished(reading_definition({"name": f"t{number}", "inputSchema": {"properties": properties, **schema}}))
    assert isinstance(read, Definition)
    return read


def described(count: int) -> dict[str, Definition]:
    return {f"t{number}": definition(number) for number in range(count)}


def registry_with(pins: dict[str, Definition]) -> tuple[Rig, Server]:
    """A registry with one server that was accepted so, and whose connection is never opened."""
    rig = Rig(None)
    server = rig.registry._servers["demo"] = Server(CONFIG, pins, is_listed=True)
    server.connection = Connection(CONFIG, None, rig.registry, rig.redactor, Starts(1), needs_profile=False)
    rig.registry._acceptance.refresh(server)
    return rig, server


@pytest.fixture
def compiled(monkeypatch) -> list:
    """The validators that were compiled, as far as anybody still keeps them."""
    made, compile_one = [], schemas._compiled

    def noted(schema, cost):
        validator = Kept(compile_one(schema, cost))
        made.append(weakref.ref(validator))
        return validator

    monkeypatch.setattr(schemas, "_compiled", noted)
    return made


class Kept:
    """A validator that can be told to be gone."""

    def __init__(self, validator) -> None:
        self.is_valid, self.validate = validator.is_valid, validator.validate


def test_a_listing_compiles_each_schema_and_keeps_none_of_them(compiled):
    kept = described(20)
    assert len(compiled) == 20
    assert [validator() for validator in compiled] == [None] * 20
    for value in (msgspec.structs.astuple(one) for one in kept.values()):
        assert [type(part) for part in value] == [str, bytes, str, int], "what is kept is not read either"


def test_a_schema_is_compiled_at_its_first_call_and_then_kept(compiled):
    rig, _ = registry_with(described(3))
    compiled.clear()
    tool = rig.registry.resolve("demo.t1")
    assert not compiled
    assert tool.check_args({"a": "1"}) is None
    assert "does not match" in tool.check_args({"a": "2"})
    assert len(compiled) == 1
    assert compiled[0]() is not None


async def test_a_start_compiles_no_schema_of_what_was_accepted(compiled):
    rig, server = registry_with({})
    await rig.registry._acceptance._pin(server, described(20), "operator")
    rig.ledger.settings[SERVERS_SETTING] = msgspec.json.encode([CONFIG])
    compiled.clear()
    rig.new_registry()
    rig.registry.start()
    assert len(rig.registry.specs()) == 20
    assert not compiled
    await rig.registry.stop()


def test_what_is_no_schema_is_refused_when_it_is_listed():
    read = finished(reading_definition({"name": "t", "inputSchema": BROKEN}))
    assert isinstance(read, Problem)
    assert "the schema is refused" in read.problem


def test_a_schema_that_was_accepted_and_is_refused_by_now_refuses_each_call_of_it():
    stored = stored_definition(msgspec.json.encode({"name": "t", "inputSchema": BROKEN}))
    rig, _ = registry_with({"t": stored})
    for _ in range(2):
        assert "the schema is refused" in rig.registry.resolve("demo.t").check_args({"a": "1"})


@pytest.mark.parametrize("stored", [b"[]", b'{"name":"t","title":1}', b'{"name":"t","inputSchema":7}'])
def test_what_is_stored_and_is_no_definition_is_not_offered(stored):
    if stored == b"[]":
        with pytest.raises(msgspec.DecodeError):
            stored_definition(stored)
    else:
        assert isinstance(stored_definition(stored), Problem)


def test_a_definition_is_stored_and_shown_in_the_order_its_server_wrote_it():
    item = {"name": "t", "inputSchema": {"properties": {"z": {}, "a": {}}}, "annotations": {}}
    read = finished(reading_definition(item))
    assert list(read.body["inputSchema"]["properties"]) == ["z", "a"]
    assert stored_definition(read.data) == read


class Thing:
    """Something that says when it ends."""

    def __init__(self, ends) -> None:
        weakref.finalize(self, ends)


async def test_things_are_let_go_of_one_at_a_time_and_everybody_else_has_the_loop_in_between(monkeypatch):
    monkeypatch.setattr(turns_of, "TURN_S", 0)
    monkeypatch.setattr(turns_of, "MAX_PAUSE_S", 1e-6)
    turns, ended = 0, []

    def ends() -> None:
        ended.append(turns)

    going = LettingGo()
    going.add(Thing(ends) for _ in range(4))
    going.add([Thing(ends)])
    while len(ended) < 5:
        turns += 1
        await asyncio.sleep(0)
    assert len(set(ended)) == 5, "two in one turn of the loop"


async def test_tools_that_are_replaced_or_removed_are_let_go_of_and_the_others_stay(monkeypatch):
    monkeypatch.setattr(turns_of, "TURN_S", 0)
    monkeypatch.setattr(turns_of, "MAX_PAUSE_S", 1e-6)
    rig, server = registry_with(described(4))
    tools = [weakref.ref(tool) for tool in server.tools.values()]
    server.connection.definitions = {**described(2), "t2": definition(2, description="another")}
    rig.registry._acceptance.refresh(server)
    assert sorted(server.tools) == ["t0", "t1"]
    assert all(tool() is not None for tool in tools), "none is freed in the stretch that replaced them"
    await until(lambda: [tool() is not None for tool in tools] == [True, True, False, False])
    await rig.registry._close(server)
    await until(lambda: not any(tool() for tool in tools))
    await rig.registry.stop()
