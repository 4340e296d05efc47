"""`briefcase receipts checkpoint`, `prove` and `consistency`: what lets somebody else check the chain in a few hashes.

The daemon only signs. Proofs are computed here from the receipts' hashes, of a daemon or of files, and each is checked
before it is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec
import orjson

from briefcase.adapters.vault.identity import verify_signature
from briefcase.core.receipts.notes import MAX_NOTE_BYTES
from briefcase.core.receipts.proofs import (
    check_inclusion_proof,
    make_consistency_proof,
    make_inclusion_proof,
    open_note,
)
from briefcase.core.receipts.tlog_proofs import FORMAT as TLOG_FORMAT
from briefcase.core.wire.receipts import CheckpointRecord
from briefcase.edges.cli import witness_checks
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.exports import data_dir_option, new_file
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note as say
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.sources import open_source
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject

CHECKPOINT_PATH: Final = "/v1/receipts/checkpoint"
SIGN_TIMEOUT_S: Final = 3_600.0
MAX_PROOF_BYTES: Final = 4 << 20

_did_option = click.option("--did", metavar="DID", help="The identity that must have signed, noted elsewhere.")


@click.command(
    epilog=example(
        "briefcase receipts checkpoint --out checkpoint.txt",
        "briefcase receipts checkpoint --out checkpoint.txt --json",
    )
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A new file.")
@json_option
@pass_app
def checkpoint(app: App, *, out: Path, as_json: bool) -> None:
    """Have the daemon verify the chain and sign its state.

    Keep the file elsewhere: it is the anchor that shows later whether anything before it was changed, cut off or put
    back.
    """
    app.check_outside(out)
    with working("verifying and signing"):
        reply = app.client(SIGN_TIMEOUT_S).post(CHECKPOINT_PATH, CheckpointRecord)
    made = reply.answer
    with new_file(out) as file:
        file.write(made.note.encode())
    if as_json:
        app.json(reply.document)
        return
    app.screen.line(f"{made.size:,} receipts signed in `{out}`")
    app.screen.fields([("head", f"{made.head.id}:{made.head.hash_hex}"), ("root", made.root_hex)])


@click.command(
    epilog=example(
        "briefcase receipts prove 12 --checkpoint checkpoint.txt --out receipt-12.proof.json",
        "briefcase receipts prove 12 --format tlog-proof --out receipt-12.tlog-proof",
        "briefcase receipts prove --check receipt-12.tlog-proof --witness-policy policy.txt",
    )
)
@click.argument("receipt_id", metavar="[ID]", type=click.IntRange(1), required=False)
@click.option(
    "--checkpoint", "checkpoint_file", type=click.Path(path_type=Path), metavar="FILE", help="The signed state."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="A new file; else the proof is printed.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("json", "tlog-proof")),
    default="json",
    show_default=True,
    help="Ours, or C2SP's for other verifiers: with the cosignatures of witnesses.",
)
@click.option("--check", "proof_file", type=click.Path(path_type=Path), metavar="FILE", help="Check a proof instead.")
@click.option(
    "--witness-policy",
    "policy_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --check: the witnesses' keys, and which of them must have cosigned (C2SP tlog-policy).",
)
@_did_option
@data_dir_option
@pass_app
def prove(  # noqa: PLR0913 - one command's options
    app: App,
    *,
    receipt_id: int | None,
    checkpoint_file: Path | None,
    out: Path | None,
    form: str,
    proof_file: Path | None,
    policy_file: Path | None,
    did: str | None,
    data_dir: Path | None,
) -> None:
    """Prove that a receipt is in a signed checkpoint.

    Without `--checkpoint` the daemon signs a new one; a `tlog-proof` takes the newest that witnesses cosigned.
    `--check` needs no daemon. Exits with 7 where a proof is not good, or the chain is not the one that was signed.
    """
    if proof_file is not None:
        _check(app, proof_file, did, policy_file)
        return
    if policy_file is not None:
        raise click.UsageError("`--witness-policy` is for a proof to check: give it with `--check`")
    if receipt_id is None:
        raise CallerError("expected a receipt's ID to prove, or `--check FILE`")
    if checkpoint_file is not None:
        text = _read(checkpoint_file, MAX_NOTE_BYTES).decode("utf-8", "replace")
    elif data_dir is None:
        cosigned = _cosigned_note(app, receipt_id) if form == "tlog-proof" else None
        text = cosigned or app.client(SIGN_TIMEOUT_S).post(CHECKPOINT_PATH, CheckpointRecord).answer.note
    else:
        raise CallerError("files alone cannot sign: expected `--checkpoint FILE` with `--data-dir`")
    signed = open_note(text, did, verify_signature)
    with open_source(app, data_dir) as source:
        receipt = next(source.receipts(receipt_id, receipt_id, {}), None)
        if receipt is None:
            raise CallerError(f"no receipt `{receipt_id}`", code="not_found")
        members, hashes = msgspec.structs.asdict(receipt), witness_checks.all_hashes(source, signed)
    if form == "tlog-proof":
        made = witness_checks.make_tlog_proof(members, text, signed, hashes)
        witness_checks.check_tlog_proof(made, did, None)
        _write(app, made.encode(), out)
        return
    proof = make_inclusion_proof(members, text, signed, hashes)
    check_inclusion_proof(orjson.dumps(proof), did, verify_signature)
    _write_json(app, proof, out)


@click.command(
    epilog=example(
        "briefcase receipts consistency monday.txt tuesday.txt", "briefcase receipts consistency a.txt b.txt"
    )
)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the proof into a new file.")
@_did_option
@data_dir_option
@pass_app
def consistency(app: App, *, old: Path, new: Path, out: Path | None, did: str | None, data_dir: Path | None) -> None:
    """Check that a later checkpoint only added to an earlier one.

    Exits with 7 where the two are of different histories, or the chain is not the one that was signed.
    """
    texts = [_read(path, MAX_NOTE_BYTES).decode("utf-8", "replace") for path in (old, new)]
    older, newer = (open_note(text, did, verify_signature) for text in texts)
    with open_source(app, data_dir) as source:
        proof = make_consistency_proof(older, newer, witness_checks.all_hashes(source, newer))
    if out is not None:
        _write_json(
            app,
            {
                "format": "briefcase-consistency-proof-1",
                "old": texts[0],
                "new": texts[1],
                "proof_b64": [*proof],
            },
            out,
        )
    app.screen.line(f"receipts 1 to {older.size:,} are the same in both; {newer.size - older.size:,} were added")
    _say_whose(did)


def _check(app: App, path: Path, did: str | None, policy_file: Path | None) -> None:
    data, by = _read(path, MAX_PROOF_BYTES), ""
    if data.startswith(TLOG_FORMAT.encode()):
        checked = witness_checks.check_tlog_proof(data.decode("utf-8", "replace"), did, policy_file)
        receipt, signed = checked.receipt, checked.witnessed.checkpoint
        by = ", ".join(sorted(key.label for key in checked.witnessed.keys))
    elif policy_file is not None:
        raise click.UsageError("`--witness-policy` is for a tlog-proof: a JSON proof has no cosignatures")
    else:
        receipt, signed = check_inclusion_proof(data, did, verify_signature)
    app.screen.line(f"receipt {receipt.id} is among the {signed.size:,} that were signed")
    event = receipt.event
    app.screen.fields([
        ("time", receipt.ts),
        ("kind", str(event.get("kind", ""))),
        ("tool", str(event.get("tool_id", ""))),
        ("decision", str(event.get("decision", ""))),
        ("identity", signed.origin),
        *((("cosigned by", by),) if by else ()),
    ])  # fmt: skip
    _say_whose(did)
    if not by:
        say("not excluded: another history by the same identity: check a tlog-proof with `--witness-policy FILE`")


def _say_whose(did: str | None) -> None:
    if did is None:
        say("not excluded: that another daemon signed it: give the `--did` you noted")


def _cosigned_note(app: App, receipt_id: int) -> str | None:
    note = witness_checks.newest_note(app, receipt_id)
    if note is None:
        say(f"no witness has cosigned receipt {receipt_id} yet: the proof is signed by the log alone")
    return note


def _write_json(app: App, proof: JsonObject, out: Path | None) -> None:
    if out is None:
        app.json(proof)
    else:
        _write(app, orjson.dumps(proof, option=orjson.OPT_APPEND_NEWLINE), out)


def _write(app: App, proof: bytes, out: Path | None) -> None:
    if out is None:
        click.echo(proof, nl=False)
        return
    app.check_outside(out)
    with new_file(out) as file:
        file.write(proof)
    say(f"check it anywhere: briefcase receipts prove --check {out}")


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise CallerError(f"`{path}` cannot be read: {error.strerror}", code="not_found") from None
    if len(data) > max_bytes:
        raise CallerError(f"expected at most {max_bytes} bytes in `{path}`")
    return data
