"""Signed checkpoints: a C2SP signed note whose text is a C2SP tlog-checkpoint.

    <origin>                      the log's name
    <size>                        receipts in the tree, decimal
    <root>                        base64 of the tree's root
                                  (an empty line ends the text)
    — <name> <base64>             one signature a line: 4 bytes of key id, then the signature

The log's signature is 64 bytes of Ed25519 over the text with its final newline and without the empty line; what
witnesses add is in `cosignatures`. Sources: C2SP signed-note and tlog-checkpoint.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final

import msgspec

from briefcase.core.receipts.note_keys import KEY_ID_BYTES, LOG_ED25519, NoteKey, decode_base64
from briefcase.model.errors import CallerError

ROOT_BYTES: Final = 32
MAX_NOTE_BYTES: Final = 64 << 10
MAX_SIGNATURES: Final = 64
MIN_TEXT_LINES: Final = 4  # origin, size, root, and what follows the last newline
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_DASH: Final = "— "  # an em dash and a space, as the format has it


class Checkpoint(msgspec.Struct, frozen=True):
    """A tree of `size` receipts with this root, in the log called `origin`."""

    origin: str
    size: int
    root: bytes


class SignatureLine(msgspec.Struct, frozen=True):
    """One signature of a note, by whichever key: its name, its id, and what follows the id."""

    name: str
    key_id: bytes
    signature: bytes

    def is_of(self, key: NoteKey) -> bool:
        """Whether the line says that it is of this key."""
        return self.name == key.name and self.key_id == key.id

    @property
    def text(self) -> str:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """The text that is signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"


def encode_note(checkpoint: Checkpoint, public_key: bytes, sign: Callable[[bytes], bytes]) -> str:
    """A signed note by the log's own key, named like its origin.

    Args:
        checkpoint: what is signed.
        public_key: 32 bytes of Ed25519.
        sign: gives the 64-byte signature of a message.
    """
    text = checkpoint_text(checkpoint)
    key = NoteKey(checkpoint.origin, LOG_ED25519, public_key)
    return f"{text}\n{SignatureLine(key.name, key.id, sign(text.encode())).text}"


def parse_note(note: str, public_key: bytes, verify: Callable[[bytes, bytes], bool]) -> Checkpoint:
    """Check a note's signature by one key and read it. Signatures by other keys are ignored, as the format asks.

    Args:
        note: the whole note.
        public_key: 32 bytes of Ed25519.
        verify: tells whether a signature (second) is of a message (first).

    Raises:
        CallerError: too large, not of this form, or without a good signature by that key.
    """
    text, lines = split_note(note)
    checkpoint = read_checkpoint_text(text)
    key = NoteKey(checkpoint.origin, LOG_ED25519, public_key)
    for line in lines:
        if line.is_of(key):
            if not verify(text.encode(), line.signature):
                raise CallerError(f"the signature of `{key.name}` is not good: the checkpoint was changed")
            return checkpoint
    raise CallerError(f"expected a signature by the key of `{key.name}`, found none")


def split_note(note: str) -> tuple[str, list[SignatureLine]]:
    """The text of a note with its final newline, and its signatures, none of them checked.

    Raises:
        CallerError: too large, or of another form.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise CallerError(f"expected a note of at most {MAX_NOTE_BYTES} bytes, got {len(note)}")
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures:
        raise CallerError("expected a checkpoint of origin, size and root, an empty line and a signature")
    return f"{text}\n", parse_signature_lines(signatures)


def parse_signature_lines(text: str) -> list[SignatureLine]:
    """Read lines of signatures, each with its newline.

    Raises:
        CallerError: one is of another form, or there are too many.
    """
    *lines, rest = text.split("\n")
    if rest or len(lines) > MAX_SIGNATURES:
        raise CallerError(f"expected at most {MAX_SIGNATURES} lines of signatures, each with a newline")
    return [_signature_line(line) for line in lines]


def read_checkpoint_text(text: str) -> Checkpoint:
    """Read the first three lines of a note's text; what follows them is the log's own.

    Raises:
        CallerError: the size is no plain number, or the root no base64 of 32 bytes.
    """
    lines = text.split("\n")
    if len(lines) < MIN_TEXT_LINES or not lines[0]:
        raise CallerError("expected a checkpoint of origin, size and root, an empty line and a signature")
    origin, size, root = lines[:3]
    digest = decode_base64(root)
    if _SIZE.fullmatch(size) is None or len(digest) != ROOT_BYTES:
        raise CallerError("expected a decimal size and a base64 root of 32 bytes")
    return Checkpoint(origin, int(size), digest)


def parse_size(text: str) -> int | None:
    """A tree's size as the formats write it: decimal, without a leading zero; None where it is none."""
    return int(text) if _SIZE.fullmatch(text) else None


def _signature_line(line: str) -> SignatureLine:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    blob = decode_base64(encoded)
    if not line.startswith(_DASH) or not name or len(blob) <= KEY_ID_BYTES:
        raise CallerError(f"expected a signature line `{_DASH}NAME BASE64`, got `{line[:64]!a}`")
    return SignatureLine(name, blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:])
