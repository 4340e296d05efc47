"""`briefcase receipts`: the chain of what was decided and done: list it, look at one link, check all of it.

`verify` asks the daemon; `verify --data-dir DIR` reads the files themselves, where no daemon runs. Either way a broken
chain exits with 7 and names the first bad receipt, what was expected there and what was found. `exports` has the
commands that copy receipts elsewhere, `proofs` those that sign and prove.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.core.receipts.judgement import WITNESSED_ROW
from briefcase.core.wire.reading import unexpected_answer
from briefcase.core.wire.receipts import ReceiptList, ReceiptRecord, VerificationRecord
from briefcase.core.wire.witnesses import WitnessedRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import DaemonError
from briefcase.edges.cli.late import ledger_files, receipt_reasons, render, rich_text, witness_checks
from briefcase.edges.cli.lazy import Lazy, LazyGroup, example
from briefcase.edges.cli.messages import complain, note
from briefcase.edges.cli.progress import working
from briefcase.model.effects import Head
from briefcase.model.errors import CODES, CallerError
from briefcase.model.types import JsonValue

VERIFY_PATH: Final = "/v1/receipts/verify"
VERIFY_TIMEOUT_S: Final = 3_600.0
ARCHIVE_PLACE: Final = "<data directory>/ledger/archive"
NOT_CHECKED: Final = {
    "tail_truncation": "that receipts were cut off the end: give an `--anchor` noted elsewhere",
    "rollback": "that the whole directory is an older copy: the same anchor finds it",
    "tail_truncation_after_anchor": "that receipts newer than the anchor were cut off the end",
    "tail_truncation_after_witnessed": "that receipts after those that are witnessed were cut off the end",
    "rollback_after_witnessed": "that the whole directory, cosignatures too, is a copy from after the time they are of",
    "approvals_ended_before_state": "approvals that ended before receipts said what they store",
    "agent_tokens_before_state": "the tokens of agents added before receipts held their digests",
    "budgets_of_restored_days": "what was spent on a day on which a backup was restored",
    "request_claims": "the packed table of request ids, which only the daemon's secret can read",
    "used_states": "the table of sealed states that were used once",
    "providers": "the list of providers in `briefcase.sqlite`",
    "provider_verdicts": "what was found of each provider's capabilities",
    "sync_progress": "how far receipts were uploaded to a control plane",
    "notes": "what the tool `note_add` keeps",
    "receipts_before_checkpoint": "what is wrong before the receipt that an earlier run ended at",
}
PROBLEMS: Final = {  # receipts/chain.py names them
    "id_sequence": "its id does not follow the one before",
    "malformed": "it is too short to be a receipt",
    "prev_hash": "it does not link to the receipt before it",
    "hash": "its hash is not that of its link and event",
    "not_canonical": "its event is not in canonical form",
    "event_id": "its event has another id",
    "event_ts": "its event has no time",
    "time_went_back": "it is older than the receipt before it",
    "receipt_missing": "it is missing",
    "anchor_missing": "the chain ends before the anchor",
    "anchor_mismatch": "it is not the receipt the anchor names",
}
_REPEATED: Final = frozenset({"id", "ts"})  # of the receipt, in its event
_ANCHOR: Final = re.compile(r"(\d{1,16}):([0-9a-fA-F]{64})")


@click.group(
    cls=LazyGroup,
    table={
        "list": Lazy("briefcase.edges.cli.receipt_list:list_receipts", "List receipts, the newest first."),
        "report": Lazy(
            "briefcase.edges.cli.audit_report:report", "Write an audit report: one HTML page, by agent and day."
        ),
        "anomalies": Lazy(
            "briefcase.edges.cli.anomalies:anomalies",
            "List what is unlike what came before: spending, costs, destinations.",
        ),
        "archive": Lazy(
            "briefcase.edges.cli.archive:archive", "Move old receipts into compressed files that still verify."
        ),
        "export": Lazy("briefcase.edges.cli.exports:export", "Copy receipts into a file that verifies by itself."),
        "checkpoint": Lazy(
            "briefcase.edges.cli.proofs:checkpoint", "Have the daemon verify the chain and sign its state."
        ),
        "prove": Lazy("briefcase.edges.cli.proofs:prove", "Prove that a receipt is in a signed checkpoint."),
        "consistency": Lazy(
            "briefcase.edges.cli.proofs:consistency", "Check that a later checkpoint only added to an earlier one."
        ),
        "import": Lazy(
            "briefcase.edges.cli.exports:import_", "Compare an export with the chain; keep what is missing."
        ),
    },
    epilog=example("briefcase receipts list --decision deny --since 1h", "briefcase receipts verify"),
)
def receipts() -> None:
    """List, show and verify the receipt chain."""


@receipts.command("show", epilog=example("briefcase receipts show 12", "briefcase receipts show 12 --json"))
@click.argument("receipt_id", metavar="ID", type=click.IntRange(1))
@json_option
@pass_app
def show_receipt(app: App, *, receipt_id: int, as_json: bool) -> None:
    """Show one receipt: why the call came to it, its event and its hashes."""
    receipt, document = _find(app, receipt_id)
    if as_json:
        app.json(document)
        return
    pairs: list[tuple[str, str | rich_text.Text]] = [("receipt", str(receipt.id)), ("time", render.when(receipt.ts))]
    pairs += [(name, flat_text(text)) for name, text in receipt_reasons.why_of(app.client(), receipt)]
    for name, value in receipt.event.items():
        if name in _REPEATED or value in (None, "", [], {}):
            continue
        shown = flat_text(value)
        pairs.append((name, render.styled(shown) if name in {"decision", "status"} else shown))
    pairs += [("hash", render.dim(receipt.hash_hex)), ("hash before", render.dim(receipt.prev_hash_hex))]
    app.screen.fields(pairs)


def _find(app: App, receipt_id: int) -> tuple[ReceiptRecord, JsonValue]:
    """One receipt, and the document that says so; where a daemon only lists them, by its place in the list.

    Raises:
        DaemonError: there is none of this id (`not_found`).
    """
    client = app.client()
    try:
        one = client.get(f"/v1/receipts/{receipt_id}", ReceiptRecord)
    except DaemonError as error:
        if error.code != "not_found":
            raise
        newest = client.get("/v1/receipts", ReceiptList, limit=1).answer.receipts
        behind = newest[0].id - receipt_id if newest else -1
        if behind < 0:
            raise
        page = client.get("/v1/receipts", ReceiptList, limit=1, offset=behind)
        if [receipt.id for receipt in page.answer.receipts] != [receipt_id]:
            raise
        return page.answer.receipts[0], page.listed("receipts")[0]
    return one.answer, one.document


@receipts.command(
    "verify",
    epilog=example(
        "briefcase receipts verify",
        "briefcase receipts verify --state",
        "briefcase receipts verify --anchor 120:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ),
)
@click.option("--anchor", metavar="ID:HASH", help="A head noted earlier, elsewhere: finds a cut or rolled back chain.")
@click.option("--after", metavar="ID:HASH", help="The head an earlier run ended at: check only what came later.")
@click.option("--state", is_flag=True, help="Hold approvals, budgets, policy and agents against the chain too.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Read the files of this directory: no daemon runs.",
)
@click.option(
    "--witness-policy",
    "policy_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Judge what was cosigned here, by this file's keys and quorum (C2SP tlog-policy).",
)
@json_option
@pass_app
def verify_receipts(
    app: App,
    *,
    anchor: str | None,
    after: str | None,
    state: bool,
    data_dir: Path | None,
    policy_file: Path | None,
    as_json: bool,
) -> int:
    """Check each receipt and its place; with `--state` the tables as well.

    Where the log is witnessed, it is said which quorum vouches for it, up to which receipt, and what that excludes; a
    chain that is not the one they cosigned is broken.

    Exits with 7 where the chain is broken. Note the head it prints somewhere else: it is the anchor of a later run, and
    with `--after` that run checks only what came since.
    """
    known = parse_anchor(anchor) if anchor else None
    start = parse_anchor(after, "--after") if after else None
    if start is not None and data_dir is not None:
        raise click.UsageError("`--after` asks a running daemon; `--data-dir` reads the whole chain")
    if state and (start is not None or data_dir is not None):
        raise click.UsageError("`--state` asks a running daemon for the whole chain: give it without these")
    if policy_file is not None and start is not None:
        raise click.UsageError("`--witness-policy` judges the whole chain: give it without `--after`")
    with working("verifying") as progress:
        if data_dir is None:
            heads = {"anchor": known, "after": start}
            body = {name: msgspec.to_builtins(head) for name, head in heads.items() if head is not None}
            body |= {"state": True} if state else {}
            reply = app.client(VERIFY_TIMEOUT_S).post(VERIFY_PATH, VerificationRecord, body or None)
            found, document = reply.answer, reply.document
        else:
            document = msgspec.to_builtins(ledger_files.verify_files(data_dir, known, progress))
            found = msgspec.convert(document, VerificationRecord)
    if policy_file is not None:
        document = witness_checks.judged_document(app, document, policy_file, data_dir)
        found = msgspec.convert(document, VerificationRecord)
    if not (found.ok or found.difference or found.first_bad):
        raise unexpected_answer(f"POST {VERIFY_PATH}", "expected the field `first_bad` where `ok` is false, got none")
    if as_json:
        app.json(document)
    else:
        _show_verification(app, found)
    return 0 if found.ok else CODES["receipt_chain_broken"].exit_code


def parse_anchor(text: str, option: str = "--anchor") -> Head:
    """Read `ID:HASH`, the value of an option.

    Raises:
        CallerError: of another form.
    """
    match = _ANCHOR.fullmatch(text)
    if match is None:
        raise CallerError(f"`{option}`: expected `ID:HASH` with 64 hex digits, got `{text}`")
    return Head(int(match[1]), match[2].lower())


def _show_verification(app: App, found: VerificationRecord) -> None:
    screen, head = app.screen, found.head
    if found.ok:
        archived = f" ({found.archived:,} of them archived)" if found.archived else ""
        screen.line(render.styled("ok"), f" {found.checked:,} receipts, each in its place{archived}")
        screen.fields([("head", f"{head.id}:{head.hash_hex}")])
    elif difference := found.difference:
        what = f"but `{difference.row}` was changed beside it"
        if difference.row.startswith(WITNESSED_ROW):
            size = int(difference.row.removeprefix(WITNESSED_ROW))
            what = f"but is not the one that witnesses cosigned at {size:,} receipts"
        complain(
            {
                "message": f"the chain verifies, {what}",
                "hint": "keep a copy of the data directory before anything else, then restore a verified backup",
            }
        )
        said = "the witnesses say" if difference.row.startswith(WITNESSED_ROW) else "the receipts say"
        screen.fields([(said, difference.expected), ("found", difference.found)])
    elif bad := found.first_bad:
        complain(
            {
                "message": f"receipt {bad.id} is wrong: {PROBLEMS.get(bad.problem, bad.problem)}",
                "hint": "keep a copy of the data directory before anything else, then restore a verified backup",
            }
        )
        if bad.id <= found.archived:
            note(f"it is an archived one: its segment is missing or damaged in `{ARCHIVE_PLACE}`; a backup has it")
        screen.fields(
            [
                ("receipts before it", f"{found.checked:,}"),
                ("expected hash before", bad.expected_prev_hash_hex),
                ("found hash before", bad.found_prev_hash_hex),
                ("expected hash", bad.expected_hash_hex),
                ("found hash", bad.found_hash_hex),
            ]
        )
    if found.ok and found.witnessed is not None:
        _show_witnessed(app, found.witnessed)
    for word in found.not_checked:
        note(f"not excluded: {NOT_CHECKED.get(word, word)}")


def _show_witnessed(app: App, said: WitnessedRecord) -> None:
    if said.problem:
        note(f"what was cosigned could not be read: {said.problem}")
    if not said.quorum_met:
        note("no quorum of witnesses has cosigned this log: `briefcase witness list`")
        return
    if not said.size:
        note("the quorum asks for nobody, so witnesses exclude nothing")
        return
    app.screen.fields([
        ("witnessed", f"1 to {said.size:,}, by {', '.join(said.by)}"),
        ("as of", said.cosigned_at or ""),
        ("excluded", said.excludes),
    ])  # fmt: skip


def flat_text(value: JsonValue) -> str:
    """A field of an event on one line."""
    match value:
        case str():
            return value
        case dict():
            return "  ".join(f"{name} {flat_text(inner)}" for name, inner in value.items())
        case list():
            return ", ".join(map(flat_text, value))
        case _:
            return str(value).lower()
