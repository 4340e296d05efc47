"""Known secrets are found in every common encoding, wherever a text was cut, in linear time."""

import base64
import gzip
import itertools
import json
import os
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briefcase import redaction
from briefcase.redaction import _PIECE_GRAMS, MAX_GRAMS, MAX_PATTERN_BYTES, MIN_SECRET_BYTES, SecretRedactor

SECRETS = {
    "token": b"tk-live-4f9a1c77d0e84b6e",
    "specials": b'p"a/s\\s+w=o&r<d> \x01\tend',
    "unicode": "pässwörd-ключ".encode(),
    "binary": bytes(range(0x80, 0xA0)),
    "jwt": b"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzY291dCJ9.c2lnbmF0dXJl",
    "pem": b"-----BEGIN KEY-----\n" + base64.encodebytes(bytes(range(256)) * 8) + b"-----END KEY-----\n",
}


class Known:
    """What a vault offers a redactor."""

    def __init__(self, *secrets: bytes) -> None:
        self.revision = 1
        self.secrets = frozenset(secrets)

    def redaction_set(self) -> frozenset[bytes]:
        return self.secrets


def percent_all(secret: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in secret)


def text_of(secret: bytes) -> str:
    try:
        return secret.decode()
    except UnicodeDecodeError:
        return secret.decode("latin-1")


ENCODINGS = {
    "as it is": text_of,
    "base64": lambda secret: base64.b64encode(secret).decode(),
    "base64 after one byte": lambda secret: base64.b64encode(b"x" + secret + b"yz").decode(),
    "base64 after two bytes": lambda secret: base64.b64encode(b"us" + secret + b"!").decode(),
    "base64 of basic auth": lambda secret: base64.b64encode(b"user:" + secret).decode(),
    "base64url": lambda secret: base64.urlsafe_b64encode(secret).decode().rstrip("="),
    "base64url after one byte": lambda secret: base64.urlsafe_b64encode(b"\xff" + secret).decode(),
    "base64url after two bytes": lambda secret: base64.urlsafe_b64encode(b"\xff\xfe" + secret).decode(),
    "hex": lambda secret: secret.hex(),
    "HEX": lambda secret: secret.hex().upper(),
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded in lower case": lambda secret: re.sub("%..", lambda found: found[0].lower(), quote(secret)),
    "form-encoded": quote_plus,
    "every byte percent-encoded": percent_all,
    "JSON within JSON": lambda secret: json.dumps({"key": text_of(secret)}, ensure_ascii=False),
    "ASCII JSON within JSON": lambda secret: json.dumps({"key": text_of(secret)}),
    "JSON with escaped slashes": lambda secret: json.dumps(text_of(secret), ensure_ascii=False).replace("/", r"\/"),
    "JSON safe in HTML": lambda secret: json.dumps(text_of(secret), ensure_ascii=False)
    .replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"),
}  # fmt: skip


def in_json(text: str) -> bytes:
    return json.dumps({"body": f"before {text} after"}, ensure_ascii=False).encode()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_is_found_in_every_encoding_and_its_surroundings_stay(name, encoding):
    canary = ENCODINGS[encoding](SECRETS[name])
    redactor = SecretRedactor(Known(*SECRETS.values()))

    redacted = redactor.redact(in_json(canary))

    body = json.loads(redacted)["body"]
    assert "[redacted]" in body
    assert canary[4:-4] not in body
    assert body.startswith("before ")
    assert body.endswith(" after")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_with_redaction_off_the_same_canaries_are_all_there(encoding):
    canary = ENCODINGS[encoding](SECRETS["token"])

    assert SecretRedactor(Known()).redact(in_json(canary)) == in_json(canary)
    assert canary in json.loads(in_json(canary))["body"]


def test_what_holds_no_secret_is_given_back_unchanged():
    redactor = SecretRedactor(Known(*SECRETS.values()))

    for value in (b"{}", b"null", b'"tk-live-"', in_json("tk-live-4f9a1c77d0e84b6"), gzip.compress(SECRETS["token"])):
        assert redactor.redact(value) is value


@pytest.mark.parametrize("position", range(9))
def test_a_secret_is_found_at_every_alignment_and_at_both_ends(position):
    secret = b"01234567"
    redactor = SecretRedactor(Known(secret))

    for text in (b'"' + b"x" * position + secret + b'"', b'"' + secret + b"x" * position + b'"'):
        assert redactor.redact(text) == text.replace(secret, b"[redacted]")


@pytest.mark.parametrize("length", [8, 9, 10, 11, 12, 18, 19, 20, 34, 35, 36, 64, 1_024, 1_500])
def test_a_secret_of_any_length_is_found_at_every_place_of_a_long_text(length):
    """Whatever stride its length allows, and across the ends of the pieces that are looked at in one go."""
    secret = bytes(33 + number * 7 % 90 for number in range(length)).replace(b'"', b"q").replace(b"\\", b"b")
    redactor = SecretRedactor(Known(secret))
    redactor.redact(b"{}")
    piece_bytes = redactor._stride * _PIECE_GRAMS
    for before in (*range(70), *range(piece_bytes - length - 40, piece_bytes + 40)):
        text = b'"' + b"." * max(0, before) + secret + b'.."'
        assert redactor.find(text) == [(1 + max(0, before), 1 + max(0, before) + length)]


def test_what_was_known_is_still_found_when_a_shorter_secret_or_very_many_are_learnt():
    known = Known(b"L" * 20 + os.urandom(30).hex().encode())
    redactor = SecretRedactor(known)
    strides = []
    for more in ((), (b"middling-secret-0123",), (b"short-01",), [os.urandom(20).hex().encode() for _ in range(1_500)]):
        known.secrets |= set(more)
        known.revision += 1
        text = b'"' + b" ".join(known.secrets) + b'"'
        assert redactor.redact(text) == b'"' + b" ".join([b"[redacted]"] * len(known.secrets)) + b'"'
        strides.append(redactor._stride)
    assert strides == [32, 16, 4, 4]


def test_when_the_short_and_the_many_are_forgotten_the_stride_is_wide_again(monkeypatch):
    monkeypatch.setattr(redaction, "MAX_FORGOTTEN", 2)
    known = Known(*(b"short-%d" % number for number in range(10, 20)))
    redactor = SecretRedactor(known)
    redactor.redact(b"{}")
    assert redactor._stride == 4
    known.secrets = frozenset({os.urandom(30).hex().encode()})
    known.revision += 1
    redactor.redact(b"{}")
    assert redactor._stride == 32


def test_very_many_secrets_are_looked_for_within_bounded_memory():
    redactor = SecretRedactor(Known(*(os.urandom(30).hex().encode() for _ in range(500))))
    redactor.redact(b"{}")
    assert redactor._stride < 32
    assert len(redactor._grams) <= MAX_GRAMS


def test_a_place_that_only_looks_like_a_secret_costs_a_look_at_its_piece_and_not_at_the_whole_text():
    class Counted(dict):
        asked = 0

        def get(self, *args):
            Counted.asked += 1
            return super().get(*args)

    secret = b"tk-live-4f9a1c77d0e84b6e"
    redactor = SecretRedactor(Known(secret))
    redactor.redact(b"{}")
    redactor._grams = Counted(redactor._grams)
    redactor.redact(b'"' + b"." * 1_000_000 + secret[:-1] + b"." * 1_000_000 + b'"')
    assert 0 < Counted.asked <= 2 * _PIECE_GRAMS


def test_a_secret_shorter_than_the_bound_is_not_looked_for():
    short = b"s" * (MIN_SECRET_BYTES - 1)

    assert SecretRedactor(Known(short)).redact(in_json(short.decode())) == in_json(short.decode())


def test_half_of_a_long_secret_is_cut_out_as_well():
    secret = os.urandom(3 * MAX_PATTERN_BYTES).hex().encode()
    half = secret[MAX_PATTERN_BYTES : 3 * MAX_PATTERN_BYTES].decode()

    assert half not in SecretRedactor(Known(secret)).redact(in_json(half)).decode()


@pytest.mark.parametrize(
    ("secret", "value"),
    [
        (b"1234567890123456", b'{"card":1234567890123456}'),  # as a bare number
        (b"nsecret-99", b'{"text":"\\nsecret-99"}'),  # from the middle of an escape on
        (b"0asecret-99", b'{"text":"\\u000asecret-99"}'),
    ],
)
def test_where_a_mark_would_leave_no_json_the_whole_value_goes(secret, value):
    redacted = SecretRedactor(Known(secret)).redact(value)

    assert json.loads(redacted) == "[redacted]"


def test_secrets_that_overlap_or_touch_leave_one_mark():
    redactor = SecretRedactor(Known(b"xxxxxABCDE", b"ABCDEyyyyy", b"zzzzzzzz"))

    assert redactor.redact(b'"xxxxxABCDEyyyyyzzzzzzzz"') == b'"[redacted]"'


def test_a_secret_is_known_from_the_moment_the_vault_knows_it():
    known = Known()
    redactor = SecretRedactor(known)
    assert b"tk-live" in redactor.redact(in_json("tk-live-4f9a1c77d0e84b6e"))

    known.secrets = frozenset({SECRETS["token"]})
    known.revision += 1

    assert b"tk-live" not in redactor.redact(in_json("tk-live-4f9a1c77d0e84b6e"))


def test_tokens_of_one_issuer_do_not_slow_each_other_down():
    head = b"eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9."
    redactor = SecretRedactor(Known(*(head + os.urandom(32).hex().encode() for _ in range(200))))
    redactor.redact(b"{}")

    compared_per_byte = max(len(bucket) for bucket in redactor._grams.values()) / redactor._stride
    assert compared_per_byte <= 10  # at a fixed place it would be 25


@pytest.mark.parametrize(
    ("secrets", "block"),
    [
        ((b"tk-live-4f9a1c77d0e84b6e",), b"tk-live-4f9a1c77d0e84b6"),  # all but the last character, over and over
        ((b"a" * 900 + b"b",), b"a"),  # periodic, so that almost every place almost matches
        ((b"a" * 64, b"a" * 63 + b"b", b"a" * 32), b"a"),
    ],
)
def test_the_work_grows_with_the_text_and_no_faster(secrets, block):
    class Counted(bytes):
        comparisons = 0

        def startswith(self, *args) -> bool:
            Counted.comparisons += 1
            return super().startswith(*args)

    def comparisons(size: int) -> int:
        Counted.comparisons = 0
        redactor.redact(Counted(b'"' + block * (size // len(block)) + b'"'))
        return Counted.comparisons

    redactor = SecretRedactor(Known(*secrets))

    small, large = comparisons(1 << 14), comparisons(1 << 17)
    assert 0 < large <= 10 * small  # of eight times the text
    assert max(map(len, redactor._patterns)) <= MAX_PATTERN_BYTES  # so no comparison grows either


LETTERS = st.lists(st.sampled_from(b"ab"), max_size=12).map(bytes)
ANY_SECRETS = st.lists(st.binary(min_size=8, max_size=8) | LETTERS.filter(lambda text: len(text) >= 8), min_size=1)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_stream_gives_the_same_wherever_it_was_cut(data):
    secrets = data.draw(ANY_SECRETS)
    text = b"".join(data.draw(st.lists(st.sampled_from(secrets) | LETTERS, max_size=12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    redactor = SecretRedactor(Known(*secrets))

    whole = redactor.stream()
    expected = whole.feed(text) + whole.finish()
    stream = redactor.stream()
    edges = [0, *cuts, len(text)]
    given_out = b"".join(stream.feed(text[start:end]) for start, end in itertools.pairwise(edges))

    assert given_out + stream.finish() == expected
    assert not any(secret in expected.replace(b"[redacted]", b"|") for secret in secrets)


def test_a_stream_finds_what_a_whole_text_holds():
    secret = SECRETS["token"]
    text = b"one " + secret + b" two " + base64.b64encode(secret) + b" three"
    stream = SecretRedactor(Known(secret)).stream()

    given_out = b"".join(stream.feed(bytes([byte])) for byte in text) + stream.finish()

    assert given_out.startswith(b"one [redacted] two [redacted]")
    assert given_out.endswith(b" three")


def test_secrets_that_touch_leave_one_mark_in_a_stream_as_well():
    stream = SecretRedactor(Known(b"AAAAAAAA", b"BBBBBBBB")).stream()

    longest = b"%42" * 8  # the second secret, percent-encoded: all but its last byte is held back
    given_out = stream.feed(b"AAAAAAAA" + longest[:-1]) + stream.feed(longest[-1:] + b".") + stream.finish()

    assert given_out == b"[redacted]."
