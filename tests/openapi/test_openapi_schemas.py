"""A document's schemas become schemas that arguments are checked by: never stricter, and what is looser is said."""

import json

import pytest

from briefcase.adapters.openapi.importing import Choices, import_operation, operations_of, read_document
from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.core.openapi.keywords import fitting, is_exact
from briefcase.model.errors import CallerError


def imported(schema, version="3.0.3", **schemas):
    """The schema of the one argument, and the remarks."""
    content = {"application/json": {"schema": schema}}
    document = {
        "openapi": version,
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "https://desk.example"}],
        "paths": {"/a": {"post": {"requestBody": {"required": True, "content": content}}}},
        "components": {"schemas": schemas},
    }
    read = read_document(json.dumps(document).encode())
    found = import_operation(read, operations_of(read)[0], Choices())
    return found.imported.manifest["input_schema"]["properties"]["body"], found.imported.remarks


def ref(name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}"}


def items(schema, **more):
    return {"type": "array", "items": schema, **more}


REWRITTEN = [
    ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
    ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
    ({"type": ["string", "null"], "nullable": True}, {"type": ["string", "null"]}),
    ({"allOf": [{"type": "object"}], "nullable": True}, {"anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]}),
    ({"nullable": True}, {}),
    ({"minimum": 0, "exclusiveMinimum": True}, {"exclusiveMinimum": 0}),
    ({"minimum": 0, "exclusiveMinimum": False}, {"minimum": 0}),
    ({"exclusiveMaximum": 7}, {"exclusiveMaximum": 7}),
    ({"type": "array", "items": [{"type": "string"}]}, {"type": "array", "prefixItems": [{"type": "string"}]}),
    ({"maximum": 2**63 - 1, "minimum": -(2**63)}, {"maximum": 2**53 - 1, "minimum": -(2**53 - 1)}),
    ({"maximum": 9.223372036854776e18}, {"maximum": 2**53 - 1}),
    ({"exclusiveMaximum": 2**63}, {"maximum": 2**53 - 1}),
    ({"maximum": 10**300}, {"maximum": 1e300}),
    ({"maxLength": 2**63 - 1, "minLength": 1.0}, {"maxLength": 2**53 - 1, "minLength": 1}),
    ({"example": 1, "x-own": 2, "xml": {}, "discriminator": {}, "externalDocs": {}}, {}),
    ({"type": "string", "writeOnly": True, "deprecated": True}, {"type": "string"}),
    ({"type": "file"}, {"type": "string"}),
    ({"not": {"type": "string"}, "default": 3}, {"not": {"type": "string"}, "default": 3}),
    (True, True),
]


@pytest.mark.parametrize(("schema", "written"), REWRITTEN)
def test_a_schema_is_written_in_json_schemas_own_words(schema, written):
    assert imported(items(schema)) == ({"type": "array", "items": written}, ())


LOOSENED = [
    ({"type": "date"}, {}, "`type` is none of JSON Schema's"),
    ({"type": "boolean", "enum": ["true"]}, {"type": "boolean"}, "none of its choices is of its type"),
    ({"enum": [1, 2**60]}, {"enum": [1]}, "some of its choices are no exact numbers"),
    ({"required": True, "type": "string"}, {"type": "string"}, "`required` has no valid value"),
    ({"minLength": "3"}, {}, "`minLength` has no valid value"),
    ({"minimum": 2**60}, {}, "`minimum` is no bound"),
    ({"multipleOf": 2**60}, {}, "`multipleOf` is no exact number"),
    ({"pattern": "(a"}, {}, "its pattern is none that the validator takes"),
    ({"patternProperties": {"(a": {}}}, {"patternProperties": {}}, "its pattern is none that the validator takes"),
]


@pytest.mark.parametrize(("schema", "written", "said"), LOOSENED)
def test_what_cannot_be_checked_is_left_out_by_name_and_place(schema, written, said):
    found, remarks = imported(items(schema))
    assert found == {"type": "array", "items": written}
    (remark,) = remarks
    assert remark.startswith("the schema at `#/paths/~1a/post/requestBody/content/application~1json/schema/items"), (
        remark
    )
    assert said in remark


def test_a_pattern_that_may_give_up_is_left_out_beside_what_would_let_a_value_through():
    pattern = {"type": "string", "pattern": "^(?!a)"}
    assert imported(items(pattern))[0]["items"] == pattern
    found, remarks = imported(items({"oneOf": [pattern, {"type": "integer"}]}))
    assert found["items"] == {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    assert "pattern" in remarks[0]


def test_a_reference_may_be_null_beside_it():
    found, remarks = imported(items({**ref("A"), "nullable": True}), A={"type": "object"})
    assert found["items"] == {"type": ["object", "null"]}
    assert remarks == ()
    assert imported(items({**ref("A"), "minProperties": 1}), "3.1.0", A={"type": "object"})[0]["items"] == {
        "allOf": [{"type": "object"}, {"minProperties": 1}]
    }


def test_a_tree_is_checked_some_levels_deep_and_that_is_said():
    tree = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "below": items(ref("Tree"))},
    }
    found, remarks = imported(items(ref("Tree")), Tree=tree)

    check = ArgsCheck({"type": "object", "properties": {"body": found}})
    leaf = {"name": "x"}
    assert check.problem_of({"body": [{"name": "a", "below": [{"name": "b", "below": [leaf]}]}]}) is None
    assert check.problem_of({"body": [{"name": "a", "below": [{"name": "b", "below": [{}]}]}]}) is not None
    assert (
        check.problem_of({"body": [{"name": "a", "below": [{"name": "b", "below": [{**leaf, "below": [{}]}]}]}]})
        is None
    )
    assert remarks == (
        "the schema at `#/components/schemas/Tree`: it comes back to itself, and is checked 3 times over",
    )


def test_a_reference_that_is_itself_ends():
    found, remarks = imported(items(ref("Loop")), Loop=ref("Loop"))
    assert found == {"type": "array", "items": {}}
    assert "comes back to itself" in remarks[0]


def test_what_is_larger_than_a_manifest_may_be_is_checked_less_deep_and_that_is_said():
    schemas = {"a0": {"type": "string", "maxLength": 3}}
    for line in range(1, 12):
        schemas[f"a{line}"] = {"type": "object", "properties": {name: ref(f"a{line - 1}") for name in "wxyz"}}
    found, remarks = imported(items(ref("a11")), **schemas)

    assert found["items"]["properties"]["w"]["type"] == "object"
    assert "not checked" in remarks[-1]


def test_what_is_too_large_side_by_side_is_refused():
    schema = {"anyOf": [{"const": number} for number in range(3_000)]}
    with pytest.raises(CallerError, match="its schemas are too large"):
        imported(items(schema))


READ_ONLY = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {"id": {"type": "string", "readOnly": True}, "name": {"type": "string"}},
}


def test_a_property_that_only_answers_have_is_neither_asked_for_nor_offered():
    assert imported(items(READ_ONLY))[0]["items"] == {
        "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}},
    }  # fmt: skip


def test_a_read_only_property_of_one_branch_is_not_required_by_another():
    found, _ = imported(items({"allOf": [ref("A"), {"required": ["id", "more"]}]}), A=READ_ONLY)
    assert found["items"]["allOf"][1] == {"required": ["more"]}


def test_a_property_whose_schema_elsewhere_is_read_only_is_left_out():
    found, _ = imported(
        items({"type": "object", "properties": {"id": ref("Id"), "a": {}}}), Id={"type": "string", "readOnly": True}
    )
    assert found["items"] == {"type": "object", "properties": {"a": {}}}


def test_halves_of_surrogate_pairs_stay_in_the_document():
    found, remarks = imported(items({"description": "a\ud800", "enum": ["\ud800", "b"]}))
    assert found["items"] == {"description": "a?", "enum": ["b"]}
    assert len(remarks) == 1


@pytest.mark.parametrize(
    ("value", "exact"),
    [(2**53 - 1, True), (2**53, False), (-(2**53), False), (1.5, True), (1e22, False), (float("nan"), False),
     ([{"a": 2**60}], False), ({"\ud800": 1}, False), (True, True), (None, True)],
)  # fmt: skip
def test_a_value_is_exact_or_not(value, exact):
    assert is_exact(value) is exact


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (True, "boolean"), (1, "integer"), (1.0, "integer"), (1.5, "number"), ("a", "string"),
     ([], "array"), ({}, "object")],
)  # fmt: skip
def test_a_value_fits_its_type(value, kind):
    assert fitting([value], [kind])
    assert not fitting([value], ["object" if kind != "object" else "null"])
