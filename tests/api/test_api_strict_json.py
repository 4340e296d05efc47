"""Strict JSON: what is refused, what each number is read as, and the public suite of hard cases."""

import contextlib
import gc
import json
import os
import random
import struct
import tarfile
import time
from decimal import Decimal
from pathlib import Path

import json_oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briefcase.core.json.strict import MAX_DEPTH, MAX_VALUES, parse
from briefcase.model.errors import CallerError
from briefcase.model.types import MAX_SAFE_INTEGER

CHECKOUT = Path(__file__).parents[2]


def message_of(data: bytes) -> str:
    with pytest.raises(CallerError) as caught:
        parse(data)
    assert caught.value.code == "bad_request"
    caught.value.message.encode()  # whatever was sent, the message itself can be sent back
    return caught.value.message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "got nothing"),
        (b"  \n", "syntax error at line 2 column 1"),
        (b'{"a":1,"b":2,"a":1}', 'got `"a"` twice'),
        (b'{"a":1,"\\u0061":2}', 'got `"a"` twice'),
        (b'[{"x":{"deep":1,"deep":1}}]', 'got `"deep"` twice'),
        (b'{"\\ud800":1,"\\ud800":2}', 'got `"\\ud800"` twice'),
        (b"NaN", "got `NaN`"),
        (b"[Infinity]", "got `Infinity`"),
        (b"[-Infinity]", "got `-Infinity`"),
        (b"[1e400]", "within the range of a double, got `1e400`"),
        (b"[-1e400]", "within the range of a double, got `-1e400`"),
        (b"[1e-400]", "a double can tell from 0, got `1e-400`"),
        (b"[9007199254740992]", "within ±(2^53-1), got `9007199254740992`"),
        (b"[-9007199254740992]", "within ±(2^53-1), got `-9007199254740992`"),
        (b"[9007199254740992.0]", "within ±(2^53-1), got `9007199254740992.0`"),
        (b"[1e20]", "within ±(2^53-1), got `1e20`"),
        (b"[18446744073709551616]", "within ±(2^53-1)"),
        (b"[" + b"7" * 5_000 + b"]", f"got `{'7' * 64}…`"),
        (b"[0." + b"7" * 5_000 + b"]", "at most 128 characters"),
        (b'["\\ud800"]', "got `\\ud800` alone at character 2"),
        (b'["\\uDC00"]', "got `\\uDC00` alone at character 2"),
        (b'["\\ud800\\ud83d\\ude00"]', "got `\\ud800` alone at character 2"),
        (b'["\\\\\\udead"]', "got `\\udead` alone at character 4"),
        (b'{"\\ude00":1}', "got `\\ude00` alone"),
        (b'["\xed\xa0\x80"]', "UTF-8, got an invalid sequence at byte 2"),
        (b'["\xc0\xaf"]', "UTF-8, got an invalid sequence at byte 2"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("\ufeff{}".encode("utf-16-le"), "UTF-8, got an invalid sequence at byte 0"),
        ("{}".encode("utf-16-le"), "syntax error"),
        ("{}".encode("utf-16-be"), "syntax error"),
        (b"{} {}", "got more after it at character 2"),
        (b"{}\x00", "got more after it at character 2"),
        (b"1 2", "got more after it at character 1"),
        (b"{'a':1}", "syntax error at line 1 column 2"),
        (b'{"a":1,}', "syntax error at line 1 column"),
        (b'["\x01"]', "syntax error at line 1 column 3"),
        (b"[01]", "syntax error at line 1 column 3"),
        (b"[1.]", "syntax error"),
        (b"[+3]", "syntax error"),
        (b"\xa0{}", "UTF-8"),
        ("\u00a0{}".encode(), "syntax error"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_two_readers_could_read_differently_is_refused_with_what_and_where(data, expected):
    assert expected in message_of(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"1", 1),
        (b"1.0", 1),
        (b"10e-1", 1),
        (b"1.000000000000000005", 1),
        (b"-0", 0),
        (b"-0.0", 0),
        (b"0e400", 0),
        (b"1.5", 1.5),
        (b"5e-324", 5e-324),
        (b"1e22", 1e22),
        (b"1E+2", 100),
        (b"9007199254740991", MAX_SAFE_INTEGER),
        (b"-9007199254740991", -MAX_SAFE_INTEGER),
        (b"9007199254740991.0", MAX_SAFE_INTEGER),
    ],
)
def test_each_number_has_one_reading(data, value):
    read = parse(data)
    assert read == value
    assert type(read) is type(value)
    assert str(read) == str(value)  # 0 has no sign


def test_keys_that_only_normalise_to_the_same_text_are_two_keys():
    assert len(parse('{"\u00e9":1,"e\u0301":2}'.encode())) == 2


def test_a_pair_of_surrogate_escapes_is_one_character():
    assert parse(b'"\\ud83d\\uDE00"') == "\U0001f600"


def test_an_escaped_backslash_before_a_u_is_no_escape():
    assert parse(b'"\\\\ud800"') == "\\ud800"


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_read_up_to_the_bound_and_refused_past_it(opened, closed):
    parse((opened * MAX_DEPTH + "1" + closed * MAX_DEPTH).encode())
    deeper = MAX_DEPTH + 1
    assert "at most 64 nested" in message_of((opened * deeper + "1" + closed * deeper).encode())


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"":' * 100_000])
def test_a_hundred_thousand_levels_are_refused_before_anything_recurses(data):
    assert "at most 64 nested" in message_of(data)


def test_unbalanced_quotes_do_not_hide_depth_from_the_count():
    message_of(b'"' + b"[" * 100_000)
    message_of(b'["a' + b"[" * 100_000 + b'"' + b"[" * 100_000)


def test_brackets_in_strings_and_side_by_side_are_no_depth():
    assert parse(b'["' + b"[{" * 500 + b'\\"' + b"[" * 500 + b'"]') == ["[{" * 500 + '"' + "[" * 500]
    assert parse(b"[" + b"[],{}," * 500 + b"0]")[-1] == 0


@pytest.mark.parametrize(
    "piece", [b"7", b"0.7"[1:], b"\\ud83d\\ude00", b'"', b"\\", b"[],", b'{"a":1},'], ids=lambda piece: piece.decode()
)
def test_time_grows_with_the_size_and_not_with_its_square(piece):
    def cost(pieces: int) -> float:
        data = b'["' + piece * pieces + b'"]' if piece.startswith(b"\\u") else b"[" + piece * pieces + b"0]"
        gc.disable()  # a pass of the collector is over everything the tests before this one left
        try:
            started = time.process_time()
            with contextlib.suppress(CallerError):
                parse(data)
            return time.process_time() - started
        finally:
            gc.enable()

    small = max(min(cost(1_000) for _ in range(5)), 0.0001)
    assert cost(100_000) < 100 * 20 * small  # a square would be 10,000 times


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.floats(-1e15, 1e15) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values, st.booleans(), st.sampled_from([None, 1]))
def test_what_the_standard_library_writes_reads_back_equal(value, ensure_ascii, indent):
    assert parse(json.dumps(value, ensure_ascii=ensure_ascii, indent=indent).encode()) == value


@given(st.binary(max_size=200) | st.text('[]{}",:0123456789.eE+-\\ud8cNatrulfsn ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else(data):
    try:
        value = parse(data)
    except CallerError:
        return
    assert parse(json.dumps(value).encode()) == value


# Texts that are nearly JSON: whole tokens in any order, so that most of what is drawn gets far before it is refused.
tokens = st.sampled_from(
    ["{", "}", "[", "]", ":", ",", " ", "\n", '"a"', '"a":1', '"\u00e9"', '"\\u0061"', '"\\ud800"', '"\\ud83d\\ude00"',
     '"\\/\\b"', '"\\x"', '"\\u12g4"', '"', "\\", "0", "-0", "01", "1.5", "1e3", "1.", "-", "1e", "1e400", "1e-400",
     "0e9", "9007199254740992", "9007199254740993.0", "1e21", "true", "false", "null", "NaN", "-Infinity", "tru",
     "\x01", "\x7f", "\u2028", "\ufeff"]
)  # fmt: skip
near_json = st.lists(tokens, max_size=12).map("".join).map(str.encode)
written_json = json_values.map(json.dumps).map(str.encode)


@settings(max_examples=1_000)
@given(near_json | written_json | st.tuples(written_json, st.binary(max_size=3), st.integers(0, 40)))
def test_every_text_is_read_as_the_standard_library_reads_it_or_refused_where_the_rules_refuse_it(data):
    if isinstance(data, tuple):  # a valid text with a few bytes of it replaced
        text, piece, at = data
        data = text[:at] + piece + text[at + len(piece) :]
    try:
        expected = json_oracle.read(data)
    except (json_oracle.RefusedError, RecursionError):
        with pytest.raises(CallerError):
            parse(data)
    else:
        read = parse(data)
        assert read == expected
        assert repr(read) == repr(expected)  # 1 is not 1.0, nor True


# --- the public suite of hard cases (github.com/nst/JSONTestSuite, MIT) -----------------------------------------------

# The rule for `i_` (implementation-defined): refused, each of them, because another reader may read another value.
# Valid by the grammar, yet refused here: two readers keep different values.
REFUSED_Y = {
    "y_object_duplicated_key.json",
    "y_object_duplicated_key_and_value.json",
}


def parsing_cases() -> dict[str, bytes]:
    named = os.environ.get("BRIEFCASE_CORPORA")
    places = [Path(named)] if named else sorted(CHECKOUT.parent.glob("*/corpora"))
    for place in places:
        for folder in sorted(place.rglob("test_parsing")):
            return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json"))}
        for archive in sorted(place.rglob("*.tar.gz")):
            with tarfile.open(archive) as packed:
                members = [member for member in packed if "test_parsing/" in member.name and member.isfile()]
                if members:
                    return {Path(member.name).name: packed.extractfile(member).read() for member in members}
    return {}


CASES = parsing_cases()


@pytest.mark.skipif(not CASES, reason="no JSONTestSuite: name a directory of corpora in BRIEFCASE_CORPORA")
def test_every_case_of_the_public_suite_is_read_or_refused_as_its_name_and_our_rule_say():
    wrong = []
    for name, data in CASES.items():
        accept = name.startswith("y_") and name not in REFUSED_Y
        try:
            parse(data)
            accepted = True
        except CallerError:
            accepted = False
        if accepted != accept:
            wrong.append((name, data[:60]))
    assert not wrong
    assert len(CASES) > 300


@pytest.mark.parametrize("one", ["1", "[]", "{}", '"a"', "null"])
def test_a_text_has_a_bounded_number_of_values_whatever_its_size(one):
    text = f"[{','.join([one] * (MAX_VALUES - 1))}]"
    assert len(parse(text.encode())) == MAX_VALUES - 1
    with pytest.raises(CallerError, match="at most 250,000 values"):
        parse(f"[{text}]".encode())


def test_the_collector_does_not_look_at_a_large_text_while_it_is_read():
    passes = []
    data = b"[%b]" % b",".join([b"[]"] * 100_000)
    before, was_on = gc.get_threshold(), gc.isenabled()
    gc.enable()
    gc.set_threshold(1_000, 10, 10)
    gc.callbacks.append(lambda phase, _: passes.append(phase))
    try:
        value = parse(data)
        during = len(passes)
        is_on = gc.isenabled()
        with pytest.raises(CallerError):
            parse(data[:-1])
        assert gc.isenabled()
    finally:
        gc.callbacks.pop()
        gc.set_threshold(*before)
        if not was_on:
            gc.disable()

    assert len(value) == 100_000
    assert during <= 2  # one that was due before, at its beginning and its end
    assert is_on


def decimals(chosen: random.Random):
    """Decimals of every kind that a reader could round the wrong way; the interpreter's own reader is the oracle."""
    bits = chosen.getrandbits(52)  # below the least normal double
    yield repr(struct.unpack("<d", struct.pack("<Q", bits))[0])
    yield repr(struct.unpack("<d", struct.pack("<Q", bits | chosen.randrange(1, 0x7FF) << 52))[0])
    yield f"{chosen.randrange(1, 10 ** chosen.randrange(1, 20))}e{chosen.randrange(-345, 310)}"
    yield f"{chosen.randrange(10**25)}.{chosen.randrange(10**25)}e{chosen.randrange(-345, 280)}"  # more digits than fit
    yield f"0.{'0' * chosen.randrange(60)}{chosen.randrange(1, 10**40)}"
    middle = Decimal(2 * (bits | 1 << 52) + 1) * Decimal(2) ** chosen.randrange(-60, 60)  # between two doubles
    yield f"{middle:e}"
    yield f"{middle * (1 + chosen.choice((-1, 1)) * Decimal(10) ** -chosen.randrange(15, 27)):e}"


def test_each_decimal_is_read_as_the_double_that_is_nearest():
    chosen = random.Random(25)
    for _ in range(4_000):
        for text in decimals(chosen):
            with contextlib.suppress(CallerError):  # one of the numbers that the rules refuse
                assert float(parse(text.encode())) == float(text), text
