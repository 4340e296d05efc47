"""Cosignatures: recorded ones verify, and none is taken that is of another checkpoint, key or time."""

import json
import struct
from pathlib import Path

import msgspec
import pytest

from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.core.receipts.cosignatures import (
    MAX_FUTURE_S,
    cosigned_message,
    read_answer_lines,
    read_cosignature,
    read_cosignatures,
)
from briefcase.core.receipts.note_keys import COSIGNER_ED25519, NoteKey, decode_base64
from briefcase.core.receipts.notes import SignatureLine, checkpoint_text, split_note
from briefcase.model.errors import CallerError
from support.witnesses import NOW_S, CosignerKey, Log

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "witness" / "recorded.json").read_text())
WITNESS = NoteKey("witness.example/fleet", COSIGNER_ED25519, decode_base64(RECORDED["witness_ed25519_pub_b64"]))
LOG = Log()
CHECKPOINT = LOG.checkpoint(5)
TEXT = checkpoint_text(CHECKPOINT)
KINDS = pytest.mark.parametrize("cosigner", [CosignerKey(), CosignerKey(is_mldsa=True)], ids=["ed25519", "ml-dsa-44"])


def read(line, key, text=TEXT, now_s=NOW_S):
    return read_cosignature(line, key, text, now_s, verify_note_signature)


def test_what_another_witness_answered_verifies():
    good = [one for one in RECORDED["exchanges"] if one["response"]["status"] == 200]
    assert len(good) > 3
    for exchange in good:
        text = split_note(exchange["request"]["body"].partition("\n\n")[2])[0]
        lines = read_answer_lines(exchange["response"]["body"].encode())
        (found,) = read_cosignatures(lines, [WITNESS], text, 1_800_000_000, verify_note_signature)
        assert found.time_s == 1_795_874_968


def test_the_message_of_ml_dsa_is_the_structure_of_the_specification():
    key = CosignerKey("w", is_mldsa=True).public
    origin = LOG.origin.encode()
    assert cosigned_message(key, "", CHECKPOINT, 9) == (
        b"subtree/v1\n\0" + b"\x01w" + bytes(7) + b"\x09" + bytes([len(origin)]) + origin + bytes(15) + b"\x05"
        + CHECKPOINT.root
    )  # fmt: skip


@KINDS
def test_a_cosignature_is_of_one_checkpoint_one_time_and_one_key(cosigner):
    line = cosigner.cosign(CHECKPOINT)
    assert read(line, cosigner.public).time_s == NOW_S
    for size in (4, 6):
        with pytest.raises(CallerError, match="is not of this checkpoint"):
            read(line, cosigner.public, checkpoint_text(LOG.checkpoint(size)))
    later = SignatureLine(line.name, line.key_id, struct.pack(">Q", NOW_S - 1) + line.signature[8:])
    with pytest.raises(CallerError, match="is not of this checkpoint"):
        read(later, cosigner.public)
    other = CosignerKey(is_mldsa=len(line.signature) > 100, seed=8)
    with pytest.raises(CallerError, match="is not of this checkpoint"):
        read(line, other.public)


@KINDS
def test_every_flipped_byte_of_a_cosignature_is_found(cosigner):
    line = cosigner.cosign(CHECKPOINT)
    for place in range(0, len(line.signature), 1 + len(line.signature) // 60):
        changed = bytearray(line.signature)
        changed[place] ^= 1
        with pytest.raises(CallerError):
            read(SignatureLine(line.name, line.key_id, bytes(changed)), cosigner.public)


@KINDS
@pytest.mark.parametrize(
    ("time_s", "said"),
    [(0, "has no time"), (NOW_S + MAX_FUTURE_S + 1, "301 s in the future"), (1 << 63, "not of this checkpoint")],
)
def test_a_time_that_says_nothing_or_lies_ahead_is_not_taken(cosigner, time_s, said):
    line = cosigner.cosign(CHECKPOINT, time_s)
    with pytest.raises(CallerError) as refused:
        read(line, cosigner.public)
    assert said in refused.value.message
    assert read(cosigner.cosign(CHECKPOINT, NOW_S + MAX_FUTURE_S), cosigner.public)


@KINDS
@pytest.mark.parametrize("length", [1, 8, 71, 73, 2_427, 2_429])
def test_a_cosignature_of_another_length_is_not_taken(cosigner, length):
    with pytest.raises(CallerError, match="not of the form"):
        read(SignatureLine(cosigner.public.name, cosigner.public.id, bytes(length)), cosigner.public)


def test_lines_by_others_are_ignored_and_a_bad_one_by_a_known_key_spoils_the_answer():
    known, stranger = CosignerKey(), CosignerKey("stranger", seed=9)
    good = known.cosign(CHECKPOINT)
    forged = SignatureLine(good.name, good.key_id, good.signature[:-1] + bytes(1))
    named_alike = CosignerKey(seed=9).cosign(CHECKPOINT)

    def found(*lines):
        return read_cosignatures(lines, [known.public], TEXT, NOW_S, verify_note_signature)

    assert [one.key for one in found(stranger.cosign(CHECKPOINT), named_alike, good)] == [known.public]
    assert found(stranger.cosign(CHECKPOINT)) == []
    assert [one.time_s for one in found(good, known.cosign(CHECKPOINT, NOW_S - 9))] == [NOW_S]
    with pytest.raises(CallerError, match="not of this checkpoint"):
        found(good, forged)


def test_a_logs_own_key_cosigns_nothing():
    line = SignatureLine(LOG.key.name, LOG.key.id, bytes(72))
    with pytest.raises(CallerError, match="not of the form"):
        read(line, LOG.key)


@pytest.mark.parametrize("body", [b"\xff\n", b"no line\n", "— w AAAA\n".encode(), "— w AAAAAAAA".encode(), b"x" * 9])
def test_an_answer_that_is_no_lines_is_refused(body):
    with pytest.raises(CallerError):
        read_answer_lines(body)


def test_names_that_a_message_of_ml_dsa_has_no_room_for_are_refused():
    key = CosignerKey(is_mldsa=True).public
    with pytest.raises(CallerError, match="1 to 255 bytes"):
        cosigned_message(key, "", msgspec.structs.replace(CHECKPOINT, origin="o" * 256), 1)
