"""What witnesses say, checked here with the keys of a policy file: of a whole chain, and of one receipt's proof.

Nothing of it asks the daemon to judge: the cosigned checkpoints come from it or from its directory, and their
signatures, their quorum and the chain's root are computed in this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import orjson

from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.adapters.witness.kept import load_policy, read_kept_notes
from briefcase.core.jose.did import decode_did_key
from briefcase.core.receipts.cosignatures import MAX_TIME_S
from briefcase.core.receipts.exports import export_line
from briefcase.core.receipts.judgement import Judgement, with_judgement
from briefcase.core.receipts.note_keys import LOG_ED25519, NoteKey
from briefcase.core.receipts.notes import Checkpoint, read_checkpoint_text, split_note
from briefcase.core.receipts.proofs import check_tree, proof_invalid, read_proven_receipt
from briefcase.core.receipts.quorums import WitnessPolicy
from briefcase.core.receipts.tlog_proofs import TlogProof, encode_tlog_proof, is_proven, parse_tlog_proof
from briefcase.core.receipts.tree import prove_inclusion
from briefcase.core.receipts.witnessed import ChainJudge, Quorum, Witnessed, quorum_of, read_witnessed
from briefcase.core.wire.witnesses import CosignedList, witnessed_record
from briefcase.edges.cli.app import App
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.sources import Source, open_source
from briefcase.model.errors import CallerError
from briefcase.model.ports import Verification
from briefcase.model.types import JsonObject, Receipt

CHECKPOINTS_PATH: Final = "/v1/witnesses/checkpoints"
OPTION: Final = "`--witness-policy`"


class CheckedProof(msgspec.Struct, frozen=True):
    """A tlog-proof that is good: the receipt, and the checkpoint it is in with the cosignatures that were checked."""

    receipt: Receipt
    witnessed: Witnessed


def judge_by(app: App, policy_file: Path, data_dir: Path | None) -> Judgement:
    """Hold a chain against what was cosigned of it, by the keys and the quorum of a policy file.

    Args:
        app: asks the daemon.
        policy_file: C2SP tlog-policy.
        data_dir: the files to read instead of a daemon's.

    Raises:
        ConfigError: the policy file is not as expected, or lists other logs.
        StoreError: the cosigned checkpoints cannot be read.
    """
    policy = load_policy(policy_file, OPTION, None)
    if data_dir is None:
        notes = [one.note for one in app.client().get(CHECKPOINTS_PATH, CosignedList).answer.checkpoints]
    else:
        notes = read_kept_notes(data_dir)
    kept = [_read(note, policy) for note in notes]
    judge = ChainJudge(kept)
    with open_source(app, data_dir) as source, working("comparing with what was cosigned") as progress:
        for count, one in enumerate(islice(source.hashes(judge.last_size), judge.last_size), start=1):
            judge.append(one)
            if count % 10_000 == 0:
                progress(count, judge.last_size)
    difference = judge.difference()
    return Judgement(Quorum(is_met=False) if difference is not None else quorum_of(kept, policy), difference)


def judged_document(app: App, document: JsonObject, policy_file: Path, data_dir: Path | None) -> JsonObject:
    """A verification's document with what witnesses say, judged here. Takes and raises as `judge_by`."""
    if not document["ok"]:
        return document
    judged = judge_by(app, policy_file, data_dir)
    found = with_judgement(msgspec.convert(document, Verification), judged)
    witnessed: JsonObject = {"witnessed": msgspec.to_builtins(witnessed_record(judged))}
    return {**document, **msgspec.to_builtins(found), **witnessed}


def newest_note(app: App, receipt_id: int) -> str | None:
    """The newest cosigned checkpoint that holds a receipt, best one with a quorum; None where none does."""
    found = app.client().get(CHECKPOINTS_PATH, CosignedList).answer.checkpoints
    holding = [one for one in found if one.size >= receipt_id]
    chosen = max(holding, key=lambda one: (one.quorum_met, len(one.by), one.size), default=None)
    return None if chosen is None else chosen.note


def make_tlog_proof(receipt: JsonObject, note: str, checkpoint: Checkpoint, hashes: list[bytes]) -> str:
    """A C2SP tlog-proof of a receipt.

    Args:
        receipt: as in an export.
        note: the signed checkpoint, with the cosignatures it has.
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
            hint="wait for the witnesses' next round, or take a new one: `briefcase receipts checkpoint --out FILE`",
        )
    proof = TlogProof(index, tuple(prove_inclusion(hashes, index)), note, export_line(receipt))
    return encode_tlog_proof(proof)


def check_tlog_proof(text: str, expected_did: str | None, policy_file: Path | None) -> CheckedProof:
    """Check a tlog-proof that brings its receipt.

    1. it is one
    2. its checkpoint is signed by the identity it names, and by the expected one where one is expected
    3. its cosignatures by keys of the policy are good
    4. the receipt's hash is that of its link and event, and the path leads from that hash to the root
    5. a quorum of the policy cosigned it, where a policy is given

    Raises:
        StoreError: not so (`proof_invalid`).
        ConfigError: the policy file is not as expected.
    """
    policy = None if policy_file is None else load_policy(policy_file, OPTION, None)
    # 1. the form
    try:
        proof = parse_tlog_proof(text)
        # 2. and 3. the checkpoint
        witnessed = _read(proof.note, policy)
    except CallerError as error:
        raise proof_invalid(error.message) from None
    checkpoint = witnessed.checkpoint
    if expected_did is not None and checkpoint.origin != expected_did:
        raise proof_invalid(f"the checkpoint is by `{checkpoint.origin}`, expected `{expected_did}`")
    # 4. the receipt
    receipt = _receipt_of(proof)
    if receipt.id != proof.index + 1 or not is_proven(proof, checkpoint, bytes.fromhex(receipt.hash_hex)):
        raise proof_invalid(f"receipt {receipt.id} is not in the tree that was signed")
    # 5. the quorum
    if policy is not None and not policy.is_met(witnessed.keys):
        by = ", ".join(f"`{key.label}`" for key in witnessed.keys) or "none of its witnesses"
        raise proof_invalid(f"expected cosignatures for the quorum `{policy.quorum_text}`, found {by}")
    return CheckedProof(receipt, witnessed)


def all_hashes(source: Source, signed: Checkpoint) -> list[bytes]:
    """The hashes of a checkpoint's tree, in order; fewer where there are fewer."""
    with working("reading hashes") as progress:
        hashes: list[bytes] = []
        for count, one in enumerate(islice(source.hashes(signed.size), signed.size), start=1):
            hashes.append(one)
            if count % 10_000 == 0:
                progress(count, signed.size)
    return hashes


def _read(note: str, policy: WitnessPolicy | None) -> Witnessed:
    origin = read_checkpoint_text(split_note(note)[0]).origin
    public_key = decode_did_key(origin)
    if public_key is None:
        raise CallerError("expected a checkpoint named after a `did:key`")
    log = NoteKey(origin, LOG_ED25519, public_key)
    if policy is not None and not policy.takes_log(log):
        raise CallerError(f"the checkpoint is by `{origin}`, which is no log of the policy", code="proof_invalid")
    keys: Sequence[NoteKey] = () if policy is None else policy.keys
    return read_witnessed(note, log, keys, MAX_TIME_S, verify_note_signature)


def _receipt_of(proof: TlogProof) -> Receipt:
    try:
        members = orjson.loads(proof.extra)
    except orjson.JSONDecodeError:
        members = None
    if not isinstance(members, dict):
        raise proof_invalid("expected the receipt as JSON after `extra`")
    return read_proven_receipt(members)
