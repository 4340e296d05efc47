"""The names a client is given, and what each stands for."""

import re

import pytest
from gateway_rig import FakeDaemon, rig
from hypothesis import given
from hypothesis import strategies as st

from briefcase.edges.gateway import names
from briefcase.edges.gateway.names import (
    NameLists,
    Names,
    given_arguments,
    given_names,
    own_arguments,
    renamed_schema,
)
from briefcase.edges.gateway.view import View

TAKEN = re.compile(r"[a-zA-Z0-9_-]{1,64}")
CATALOG = {"servers": {"fx": {"capabilities": {"tools": {}}}}, "tools": {}, "hidden": []}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (["echo"], ["echo"]),
        (["fx.look"], ["fx__look"]),
        (["fx.a.b"], ["fx__a__b"]),
        (["fx.a/b"], ["fx__a_b_eca13eed"]),
        (["fx." + "x" * 70], ["fx__" + "x" * 51 + "_cc49bd97"]),
        (["fx.a.b", "fx.a__b"], ["fx__a__b_bfd0f6cc", "fx__a__b_ebaa8d33"]),
        (["fx__look", "fx.look"], ["fx__look", "fx__look_dfe4ab7f"]),
        ([""], ["_e3b0c442"]),
    ],
)
def test_a_name_is_kept_where_it_can_be_and_else_made_by_the_rule(own, expected):
    found = given_names(own)
    assert [re.sub("_[0-9a-f]{8}$", "_#", found[name]) for name in own] == [
        re.sub("_[0-9a-f]{8}$", "_#", name) for name in expected
    ]


@given(st.lists(st.text(alphabet="ab._/é", max_size=70), max_size=12, unique=True))
def test_every_name_is_taken_by_clients_stands_for_one_tool_and_depends_on_no_order(own):
    found = given_names(own)
    assert found.keys() == set(own)
    assert len(set(found.values())) == len(own)
    assert all(TAKEN.fullmatch(name) for name in found.values())
    assert given_names(reversed(own)) == found


SCHEMA = {
    "type": "object",
    "properties": {"filter.name": {"type": "string"}, "plain": {}, "é": {}},
    "required": ["filter.name", "plain"],
}


def test_arguments_are_renamed_in_the_schema_and_back_in_the_call():
    given = given_arguments(SCHEMA)
    assert given["filter.name"] == "filter__name"
    assert set(given) == {"filter.name", "é"}
    shown = renamed_schema(SCHEMA, given)
    assert list(shown["properties"]) == ["filter__name", "plain", given["é"]]
    assert shown["required"] == ["filter__name", "plain"]
    back = {name: own for own, name in given.items()}
    assert own_arguments({"filter__name": 1, "plain": 2, "filter.name": 3, "new": 4}, back) == {
        "filter.name": 3, "plain": 2, "new": 4,
    }  # fmt: skip


@pytest.mark.parametrize("keyword", ["$ref", "allOf", "dependentRequired", "if", "patternProperties"])
def test_a_schema_that_names_its_arguments_elsewhere_keeps_them(keyword):
    assert given_arguments({**SCHEMA, keyword: {}}) == {}


def test_a_schema_without_odd_names_is_the_same_object():
    schema = {"properties": {"a": {}}}
    assert given_arguments(schema) == {}
    assert renamed_schema(schema, {}) is schema


def test_the_lists_are_bounded_together(monkeypatch):
    monkeypatch.setattr(names, "MAX_NAMES", 10)
    lists, view = NameLists(), View()
    for number in range(5):
        lists.put((b"%d" % number, None, view), Names({f"n{at}": "x" for at in range(3)}))
    assert [lists.get((b"%d" % number, None, view)) is not None for number in range(5)] == [False] * 3 + [True] * 2
    lists.put((b"4", None, view), Names({f"n{at}": "x" for at in range(100)}))
    assert lists.get((b"3", None, view)) is None
    assert lists.get((b"4", None, view)).count == 101


def daemon_with(*ids, schema=None):
    daemon = FakeDaemon(catalog=CATALOG)
    tool = daemon.tools[0]
    daemon.tools = [{**tool, "id": tool_id, "input_schema": schema or {"type": "object"}} for tool_id in ids]
    return daemon


async def test_a_call_by_the_given_name_reaches_the_tool_under_its_id_and_its_own_arguments():
    daemon = daemon_with("fx.look.at", schema=SCHEMA)
    async with rig(daemon) as gateway:
        headers = await gateway.initialize()
        _, listed = await gateway.rpc("tools/list", {}, **headers)
        (tool,) = listed[0]["result"]["tools"]
        assert tool["name"] == "fx__look__at"
        assert tool["_meta"]["briefcase"]["tool_id"] == "fx.look.at"
        call = {"name": tool["name"], "arguments": {"filter__name": "x", "plain": 1}}
        await gateway.rpc("tools/call", call, **headers)
        _, called = daemon.calls[-1]
        assert (called["tool_id"], called["args"]) == ("fx.look.at", {"filter.name": "x", "plain": 1})


@pytest.mark.parametrize("name", ["fx__look", "fx.look"])
async def test_a_client_that_never_listed_is_understood_by_either_name(name):
    daemon = daemon_with("fx.look")
    async with rig(daemon) as gateway:
        await gateway.call(name, {})
        assert [called["tool_id"] for _, called in daemon.calls] == ["fx.look"]


async def test_a_tool_that_comes_later_is_not_called_by_a_name_that_was_given_to_another():
    daemon = daemon_with("fx.look")
    async with rig(daemon) as gateway:
        headers = await gateway.initialize()
        await gateway.rpc("tools/list", {}, **headers)
        daemon.tools.append({**daemon.tools[0], "id": "fx__look"})
        await gateway.rpc("tools/call", {"name": "fx__look", "arguments": {}}, **headers)
        assert daemon.calls[-1][1]["tool_id"] == "fx.look"
        await gateway.rpc("tools/list", {}, **headers)  # from now on it is told otherwise
        await gateway.rpc("tools/call", {"name": "fx__look", "arguments": {}}, **headers)
        assert daemon.calls[-1][1]["tool_id"] == "fx__look"


async def test_a_tool_that_is_new_since_the_list_is_found_by_its_name():
    daemon = daemon_with("fx.look")
    async with rig(daemon) as gateway:
        headers = await gateway.initialize()
        await gateway.rpc("tools/list", {}, **headers)
        daemon.tools.append({**daemon.tools[0], "id": "fx.new"})
        await gateway.rpc("tools/call", {"name": "fx__new", "arguments": {}}, **headers)
        assert daemon.calls[-1][1]["tool_id"] == "fx.new"


async def test_one_servers_view_gives_names_that_are_taken_too():
    daemon = daemon_with("fx.a.b")
    async with rig(daemon) as gateway:
        _, answer = await gateway.stateless("tools/list", path="/mcp/fx")
        assert [tool["name"] for tool in answer["result"]["tools"]] == ["a__b"]
        await gateway.stateless("tools/call", {"name": "a__b", "arguments": {}}, path="/mcp/fx")
        assert daemon.calls[-1][1]["tool_id"] == "fx.a.b"


async def test_ids_are_listed_where_the_operator_wants_them():
    daemon = daemon_with("fx.look", schema=SCHEMA)
    async with rig(daemon, keeps_ids=True) as gateway:
        _, answer = await gateway.stateless("tools/list")
        (tool,) = answer["result"]["tools"]
        assert tool["name"] == "fx.look"
        assert list(tool["inputSchema"]["properties"]) == list(SCHEMA["properties"])
