"""A policy is refused when it is set, with the place; what passes works with the tools there are."""

import subprocess
import sys

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policies import FILE_READ, PAY, PERMIT_ALL

from briefcase.core.policy import cedartypes
from briefcase.core.policy.check import (
    CHUNK_CHARS,
    DEFAULT_POLICY_TEXT,
    MAX_CONDITION_DEPTH,
    SCHEMA_TEXT,
    check_policy,
    parse_policy,
)
from briefcase.core.policy.source import MAX_NESTING, MAX_OPERATORS, MAX_POLICIES, MAX_TEXT_BYTES
from briefcase.model.errors import CallerError
from support.tools import spec


def refused(text, tools=None):
    with pytest.raises(CallerError) as caught:
        check_policy(text, tools)
    assert caught.value.code == "invalid_policy"
    assert "\ud800" not in caught.value.message
    return caught.value


SYNTAX = [
    # what, text, where, what it says
    ("a missing comma", "permit(principal, action resource);", (1, 26), "unexpected token `resource`"),
    (
        "the second policy",
        f"{PERMIT_ALL}// then\nforbid(principal, action, resource",
        (3, 35),
        "unexpected end of input",
    ),
    ("no semicolon", "permit(principal, action, resource)", (1, 36), "unexpected end of input"),
    ("an open string", 'permit(principal, action, resource) when { "x };', (1, 44), "invalid token"),
    ("a sign of no language", "permit(principal, action, resource)\n  when { # };", (2, 10), "invalid token"),
    ("an open brace", "permit(principal, action, resource)\nwhen { 1 == 2 ;", (2, 15), "unexpected token `;`"),
    ("a closing brace too many", "permit(principal, action, resource);\n}", (2, 1), "unexpected token `}`"),
    ("an unknown variable", "permit(principal, action, resource)\nwhen { foo == 1 };", (2, 8), "invalid variable: foo"),
    ("an unknown method", "permit(principal, action, resource) when { context.foo() };", (1, 52), "not a valid method"),
    (
        "an integer too large",
        "permit(principal, action, resource)\nwhen { 9223372036854775808 > 1 };",
        (2, 8),
        "too large",
    ),
    ("a bad escape", 'permit(principal, action, resource) when { "\\q" == "" };', (1, 45), "not a valid escape"),
    ("variables in disorder", "forbid(principal, resource, action);", (1, 19), "`action` must be used"),
    ("only an at sign", "@", (1, 2), "unexpected end of input"),
    (
        "an annotation given twice",
        '@id("a") @id("b") permit(principal, action, resource);',
        (1, 1),
        "duplicate annotation",
    ),
    ("a template", "\n permit(principal == ?principal, action, resource);", (2, 2), "got a template"),
    ("a name of the engine", "permit(principal, action, resource) when { __cedar::x == 1 };", (1, 44), "reserved"),
]


@pytest.mark.parametrize(("text", "place", "says"), [row[1:] for row in SYNTAX], ids=[row[0] for row in SYNTAX])
def test_what_is_no_cedar_is_refused_with_its_place(text, place, says):
    message = refused(text).message
    assert message.startswith(f"line {place[0]}, column {place[1]}: ")
    assert says in message
    _, shown, caret = message.split("\n")
    assert caret.index("^") == 2 + place[1] - 1
    assert shown[2:] == text.split("\n")[place[0] - 1]


VALIDATION = [
    ("an attribute that does not exist", "resource.foo == 1", "`foo`", "not found"),
    ("an action that does not exist", 'action == Action::"Cal"', 'Action::"Cal"', "unrecognized action"),
    ("a type that does not exist", 'resource in Tol::"x"', "Tol", "unrecognized entity type"),
    ("an attribute of an agent", 'principal.name == "x"', "name", "not found"),
    ("a context that does not exist", "context.arg == 1", "arg", "not found"),
    ("an argument without has", 'context.args.path like "/etc/*"', "args.path", "optional attribute"),
    ("an argument of two types", 'context.args has n && context.args.n > 1 && context.args.n like "x"', "", "expected"),
    ("types that do not fit", 'resource.cost_microusd > "1"', "", "expected Long but saw String"),
    ("a decimal that is none", 'decimal("x") == decimal("1.0")', '"x"', "failed to parse"),
    ("an address made of an argument", "context.args has a && ip(context.args.a).isLoopback()", "", "non-literal"),
]


@pytest.mark.parametrize(
    ("condition", "at", "says"), [row[1:] for row in VALIDATION], ids=[row[0] for row in VALIDATION]
)
def test_what_could_never_work_is_refused_with_its_policy(condition, at, says):
    text = f"{DEFAULT_POLICY_TEXT}\nforbid(principal, action, resource)\nwhen {{ {condition} }};\n"
    message = refused(text).message
    assert says in message
    line = int(message.removeprefix("line ").split(",")[0])
    assert line >= DEFAULT_POLICY_TEXT.count("\n") + 2
    if at:
        shown, caret = message.split("\n")[-2:]
        assert shown[caret.index("^") :].startswith(at.strip("`").split("::")[0])


def test_an_argument_used_without_has_comes_with_what_to_do():
    assert "context.args has" in refused('permit(principal, action, resource) when { context.args.path == "" };').hint


ANY = ""
ARGUMENTS_AND_TOOLS = [
    # what, condition, the tool in its scope, passes?
    ("a required argument of the named tool", 'context.args.path like "/tmp/*"', "file_read", True),
    ("an optional one of it, with has", "context.args has max_bytes && context.args.max_bytes < 9", "file_read", True),
    ("an optional one of it, without", "context.args.max_bytes < 9", "file_read", False),
    ("a misspelt one of it", 'context.args has pth && context.args.pth == ""', "file_read", False),
    ("a wrong type of it", "context.args.path > 3", "file_read", False),
    ("a number is a decimal", 'context.args.amount.lessThan(decimal("9.5"))', "pay", True),
    ("a number is no long", "context.args.amount < 9", "pay", False),
    ("a nested argument, with has", 'context.args.to has iban && context.args.to.iban like "DE*"', "pay", True),
    ("a nested argument, without", 'context.args.to.iban like "DE*"', "pay", False),
    ("an argument an open tool does not declare", "context.args has x && context.args.x > 1", "pay", False),
    ("whether there is one it does not declare", "context.args has x", "pay", True),
    ("a nullable argument, with has", 'context.args has memo && context.args.memo == ""', "pay", True),
    ("an array", 'context.args has tags && context.args.tags.contains("a")', "pay", True),
    ("any tool, with has", 'context.args has path && context.args.path like "*"', ANY, True),
    ("any tool, without", 'context.args.path like "*"', ANY, False),
    ("any tool, as all that declare it do not", "context.args has path && context.args.path > 3", ANY, False),
    ("any tool, where tools disagree", "context.args has n && context.args.n > 3", ANY, False),
    ("any tool, where tools disagree, the other way", 'context.args has n && context.args.n like "x"', ANY, False),
    ("any tool, whether there is what tools disagree on", "context.args has n", ANY, True),
    ("the tools of a server, where others disagree", "context.args has n && context.args.n > 3", "in:c", True),
    ("the tools of a server, as another declares it", 'context.args has n && context.args.n == "3"', "in:c", False),
    ("the tools of a server, where one is absent", "context.args has path && context.args.path == 3", "in:c", False),
    ("any tool, within what one requires", "context.args has where && context.args.where.id == 1", ANY, False),
    ("that tool, within what it requires", "context.args.where.id == 1", "a", True),
    ("a required argument that may be null", 'context.args.memo == ""', "b", False),
    ("any tool, where none declares it", "context.args has q && context.args.q.contains(3)", ANY, False),
    ("any tool, as bool", "context.args has q && !context.args.q", ANY, False),
    ("any tool, as text", 'context.args has q && context.args.q == "x"', ANY, False),
    ("an open tool, as text", 'context.args has q && context.args.q like "x*"', "pay", False),
    ("any tool, a key of any kind", 'context.args has "__entity" && context.args["__entity"] == "x"', ANY, True),
    ("a tool nobody registered", "context.args has q && context.args.q == 1", "later", False),
    ("whether a tool nobody registered has it", "context.args has q", "later", False),
    ("a tool nobody registered, without arguments", "true", "later", True),
    ("two uses that agree", "context.args has m && context.args.m == 1 && context.args.m + 1 > 2", ANY, True),
    ("one argument against another", "context.args has m && context.args.m == context.args.m", ANY, True),
    ("two arguments of two types", "context.args.path == context.args.max_bytes", "file_read", False),
    ("an inner argument nobody declares", "context.args.to has x && context.args.to.x == 1", "pay", False),
    ("an inner one in escapes", 'context.args.to has x && context["\\u{61}rgs"]["to"]["x"] == 1', "pay", False),
    ("a union of two types", 'context.args.either == "x"', "d", False),
    ("a union, where its type does not matter", "context.args has either", "d", True),
    ("all arguments as one value", "context.args == {}", ANY, False),
    ("the whole context", "context == context", ANY, False),
    ("the whole context in a record", "{a: context}.a.args has x", ANY, False),
    ("a record with an optional part", "context.args.one == {a: 1}", "d", False),
    ("a record of required parts", "context.args.one == {a: 1, b: 2}", "e", True),
    ("a record whose part nobody declares", "context.args.one == {a: 1, c: 2}", "e", False),
]  # fmt: skip
TOOLS = (
    FILE_READ,
    PAY,
    spec(
        "a",
        input_schema={
            "properties": {
                "n": {"type": "integer"},
                "where": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
            },
            "required": ["where"],
        },
    ),
    spec(
        "b",
        input_schema={
            "properties": {"n": {"type": "string"}, "memo": {"type": ["string", "null"]}},
            "required": ["n", "memo"],
        },
    ),
    spec("c.get", source="mcp:c", input_schema={"properties": {"n": {"type": "integer"}, "m": {"type": "integer"}}}),
    spec("k", input_schema={"properties": {"__entity": {"type": "string"}}}),
    spec(
        "d",
        input_schema={
            "properties": {
                "either": {"type": ["string", "integer"]},
                "one": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}},
            },
            "required": ["either", "one"],
        },
    ),
    spec(
        "e",
        input_schema={
            "properties": {
                "one": {
                    "type": "object",
                    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                    "required": ["a", "b"],
                },
            },
            "required": ["one"],
        },
    ),
)


@pytest.mark.parametrize(
    ("condition", "tool_id", "passes"),
    [row[1:] for row in ARGUMENTS_AND_TOOLS],
    ids=[row[0] for row in ARGUMENTS_AND_TOOLS],
)
def test_arguments_are_held_against_the_tools_a_policy_applies_to(condition, tool_id, passes):
    resource = f'resource == Tool::"{tool_id}"' if tool_id else "resource"
    if tool_id.startswith("in:"):
        resource = f'resource in Server::"{tool_id[3:]}"'
    text = f"{PERMIT_ALL}forbid(principal, action, {resource}) when {{ {condition} }};"
    if passes:
        check_policy(text, TOOLS)
    else:
        refused(text, TOOLS)


def test_of_several_problems_the_first_in_the_text_is_told():
    good = f"{PERMIT_ALL}permit(principal, action, resource) when {{ context.args has a && context.args.a == 1 }};\n"
    bad = "permit(principal, action, resource) when {{ context.args has {0} && context.args.{0} > resource.foo }};\n"
    assert refused(good + bad.format("z") + bad.format("b") + bad.format("a")).message.startswith("line 3, ")


def test_a_misspelt_argument_is_told_with_those_there_are():
    error = refused('permit(principal, action, resource == Tool::"file_read") when { context.args has pth };', TOOLS)
    assert "the tool has no argument `pth`" in error.message
    assert error.hint == "its arguments are `max_bytes`, `path`"


@pytest.mark.parametrize(
    "name", ['x": String }; entity Evil; type T = { "y', "\\", "}", "\n", "😀", "\0", "__cedar", ""]
)
def test_no_argument_name_breaks_out_of_the_schema(name):
    tool = spec("t", input_schema={"properties": {name: {"type": "string"}}, "required": [name]})
    kind = cedartypes.type_text(cedartypes.RecordOf(((name, cedartypes.Field("String")),)))
    assert kind.count('"') == 2
    quoted = "".join(f"\\u{{{ord(char):x}}}" for char in name)
    check_policy(f'permit(principal, action, resource == Tool::"t") when {{ context.args["{quoted}"] == "" }};', [tool])


INDEX = '["a"]'
BOUNDS = [
    ("too large", " " * (MAX_TEXT_BYTES + 1), "bytes of policy"),
    ("too large in bytes", "//" + "é" * (MAX_TEXT_BYTES // 2), "bytes of policy"),
    ("too many", "permit(principal,action,resource);" * (MAX_POLICIES + 1), "policies"),
    ("too deep", "permit(principal, action, resource) when { " + "(" * 100_000, "nested brackets"),
    ("too deep in sets", f"permit(principal, action, resource) when {{ {'[' * 5_000}{']' * 5_000} == 1 }};", "nested"),
    ("too long a chain", f"permit(principal, action, resource) when {{ {'true && ' * 20_000} true }};", "operators"),
    ("too long a path", f"permit(principal, action, resource) when {{ context{'.a' * 20_000} }};", "operators"),
    (
        "too many ifs",
        f"permit(principal, action, resource) when {{ {'if true then true else ' * 20_000} true }};",
        "operators",
    ),
    ("too many indexes", f"permit(principal, action, resource) when {{ context{INDEX * 20_000} }};", "operators"),
    ("negations", f"permit(principal, action, resource) when {{ {'!' * 1_000}true }};", "`!`"),
    ("a deep chain", f"permit(principal, action, resource) when {{ {'true && ' * 1_900} true }};", "less deep"),
    ("an unpaired surrogate", 'permit(principal, action, resource) when { "\ud800" == "" };', "surrogate"),
]


@pytest.mark.parametrize(("text", "says"), [row[1:] for row in BOUNDS], ids=[row[0] for row in BOUNDS])
def test_what_would_exhaust_the_engine_is_refused_before_it_sees_it(text, says):
    assert says in refused(text).message


@pytest.mark.parametrize(
    ("word", "in_it"),
    [("true && ", 0), ("if true then true else ", 0), ("context has amount || ", 1), ("1 == 1 || ", 1)],
)
def test_conditions_are_as_deep_as_is_said_on_every_python(word, in_it):
    depth = MAX_CONDITION_DEPTH - in_it
    nested = f"permit(principal, action, resource) when {{ {word * depth}true }};"
    assert in_a_deep_stack(lambda: check_policy(nested)).policies
    deeper = f"permit(principal, action, resource) when {{ {word * (depth + 1)}true }};"
    assert f"at most {MAX_CONDITION_DEPTH} operators" in refused(deeper).message


def in_a_deep_stack(function, frames=100):
    return in_a_deep_stack(function, frames - 1) if frames else function()


def test_what_a_string_or_a_comment_holds_counts_for_nothing():
    text = (
        f'// {"(" * 500} ;\npermit(principal, action, resource) when {{ "{"([{;" * 500}" != "//;" }}; // {"!" * 5_000}'
    )
    assert len(parse_policy(text).names) == 1


def test_the_deepest_policy_that_passes_does_not_exhaust_a_small_stack():
    """The reference engine recurses in native code: past its stack there is no exception, the process ends."""
    deep = MAX_NESTING - 1
    texts = [
        f"permit(principal, action, resource) when {{ {'(' * deep}true{')' * deep} }};",
        f"permit(principal, action, resource) when {{ {'[' * deep}1{']' * deep}.isEmpty() }};",
        f"permit(principal, action, resource) when {{ {'if true then true else ' * (MAX_OPERATORS - 8)} true }};",
        f"permit(principal, action, resource) when {{ {'true || ' * (MAX_OPERATORS - 8)} true }};",
        f"permit(principal, action, resource) when {{ context{'.a' * (MAX_OPERATORS - 8)} }};",
    ]
    script = f"""
import threading
from briefcase.model.errors import CallerError
from briefcase.core.policy.check import check_policy

def run():
    for text in {texts!r}:
        try:
            check_policy(text)
        except CallerError:
            pass

threading.stack_size(4 << 20)
thread = threading.Thread(target=run)
thread.start()
thread.join()
print("alive")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "alive\n"


IDS = [
    ("given twice", '@id("a") permit(principal, action, resource);\n@id("a") permit(principal, action, resource);', 2),
    (
        "of another's place",
        '@id("policy1") permit(principal, action, resource);\npermit(principal, action, resource);',
        1,
    ),
    ("empty", '\n@id("") permit(principal, action, resource);', 2),
    ("without a value", "\n@id permit(principal, action, resource);", 2),
    ("invisible", '@id("a\u202eb") permit(principal, action, resource);', 1),
    ("too long", f'@id("{"a" * 201}") permit(principal, action, resource);', 1),
]


@pytest.mark.parametrize(("text", "line"), [row[1:] for row in IDS], ids=[row[0] for row in IDS])
def test_an_id_that_would_not_tell_policies_apart_is_refused(text, line):
    error = refused(text)
    assert error.message.startswith(f"line {line}, column ")
    assert "id" in error.message


@pytest.mark.parametrize("reason", ["", "a\u202eb", "x" * 301, "budget_exceeded"])
def test_a_reason_that_would_mislead_is_refused(reason):
    assert "reason" in refused(f'@reason("{reason}") permit(principal, action, resource);').message


@pytest.mark.parametrize("text", ["", " \n", "// nothing\n", "permit(principal, action, resource);;"])
def test_an_empty_text_is_a_policy_that_permits_nothing(text):
    if ";;" in text:
        refused(text)
    else:
        assert check_policy(text).names == ()


def test_the_shipped_schema_is_one():
    assert cedarpy.validate_policies(DEFAULT_POLICY_TEXT, SCHEMA_TEXT).validation_passed


def test_ten_thousand_policies_are_checked_and_compiled():
    text = "".join(
        f'@id("p{n}") permit(principal == Agent::"a{n % 50}", action, resource == Tool::"t{n % 200}");\n'
        for n in range(MAX_POLICIES)
    )
    assert len(check_policy(text).names) == MAX_POLICIES


SNIPPETS = st.sampled_from(
    [
        "(",
        ")",
        "{",
        "}",
        '"',
        ";",
        "when",
        "context.args.x",
        "@id",
        "::",
        "//",
        "\\",
        "if",
        "é",
        "\0",
        "😀",
        "has",
        "?principal",
    ]
)


@given(
    cuts=st.lists(st.tuples(st.integers(0, len(DEFAULT_POLICY_TEXT)), st.integers(0, 12), SNIPPETS), max_size=4),
)
def test_a_damaged_policy_is_accepted_or_refused_with_a_place_in_it(cuts):
    text = DEFAULT_POLICY_TEXT
    for start, length, inserted in cuts:
        text = text[:start] + inserted + text[start + length :]
    refusal = refusal_of(text)
    if refusal is not None:
        assert refusal.code == "invalid_policy"
        line, column = map(int, refusal.message.removeprefix("line ").split(":")[0].split(", column "))
        assert 1 <= line <= text.count("\n") + 1
        assert 1 <= column <= len(text.split("\n")[line - 1]) + 1


def refusal_of(text):
    try:
        check_policy(text, TOOLS)
    except CallerError as error:
        return error
    return None


def test_the_reference_parser_gets_small_pieces_because_nothing_else_runs_meanwhile(monkeypatch):
    parse, sizes = cedarpy.policies_to_json_str, []

    def measured(text):
        sizes.append(len(text))
        return parse(text)

    monkeypatch.setattr(cedarpy, "policies_to_json_str", measured)
    text = "".join(f'@id("p{number}") permit(principal, action, resource);\n// and\n' for number in range(1_000))
    assert parse_policy(text).names == tuple(f"p{number}" for number in range(1_000))
    assert max(sizes) < 2 * CHUNK_CHARS


@pytest.mark.parametrize(
    ("scope", "says", "hint"),
    [
        (
            'principal, action == Action::"call_tool", resource',
            'unrecognized action `Action::"call_tool"`',
            "CallWithoutA",
        ),
        (
            'principal, action in [Action::"Call", Action::"all"], resource',
            'unrecognized action `Action::"all"`',
            "Call",
        ),
        ('principal, action, resource in Servers::"github"', "unrecognized entity type `Servers`", "`Server`"),
        ("principal is Agnet, action, resource", "unrecognized entity type `Agnet`", "`Agent`"),
        ("principal is Tool, action, resource", "unable to find an applicable action", "a principal is an `Agent`"),
    ],
)
def test_a_scope_with_an_unknown_name_is_refused_by_the_name_and_told_the_known_ones(scope, says, hint):
    with pytest.raises(CallerError) as refused:
        check_policy(f"permit ({scope});")
    assert says in refused.value.message
    assert hint in refused.value.hint
