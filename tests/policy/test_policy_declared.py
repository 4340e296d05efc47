"""One reading of a schema: what it declares, and that no admitted value is ever read as something else."""

import json
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import NO_RISK, PERMIT_ALL

from briefcase._native.values import Fault, Record, SetValue
from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.core.policy import declared as module
from briefcase.core.policy.arguments import ArgumentReader
from briefcase.core.policy.cedartypes import RecordOf, SetOf, quoted, type_of_field, type_text
from briefcase.core.policy.check import check_policy
from briefcase.core.policy.declared import declared_arguments
from briefcase.core.policy.engine import compile_policy
from briefcase.core.policy.preview import Preview, preview_tools
from briefcase.core.policy.reference import ReferencePolicy
from briefcase.model.errors import CallerError
from briefcase.model.types import Allow, Deny
from support import drafts
from support.clock import START_US
from support.principals import AGENT
from support.tools import spec

N, S, B, I = ({"type": kind} for kind in ("number", "string", "boolean", "integer"))  # noqa: E741 - the table's words
DEFINITIONS = {
    "n": N,
    "o": {"type": "object", "properties": {"a": N}, "required": ["a"]},
    "to_n": {"$ref": "#/$defs/n"},
    "round": {"anyOf": [{"$ref": "#/$defs/round"}, N]},
}
REQUIRED_A = {"type": "object", "properties": {"a": I}, "required": ["a"]}
DECLARED = [
    # the schema of a required argument, its type as schema text (None: nobody declares one), whether it stays required
    (S, "String", True),
    (B, "Bool", True),
    (I, "Long", True),
    (N, "decimal", True),
    ({"type": ["integer", "number"]}, "decimal", True),
    ({"type": ["string", "null"]}, "String", False),
    ({"type": ["string", "integer"]}, None, False),
    ({"type": "null"}, None, False),
    ({}, None, False),
    (True, None, False),
    (False, None, False),
    ({"const": "a"}, "String", True),
    ({"const": 1}, "Long", True),
    ({"const": 1.0}, "Long", True),
    ({"const": 1.5}, "decimal", True),
    ({"const": [1, 2]}, "Set<Long>", True),
    ({"const": {"a": 1}}, '{"a": Long}', True),
    ({"enum": ["a", "b"]}, "String", True),
    ({"enum": [1, 2.5]}, "decimal", True),
    ({"enum": ["a", None]}, "String", False),
    ({"enum": ["a", 1]}, None, False),
    ({"enum": []}, None, False),
    ({**N, "enum": [1, 2]}, "decimal", True),
    ({"type": ["string", "null"], "enum": ["a"]}, "String", True),
    ({"type": "array", "items": N}, "Set<decimal>", True),
    ({"type": "array"}, None, False),
    ({"type": "array", "prefixItems": [N, I]}, "Set<decimal>", True),
    ({"type": "array", "prefixItems": [N, S]}, None, False),
    ({"type": "array", "prefixItems": [N], "items": False}, "Set<decimal>", True),
    ({"type": "array", "items": [N, N], "additionalItems": S}, None, False),
    ({"type": "array", "items": {"anyOf": [N, S]}}, None, False),
    ({"type": "array", "items": {"type": "array", "items": B}}, "Set<Set<Bool>>", True),
    ({"type": "array", "items": {"$ref": "#/$defs/o"}}, 'Set<{"a": decimal}>', True),
    ({"type": "object"}, "{}", True),
    (REQUIRED_A, '{"a": Long}', True),
    ({"properties": {"a": I}}, '{"a"?: Long}', False),
    ({"type": "object", "properties": {"a": True}}, "{}", True),
    ({"$ref": "#/$defs/n"}, "decimal", True),
    ({"$ref": "#/$defs/to_n"}, "decimal", True),
    ({"$ref": "#/$defs/o"}, '{"a": decimal}', True),
    ({"$ref": "#/$defs/round"}, None, False),
    ({"$ref": "#/$defs/nowhere"}, None, False),
    ({"$ref": "https://example.com/x"}, None, False),
    ({"allOf": [N]}, "decimal", True),
    ({"allOf": [N, I]}, "Long", True),
    ({"allOf": [N, S]}, None, False),
    ({"allOf": [N, {"minimum": 3}]}, "decimal", True),
    ({"allOf": [{"$ref": "#/$defs/o"}, {"properties": {"b": S}}]}, '{"a": decimal, "b"?: String}', True),
    ({"anyOf": [N, {"type": "null"}]}, "decimal", False),
    ({"anyOf": [S, N]}, None, False),
    ({"anyOf": [S, {}]}, None, False),
    ({"oneOf": [REQUIRED_A]}, '{"a": Long}', True),
    ({"oneOf": [REQUIRED_A, {"type": "object", "properties": {"b": S}}]}, '{"a"?: Long, "b"?: String}', True),
    ({"oneOf": [REQUIRED_A, {"type": "object", "properties": {"a": S}}]}, "{}", True),
    ({**REQUIRED_A, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, '{"a": Long}', True),
    ({"not": S}, None, False),
    ({"if": S, "then": S, "else": N}, None, False),
]  # fmt: skip


def tool_with(schema):
    return spec(
        "t",
        input_schema={"type": "object", "properties": {"x": schema}, "required": ["x"], "$defs": DEFINITIONS},
    )


@pytest.mark.parametrize(("schema", "text", "required"), DECLARED, ids=[json.dumps(row[0])[:60] for row in DECLARED])
def test_a_schema_declares_one_type_or_none(schema, text, required):
    ((_, field),) = declared_arguments(tool_with(schema).input_schema).fields
    assert (None if field.type is None else type_text(field.type)) == text
    assert text is None or field.required == required


@pytest.mark.parametrize(
    ("schema", "other"),
    [
        ({"additionalProperties": N}, "decimal"),
        ({"unevaluatedProperties": N}, "decimal"),
        ({"patternProperties": {"^a": S}}, "String"),
        ({"patternProperties": {"^a": S, "^b": N}}, None),
        ({"patternProperties": {"^a": S}, "additionalProperties": False}, "String"),
        ({"additionalProperties": True}, None),
        ({"additionalProperties": False}, None),
        ({"allOf": [{"type": "object", "additionalProperties": S}]}, "String"),
    ],
)
def test_names_that_are_not_declared_have_the_type_of_the_rest(schema, other):
    kind = type_of_field(declared_arguments({"type": "object", "properties": {"x": I}, **schema}), "y")
    assert (None if kind is None else type_text(kind)) == other


def test_a_schema_that_would_take_long_to_read_declares_nothing():
    wide = {"type": "object", "properties": {f"p{number}": S for number in range(2_000)}}
    options = [{"type": "object", "properties": {f"q{number}_{n}": S for n in range(20)}} for number in range(1_000)]
    for schema in ({"$defs": {"w": wide}, "allOf": [wide] * 50}, {"properties": {"x": {"anyOf": options}}}):
        assert declared_arguments(schema) == RecordOf()


OF_DRAFTS = [
    # the schema of an argument, what names its draft, its type as schema text, whether it is required
    ({"extends": S}, None, "String", False),
    ({"type": ["integer", {"type": "integer"}]}, None, "Long", False),
    ({"type": "integer", "required": True}, None, "Long", True),
    ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, drafts.URIS[4], "decimal", False),
    ({"$ref": "#/$defs/n", "type": "string"}, drafts.URIS[7], "decimal", False),
    ({"$ref": "#/$defs/n", "type": "string"}, None, None, False),
]


@pytest.mark.parametrize(("schema", "named", "text", "required"), OF_DRAFTS)
def test_words_of_older_drafts_declare_what_the_check_of_arguments_holds_them_against(schema, named, text, required):
    document = {"properties": {"x": schema}, "$defs": DEFINITIONS, **({} if named is None else {"$schema": named})}
    ((_, field),) = declared_arguments(document).fields
    assert (None if field.type is None else type_text(field.type), field.required) == (text, required)


# --- the property -----------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, 666, -1, 1.0, 1.5, 666.0, 1e-7, 2**53 - 1, 1e300])
    | st.sampled_from(["", "a", "b", "666"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def combined(inner):
    """Schemas made of schemas."""
    return (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda parts: {"type": "array", "prefixItems": parts}, st.lists(inner, min_size=1, max_size=2))
        | st.builds(
            lambda properties, required, extra: {
                "type": "object",
                "properties": properties,
                "required": required,
                **({} if extra is None else {"additionalProperties": extra}),
            },
            st.dictionaries(NAMES, inner, max_size=3),
            st.lists(NAMES, max_size=2, unique=True),
            st.none() | inner,
        )
        | st.builds(lambda part: {"patternProperties": {"^a": part}}, inner)
        | st.builds(
            lambda word, parts: {word: parts},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        )
        | st.builds(lambda part, also: {"allOf": [part], "anyOf": [also, {}]}, inner, inner)
        | st.builds(lambda part: {"not": part}, inner)
        | st.builds(lambda one, two, three: {"if": one, "then": two, "else": three}, inner, inner, inner)
    )


KINDS = st.sampled_from(["string", "integer", "number", "boolean", "null", "object", "array"])
SCHEMAS = st.recursive(
    st.booleans()
    | st.builds(lambda kind: {"type": kind}, KINDS)
    | st.builds(lambda kinds: {"type": kinds}, st.lists(KINDS, min_size=1, max_size=2, unique=True))
    | st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=2))
    | st.builds(lambda value: {"const": value}, VALUES)
    | st.sampled_from([{"$ref": f"#/$defs/{name}"} for name in ("n", "o", "to_n")]),
    combined,
    max_leaves=6,
)


def is_of(value, kind):
    """Whether a value of the engine is one of a Cedar type, or an error; told by another rule than the reader's."""
    if isinstance(value, Fault):
        return True
    if isinstance(kind, SetOf):
        return isinstance(value, list | SetValue) and all(is_of(part, kind.element) for part in value)
    if isinstance(kind, RecordOf):
        return isinstance(value, dict | Record) and all(
            is_of(part, type_of_field(kind, name)) for name, part in value.items()
        )
    return {"String": "str", "Bool": "bool", "Long": "int", "decimal": "Decimal"}.get(kind) == type(value).__name__


def literals_of(value):
    """A JSON value as Cedar literals, in every way somebody could write them."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, int | float):
        whole = [str(int(value))] if value == int(value) and abs(value) < 2**63 else []
        short = f"{value:.4f}" if abs(value) < 1e14 else ""
        return whole + ([f'decimal("{short}")'] if short and float(short) == value else [])
    if isinstance(value, str):
        return [quoted(value)]
    if isinstance(value, list):
        sides = [literals_of(part) for part in value]
        return (
            [f"[{', '.join(side[-1] for side in sides)}]", f"[{', '.join(side[0] for side in sides)}]"]
            if all(sides)
            else []
        )
    if isinstance(value, dict):
        sides = {name: literals_of(part) for name, part in value.items() if part is not None}
        if not all(sides.values()):
            return []
        return [f"{{{', '.join(f'{name}: {side[place]}' for name, side in sides.items())}}}" for place in (0, -1)]
    return []


@settings(max_examples=300)
@given(schema=SCHEMAS, value=VALUES)
def test_every_admitted_value_is_of_the_declared_type_or_an_error(schema, value):
    tool = tool_with(schema)
    kind = type_of_field(declared_arguments(tool.input_schema), "x")
    for names in (frozenset({"x"}), None):
        read = ArgumentReader(declared_arguments(tool.input_schema), names).read({"x": value}).get("x")
        assert value is None or is_of(read, kind)


@settings(max_examples=400)
@given(schema=SCHEMAS, value=VALUES, also=VALUES)
def test_no_forbid_on_an_admitted_value_is_silently_false(schema, value, also):
    """Whatever spelling of the value a policy compares with: it fires, or the decision is an error."""
    check_forbids_fire(tool_with(schema), {"x": value, "y": also})


@pytest.mark.parametrize("draft", drafts.URIS)
@settings(max_examples=30)
@given(data=st.data())
def test_the_policy_reads_a_schema_of_any_draft_as_the_check_of_arguments_does(draft, data):
    """Named, unnamed or misnamed: a value is of the declared type or an error, and no `forbid` on it stays silent."""
    named = st.sampled_from([drafts.URIS[draft], None, "http://127.0.0.1:1/", *drafts.URIS.values()])
    tool = msgspec.structs.replace(spec("t"), input_schema=data.draw(drafts.documents(draft, dialects=named)))
    value = data.draw(drafts.VALUES)
    declared = declared_arguments(tool.input_schema)
    read = ArgumentReader(declared, None).read({"x": value}).get("x")
    assert value is None or is_of(read, type_of_field(declared, "x"))
    check_forbids_fire(tool, {"x": value})


def check_forbids_fire(tool, args):
    """Hold every comparison that is true of an admitted value against the two engines."""
    value = args["x"]
    try:
        check = ArgsCheck(tool.input_schema)
    except CallerError:
        return
    if check.problem_of(args) is not None or value is None:
        return
    conditions = [f"context.args.x == {literal}" for literal in literals_of(value)]
    conditions += [f"!(context.args.x != {literal})" for literal in literals_of(value)]
    if isinstance(value, list):
        for part in value:
            conditions += [f"context.args.x.contains({literal})" for literal in literals_of(part)]
            conditions += [f"context.args.x.containsAny([{literal}])" for literal in literals_of(part)]
    if isinstance(value, dict):
        for name, part in value.items():
            conditions += [f'context.args.x["{name}"] == {literal}' for literal in literals_of(part)]
    for condition in conditions:
        text = f'{PERMIT_ALL}forbid(principal, action, resource == Tool::"t") when {{ {condition} }};'
        policy = compile_policy(text)
        verdict = policy.decide(AGENT, tool, args, NO_RISK, START_US)
        assert isinstance(verdict, Deny), condition
        reference = ReferencePolicy(policy.facts).decide(AGENT, tool, args, NO_RISK, START_US)
        assert reference is None or reference.reason == verdict.reason


TYPED = [  # a Cedar type, a schema that declares it, and what an agent might send
    (S, ["a", "b", "", 1, ["a"], None]),
    (I, [0, 1, 1.0, 2**53 - 1, "1", True]),
    (N, [0, 1.5, 666, 1e-7, "1"]),
    ({"type": "array", "items": N}, [[], [1], [1.5, 1], ["1"], 1]),
    (DEFINITIONS["o"], [{"a": 1}, {"a": 1.5, "b": 1}, {}, []]),
]
COMPARED = [
    'context.args.x == "a"', "context.args.x == 1", 'context.args.x == decimal("1.0")', "context.args.x != 1",
    'context.args.x.contains(decimal("1.0"))', "context.args.x.contains(1)", 'context.args.x == [decimal("1.0")]',
    'context.args.x.a == decimal("1.0")', 'context.args.x == {a: decimal("1.0")}', 'context.args.x like "a*"',
    "context.args.x > 0", 'context.args.x.lessThan(decimal("3.0"))', "context.args has x && context.args.x has b",
]  # fmt: skip


@pytest.mark.parametrize("condition", COMPARED)
@pytest.mark.parametrize(("schema", "values"), TYPED, ids=["String", "Long", "decimal", "Set", "record"])
def test_the_reference_engine_reads_the_same_values(schema, values, condition):
    tool = tool_with(schema)
    policy = compile_policy(f"{PERMIT_ALL}forbid(principal, action, resource) when {{ {condition} }};")
    for value in values:
        verdict = policy.decide(AGENT, tool, {"x": value, "other": 1}, NO_RISK, START_US)
        reference = ReferencePolicy(policy.facts).decide(AGENT, tool, {"x": value, "other": 1}, NO_RISK, START_US)
        if reference is not None:
            assert (type(verdict), verdict.policy_ids) == (type(reference), reference.policy_ids)
            assert getattr(verdict, "reason", None) == getattr(reference, "reason", None)


# --- tools that change ------------------------------------------------------------------------------------------


def test_a_policy_that_was_set_before_the_tool_was_as_it_is_now_errs():
    text = f"{PERMIT_ALL}forbid(principal, action, resource) when {{ context.args has n && context.args.n == 5 }};"
    whole, texts = (spec("t", input_schema={"properties": {"n": kind}}) for kind in (I, S))
    check_policy(text, [whole])
    policy = compile_policy(text)

    def reason(tool, args):
        return getattr(policy.decide(AGENT, tool, args, NO_RISK, START_US), "reason", "allowed")

    assert [reason(whole, {"n": 5}), reason(whole, {"n": 6})] == ["policy_denied", "allowed"]
    assert [reason(texts, {"n": "5"}), reason(texts, {"n": "6"})] == ["policy_error", "policy_error"]
    assert reason(texts, {}) == "allowed"
    with pytest.raises(CallerError, match="differently"):
        check_policy(text, [whole, spec("u", input_schema=texts.input_schema)])


def test_a_refused_argument_is_told_with_its_place_and_its_tool():
    text = f'{PERMIT_ALL}forbid(principal, action, resource == Tool::"t")\nwhen {{ context.args.x == "admin" }};'
    with pytest.raises(CallerError) as caught:
        check_policy(text, [tool_with({})])
    assert caught.value.message.startswith("line 3, column 16: no type is declared for the argument `x`")
    assert "`t`" in caught.value.message
    escaped = text.replace("context.args.x", 'context["args"]["\\u{78}"]')
    with pytest.raises(CallerError, match=r"line 3, column 24: no type is declared for the argument `x`"):
        check_policy(escaped, [tool_with({})])


# --- what is read is read off the tree --------------------------------------------------------------------------

AT_NOON = START_US - START_US % 86_400_000_000 + 43_200_000_000
READ = [
    # a condition that holds, and what of the context it reads
    ('context["t\\u{69}me"] > datetime("1970-01-02")', (True, False)),
    ('context["\\u{74}ime"].toTime() == duration("12h")', (True, False)),
    ('context has "t\\u{69}me"', (True, False)),
    ("context has time", (True, False)),
    ('context["a\\u{72}gs"]["n"] == 5', (False, True)),
    ('context has "\\u{61}rgs" && context.args has "\\u{6e}"', (False, True)),
    ("context has args.n", (False, True)),
    ('{c: context}.c.time > datetime("1970-01-02")', (True, True)),
    ('(if true then context else context)["t\\u{69}me"] > datetime("1970-01-02")', (True, True)),
    ('principal == Agent::"scout" // context.args.time', (False, False)),
    ('principal != Agent::"context.args.time"', (False, False)),
    ("context.risk.isEmpty()", (False, False)),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "reads"), READ)
def test_what_a_policy_reads_is_read_off_the_tree(condition, reads):
    policy = compile_policy(f"permit(principal, action, resource) when {{ {condition}\n }};")
    tool = spec(input_schema={"properties": {"n": I}})
    assert (policy.facts.reads.time, policy.facts.reads.args) == reads
    assert isinstance(policy.decide(AGENT, tool, {"n": 5}, NO_RISK, AT_NOON), Allow)


@pytest.mark.parametrize(
    ("condition", "hidden", "asking"),
    [
        ('context["\\u{61}rgs"]["n"] == 5', (), ()),  # what it comes to cannot be said without arguments
        ('principal == Agent::"args"', ("echo",), ()),
    ],
)
def test_what_a_listing_hides_is_told_by_the_tree_too(condition, hidden, asking):
    policy = compile_policy(f"permit(principal, action, resource) when {{ {condition} }};")
    assert preview_tools(policy, AGENT, [spec()], START_US) == Preview(hidden, asking)


def test_ten_thousand_numbers_are_the_most_that_a_call_converts():
    reader = ArgumentReader(declared_arguments({"properties": {"x": {"type": "array", "items": N}}}), frozenset({"x"}))
    started = time.process_time()
    assert isinstance(reader.read({"x": [0.5] * 200_000})["x"], Fault)
    assert time.process_time() - started < 1  # no converting: a bound on work, with room for a loaded machine
    assert module.MAX_STEPS <= 10_000
