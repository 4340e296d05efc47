"""A receipt's proof of logging in one text: C2SP tlog-proof, which others verify offline.

    c2sp.org/tlog-proof@v1
    extra <base64>                the receipt, as an export has it; nobody has to trust it, its hash is what is proven
    index <n>                     the receipt's id less one
    <base64>                      of the audit path (RFC 6962 section 2.1.1), the leaf's sibling first
                                  (an empty line)
    <checkpoint>                  a signed note, with the cosignatures it has

The entry that is logged is the 32 bytes of the receipt's hash.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from briefcase.core.receipts.note_keys import decode_base64
from briefcase.core.receipts.notes import (
    MAX_NOTE_BYTES,
    ROOT_BYTES,
    Checkpoint,
    parse_size,
    read_checkpoint_text,
    split_note,
)
from briefcase.core.receipts.tree import is_included
from briefcase.model.errors import CallerError

FORMAT: Final = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES: Final = 4 << 20
MAX_PATH_LINES: Final = 63


class TlogProof(msgspec.Struct, frozen=True):
    """One proof: which leaf, its path, the note, and what its maker added."""

    index: int
    path: tuple[bytes, ...]
    note: str
    extra: bytes = b""


def encode_tlog_proof(proof: TlogProof) -> str:
    """The proof as it is written."""
    extra = f"extra {base64.b64encode(proof.extra).decode()}\n" if proof.extra else ""
    path = "".join(f"{base64.b64encode(one).decode()}\n" for one in proof.path)
    return f"{FORMAT}\n{extra}index {proof.index}\n{path}\n{proof.note}"


def parse_tlog_proof(text: str) -> TlogProof:
    """Read a proof; what it says is not checked.

    Raises:
        CallerError: of another form.
    """
    if len(text) > MAX_PROOF_BYTES:
        raise CallerError(f"expected a proof of at most {MAX_PROOF_BYTES} bytes")
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != FORMAT or len(note) > MAX_NOTE_BYTES:
        raise CallerError(f"expected a proof that begins with `{FORMAT}` and ends with a checkpoint")
    extra = b""
    if lines and lines[0].startswith("extra "):
        encoded = lines.pop(0).removeprefix("extra ")
        extra = decode_base64(encoded)
        if not extra and encoded:
            raise CallerError("expected base64 after `extra`")
    first = lines.pop(0) if lines else ""
    index = parse_size(first.removeprefix("index ")) if first.startswith("index ") else None
    if index is None:
        raise CallerError("expected a line `index N`")
    path = tuple(map(decode_base64, lines))
    if len(path) > MAX_PATH_LINES or any(len(one) != ROOT_BYTES for one in path):
        raise CallerError(f"expected at most {MAX_PATH_LINES} lines, each base64 of {ROOT_BYTES} bytes")
    return TlogProof(index, path, note, extra)


def checkpoint_in(proof: TlogProof) -> Checkpoint:
    """What the note of a proof says, its signatures unchecked.

    Raises:
        CallerError: it is none.
    """
    return read_checkpoint_text(split_note(proof.note)[0])


def is_proven(proof: TlogProof, checkpoint: Checkpoint, entry: bytes) -> bool:
    """Whether the path leads from the entry (32 bytes of a receipt's hash) to the checkpoint's root."""
    return is_included(checkpoint.root, checkpoint.size, proof.index, entry, proof.path)
