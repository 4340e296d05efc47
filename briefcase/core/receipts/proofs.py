"""Proofs over signed checkpoints: that one receipt is in the log, and that one state of it only added to another.

A proof is a JSON object that verifies without a daemon and without this directory:

| field | inclusion | consistency |
|---|---|---|
| `format` | `briefcase-inclusion-proof-1` | `briefcase-consistency-proof-1` |
| `receipt` | the receipt, as in an export | |
| `checkpoint` | the signed note | |
| `old`, `new` | | the two signed notes |
| `proof_b64` | the audit path (RFC 6962 section 2.1.1) | RFC 6962 section 2.1.2 |

Nothing here does I/O; whether a signature is good is asked of `verify(did, message, signature)`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from briefcase.core.jose.did import decode_did_key
from briefcase.core.receipts.exports import ExportReader, export_line
from briefcase.core.receipts.notes import Checkpoint, parse_note
from briefcase.core.receipts.tree import (
    is_consistent,
    is_included,
    prove_consistency,
    prove_inclusion,
    tree_root,
)
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.types import JsonObject, Receipt

MAX_PROOF_HASHES: Final = 128

Verify: TypeAlias = Callable[[str, bytes, bytes], bool]


class InclusionProof(msgspec.Struct, frozen=True):
    """That `receipt` is in the tree of `checkpoint`."""

    format: Literal["briefcase-inclusion-proof-1"]
    receipt: dict[str, Any]
    checkpoint: str
    proof_b64: list[str]


def open_note(note: str, expected_did: str | None, verify: Verify) -> Checkpoint:
    """Read a checkpoint that is signed by the identity it is named after.

    Raises:
        StoreError: it is none, or not signed by it, or not by the one that is expected (`proof_invalid`).
    """
    did = note.partition("\n")[0]
    public_key = decode_did_key(did)
    if public_key is None:
        raise proof_invalid("expected a checkpoint named after a `did:key`")
    if expected_did is not None and did != expected_did:
        raise proof_invalid(f"the checkpoint is by `{did}`, expected `{expected_did}`")
    try:
        return parse_note(note, public_key, lambda message, signature: verify(did, message, signature))
    except CallerError as error:
        raise proof_invalid(error.message) from None


def make_inclusion_proof(receipt: JsonObject, note: str, checkpoint: Checkpoint, hashes: list[bytes]) -> JsonObject:
    """Prove that a receipt is in a checkpoint's tree.

    Args:
        receipt: as in an export.
        note: the signed checkpoint.
        checkpoint: the same, read.
        hashes: those of all receipts of the tree, in order.

    Raises:
        CallerError: the receipt is newer than the checkpoint.
        StoreError: the hashes are not those that were signed (`proof_invalid`).
    """
    check_tree(checkpoint, hashes)
    index = int(str(receipt["id"])) - 1
    if index >= checkpoint.size:
        raise CallerError(
            f"receipt {index + 1} is newer than the checkpoint, which ends at {checkpoint.size}",
            hint="take a new one: `briefcase receipts checkpoint --out FILE`",
        )
    return {
        "format": "briefcase-inclusion-proof-1",
        "receipt": receipt,
        "checkpoint": note,
        "proof_b64": [*_encode(prove_inclusion(hashes, index))],
    }


def check_inclusion_proof(data: bytes, expected_did: str | None, verify: Verify) -> tuple[Receipt, Checkpoint]:
    """Check a proof of inclusion.

    1. it is one
    2. its checkpoint is signed by the identity it names, and by the expected one where one is expected
    3. the receipt's hash is that of its link and event
    4. the path leads from that hash to the root that was signed

    Raises:
        StoreError: not so (`proof_invalid`).
    """
    # 1. the form
    try:
        proof = msgspec.json.decode(data, type=InclusionProof)
        path = [base64.b64decode(text, validate=True) for text in proof.proof_b64[:MAX_PROOF_HASHES]]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error) as error:
        raise proof_invalid(f"expected a proof of inclusion: {error}") from None
    # 2. the checkpoint
    checkpoint = open_note(proof.checkpoint, expected_did, verify)
    # 3. the receipt
    receipt = read_proven_receipt(proof.receipt)
    # 4. the path
    if not is_included(checkpoint.root, checkpoint.size, receipt.id - 1, bytes.fromhex(receipt.hash_hex), path):
        raise proof_invalid(f"receipt {receipt.id} is not in the tree that was signed")
    return receipt, checkpoint


def read_proven_receipt(members: JsonObject) -> Receipt:
    """A receipt as a proof brings it, whose hash is that of its link and event.

    Raises:
        StoreError: it is none, or another (`proof_invalid`).
    """
    if members.keys() != set(Receipt.__struct_fields__):
        raise proof_invalid(f"expected a receipt with the members {', '.join(Receipt.__struct_fields__)}, got others")
    try:
        receipt = next(ExportReader().read([export_line(members)]), None)
    except CallerError as error:
        raise proof_invalid(error.message) from None
    except (ValueError, TypeError) as error:
        raise proof_invalid(f"expected a receipt as an export holds it: {error!r}") from None
    if receipt is None:
        raise proof_invalid("the receipt's hash is not that of its link and event")
    return receipt


def make_consistency_proof(old: Checkpoint, new: Checkpoint, hashes: list[bytes]) -> list[str]:
    """Prove that the newer state only added receipts to the older one.

    Args:
        old: the earlier checkpoint.
        new: the later one.
        hashes: those of all receipts of the later tree, in order.

    Raises:
        CallerError: the second is the older one, or the first is empty.
        StoreError: they are of two logs, or of two histories of one (`proof_invalid`).

    Returns:
        The proof's hashes in base64.
    """
    if old.origin != new.origin:
        raise proof_invalid(f"the checkpoints are of two logs: `{old.origin}` and `{new.origin}`")
    if not 0 < old.size <= new.size:
        raise CallerError(f"expected the older checkpoint first, got sizes {old.size} and {new.size}")
    check_tree(new, hashes)
    proof = prove_consistency(hashes, old.size)
    if not is_consistent(old.root, old.size, new.root, new.size, proof):
        raise proof_invalid(f"the newer checkpoint has another history up to receipt {old.size} than the older one")
    return _encode(proof)


def check_tree(checkpoint: Checkpoint, hashes: Sequence[bytes]) -> None:
    """Check that receipts are those that a checkpoint was signed over.

    Raises:
        StoreError: some are missing, or they are others (`proof_invalid`).
    """
    if len(hashes) < checkpoint.size:
        raise proof_invalid(
            f"the chain here has {len(hashes)} receipts, the checkpoint was signed over {checkpoint.size}:"
            " its end was cut off, or it is an older copy"
        )
    if tree_root(hashes) != checkpoint.root:
        raise proof_invalid(f"the first {checkpoint.size} receipts here are not those that were signed")


def _encode(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]


def proof_invalid(message: str) -> StoreError:
    """What to raise where a proof is not good."""
    return StoreError(message, code="proof_invalid", hint="keep both, and compare them with an export or a backup")
