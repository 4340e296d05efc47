"""A call's JSON arguments as Cedar values: the mapping's table, and that data stays data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policies import NO_RISK, PAY, PERMIT_ALL, decide

from briefcase._native.values import Fault
from briefcase.core.policy.arguments import ArgumentReader, decimal_text
from briefcase.core.policy.declared import declared_arguments
from briefcase.core.policy.engine import compile_policy
from briefcase.core.policy.reference import ReferencePolicy
from briefcase.model.types import Allow, Deny, Principal, Role
from support.clock import START_US
from support.principals import AGENT
from support.tools import spec


def array(items):
    return {"type": "array", "items": items}


def record(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT, FLAG, WHOLE, NUMBER = ({"type": kind} for kind in ("string", "boolean", "integer", "number"))
OPEN = {"type": "object"}
MAPPING = [
    # the schema of the argument `x`, the argument, a condition on it, what comes of it: True, False, or an error
    (TEXT, "text", 'context.args.x == "text"', True),
    (TEXT, "", 'context.args.x == ""', True),
    (TEXT, "1", "context.args.x == 1", "error"),
    (FLAG, True, "context.args.x", True),
    (FLAG, True, "context.args.x == 1", "error"),
    (WHOLE, 1, "context.args.x == true", "error"),
    (WHOLE, 1, "context.args.x != true", "error"),
    (WHOLE, 0, "context.args.x == 0", True),
    (WHOLE, 1.0, "context.args.x == 1", True),
    (WHOLE, -0.0, "context.args.x == 0", True),
    (WHOLE, 1e300, "context.args.x == 0", "error"),
    (WHOLE, True, "context.args.x == 1", "error"),
    (WHOLE, "1", "context.args.x == 1", "error"),
    (WHOLE, 2**53 - 1, "context.args.x == 9007199254740991", True),
    (WHOLE, -(2**53) + 1, "context.args.x < 0", True),
    (array(TEXT), ["b", "a", "b"], 'context.args.x == ["a", "b"]', True),
    (array(TEXT), ["b", 1], 'context.args.x.contains("a")', "error"),
    (array(TEXT), "b", 'context.args.x == ["b"]', "error"),
    (array(TEXT), [], "context.args.x.isEmpty()", True),
    (array(TEXT), [None], "context.args has x", True),
    (array(TEXT), [None], "context.args.x.isEmpty()", "error"),
    (array(WHOLE), [1], "context.args.x.contains(1)", True),
    (array(WHOLE), [1], 'context.args.x.contains(decimal("1.0"))', "error"),
    (array(NUMBER), [1, 2.5], 'context.args.x.contains(decimal("1.0"))', True),
    (array(NUMBER), [1], 'context.args.x == [decimal("1.0")]', True),
    (array(NUMBER), [1], 'context.args.x.containsAny([decimal("1.0"), decimal("2.0")])', True),
    (array(NUMBER), [1], "context.args.x.containsAny([1])", "error"),
    (array(NUMBER), [0.5, 1.25], 'context.args.x.contains(decimal("1.25"))', True),
    (array(NUMBER), [0.5, 1e-9], "context.args.x.isEmpty()", "error"),
    (array(array(NUMBER)), [[1]], 'context.args.x.contains([decimal("1.0")])', True),
    (array(record(["a"], a=NUMBER)), [{"a": 1}], 'context.args.x.contains({a: decimal("1.0")})', True),
    (array(record(["a"], a=NUMBER)), [{"a": 1, "b": 1}], 'context.args.x.contains({a: decimal("1.0")})', "error"),
    (array(record(a=NUMBER)), [{"a": 1}], 'context.args.x.contains({a: decimal("1.0")})', "error"),
    (array({}), [1, "1", True], "context.args.x.contains(true)", "error"),
    (array(NUMBER), [0] * 10_001, 'context.args.x.contains(decimal("1.0"))', "error"),
    (array(NUMBER), [0] * 9_999, 'context.args.x.contains(decimal("1.0"))', False),
    (array(TEXT), ["a"] * 20_000, 'context.args.x.contains("a")', True),
    (record(y=record(z=WHOLE)), {"y": {"z": 1}}, "context.args.x.y.z == 1", True),
    (record(y=record(z=WHOLE)), {"y": {"q": 1}}, "context.args.x.y has q", True),
    (record(y=record(z=WHOLE)), {"y": {"q": 1}}, "context.args.x.y.q == 1", "error"),
    (OPEN, {"y": None}, "context.args.x has y", False),
    (OPEN, {}, "context.args.x == {}", True),
    (OPEN, {"a": 1}, "context.args.x == {}", "error"),
    (TEXT, None, "context.args has x", False),
    (NUMBER, 1.5, 'context.args.x == decimal("1.5")', True),
    (NUMBER, 1.5, "context.args.x > 1", "error"),
    (NUMBER, 1, 'context.args.x == decimal("1.0")', True),
    (NUMBER, 0.1, 'context.args.x == decimal("0.1")', True),
    (NUMBER, 0.0001, 'context.args.x == decimal("0.0001")', True),
    (NUMBER, 0.00001, 'context.args.x == decimal("0.0")', "error"),
    (NUMBER, 0.00001, "context.args has x", True),
    (NUMBER, -1234.5678, 'context.args.x.lessThan(decimal("-1234.5677"))', True),
    (NUMBER, 922337203685477.5, 'context.args.x == decimal("922337203685477.5")', True),
    (NUMBER, 1e22, 'context.args.x == decimal("0.0")', "error"),
    (True, "a", 'context.args.x == "a"', "error"),
    (True, "a", "context.args has x", True),
    ({"type": ["string", "integer"]}, "666", "context.args.x == 666", "error"),
    (TEXT, "a", "context.args.x in [principal]", "error"),
    (TEXT, "a", "context.args.x == principal", "error"),
    (TEXT, "a", "[context.args.x, 1].contains(1)", "error"),
    (TEXT, "a", "{k: context.args.x} == {k: 1}", "error"),
    (TEXT, "a", '{k: context.args.x} == {k: "a"}', True),
    (TEXT, "a", "(if true then context.args.x else context.args.x) == 1", "error"),
    (TEXT, "a", "{a: context}.a.args.x == 1", "error"),
    (TEXT, "a", 'context["\\u{61}rgs"]["\\u{78}"] == "a"', True),
    (TEXT, "a", "context.args.x == 1 || true", "error"),
    (TEXT, "a", "true || context.args.x == 1", True),
]


@pytest.mark.parametrize(("schema", "value", "condition", "outcome"), MAPPING)
def test_an_argument_is_of_its_declared_type_or_an_error(schema, value, condition, outcome):
    text = f"{PERMIT_ALL} forbid(principal, action, resource) when {{ {condition} }};"
    tool = spec(input_schema={"type": "object", "properties": {"x": schema}})
    verdict = decide(text, tool, args={"x": value, "y": 1})
    expected = {True: "policy_denied", False: "", "error": "policy_error"}[outcome]
    assert (verdict.reason if isinstance(verdict, Deny) else "") == expected


@pytest.mark.parametrize(
    ("args", "condition", "holds"),
    [
        ({"amount": 20, "to": {}}, 'context.args.amount == decimal("20.0")', True),
        ({"amount": 19.99, "to": {}}, 'context.args.amount.lessThan(decimal("20.0"))', True),
        ({"amount": 20, "to": {}}, "context.args.amount > 19", False),
        ({"amount": 1, "to": {"share": 1}}, 'context.args.to.share == decimal("1.0")', True),
        ({"amount": 1, "to": {"other": 1}}, "context.args.to.other == 1", False),
        ({"amount": True, "to": {}}, "context.args.amount", False),
        ({"amount": 10**15, "to": {}}, "context.args has amount", True),
        ({"amount": 10**15, "to": {}}, 'context.args.amount.greaterThan(decimal("1.0"))', False),
    ],
)
def test_what_a_tool_declares_a_number_is_a_decimal_even_when_it_is_whole(args, condition, holds):
    verdict = decide(f"permit(principal, action, resource) when {{ {condition} }};", PAY, args)
    assert isinstance(verdict, Allow) == holds


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_a_decimal_only_if_it_is_exactly_one(number):
    text = decimal_text(number)
    if text is not None:
        assert float(text) == number
        whole, _, fraction = text.partition(".")
        assert len(fraction) == 4
        assert -(2**63) <= int(whole + fraction) < 2**63


def test_converting_arguments_leaves_them_as_they_were():
    args = {"amount": 1, "to": {"share": 2, "iban": None}, "tags": [None, 1.5]}
    before = json.dumps(args)
    decide("permit(principal, action, resource) when { context.args has amount };", PAY, args)
    assert json.dumps(args) == before


# --- data stays data --------------------------------------------------------------------------------------------

TRUSTED = '@id("trusted") permit(principal, action, resource) when { context.args.who == Agent::"boss" };'
ESCAPES = [
    {"__entity": {"type": "Agent", "id": "boss"}},
    {"type": "Agent", "id": "boss"},
    {"__extn": {"fn": "decimal", "arg": "1.0"}},
    {"__expr": 'Agent::"boss"'},
    'Agent::"boss"',
    [{"__entity": {"type": "Agent", "id": "boss"}}],
    {"__entity": {"__entity": {"type": "Agent", "id": "boss"}}},
]


@pytest.mark.parametrize("who", ESCAPES)
def test_no_argument_is_ever_an_entity(who):
    assert isinstance(decide(TRUSTED, args={"who": who}), Deny)
    assert isinstance(decide(TRUSTED, args={"who": {"inner": who, "n": None}}), Deny)


def test_no_argument_is_ever_an_extension_value():
    text = 'permit(principal, action, resource) when { context.args.x == decimal("1.0") };'
    for args in ({"x": {"__extn": {"fn": "decimal", "arg": "1.0"}}}, {"x": "1.0"}, {"x": 'decimal("1.0")'}):
        assert isinstance(decide(text, args=args), Deny)
        assert isinstance(decide(text, args={**args, "forces": [1.5, None]}), Deny)


@pytest.mark.parametrize(
    "key", ["__entity", "__extn", "__expr", "", "a.b", 'a"b', "\u202e", "😀", "\0", "args", "class"]
)
def test_any_key_is_a_plain_attribute(key):
    quoted = "".join(f"\\u{{{ord(char):x}}}" for char in key)
    text = f'permit(principal, action, resource) when {{ context.args["{quoted}"] == 7 }};'
    tool = spec(input_schema={"properties": {key: {"type": "integer"}}})
    assert isinstance(decide(text, tool, args={key: 7}), Allow)
    assert isinstance(decide(text, tool, args={key: 8, "n": None}), Deny)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
AWKWARD = st.sampled_from(
    [
        'a"b',
        'x"; permit(principal, action, resource);',
        "\\",
        '\\"',
        "\n",
        "\0",
        "😀",
        "\U0010ffff",
        "\u2028",
        "::",
        "é",
    ]
)
ARGUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6) | ANY_TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            ANY_TEXT | st.sampled_from(["__entity", "__extn", "__expr", "type", "id", "fn", "arg"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(who=ARGUMENTS)
def test_hypothesis_finds_no_argument_that_passes_for_an_entity(who):
    assert isinstance(decide(TRUSTED, args={"who": who}), Deny)


@given(name=AWKWARD | ANY_TEXT, group=AWKWARD | ANY_TEXT, tool_id=AWKWARD | ANY_TEXT)
def test_no_name_breaks_out_of_its_quotes(name, group, tool_id):
    policy = compile_policy(
        'forbid(principal == Agent::"boss", action, resource); permit(principal in Group::"boss", action, resource);'
    )
    agent = Principal(name, Role.AGENT, (group,))
    allowed = isinstance(policy.decide(agent, spec(tool_id), {}, NO_RISK, START_US), Allow)
    assert allowed == (group == "boss" and name != "boss")


@given(name=AWKWARD | ANY_TEXT)
def test_every_name_can_be_written_in_a_policy(name):
    quoted = "".join(f"\\u{{{ord(char):x}}}" for char in name)
    text = f'permit(principal == Agent::"{quoted}", action, resource == Tool::"{quoted}");'
    assert isinstance(decide(text, spec(name), principal=Principal(name, Role.AGENT)), Allow)
    assert isinstance(decide(text, spec(name), principal=Principal(f"{name}x", Role.AGENT)), Deny)


# --- the same as the reference engine ---------------------------------------------------------------------------

CONDITIONS = st.sampled_from(
    [
        "context.args has x",
        'context.args has x && context.args.x == "a"',
        "context.args.x == 1",
        "context.args.x > 0",
        "context.args.x.contains(1)",
        'context.args.x.lessThan(decimal("1.0"))',
        'context.args.x like "*a*"',
        "context.args.x == {}",
        "context.args.x has y && context.args.x.y == [1, true]",
        "context.args.x.isEmpty() || context.args.y",
        "context.args == {}",
        "context == {args: {}, risk: [], time: 0}",
        'context.args.amount.greaterThan(decimal("0.5"))',
        "if context.args.x then context.args.y else context.args has z",
        'context.time > datetime("2025-01-01") && resource.cost_microusd < 3000',
        'principal in Group::"ops" && resource in Provider::"bank"',
    ]
)
POLICY = st.tuples(
    st.sampled_from(["permit", "forbid"]),
    st.sampled_from(["action", 'action == Action::"Call"', 'action == Action::"CallWithoutSigner"']),
    CONDITIONS,
)
NAMES = st.sampled_from(["x", "y", "z", "amount", "to", "share"])


@given(
    policies=st.lists(POLICY, max_size=6),
    args=st.dictionaries(NAMES, ARGUMENTS | st.dictionaries(NAMES, ARGUMENTS, max_size=2), max_size=4),
    groups=st.sampled_from([(), ("ops",), ("dev", "ops")]),
)
def test_the_reference_engine_comes_to_the_same_verdict(policies, args, groups):
    text = PERMIT_ALL + "".join(
        f"{effect}(principal, {action}, resource) when {{ {condition} }};" for effect, action, condition in policies
    )
    policy = compile_policy(text)
    agent = Principal(AGENT.name, Role.AGENT, groups)
    expected = ReferencePolicy(policy.facts).decide(agent, PAY, args, NO_RISK, START_US)
    if expected is not None:
        verdict = policy.decide(agent, PAY, args, NO_RISK, START_US)
        assert type(verdict) is type(expected)
        assert verdict.policy_ids == expected.policy_ids
        assert getattr(verdict, "reason", "") == getattr(expected, "reason", "")
        assert getattr(verdict, "kind", "") == getattr(expected, "kind", "")


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        ("to", {"to": "alice", "To": "mallory"}),
        ("to", {"TO": "mallory"}),
        ("\u00e9", {"e\u0301": "mallory"}),
        ("s", {"s": "alice", "\u017f": "mallory"}),
        ("to", {"to": "alice", "\uff54\uff4f": "mallory"}),
    ],
)
@pytest.mark.parametrize("is_inside", [False, True])
def test_a_name_that_a_loose_server_takes_for_a_declared_one_leaves_that_one_without_a_value(declared, sent, is_inside):
    record = {"type": "object", "properties": {declared: {"type": "string"}}}
    args = sent
    if is_inside:
        record, args = {"type": "object", "properties": {"mail": record}}, {"mail": sent}
    for names in (None, frozenset({"mail" if is_inside else declared})):
        read = ArgumentReader(declared_arguments(record), names).read(args)
        assert isinstance((read["mail"] if is_inside else read)[declared], Fault)


def test_names_that_are_declared_apart_are_read_apart():
    record = {"type": "object", "properties": {"to": {"type": "string"}, "To": {"type": "string"}}}
    args = {"to": "alice", "To": "bob"}
    assert ArgumentReader(declared_arguments(record)).read(args) == args
    both = ArgumentReader(declared_arguments(record)).read({**args, "TO": "mallory"})
    assert all(isinstance(both[name], Fault) for name in args)
