"""Verifier keys: a good one reads back, and each that is not says what was expected."""

import base64
import json
from pathlib import Path

import pytest

from briefcase.core.receipts.note_keys import (
    COSIGNER_ED25519,
    COSIGNER_MLDSA44,
    LOG_ED25519,
    NoteKey,
    parse_cosigner_vkey,
    parse_vkey,
)
from briefcase.model.errors import CallerError
from support.witnesses import CosignerKey

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "witness" / "recorded.json").read_text())
# C2SP signed-note, "Verifier keys": the example of golang.org/x/mod/sumdb/note
PUBLISHED = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_the_published_key_and_the_recorded_one_read_back():
    for text in (PUBLISHED, RECORDED["log_vkey"]):
        assert parse_vkey(text).vkey == text
    assert parse_vkey(PUBLISHED).type == LOG_ED25519


@pytest.mark.parametrize("is_mldsa", [False, True])
def test_a_cosigners_key_reads_back(is_mldsa):
    key = CosignerKey(is_mldsa=is_mldsa).public
    assert parse_cosigner_vkey(key.vkey) == key
    assert key.type == (COSIGNER_MLDSA44 if is_mldsa else COSIGNER_ED25519)


def vkey(name="w", kind=COSIGNER_ED25519, public=bytes(32)):
    return NoteKey(name, kind, public).vkey


def with_id(text, id_hex):
    name, _, rest = text.split("+", 2)
    return f"{name}+{id_hex}+{rest}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a verifier key"),
        ("w", "expected a verifier key"),
        ("w+00000000", "expected a verifier key"),
        ("w+0000000+AAAA", "expected a verifier key"),
        ("w+ABCDEF01+AAAA", "expected a verifier key"),
        ("w" * 5_000, "expected a verifier key"),
        (vkey(""), "1 to 255 bytes"),
        (vkey("w" * 256), "1 to 255 bytes"),
        (vkey("two words"), "without a space"),
        (vkey("no\u00a0break"), "without a space"),
        (vkey("line\nbreak"), "without a space"),
        ("w+00000000+", "expected base64"),
        ("w+00000000+====", "expected base64"),
        (vkey() + "\n", "expected base64"),
        (vkey(kind=0x02), "expected a type of 0x01 (ed25519), 0x04 (ed25519), 0x06 (ml-dsa-44), got 0x02"),
        (vkey(kind=0xFF), "got 0xff"),
        (vkey(public=bytes(31)), "expected 32 bytes for ed25519, got 31"),
        (vkey(kind=COSIGNER_MLDSA44), "expected 1312 bytes for ml-dsa-44, got 32"),
        (with_id(vkey(), "00000000"), "expected the id"),
    ],
)
def test_what_is_no_key_says_what_was_expected(text, said):
    with pytest.raises(CallerError) as refused:
        parse_vkey(text)
    assert said in refused.value.message


def test_base64_has_one_form():
    name, id_hex, encoded = vkey(kind=COSIGNER_MLDSA44, public=bytes(1_312)).split("+", 2)
    assert encoded.endswith("A=")
    assert base64.b64decode(encoded[:-2] + "B=") == base64.b64decode(encoded)
    with pytest.raises(CallerError, match="expected base64"):
        parse_vkey(f"{name}+{id_hex}+{encoded[:-2]}B=")


def test_a_logs_key_is_no_witnesss():
    with pytest.raises(CallerError, match="is a log's"):
        parse_cosigner_vkey(PUBLISHED)
