r"""Cosignatures: a witness's word that it saw a checkpoint, and that each it saw before only grew into it.

A cosignature is a signature line whose bytes are the time (seconds since the Unix epoch, 8 bytes, big-endian), then the
signature over a message that holds the time and the checkpoint:

    Ed25519 (0x04)     "cosignature/v1\n"  "time <s>\n"  the note's text with its last newline
    ML-DSA-44 (0x06)   "subtree/v1\n\0"  name  time  origin  0  size  root      (numbers of 8 bytes; names as below)

A name in the second form is one byte of length, then its bytes. Source: C2SP tlog-cosignature.

What is not taken, though the signature were good: a time of 0, by which a witness says nothing of what it saw last, and
one in the future, which would outlive what the witness really saw.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from briefcase.core.receipts.note_keys import COSIGNER_MLDSA44, COSIGNERS, SIGNATURE_BYTES, NoteKey, Verify
from briefcase.core.receipts.notes import (
    Checkpoint,
    SignatureLine,
    checkpoint_text,
    parse_signature_lines,
    read_checkpoint_text,
)
from briefcase.model.errors import CallerError

TIME_BYTES: Final = 8
MAX_FUTURE_S: Final = 300
MAX_TIME_S: Final = (1 << 63) - 1
_LABEL: Final = b"subtree/v1\n\0"
_MAX_NAME_BYTES: Final = 255


class Cosignature(msgspec.Struct, frozen=True):
    """One good cosignature: whose, when (seconds since the Unix epoch), and the line it came in."""

    key: NoteKey
    time_s: int
    line: SignatureLine


def cosigned_message(key: NoteKey, text: str, checkpoint: Checkpoint, time_s: int) -> bytes:
    """The bytes that a witness signs.

    Args:
        key: the witness's.
        text: the note's, with its last newline and whatever the log added to the three lines.
        checkpoint: what the text says.
        time_s: when, seconds since the Unix epoch.

    Raises:
        CallerError: a name is too long for the form of ML-DSA-44.
    """
    if key.type != COSIGNER_MLDSA44:
        return f"cosignature/v1\ntime {time_s}\n{text}".encode()
    return b"".join((
        _LABEL,
        _short(key.name),
        struct.pack(">Q", time_s),
        _short(checkpoint.origin),
        struct.pack(">QQ", 0, checkpoint.size),
        checkpoint.root,
    ))  # fmt: skip


def cosign(key: NoteKey, checkpoint: Checkpoint, time_s: int, sign: Callable[[bytes], bytes]) -> SignatureLine:
    """A witness's own cosignature of a checkpoint of three lines; `sign` gives the signature of a message."""
    message = cosigned_message(key, checkpoint_text(checkpoint), checkpoint, time_s)
    return SignatureLine(key.name, key.id, struct.pack(">Q", time_s) + sign(message))


def read_cosignature(line: SignatureLine, key: NoteKey, text: str, now_s: int, verify: Verify) -> Cosignature:
    """Check one line that says it is of a key.

    Args:
        line: the signature line.
        key: the witness's, of a type that cosigns.
        text: the note's.
        now_s: the time here, seconds since the Unix epoch.
        verify: tells whether a signature is good.

    Raises:
        CallerError: it is not good, or of a time that is not taken.
    """
    if key.type not in COSIGNERS or len(line.signature) != TIME_BYTES + SIGNATURE_BYTES[key.type]:
        raise CallerError(f"the cosignature of `{key.name}` is not of the form of its key")
    (time_s,) = struct.unpack(">Q", line.signature[:TIME_BYTES])
    if time_s > MAX_TIME_S or not verify(key, _message(key, text, time_s), line.signature[TIME_BYTES:]):
        raise CallerError(f"the cosignature of `{key.name}` is not of this checkpoint")
    if not time_s:
        raise CallerError(f"the cosignature of `{key.name}` has no time: it says nothing of what the witness saw last")
    if time_s > now_s + MAX_FUTURE_S:
        raise CallerError(
            f"the cosignature of `{key.name}` is {time_s - now_s:,} s in the future",
            hint="check the clocks, here and of the witness",
        )
    return Cosignature(key, time_s, line)


def read_cosignatures(
    lines: Sequence[SignatureLine], keys: Sequence[NoteKey], text: str, now_s: int, verify: Verify
) -> list[Cosignature]:
    """The cosignatures by known keys, each checked; of one key the newest. Lines by other keys are ignored.

    Raises:
        CallerError: one that says it is of a known key is not good: then none is taken.
    """
    found: dict[NoteKey, Cosignature] = {}
    for line in lines:
        for key in keys:
            if line.is_of(key):
                one = read_cosignature(line, key, text, now_s, verify)
                if key not in found or found[key].time_s < one.time_s:
                    found[key] = one
    return list(found.values())


def read_answer_lines(body: bytes) -> list[SignatureLine]:
    """The signature lines a witness answered with.

    Raises:
        CallerError: it is something else.
    """
    try:
        return parse_signature_lines(body.decode())
    except UnicodeDecodeError:
        raise CallerError("expected signature lines in UTF-8") from None


def _message(key: NoteKey, text: str, time_s: int) -> bytes:
    return cosigned_message(key, text, read_checkpoint_text(text), time_s)


def _short(text: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) <= _MAX_NAME_BYTES:
        raise CallerError(f"expected a name of 1 to {_MAX_NAME_BYTES} bytes, got {len(data)}")
    return bytes([len(data)]) + data
