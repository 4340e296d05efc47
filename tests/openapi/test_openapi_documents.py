"""JSON and YAML documents are read as one value; what two readers could take differently is refused with its place."""

import json

import pytest

from briefcase.adapters.openapi.documents import read_document, read_json
from briefcase.adapters.openapi.yaml_reader import read_yaml
from briefcase.core.openapi.operations import operations_of
from briefcase.model.errors import CallerError

MINIMAL = '"openapi": "3.0.3", "info": {"title": "t", "version": "1"}'

YAML = b"""
openapi: 3.1.0
info: {title: Desk, version: 1.0}
paths:
  /tickets: &tickets
    get:
      operationId: no
      parameters:
        - {name: since, in: query, schema: {type: string, default: 2026-01-02}}
      responses: {200: {description: ok}}
  /other: *tickets
"""


def test_yaml_says_what_json_says():
    operations = operations_of(read_document(YAML))

    assert [operation.key for operation in operations] == ["GET /tickets", "GET /other"]
    assert operations[0].own_id == "no"
    assert read_yaml(YAML)["paths"]["/tickets"]["get"]["responses"] == {"200": {"description": "ok"}}


SCALARS = [
    ("~", None),
    ("", None),
    ("null", None),
    ("true", True),
    ("False", False),
    ("yes", "yes"),
    ("off", "off"),
    ("12:30:00", "12:30:00"),
    ("2026-01-02", "2026-01-02"),
    ("010", 10),
    ("0o10", 8),
    ("0x1F", 31),
    ("-7", -7),
    ("1_000", "1_000"),
    ("1.5e3", 1500.0),
    (".5", 0.5),
    (".inf", ".inf"),
    ("'1'", "1"),
    ('"1"', "1"),
    ("!!str 1", "1"),
    ("9223372036854775807", 2**63 - 1),
]


@pytest.mark.parametrize(("written", "value"), SCALARS)
def test_a_plain_scalar_is_read_by_the_core_schema_of_yaml_1_2(written, value):
    assert read_yaml(f"a: {written}\n".encode()) == {"a": value}


def test_merge_keys_bring_what_is_not_there():
    assert read_yaml(b"a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")["b"] == {"x": 1, "y": 3}


def bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


WRONG_YAML = {
    "anchors of anchors": (bomb(), "values with anchors written out"),
    "an anchor in itself": (b"a: &a [*a]", "line 1: the anchor `a` is not there, or stands within itself"),
    "an unknown anchor": (b"a: *b", "anchor"),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", "line 3: expected each key once, got `a` twice"),
    "a tag": (b"a: !!python/object/apply:os.system [ls]", "expected no tag"),
    "a date's tag": (b"a: !!timestamp 2026-01-02", "expected no tag"),
    "a key that is a list": (b"? [a]\n: 1\n", "expected a key that is text"),
    "two documents": (b"a: 1\n---\nb: 2\n", "line 2: expected one document"),
    "too deep": (b"[" * 300 + b"]" * 300, "nested"),
    "no YAML": (b"a: [1", "syntax error at line"),
    "no text": (b"\xff", "invalid sequence at byte 0"),
    "a number past a double": (b"a: 1e999", "range of a double"),
    "a merge of a text": (b"a: {<<: x}", "expected mappings to merge"),
    "control characters": (b"a: \x01", "expected JSON or YAML"),
}


@pytest.mark.parametrize("name", WRONG_YAML)
def test_yaml_that_is_more_or_less_than_json_is_refused(name):
    text, said = WRONG_YAML[name]
    with pytest.raises(CallerError) as refused:
        read_yaml(text)
    assert refused.value.code == "invalid_manifest"
    assert said in refused.value.message


WRONG_JSON = {
    "a key twice": (b'{"a": [{}, {"b~/": {"c": 1, "c": 2}}]}', "got `c` twice at `#/a/1/b~0~1`"),
    "not a number": (b'{"a": NaN}', "got the number `NaN`"),
    "a syntax error": (b'{"a": 1,\n ]}', "syntax error at line 2 column 2"),
    "no UTF-8": (b'{"a": "\xff"}', "invalid sequence at byte 7"),
    "too deep": (b'{"a":' + b"[" * 100_000, "nested"),
    "a number of digits": (b'{"a": ' + b"1" * 5_000 + b"}", "4,300 digits"),
}


@pytest.mark.parametrize("name", WRONG_JSON)
def test_json_that_two_readers_could_take_differently_is_refused(name):
    text, said = WRONG_JSON[name]
    with pytest.raises(CallerError) as refused:
        read_json(text)
    assert said in refused.value.message


@pytest.mark.parametrize("text", [b"", b"x", b"[]", b"openapi: 3.0.3", b'{"openapi": 3}', b"openapi: 2.0"])
def test_what_is_no_document_is_refused(text):
    if text == b"openapi: 3.0.3":
        assert operations_of(read_document(text)) == []
        return
    with pytest.raises(CallerError, match="expected `openapi`"):
        read_document(text)


def test_a_number_that_is_not_exact_and_a_mark_of_byte_order_keep_nobody_from_the_rest():
    text = f'\ufeff{{{MINIMAL}, "paths": {{"/a": {{"get": {{"x-n": 9223372036854775808}}}}}}}}'
    assert [operation.key for operation in operations_of(read_document(text.encode()))] == ["GET /a"]


def test_a_path_is_followed_to_where_it_refers():
    document = {"openapi": "3.1.0", "paths": {"/a": {"$ref": "#/x-items/0"}}, "x-items": [{"get": {}}]}
    assert [operation.key for operation in operations_of(read_document(json.dumps(document).encode()))] == ["GET /a"]
