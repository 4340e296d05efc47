"""Canonical bytes: equal to RFC 8785, proven against its authors' corpus and the `rfc8785` package."""

import json
import math
import os
import tarfile
from pathlib import Path

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from briefcase._native.canonical import canonical, canonical_event
from briefcase._native.chain import is_canonical_event
from briefcase.core.receipts.canonical import canonical_bytes, digest_hex
from briefcase.model.errors import CallerError

MAX_SAFE = 2**53 - 1

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
scalars = st.none() | st.booleans() | st.integers(-MAX_SAFE, MAX_SAFE) | text
floats = st.floats(allow_nan=False, allow_infinity=False)


def trees(leaves):
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(text, inner, max_size=6))


def corpus() -> list[tuple[str, bytes, bytes]]:
    """The reference test data of RFC 8785 (cyberphone/json-canonicalization, testdata): name, input, output."""
    named = os.environ.get("BRIEFCASE_CORPORA")
    beside = sorted(Path(__file__).parents[2].parent.glob("*/corpora"))
    for directory in ([Path(named)] if named else []) + beside:
        if (directory / "testdata").is_dir():
            inputs = sorted((directory / "testdata" / "input").glob("*.json"))
            return [
                (path.stem, path.read_bytes(), (path.parents[1] / "output" / path.name).read_bytes()) for path in inputs
            ]
        if (directory / "jcs.tar.gz").exists():
            with tarfile.open(directory / "jcs.tar.gz") as archive:
                files = {
                    member.name: archive.extractfile(member).read()
                    for member in archive.getmembers()
                    if member.isfile()
                }
            inputs = sorted(name for name in files if "/input/" in f"/{name}")
            return [(Path(name).stem, files[name], files[name.replace("input/", "output/")]) for name in inputs]
    return []


CORPUS = corpus()


@pytest.mark.skipif(not CORPUS, reason="no corpora: set BRIEFCASE_CORPORA to the directory that holds jcs.tar.gz")
@pytest.mark.parametrize(("written", "expected"), [case[1:] for case in CORPUS], ids=[case[0] for case in CORPUS])
def test_the_reference_corpus_is_written_as_its_authors_write_it(written, expected):
    assert canonical(json.loads(written)) == expected.strip()


@given(trees(scalars | floats))
def test_any_json_value_is_written_as_rfc8785_writes_it(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=2_000)
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
@example(1e21)
@example(999999999999999900000.0)
@example(1e-6)
@example(1e-7)
@example(333333333.33333329)
def test_any_float_is_written_as_ecmascript_writes_it(number):
    assert canonical(number) == rfc8785.dumps(number)


@given(st.dictionaries(st.text(max_size=6), st.just(0), max_size=80))
def test_keys_are_sorted_by_utf16_code_units_in_objects_of_any_size(value):
    value = {key: 0 for key in value if not any("\ud800" <= char <= "\udfff" for char in key)}
    assert canonical(value) == rfc8785.dumps(value)


def test_a_key_beyond_the_basic_plane_sorts_before_the_private_use_area():
    assert canonical({"\ue000": 1, "\U00010000": 2, "z": 3}) == '{"z":3,"\U00010000":2,"\ue000":1}'.encode()


@pytest.mark.parametrize("char", [chr(code) for code in (*range(0x21), 0x22, 0x5C, 0x7F, 0x80, 0x2028, 0x10FFFF)])
def test_every_escape_is_the_shortest(char):
    assert canonical([char * 9]) == rfc8785.dumps([char * 9])


def nested(depth: int):
    value = 1
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


@pytest.mark.parametrize(
    ("value", "error", "names"),
    [
        (2**53, ValueError, "`$`"),
        ({"a": [1, {"b": -(2**53)}]}, ValueError, "`$.a[1].b`"),
        ({"n": 10**5000}, ValueError, "16610 bits"),
        ({"x": math.nan}, ValueError, "`nan`"),
        ([math.inf], ValueError, "`$[0]`"),
        ({"s": "a\ud800"}, ValueError, "`$.s`"),
        ({"s\udfff": 1}, ValueError, r"`$.s\udfff`"),
        ({"k": {1: 2}}, TypeError, "`$.k`"),
        ({"k": (1,)}, TypeError, "tuple"),
        ({"k": b""}, TypeError, "bytes"),
        ({"k": {1}}, TypeError, "set"),
        (nested(129), ValueError, "128 nested"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_path(value, error, names):
    with pytest.raises(error) as raised:
        canonical(value)
    assert names in str(raised.value)


def test_nesting_up_to_the_bound_is_written():
    assert canonical(nested(128)) == rfc8785.dumps(nested(128))


def test_a_cycle_ends_at_the_bound():
    value: list = []
    value.append(value)
    with pytest.raises(ValueError, match="nested"):
        canonical(value)


@pytest.mark.parametrize("value", [{"a": 1.5}, {"a": [0.0]}, {"a": {"b": 1e300}}])
def test_an_event_holds_no_float(value):
    with pytest.raises(TypeError, match="no float in an event"):
        canonical_event(value)
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_an_event_is_an_object(value):
    with pytest.raises(TypeError, match="expected an event as a dict"):
        canonical_event(value)


def test_a_large_value_is_written_whole():
    value = {f"key {number}": ["\n" * 50] * 20 for number in range(3_000)}
    assert canonical(value) == rfc8785.dumps(value)


def test_a_caller_s_value_without_canonical_form_is_the_caller_s_fault():
    with pytest.raises(CallerError, match="lone surrogates"):
        canonical_bytes({"a": "\udc00"})
    assert digest_hex({"b": 1, "a": 2}) == digest_hex({"a": 2.0, "b": 1})


# --- the scanner that verification runs ---------------------------------------------------------------------------


@given(st.dictionaries(text, trees(scalars), max_size=6))
def test_the_scanner_accepts_every_event_that_is_written(event):
    assert is_canonical_event(canonical_event(event))


def is_canonical_by_oracle(data: bytes) -> bool:
    """The slow way: read it with the standard library, write it with `rfc8785`, compare."""
    try:
        value = json.loads(data.decode())
        holds_floats = any(isinstance(leaf, float) for leaf in leaves_of(value))
        return isinstance(value, dict) and not holds_floats and rfc8785.dumps(value) == data
    except (ValueError, RecursionError):
        return False


def leaves_of(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves_of(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves_of(item)]
    return [value]


@given(st.dictionaries(text, trees(scalars), max_size=4), st.data())
@settings(max_examples=600)
def test_the_scanner_refuses_exactly_what_is_not_canonical(event, data):
    written = bytearray(canonical_event(event))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(written) - 1))
        piece = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"\\u0000", b"-0", b",", b"{}", b"\xed\xa0\x80"])
        )
        written[at : at + data.draw(st.integers(0, 2))] = piece
        if not written:
            return
    assert is_canonical_event(bytes(written)) == is_canonical_by_oracle(bytes(written))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b"{} ", b" {}", b'{"a":1 }', b'{"a": 1}', b'{"a":01}', b'{"a":-0}', b'{"a":1.0}',
        b'{"a":1e2}', b'{"a":9007199254740992}', b'{"a":99999999999999999999999999}', b'{"b":1,"a":2}',
        b'{"a":1,"a":2}',
        b'{"a":1,}', b'{"a"}', b'{"a":tru}', b'{"a":"\n"}', b'{"a":"\\/"}', b'{"a":"\\u0041"}', b'{"a":"\\u000A"}',
        b'{"a":"\\u000a"}', b'{"a":"\\u001F"}', b'{"a":"\x80"}', b'{"a":"\xc0\x80"}', b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xe2\x80"}', b'{"a":"', b'{"a":"\\', b'{"a":"\\u00', b"\xef\xbb\xbf{}",
        '{"\ue000":1,"\U00010000":2}'.encode(), b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
    ],
)  # fmt: skip
def test_bytes_that_are_not_canonical_are_refused(data):
    assert not is_canonical_event(data)
    assert not is_canonical_by_oracle(data) or data.count(b"[") > 127


def test_keys_with_escapes_are_ordered_by_what_they_mean():
    assert is_canonical_event(canonical_event({"a\n": 1, "aZ": 2, "a\x1f": 3, "é": 4, "\U0001f600": 5, "\uffff": 6}))


def neighbours_of(number):
    return [found for found in (math.nextafter(number, 0), number, math.nextafter(number, math.inf)) if found > 0]


@pytest.mark.parametrize("base", [2.0, 10.0])
def test_each_power_and_its_neighbours_are_written_with_the_digits_that_read_back(base):
    first = -1_074 if base == 2.0 else -323
    last = 1_023 if base == 2.0 else 308
    numbers = [each for power in range(first, last + 1) for each in neighbours_of(math.pow(base, power))]
    for number in numbers:
        text = canonical_bytes(number).decode()
        assert float(text) == number
        assert digits_of(text) == digits_of(repr(number)), number


def digits_of(text):
    return text.partition("e")[0].replace(".", "").strip("0")
