"""`briefcase receipts report`: what happened, on one page that an auditor can keep: by day and agent.

The page is one file with no script and nothing to fetch. It begins with what was verified: the chain itself, its head,
and which receipts the figures are of.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.core.receipts.audit import Audit
from briefcase.core.wire.receipts import VerificationRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.exports import data_dir_option, new_file
from briefcase.edges.cli.late import ledger_files
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.receipt_filters import check_words, filter_options, wanted_of
from briefcase.edges.cli.receipts import NOT_CHECKED, PROBLEMS, VERIFY_PATH, VERIFY_TIMEOUT_S
from briefcase.edges.cli.sources import open_source
from briefcase.edges.diagnostics.audit_page import Subject, audit_page
from briefcase.model.errors import CODES

NOUNS: Final = {"principal": "agent", "tool_id": "tool", "approval_id": "approval"}
_TELL_EVERY: Final = 1_000


@click.command(
    "report",
    epilog=example(
        "briefcase receipts report --out november.html --since 30d",
        "briefcase receipts report --out scout.html --agent scout",
    ),
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A new file.")
@filter_options
@data_dir_option
@json_option
@pass_app
def report(app: App, /, *, out: Path, data_dir: Path | None, as_json: bool, **by: str | None) -> int:
    """Write an audit report: one HTML page, by agent and day.

    The chain is verified first, whole. Where it does not verify the page is written, says so, and the exit code is 7.
    """
    app.check_outside(out)
    wanted = wanted_of(by)
    verified = _verify(app, data_dir)
    audit = Audit()
    with open_source(app, data_dir) as source, working("reading") as progress:
        head = source.head()
        for receipt in source.receipts(1, head.id, wanted):
            audit.add(receipt)
            if audit.receipts % _TELL_EVERY == 0:
                progress(receipt.id, head.id)
        if not audit.receipts:
            check_words(source, wanted)
    subject = Subject(
        verdict=_verdict(verified),
        holds=verified.ok,
        not_excluded=tuple(NOT_CHECKED.get(word, word).partition(":")[0] for word in verified.not_checked),
        head=f"{head.id}:{head.hash_hex}",
        chosen=_in_words(wanted),
        made=datetime.now(UTC),
    )
    with new_file(out) as file:
        file.write(audit_page(audit, subject).encode())
    if as_json:
        app.json({"file": str(out), "ok": verified.ok, "receipts": audit.receipts, "head": subject.head})
    else:
        app.screen.line(f"{audit.receipts:,} receipts in `{out}`")
        if not verified.ok:
            note("the chain does not verify, which the page says first: see `briefcase receipts verify`")
    return 0 if verified.ok else CODES["receipt_chain_broken"].exit_code


def _verify(app: App, data_dir: Path | None) -> VerificationRecord:
    with working("verifying") as progress:
        if data_dir is None:
            return app.client(VERIFY_TIMEOUT_S).post(VERIFY_PATH, VerificationRecord).answer
        found = ledger_files.verify_files(data_dir, None, progress)
        return msgspec.convert(msgspec.to_builtins(found), VerificationRecord)


def _verdict(verified: VerificationRecord) -> str:
    if verified.ok:
        return f"The chain verifies: {verified.checked:,} receipts, each in its place."
    bad = verified.first_bad
    why = "" if bad is None else f" from receipt {bad.id} on: {PROBLEMS.get(bad.problem, bad.problem)}"
    return f"The chain does not verify{why}. Rely on no figure below."


def _in_words(wanted: Mapping[str, str]) -> str:
    return ", ".join(f"{NOUNS.get(name, name)} {value}" for name, value in wanted.items())
