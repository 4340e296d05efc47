"""Signed checkpoints: a C2SP signed note whose text is a C2SP tlog-checkpoint.

    <origin>                      the log's name
    <size>                        receipts in the tree, decimal
    <root>                        base64 of the tree's root
                                  (an empty line ends the text)
    — <name> <base64>             one signature a line: 4 bytes of key id, then 64 of Ed25519

The signature covers the text with its final newline and without the empty line. Sources: C2SP signed-note and
tlog-checkpoint; the key id is SHA-256(name || 0x0A || 0x01 || public key), first four bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import Final

import msgspec

from briefcase.model.errors import CallerError

ED25519_SIGNATURE_TYPE: Final = b"\x01"
KEY_ID_BYTES: Final = 4
ROOT_BYTES: Final = 32
MAX_NOTE_BYTES: Final = 64 << 10
MIN_TEXT_LINES: Final = 4  # origin, size, root, and what follows the last newline
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_DASH: Final = "— "  # an em dash and a space, as the format has it


class Checkpoint(msgspec.Struct, frozen=True):
    """A tree of `size` receipts with this root, in the log called `origin`."""

    origin: str
    size: int
    root: bytes


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """The text that is signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"


def key_id(name: str, public_key: bytes) -> bytes:
    """The four bytes that tell which key a signature is of."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519_SIGNATURE_TYPE + public_key).digest()[:KEY_ID_BYTES]


def encode_note(checkpoint: Checkpoint, public_key: bytes, sign: Callable[[bytes], bytes]) -> str:
    """A signed note by the log's own key, named like its origin.

    Args:
        checkpoint: what is signed.
        public_key: 32 bytes of Ed25519.
        sign: gives the 64-byte signature of a message.
    """
    text = checkpoint_text(checkpoint)
    blob = key_id(checkpoint.origin, public_key) + sign(text.encode())
    return f"{text}\n{_DASH}{checkpoint.origin} {base64.b64encode(blob).decode()}\n"


def parse_note(note: str, public_key: bytes, verify: Callable[[bytes, bytes], bool]) -> Checkpoint:
    """Check a note's signature by one key and read it. Signatures by other keys are ignored, as the format asks.

    Args:
        note: the whole note.
        public_key: 32 bytes of Ed25519.
        verify: tells whether a signature (second) is of a message (first).

    Raises:
        CallerError: too large, not of this form, or without a good signature by that key.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise CallerError(f"expected a note of at most {MAX_NOTE_BYTES} bytes, got {len(note)}")
    text, blank, signatures = note.rpartition("\n\n")
    text += "\n"
    lines = text.split("\n")
    if not blank or len(lines) < MIN_TEXT_LINES:
        raise CallerError("expected a checkpoint of origin, size and root, an empty line and a signature")
    origin, size, root = lines[:3]
    wanted = key_id(origin, public_key)
    for line in signatures.splitlines():
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        blob = _decode(encoded)
        if line.startswith(_DASH) and name == origin and blob.startswith(wanted):
            if not verify(text.encode(), blob[KEY_ID_BYTES:]):
                raise CallerError(f"the signature of `{origin}` is not good: the checkpoint was changed")
            return _checkpoint(origin, size, root)
    raise CallerError(f"expected a signature by the key of `{origin}`, found none")


def _checkpoint(origin: str, size: str, root: str) -> Checkpoint:
    digest = _decode(root)
    if _SIZE.fullmatch(size) is None or len(digest) != ROOT_BYTES:
        raise CallerError("expected a decimal size and a base64 root of 32 bytes")
    return Checkpoint(origin, int(size), digest)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
