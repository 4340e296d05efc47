"""Signed checkpoints: a good one is read, and each single change to one is found."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from briefcase.core.receipts.note_keys import LOG_ED25519, key_id
from briefcase.core.receipts.notes import Checkpoint, encode_note, parse_note
from briefcase.model.errors import CallerError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
CHECKPOINT = Checkpoint("briefcase.example/host-1", 1_234, bytes(range(32)))


def verify(message: bytes, signature: bytes) -> bool:
    try:
        KEY.public_key().verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_a_note_reads_back_and_has_the_published_form():
    note = encode_note(CHECKPOINT, PUBLIC, KEY.sign)

    assert note.startswith("briefcase.example/host-1\n1234\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— ")
    assert parse_note(note, PUBLIC, verify) == CHECKPOINT


def test_signatures_by_others_are_ignored():
    note = encode_note(CHECKPOINT, PUBLIC, KEY.sign)

    assert parse_note(note + "— witness.example AAAAAAAA\n", PUBLIC, verify) == CHECKPOINT


def test_every_changed_character_is_found():
    note = encode_note(CHECKPOINT, PUBLIC, KEY.sign)
    for place, char in enumerate(note.rstrip("\n")):
        changed = note[:place] + ("x" if char != "x" else "y") + note[place + 1 :]
        with pytest.raises(CallerError):
            parse_note(changed, PUBLIC, verify)


@pytest.mark.parametrize("text", ["", "\n", "a\n1\n", "a\n1\nAA==\n\n", "a\n-1\nAA==\n\n— a AAAA\n", "x" * 70_000])
def test_what_is_no_note_is_refused(text):
    with pytest.raises(CallerError):
        parse_note(text, PUBLIC, verify)


@pytest.mark.parametrize("size", ["01", "+1", "-1", "1_0", "٣", "1" * 20, "1" * 5_000, ""])
def test_a_signed_size_that_is_no_plain_number_is_refused_too(size):
    text = f"{CHECKPOINT.origin}\n{size}\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    blob = base64.b64encode(key_id(CHECKPOINT.origin, LOG_ED25519, PUBLIC) + KEY.sign(text.encode())).decode()
    with pytest.raises(CallerError):
        parse_note(f"{text}\n— {CHECKPOINT.origin} {blob}\n", PUBLIC, verify)


def test_a_key_id_depends_on_name_and_key():
    ids = {key_id(name, LOG_ED25519, key) for name, key in (("a", PUBLIC), ("b", PUBLIC), ("a", bytes(32)))}
    assert len(ids) == 3
