"""Argument schemas are bounded when a tool is registered, and checked without repeating a value."""

import socket
from types import SimpleNamespace

import pytest

from briefcase.adapters.tools.schema import MAX_PROBLEM_CHARS, MAX_SCHEMA_BYTES, ArgsCheck
from briefcase.adapters.tools.schema_cost import MAX_PATTERN_CHARS, MAX_PATTERNS, MAX_SCHEMA_DEPTH, MAX_WRITTEN_OUT
from briefcase.model.errors import CallerError

STRING = {"type": "string"}


def doubling(lines: int) -> dict:
    """A schema of so many lines that is two to the power of them when it is written out."""
    definitions = {"a0": STRING}
    for line in range(1, lines):
        definitions[f"a{line}"] = {"anyOf": [{"$ref": f"#/$defs/a{line - 1}"}] * 2}
    return {"$defs": definitions, "properties": {"x": {"$ref": f"#/$defs/a{lines - 1}"}}}


def nested(keyword: str, depth: int) -> dict:
    schema = STRING
    for _ in range(depth):
        schema = {keyword: schema}
    return schema


def evaluated_again(depth: int) -> dict:
    schema = {"type": "object"}
    for _ in range(depth):
        schema = {"unevaluatedProperties": False, "allOf": [schema]}
    return schema


REFUSED = {
    "http reference": {"$ref": "http://127.0.0.1:1/schema"},
    "https reference": {"properties": {"a": {"$ref": "https://example.com/schema#/a"}}},
    "file reference": {"$ref": "file:///etc/passwd"},
    "relative reference": {"$id": "https://example.com/a", "$ref": "b"},
    "reference by no name": {"$defs": {"a": {"$anchor": "a"}}, "$ref": "#b"},
    "reference hidden below": {"allOf": [{"items": {"not": {"$ref": "http://127.0.0.1:1/"}}}]},
    "reference in an unused definition": {"$defs": {"a": {"$ref": "http://127.0.0.1:1/"}}},
    "reference that leads nowhere": {"$ref": "#/$defs/missing"},
    "reference that is no text": {"$ref": 1},
    "percent-encoded reference": {"$defs": {"a": STRING}, "$ref": "#/$defs/%61"},
    "dynamic reference": {"$dynamicRef": "#a"},
    "recursive reference": {"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "#"},
    "base moved below": {"properties": {"a": {"$id": "https://example.com/a"}}},
    "itself": {"$ref": "#"},
    "itself below": {"properties": {"next": {"$ref": "#"}}},
    "itself through a definition": {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
    "each other": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "each other, never used": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "its own parent": {"properties": {"a": {"properties": {"b": {"$ref": "#/properties/a"}}}}},
    "doubling forty times": doubling(40),
    "doubling what was evaluated": evaluated_again(30),
    "too deep": nested("not", MAX_SCHEMA_DEPTH + 1),
    "too large": {"description": "x" * MAX_SCHEMA_BYTES},
    "look-ahead below not": {"properties": {"a": {"not": {"pattern": "(?=a)b"}}}},
    "back-reference beside oneOf": {"properties": {"a": {"oneOf": [{"pattern": r"(a)\1"}]}}},
    "too many patterns": {"properties": {f"a{n}": {"pattern": f"a{n}"} for n in range(MAX_PATTERNS + 1)}},
    "too long a pattern": {"properties": {"a": {"pattern": "a" * (MAX_PATTERN_CHARS + 1)}}},
    "too long patterns together": {"properties": {f"a{n}": {"pattern": f"{n:0900}"} for n in range(10)}},
    "too large patterns together": {"properties": {f"a{n}": {"pattern": f"({n}){{900}}"} for n in range(100)}},
    "too many constants": {"oneOf": [{"const": n} for n in range(MAX_WRITTEN_OUT)]},
    "pattern of a million states": {"properties": {"a": {"pattern": "((a{1,999}){1,999}){1,999}"}}},
    "pattern in a name": {"patternProperties": {"(?<=a)b": True}},
    "no pattern": {"properties": {"a": {"pattern": "("}}},
    "no type": {"type": "objekt"},
    "no schema": {"properties": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_that_could_cost_or_reach_out_is_refused_at_registration(name, monkeypatch):
    def connect(*_):
        raise AssertionError("a schema made a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)

    with pytest.raises(CallerError) as refused:
        ArgsCheck(REFUSED[name])

    assert refused.value.code == "invalid_manifest"
    assert refused.value.message.startswith("the schema is refused: ")


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith(("its", "each other"))])
def test_recursion_is_called_by_its_name(name):
    with pytest.raises(CallerError, match="comes back to itself"):
        ArgsCheck(REFUSED[name])


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith(("http", "https", "file", "relative"))])
def test_a_reference_out_of_the_document_is_refused_before_the_validator_sees_it(name):
    with pytest.raises(CallerError, match="within the document"):
        ArgsCheck(REFUSED[name])


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": STRING}, "items": [STRING]},
        {"$id": "https://example.com/tool", "$defs": {"a": STRING}, "properties": {"x": {"$ref": "#/$defs/a"}}},
        {"properties": {"$ref": STRING, "$id": STRING, "properties": STRING}},
        {"default": {"$ref": "http://127.0.0.1:1/"}, "enum": [{"$ref": "http://127.0.0.1:1/"}], "type": "object"},
        {"$defs": {"a/b": {"~": STRING}}, "properties": {"x": {"$ref": "#/$defs/a~1b/~0"}}},
        {"allOf": [STRING, {"$ref": "#/allOf/0"}]},
        doubling(10),
    ],
)
def test_a_plain_schema_is_taken(schema):
    ArgsCheck(schema)


def test_a_catastrophic_pattern_runs_in_linear_time():
    check = ArgsCheck({"properties": {"a": {"pattern": "^(a+)+$"}}})

    assert "does not match" in check.problem_of({"a": "a" * 100_000 + "!"})


CLOSED = ArgsCheck({
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 3, "pattern": "^a"},
        "when": {"type": "string", "format": "date"},
        "list": {"type": "array", "items": {"type": "integer"}},
        "choice": {"enum": ["red", "green"]},
    },
    "required": ["text"],
    "additionalProperties": False,
})  # fmt: skip


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({}, '"text" is a required property at `/`'),
        ({"text": 5}, 'is not of type "string" at `/text`'),
        ({"text": "bcd"}, "does not match"),
        ({"text": "a", "more": 1}, "'more' was unexpected"),
        ({"text": "a", "when": "yesterday"}, 'is not a "date" at `/when`'),
        ({"text": "a", "list": [1, "2"]}, 'is not of type "integer" at `/list/1`'),
        ({"text": "a", "choice": "blue"}, '"red"'),
    ],
)
def test_a_problem_is_said_with_its_path(args, said):
    assert said in CLOSED.problem_of(args)


def test_arguments_as_the_schema_says_have_no_problem():
    assert CLOSED.problem_of({"text": "abc", "when": "2026-01-01", "list": [1], "choice": "red"}) is None


def test_a_problem_never_repeats_a_value_and_is_short_and_visible():
    secret = "tk-live-4f9a1c77"

    for args in ({"text": secret}, {"text": "a", "choice": secret}, {"text": "a", "list": [secret]}):
        assert secret not in CLOSED.problem_of(args)
    problem = CLOSED.problem_of({"text": "a", "\u202e" + "x" * 10_000: 1})
    assert "\u202e" not in problem
    assert len(problem) <= MAX_PROBLEM_CHARS


# --- what a call costs ------------------------------------------------------------------------------------------------

NUMBERS = {"items": {"type": "integer"}}
CONSTANTS = [{"const": number} for number in range(4_000)]
COSTLY = {
    "one of 4,000 constants for 170,000 numbers": ({"items": {"oneOf": CONSTANTS}}, [5] * 170_000),
    "any of them": ({"items": {"anyOf": CONSTANTS}}, [5] * 170_000),
    "a hundred schemas for each": ({"items": {"allOf": [{"type": "integer"}] * 100}}, [5] * 170_000),
    "the same, by reference": (
        {
            "items": {"allOf": [{"$ref": "#/properties/a/$defs/ten"}] * 10},
            "$defs": {"ten": {"allOf": [{"minimum": 1}] * 10}},
        },
        [5] * 170_000,
    ),
    "a hundred patterns for each name": (
        {"patternProperties": {f"^a{n}.*b$": {} for n in range(100)}},
        {f"k{n}": 0 for n in range(20_000)},
    ),
    "large constants compared with each": ({"items": {"enum": [{"a": n} for n in range(2_000)]}}, [{"a": 1}] * 10_000),
    "all different": ({"uniqueItems": True}, list(range(170_000))),
    "a program of 400 states for 400,000 characters": ({"pattern": "[ab]*a[ab]{400}c"}, "ab" * 200_000),
    "looking around in 100,000 characters": ({"pattern": "(?=.*x)y"}, "a" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTLY)
def test_arguments_that_would_take_too_long_are_refused_before_the_validator_sees_them(name):
    schema, value = COSTLY[name]
    check = ArgsCheck({"properties": {"a": schema}})

    def validate(_):
        raise AssertionError("the validator was asked")

    check._validator = type("Never", (), {"validate": staticmethod(validate)})

    assert "at most 2000000 steps" in check.problem_of({"a": value})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (NUMBERS, [5] * 170_000),
        ({"items": {"oneOf": CONSTANTS}}, [5] * 200),
        ({"type": "string", "maxLength": 1 << 20}, "x" * (1 << 20)),
        ({"pattern": "^[^!]*$"}, "x" * (1 << 20)),
        ({"items": {"enum": [f"country-{number}" for number in range(300)]}}, ["country-299"] * 20_000),
        ({"items": {"properties": {f"p{number}": {"type": "integer"} for number in range(500)}}}, [{"p1": 1}] * 20_000),
        ({"pattern": r"^(?=.*[0-9])(?=.*[a-z]).{8,64}$"}, "correct horse 1"),
        ({"pattern": r"^(a|b)\1$"}, "bb"),
    ],
)
def test_arguments_of_an_ordinary_size_are_validated(schema, value):
    assert ArgsCheck({"properties": {"a": schema}}).problem_of({"a": value}) is None


def test_a_pattern_that_reaches_its_limit_of_backtracking_does_not_match():
    check = ArgsCheck({"properties": {"a": {"pattern": r"^(a*)*\1b"}}})

    problem = check.problem_of({"a": "a" * 1_000})

    assert problem is not None
    assert problem.endswith("at `/a`")
    assert "backtracking" in problem


def test_the_patterns_of_a_schema_are_still_looked_at_where_some_look_around():
    check = ArgsCheck({"properties": {"a": {"pattern": "^(?!b)"}, "b": {"pattern": "^(a+)+$"}}})

    assert check.problem_of({"a": "a", "b": "aa"}) is None
    assert check.problem_of({"a": "b"}) is not None
    assert "does not match" in check.problem_of({"b": "a" * 2_000 + "!"})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [{"items": {"type": "null"}}] * 3}, [1] * 200_000),  # an error for each item of each branch
        ({"anyOf": [{"const": number} for number in range(2_000)]}, "a" * 400_000),  # a copy for each branch
        ({"type": "string"}, [1] * 200_000),
    ],
)
def test_what_is_wrong_with_large_arguments_is_not_told_by_copies_of_them(schema, value):
    check = ArgsCheck({"type": "object", "properties": {"p": schema}})
    validator, asked = check._validator, []
    check._validator = SimpleNamespace(is_valid=validator.is_valid, validate=asked.append)

    assert check.problem_of({"p": value}) == (
        "expected arguments as this tool's schema says, got others, too large to say where"
    )
    assert not asked

    check._validator = validator
    assert "at `/p`" in check.problem_of({"p": value[:3] if isinstance(value, list) else value[:200]})
