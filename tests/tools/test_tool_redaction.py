"""Known secrets are found in every common encoding, wherever a text was cut, in linear time."""

import base64
import gzip
import json
import os
import re
from urllib.parse import quote, quote_plus

import pytest

from briefcase._native.needles import Needles
from briefcase.core.redaction import redactor as redaction
from briefcase.core.redaction.redactor import (
    MAX_GRAMS,
    MAX_PATTERN_BYTES,
    MAX_PLACES,
    MIN_SECRET_BYTES,
    SecretRedactor,
    excerpt_of,
    redact_value,
)
from support.redaction import KnownSecrets

SECRETS = {
    "token": b"tk-live-4f9a1c77d0e84b6e",
    "specials": b'p"a/s\\s+w=o&r<d> \x01\tend',
    "unicode": "pässwörd-ключ".encode(),
    "binary": bytes(range(0x80, 0xA0)),
    "jwt": b"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzY291dCJ9.c2lnbmF0dXJl",
    "pem": b"-----BEGIN KEY-----\n" + base64.encodebytes(bytes(range(256)) * 8) + b"-----END KEY-----\n",
}


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
    redactor = SecretRedactor(KnownSecrets(*SECRETS.values()))

    redacted = redactor.redact(in_json(canary))

    body = json.loads(redacted)["body"]
    assert "[redacted]" in body
    assert canary[4:-4] not in body
    assert body.startswith("before ")
    assert body.endswith(" after")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_with_redaction_off_the_same_canaries_are_all_there(encoding):
    canary = ENCODINGS[encoding](SECRETS["token"])

    assert SecretRedactor(KnownSecrets()).redact(in_json(canary)) == in_json(canary)
    assert canary in json.loads(in_json(canary))["body"]


def test_what_holds_no_secret_is_given_back_unchanged():
    redactor = SecretRedactor(KnownSecrets(*SECRETS.values()))

    for value in (b"{}", b"null", b'"tk-live-"', in_json("tk-live-4f9a1c77d0e84b6"), gzip.compress(SECRETS["token"])):
        assert redactor.redact(value) is value


@pytest.mark.parametrize("position", range(9))
def test_a_secret_is_found_at_every_alignment_and_at_both_ends(position):
    secret = b"01234567"
    redactor = SecretRedactor(KnownSecrets(secret))

    for text in (b'"' + b"x" * position + secret + b'"', b'"' + secret + b"x" * position + b'"'):
        assert redactor.redact(text) == text.replace(secret, b"[redacted]")


@pytest.mark.parametrize("length", [8, 9, 10, 11, 12, 18, 19, 20, 34, 35, 36, 64, 1_024, 1_500])
def test_a_secret_of_any_length_is_found_at_every_place_of_a_long_text(length):
    """Whatever stride its length allows, and across the ends of the pieces that are looked at in one go."""
    secret = bytes(33 + number * 7 % 90 for number in range(length)).replace(b'"', b"q").replace(b"\\", b"b")
    redactor = SecretRedactor(KnownSecrets(secret))
    redactor.redact(b"{}")
    for before in range(140):
        text = b'"' + b"." * max(0, before) + secret + b'.."'
        assert redactor.find(text) == [(1 + max(0, before), 1 + max(0, before) + length)]


def test_what_was_known_is_still_found_when_a_shorter_secret_or_very_many_are_learnt():
    known = KnownSecrets(b"L" * 20 + os.urandom(30).hex().encode())
    redactor = SecretRedactor(known)
    strides = []
    for more in ((), (b"middling-secret-0123",), (b"short-01",), [os.urandom(20).hex().encode() for _ in range(1_500)]):
        known.secrets |= set(more)
        known.revision += 1
        text = b'"' + b" ".join(known.secrets) + b'"'
        assert redactor.redact(text) == b'"' + b" ".join([b"[redacted]"] * len(known.secrets)) + b'"'
        strides.append(redactor._index.needles.stride)
    assert strides == [32, 16, 4, 4]


def test_when_the_short_and_the_many_are_forgotten_the_stride_is_wide_again(monkeypatch):
    monkeypatch.setattr(redaction, "MAX_FORGOTTEN", 2)
    known = KnownSecrets(*(b"short-%d" % number for number in range(10, 20)))
    redactor = SecretRedactor(known)
    redactor.redact(b"{}")
    assert redactor._index.needles.stride == 4
    known.secrets = frozenset({os.urandom(30).hex().encode()})
    known.revision += 1
    redactor.redact(b"{}")
    assert redactor._index.needles.stride == 32


def test_very_many_secrets_are_looked_for_within_bounded_memory():
    redactor = SecretRedactor(KnownSecrets(*(os.urandom(30).hex().encode() for _ in range(500))))
    redactor.redact(b"{}")
    assert redactor._index.needles.stride < 32
    assert redactor._index.needles.stride == 4 or 4 * len(redactor._index.patterns) <= MAX_GRAMS


def test_a_secret_shorter_than_the_bound_is_not_looked_for():
    short = b"s" * (MIN_SECRET_BYTES - 1)

    assert SecretRedactor(KnownSecrets(short)).redact(in_json(short.decode())) == in_json(short.decode())


def test_half_of_a_long_secret_is_cut_out_as_well():
    secret = os.urandom(3 * MAX_PATTERN_BYTES).hex().encode()
    half = secret[MAX_PATTERN_BYTES : 3 * MAX_PATTERN_BYTES].decode()

    assert half not in SecretRedactor(KnownSecrets(secret)).redact(in_json(half)).decode()


@pytest.mark.parametrize(
    ("secret", "value", "expected"),
    [
        (b"1234567890123456", b'{"card":1234567890123456}', {"card": "[redacted]"}),  # as a bare number
        (b"nsecret-99", b'{"text":"\\nsecret-99"}', "[redacted]"),  # from the middle of an escape on
        (b"0asecret-99", b'{"text":"\\u000asecret-99"}', {"text": "\nsecret-99"}),  # what it says is no secret
    ],
)
def test_where_a_mark_would_leave_no_json_each_string_and_number_is_redacted_by_itself(secret, value, expected):
    redacted = SecretRedactor(KnownSecrets(secret)).redact(value)

    assert json.loads(redacted) == expected


def test_secrets_that_overlap_or_touch_leave_one_mark():
    redactor = SecretRedactor(KnownSecrets(b"xxxxxABCDE", b"ABCDEyyyyy", b"zzzzzzzz"))

    assert redactor.redact(b'"xxxxxABCDEyyyyyzzzzzzzz"') == b'"[redacted]"'


def test_a_secret_is_known_from_the_moment_the_vault_knows_it():
    known = KnownSecrets()
    redactor = SecretRedactor(known)
    assert b"tk-live" in redactor.redact(in_json("tk-live-4f9a1c77d0e84b6e"))

    known.secrets = frozenset({SECRETS["token"]})
    known.revision += 1

    assert b"tk-live" not in redactor.redact(in_json("tk-live-4f9a1c77d0e84b6e"))


def test_tokens_of_one_issuer_do_not_slow_each_other_down():
    head = b"eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9."
    redactor = SecretRedactor(KnownSecrets(*(head + os.urandom(32).hex().encode() for _ in range(200))))
    redactor.redact(b"{}")

    compared_per_byte = redactor._index.needles.crowd() / redactor._index.needles.stride
    assert compared_per_byte <= 10  # at a fixed place it would be 25


def test_the_beginning_of_a_text_holds_no_beginning_of_a_secret():
    redactor = SecretRedactor(KnownSecrets(SECRETS["token"]))
    token = SECRETS["token"].decode()
    for before in range(12):
        text = "-" * before + token + "-" * 20
        assert (
            excerpt_of(redactor, text, before + len(token) - 1)
            == f"{'-' * before}[redacted]{'-' * 20}"[: before + len(token) - 1]
        )


def test_a_mark_can_name_whose_secret_it_stands_for_and_they_are_counted():
    redactor = SecretRedactor(KnownSecrets(SECRETS["token"], SECRETS["jwt"]), {SECRETS["token"]: "demo"}.get)
    value = b'{"a":"%s","b":"%s","c":1}' % (SECRETS["token"], SECRETS["token"].hex().encode())

    assert redactor.redact_named(value) == (
        b'{"a":"[redacted: secret of demo]","b":"[redacted: secret of demo]","c":1}',
        2,
    )
    assert redactor.redact_named(b'"hello"') == (b'"hello"', 0)


def test_whose_a_secret_is_is_asked_once_for_each_and_not_for_each_place():
    asked = []
    redactor = SecretRedactor(KnownSecrets(SECRETS["token"]), lambda secret: asked.append(secret) or "demo")

    assert redactor.redact_named(b'["%s"]' % b'","'.join([SECRETS["token"]] * 500))[1] == 500
    assert asked == [SECRETS["token"]]


@pytest.mark.parametrize(
    "form", [SECRETS["token"], b"%" + SECRETS["token"].hex("%").encode()], ids=["plain", "percent"]
)
def test_a_text_that_repeats_secrets_without_end_is_cut_out_whole(form):
    redactor = SecretRedactor(KnownSecrets(SECRETS["token"]))

    def repeated(times):
        return b'["%s"]' % b'","'.join([form] * times)

    assert redactor.redact(repeated(MAX_PLACES)) == b'["%s"]' % b'","'.join([b"[redacted]"] * MAX_PLACES)
    assert redactor.redact(repeated(MAX_PLACES + 1)) == b'"[redacted]"'
    assert redactor.redact_text("-" + (form + b"-").decode() * (MAX_PLACES + 1)) == "[redacted]"


def test_the_search_for_secrets_ends_where_there_are_too_many():
    needles = Needles(4)
    needles.add(SECRETS["token"])

    assert len(needles.find(SECRETS["token"] * 50, 10)) == 11
    assert len(needles.find(SECRETS["token"] * 50, 50)) == 50


def in_every_view(secret: bytes) -> str:
    """A text that each view reads otherwise, with the secret as it is."""
    return f"{secret.decode()} {'%25' * 3}41 =41 =\n fold\n  fold"


def test_no_view_is_looked_at_once_there_are_too_many_places(monkeypatch):
    looked, views_of = [], redaction._views_of
    monkeypatch.setattr(redaction, "MAX_PLACES", 10)
    monkeypatch.setattr(
        redaction, "_views_of", lambda text: (looked.append(path) or (path, said) for path, said in views_of(text))
    )
    redactor = SecretRedactor(KnownSecrets(SECRETS["token"]))

    assert redactor.redact_text(in_every_view(SECRETS["token"]) * 2).count("[redacted]") == 1
    several = len(looked)
    looked.clear()
    assert redactor.redact_text(in_every_view(SECRETS["token"]) * 9) == "[redacted]"
    assert len(looked) == 1 < several


def test_a_text_whose_places_are_in_more_views_than_may_be_mapped_is_cut_out_whole(monkeypatch):
    redactor = SecretRedactor(KnownSecrets(SECRETS["specials"]))
    escaped = json.dumps(SECRETS["specials"].decode())
    folded = f"{escaped}\n =41"

    assert redactor.redact_text(folded).startswith('"[redacted]')
    monkeypatch.setattr(redaction, "MAX_MAPPED_BYTES", 0)
    assert redactor.redact(b"[1,%b]" % escaped.encode()) == b'[1,"[redacted]"]'  # one is, in any case
    assert redactor.redact_text(folded) == "[redacted]"


def test_the_maps_of_a_view_are_made_once_for_all_that_is_read_from_it(monkeypatch):
    made = []

    def counting(view):
        return view._replace(read_mapped=lambda text: made.append(text) or view.read_mapped(text))

    monkeypatch.setattr(redaction, "_DECODED", counting(redaction._DECODED))
    monkeypatch.setattr(redaction, "_BESIDE", tuple(tuple(map(counting, views)) for views in redaction._BESIDE))
    redactor = SecretRedactor(KnownSecrets(SECRETS["token"]))

    redactor.redact_text(in_every_view(SECRETS["token"]))
    decoded = [text for text in made if b"%25%25" in text]
    assert len(made) >= 8
    assert len(decoded) <= 4  # once into the decoded view, and once into each beside it


@pytest.mark.parametrize("count", [9, 10])
def test_of_a_value_with_many_strings_none_is_redacted_by_itself(monkeypatch, count):
    monkeypatch.setattr(redaction, "MAX_APART", 10)
    redactor = SecretRedactor(KnownSecrets(b"12345678901"))
    numbers = {"a": [str(number) for number in range(count - 2)], "n": 12345678901}
    written = json.dumps(numbers, separators=(",", ":")).encode()
    apart = written.replace(b"12345678901", b'"[redacted]"')
    assert redactor.redact(written) == (apart if count == 9 else b'"[redacted]"')
    assert redact_value(redactor, numbers) == ({"redacted": "[redacted]"} if count == 10 else json.loads(apart))
    said = {"s": "12345678901", "a": ["x"] * count}
    asked = []
    monkeypatch.setattr(redactor, "redact_text", lambda text: asked.append(text) or "never")
    if count == 10:
        assert redact_value(redactor, said) == {"s": "[redacted]", "a": ["x"] * count}
        assert asked == []
