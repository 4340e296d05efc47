"""Texts that are no strict JSON: read one way, and said so; what is no JSON at all stays refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.json.lenient import read_lenient
from briefcase.core.json.strict import MAX_DEPTH, MAX_VALUES, parse
from briefcase.model.errors import CallerError


@pytest.mark.parametrize(
    ("text", "value", "inexact"),
    [
        (b'{"a":1}', {"a": 1}, ()),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}, ("byte_order_mark",)),
        (b'{"a":9223372036854775807}', {"a": "9223372036854775807"}, ("number",)),
        (b'{"a":-9007199254740992}', {"a": "-9007199254740992"}, ("number",)),
        (b"[NaN,Infinity,-Infinity]", ["NaN", "Infinity", "-Infinity"], ("number",)),
        (b"[1e400,1e-400,1.0,1.5]", ["1e400", "1e-400", 1, 1.5], ("number",)),
        (b"[" + b"9" * 5_000 + b"]", ["9" * 5_000], ("number",)),
        (b'{"a":"\\ud83dx"}', {"a": "\N{REPLACEMENT CHARACTER}x"}, ("lone_surrogate",)),
        (b'{"\\udc00":1}', {"\N{REPLACEMENT CHARACTER}": 1}, ("lone_surrogate",)),
        (b'["\\ud83d\\ude00",NaN]', ["\U0001f600", "NaN"], ("number",)),
        (b'["\xff\xc3\xa9"]', ["\N{REPLACEMENT CHARACTER}é"], ("encoding",)),
        (b'{"a":1,"a":2,"b":{"c":1,"c":2}}', {"a": 2, "b": {"c": 2}}, ("duplicate_key",)),
        (b'["a\x01\tb"]', ["a\x01\tb"], ("control_character",)),
        (b'\xef\xbb\xbf{"a":NaN,"a":"\\ud800"}', {"a": "\N{REPLACEMENT CHARACTER}"},
         ("byte_order_mark", "duplicate_key", "lone_surrogate", "number")),
    ],
)  # fmt: skip
def test_what_is_not_exact_is_read_by_the_table_and_named(text, value, inexact):
    found = read_lenient(text)
    assert (found.value, found.inexact) == (value, inexact)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"{'a':1}", b'{"a":NaN', b'{"a":1}x', b"nan", b"[1,]", b"\xff", b"01", b'["\\x"]']
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(CallerError):
        read_lenient(text)


@pytest.mark.parametrize(
    "text",
    [
        b"[NaN," + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"]",
        b"[" * 100_000,
        b"[NaN" + b",1" * MAX_VALUES + b"]",
        b"[NaN" + b",{}" * MAX_VALUES + b"]",
    ],
)
def test_depth_and_values_are_bounded_as_in_strict_json(text):
    with pytest.raises(CallerError):
        read_lenient(text)


def test_brackets_and_commas_within_strings_are_no_values():
    text = json.dumps(["[" * 400_000 + '",' * 400_000])[:-1].encode() + b",NaN]"
    assert read_lenient(text).value[1] == "NaN"


def test_the_keys_that_stand_twice_in_the_outermost_object_are_told():
    assert read_lenient(b'{"a":{"b":1,"b":2},"c":1,"c":2}').repeated == {"c"}
    assert read_lenient(b'{"c":1,"c":2,"a":{"b":1}}').repeated == {"c"}
    assert read_lenient(b'[{"c":1,"c":2}]').repeated == frozenset()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_whatever_python_writes_is_read_and_is_strict_json_from_then_on(value):
    found = read_lenient(json.dumps(value).encode())
    again = json.dumps(found.value).encode()
    assert parse(again) == found.value
    assert bool(found.inexact) or parse(json.dumps(value).encode()) == found.value


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_but_the_refusal(data):
    try:
        found = read_lenient(data)
    except CallerError:
        return
    assert parse(json.dumps(found.value).encode()) == found.value
