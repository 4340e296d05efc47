"""Edits of a client's file: one thing more or less, everything else as it was, or no edit."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.edges.cli.client_edits import (
    with_first_item,
    with_member,
    with_tables,
    without_item,
    without_members,
    without_tables,
    without_text,
)
from briefcase.edges.cli.client_files import parse_commented
from briefcase.model.errors import CallerError

ZED = """// Zed settings
{
  "theme": "One Dark", // the dark one
  /* servers */
  "context_servers": {
    // mine
    "old": { "command": "old-server", "args": ["a", "}{"], },
  },
}
"""
OURS = {"command": "briefcase", "args": ["gateway"]}


def test_a_member_is_put_first_and_the_rest_stays_as_it_was():
    assert with_member(ZED, ("context_servers", "briefcase"), OURS) == ZED.replace(
        """  "context_servers": {
""",
        """  "context_servers": {
    "briefcase": {
      "command": "briefcase",
      "args": [
        "gateway"
      ]
    },
""",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '{\n  "a": {\n    "b": 1\n  }\n}\n'),
        ("{}", '{\n  "a": {\n    "b": 1\n  }\n}'),
        ('{"x": 1}', '{\n  "a": {\n    "b": 1\n  },\n  "x": 1}'),
        ('{\n\t"x": [],\n}\n', '{\n\t"a": {\n\t\t"b": 1\n\t},\n\t"x": [],\n}\n'),
        ('{\r\n    "a": {}\r\n}\r\n', '{\r\n    "a": {\r\n        "b": 1\r\n    }\r\n}\r\n'),
        ("{ // nothing\n}", '{\n  "a": {\n    "b": 1\n  } // nothing\n}'),
        ('\ufeff{"a": {"c": "}"}}', '\ufeff{"a": {\n    "b": 1,\n    "c": "}"}}'),
    ],
)
def test_objects_that_are_missing_are_made_as_the_file_is_written(text, expected):
    assert with_member(text, ("a", "b"), 1) == expected


def test_an_item_is_put_first_in_its_list():
    once = with_first_item('{"hooks": {"PreToolUse": [{"x": 1}]}}', ("hooks", "PreToolUse"), {"y": 2})
    assert json.loads(once) == {"hooks": {"PreToolUse": [{"y": 2}, {"x": 1}]}}
    assert json.loads(with_first_item("{}", ("hooks", "PreToolUse"), {"y": 2})) == {"hooks": {"PreToolUse": [{"y": 2}]}}
    assert json.loads(without_item(once, ("hooks", "PreToolUse"), {"y": 2})) == {"hooks": {"PreToolUse": [{"x": 1}]}}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": {"b": 1}}', ("a", "b")), ('{"a": 1}', ("a", "b")), ('{"a": []}', ("a", "b")), ("[]", ("a",)),
        ('{"a": 1, "a": 2}', ("b",)), ("{", ("a",)), ("{} x", ("a",)), ('{"a": NaN}', ("b",)),
    ],
)  # fmt: skip
def test_a_file_that_is_none_or_has_it_already_is_not_edited(text, path):
    with pytest.raises(CallerError):
        with_member(text, path, 1)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), st.sampled_from([None, 2, "\t"]), VALUES)
def test_what_is_put_in_can_be_taken_out_and_nothing_else_changes(document, indent, value):
    document.pop("ours", None)
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    edited = with_member(text, ("ours", "member"), value)
    assert parse_commented(edited.encode()) == document | {"ours": {"member": value}}
    assert parse_commented(without_members(edited, (), ["ours"]).encode()) == document


def test_members_are_taken_out_with_their_commas_wherever_they_stand():
    text = '{\n  "s": {\n    "a": 1, // one\n    "b": {"x": []},\n    /* last */ "c": 3\n  }\n}\n'
    for names in (["a"], ["b"], ["c"], ["a", "b"], ["b", "c"], ["a", "c"], ["a", "b", "c"]):
        left = {name: value for name, value in (("a", 1), ("b", {"x": []}), ("c", 3)) if name not in names}
        assert parse_commented(without_members(text, ("s",), names).encode()) == {"s": left}
    with pytest.raises(CallerError, match="expected `d`"):
        without_members(text, ("s",), ["d"])


CODEX = """# mine
model = "gpt-5" # the one

[mcp_servers.docs]
command = "docs"
[mcp_servers.docs.env]
KEY = "k"

# more
[mcp_servers."git hub"]
url = "https://git.example"
[tui]
theme = "x"
"""
TABLES = '[mcp_servers.briefcase]\ncommand = "briefcase"\n\n[[hooks.PreToolUse]]\nmatcher = "*"\n'


def test_tables_are_put_at_the_end_and_come_out_again():
    edited = with_tables(CODEX, TABLES)
    assert edited == f"{CODEX}\n{TABLES}"
    assert without_text(edited, TABLES) == CODEX
    assert with_tables("", TABLES) == TABLES
    assert tomllib.loads(with_tables('model = "x"', TABLES))["mcp_servers"]["briefcase"] == {"command": "briefcase"}
    hooked = with_tables('[[hooks.PreToolUse]]\nmatcher = "Bash"\n', TABLES)
    assert [one["matcher"] for one in tomllib.loads(hooked)["hooks"]["PreToolUse"]] == ["Bash", "*"]


def test_tables_are_taken_out_with_what_is_below_them():
    left = tomllib.loads(without_tables(CODEX, "mcp_servers", ["docs"]))
    assert left == {"model": "gpt-5", "mcp_servers": {"git hub": {"url": "https://git.example"}}, "tui": {"theme": "x"}}
    assert tomllib.loads(without_tables(CODEX, "mcp_servers", ["docs", "git hub"])) == {
        "model": "gpt-5", "tui": {"theme": "x"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        '[mcp_servers.briefcase]\nurl = "x"\n',
        "mcp_servers = {a = {}}\n",
        "x = \n",
        '[hooks]\nPreToolUse = [{matcher = "a"}]\n',
    ],
)
def test_a_toml_file_that_is_none_or_is_closed_to_tables_is_not_edited(text):
    with pytest.raises(CallerError):
        with_tables(text, TABLES)


def test_tables_in_a_form_that_cannot_be_cut_are_left_alone():
    for text in (
        'mcp_servers.docs = {command = "x"}\n',
        'a = """\n[mcp_servers.docs]\n"""\n[mcp_servers.docs]\nb = 1\n',
    ):
        with pytest.raises(CallerError, match="by itself"):
            without_tables(text, "mcp_servers", ["docs"])
