"""A schema of any draft is read as its own draft has it: tables, and another implementation of each draft beside it."""

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.core.json.drafts import read_schema
from briefcase.model.errors import CallerError
from support.drafts import URIS, VALUES, documents

ORACLES = {
    3: jsonschema.Draft3Validator,
    4: jsonschema.Draft4Validator,
    6: jsonschema.Draft6Validator,
    7: jsonschema.Draft7Validator,
    2019: jsonschema.Draft201909Validator,
    2020: jsonschema.Draft202012Validator,
}
INT = {"type": "integer"}
# written, and what comes out of it beside `$schema`
REWRITTEN = {
    "an exclusive bound of draft-04": (
        {"minimum": 1, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": False},
        {"exclusiveMinimum": 1, "maximum": 5},
    ),
    "an exclusive bound without a bound": ({"exclusiveMinimum": True}, {}),
    "an exclusive bound of draft-06": ({"minimum": 1, "exclusiveMinimum": 2}, {"minimum": 1, "exclusiveMinimum": 2}),
    "required properties of draft-03": (
        {"properties": {"a": {"required": True}, "b": {"required": False}}},
        {"properties": {"a": {}, "b": {}}, "required": ["a"]},
    ),
    "required properties of two drafts": (
        {"properties": {"a": {"required": True}, "b": {}}, "required": ["b", "a"]},
        {"properties": {"a": {}, "b": {}}, "required": ["b", "a"]},
    ),
    "required where there is no property": ({"required": True, "items": {"required": True}}, {"items": {}}),
    "any type": ({"type": "any"}, {}),
    "any type among others": ({"type": ["any", "null"]}, {}),
    "schemas among the types": ({"type": ["string", INT]}, {"allOf": [{"anyOf": [{"type": "string"}, INT]}]}),
    "extends one": ({"extends": INT, "allOf": [{}]}, {"allOf": [{}, INT]}),
    "extends several": ({"extends": [INT, {"type": "any"}]}, {"allOf": [INT, {}]}),
    "disallow": (
        {"disallow": ["string", INT]},
        {"allOf": [{"not": {"allOf": [{"anyOf": [{"type": "string"}, INT]}]}}]},
    ),
    "disallow one": ({"disallow": "string"}, {"allOf": [{"not": {"type": "string"}}]}),
    "divisible by": ({"divisibleBy": 3}, {"multipleOf": 3}),
    "a dependency on one name": ({"dependencies": {"a": "b"}}, {"dependencies": {"a": ["b"]}}),
    "words below every keyword": (
        {"not": {"type": "any"}, "$defs": {"a": {"type": "any"}}, "additionalProperties": {"type": "any"}},
        {"not": {}, "$defs": {"a": {}}, "additionalProperties": {}},
    ),
    "a dialect below the root": (
        {"properties": {"a": {"$schema": "http://127.0.0.1:1/"}}},
        {"properties": {"a": {}}},
    ),
    "an anchor": (
        {"$defs": {"a/b": {"$anchor": "here", **INT}}, "$ref": "#here"},
        {"$defs": {"a/b": INT}, "$ref": "#/$defs/a~1b"},
    ),
    "an anchor of draft-06": (
        {"properties": {"a": {"$id": "#here", **INT}, "b": {"$ref": "#here"}}},
        {"properties": {"a": INT, "b": {"$ref": "#/properties/a"}}},
    ),
    "an id that is its own pointer": ({"properties": {"a": {"id": "#/properties/a"}}}, {"properties": {"a": {}}}),
    "properties called as words are": (
        {"properties": {"required": INT, "exclusiveMinimum": INT, "type": INT, "id": INT, "extends": INT}},
        {"properties": {"required": INT, "exclusiveMinimum": INT, "type": INT, "id": INT, "extends": INT}},
    ),
    "values that look like schemas": (
        {"enum": [{"type": "any"}], "const": {"required": True}, "default": {"exclusiveMinimum": True}},
        {"enum": [{"type": "any"}], "const": {"required": True}, "default": {"exclusiveMinimum": True}},
    ),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_words_of_an_older_draft_are_written_as_today(name):
    written, expected = REWRITTEN[name]
    kept = repr(written)
    found = read_schema(written)
    assert {word: value for word, value in found.items() if word != "$schema"} == expected
    assert repr(written) == kept, "what a server wrote is shown as it wrote it"


@pytest.mark.parametrize(
    ("schema", "draft"),
    [
        ({}, 2020),
        ({"$schema": "http://127.0.0.1:1/schema"}, 2020),
        ({"$schema": 7}, 2020),
        ({"$schema": "http://json-schema.org/schema#"}, 2020),
        *(({"$schema": uri}, max(draft, 7)) for draft, uri in URIS.items()),
        ({"$schema": "https://json-schema.org/draft-07/schema"}, 7),
        ({"items": [INT]}, 2019),
        ({"$schema": URIS[2020], "properties": {"a": {"items": [INT]}}}, 2019),
        ({"$schema": URIS[7], "items": [INT]}, 7),
        ({"$schema": URIS[7], "prefixItems": [INT]}, 2020),
        ({"$schema": URIS[4], "properties": {"a": {"unevaluatedProperties": False}}}, 2019),
    ],
)
def test_the_draft_is_the_one_that_is_named_unless_its_words_are_of_another(schema, draft):
    assert read_schema(schema)["$schema"].rstrip("#") == URIS[draft].rstrip("#")


def test_drafts_that_see_nothing_beside_a_reference_are_read_so():
    schema = {"properties": {"a": {"$ref": "#/definitions/n", "type": "string"}}, "definitions": {"n": INT}}
    for draft in (3, 4, 6, 7):
        assert ArgsCheck({"$schema": URIS[draft], **schema}).problem_of({"a": 1}) is None
    for draft in (2019, 2020):
        assert ArgsCheck({"$schema": URIS[draft], **schema}).problem_of({"a": 1}) is not None
    assert ArgsCheck(schema).problem_of({"a": 1}) is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}, "properties": {"c": {"$ref": "#x"}}},
        {"properties": {"a": {"$ref": "#nowhere"}}},
        {"properties": {"a": {"exclusiveMinimum": "1"}}},
        {"properties": {"a": {"type": "whatever"}}},
        {"disallow": "whatever"},
        {"items": [INT], "prefixItems": [INT]},
    ],
)
def test_what_no_draft_has_is_refused(schema):
    with pytest.raises(CallerError, match="the schema is refused"):
        ArgsCheck(schema)


@pytest.mark.parametrize("draft", URIS)
@settings(max_examples=30)
@given(data=st.data())
def test_arguments_are_what_each_drafts_own_validator_says_they_are(draft, data):
    schema, value = data.draw(documents(draft)), data.draw(VALUES)
    expected = ORACLES[draft](schema).is_valid({"x": value})
    try:
        problem = ArgsCheck(schema).problem_of({"x": value})
    except CallerError as refused:
        assert "look around" in refused.message  # noqa: PT017 - the only bound that such a schema may pass
        return
    assert (problem is None) is expected, problem


@pytest.mark.parametrize("draft", [2019, 2020])
@settings(max_examples=30)
@given(data=st.data())
def test_a_schema_that_names_no_draft_is_read_by_its_words(draft, data):
    schema = data.draw(documents(draft, dialects=st.sampled_from([None, "http://127.0.0.1:1/", URIS[2020]])))
    value = data.draw(VALUES)
    try:
        problem = ArgsCheck(schema).problem_of({"x": value})
    except CallerError as refused:
        assert "look around" in refused.message  # noqa: PT017 - as above
        return
    assert (problem is None) is ORACLES[draft](schema | {"$schema": URIS[draft]}).is_valid({"x": value}), problem
