"""`briefcase receipts archive`: the daemon moves old receipts into compressed segments, which stay readable."""

from __future__ import annotations

import time
from typing import Final

import click

from briefcase.core.wire.receipts import ArchiveRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.receipt_filters import parse_moment
from briefcase.model.types import JsonObject

ARCHIVE_TIMEOUT_S: Final = 3_600.0
MIN_KEEP: Final = 1_000
DEFAULT_KEEP: Final = 100_000


@click.command(
    epilog=example("briefcase receipts archive --before 90d", "briefcase receipts archive --keep 1000000 --before 30d")
)
@click.option(
    "--keep",
    type=click.IntRange(MIN_KEEP),
    default=DEFAULT_KEEP,
    show_default=True,
    help="How many of the newest stay in the ledger.",
)
@click.option("--before", metavar="TIME", help="Only older ones: 2026-01-31T12:00:00Z, or how long ago: 12h, 90d.")
@json_option
@pass_app
def archive(app: App, *, keep: int, before: str | None, as_json: bool) -> None:
    """Move old receipts into compressed files that still verify.

    `receipts list`, `show`, `verify`, `export` and `prove` go on to find them, and backups hold them. Each move is a
    receipt of its own. A few thousand more than asked for stay where the next start of the daemon needs them.
    """
    body: JsonObject = {"keep": keep}
    if before is not None:
        body["before"] = parse_moment(before, time.time_ns() // 1_000)
    with working("archiving"):
        reply = app.client(ARCHIVE_TIMEOUT_S).post("/v1/receipts/archive", ArchiveRecord, body)
    if as_json:
        app.json(reply.document)
        return
    done = reply.answer
    if not done.receipts:
        app.screen.line("nothing to archive")
        return
    app.screen.line(f"{done.receipts:,} receipts in {done.segments:,} segments of {done.bytes:,} bytes")
    app.screen.fields([
        ("archived up to", f"{done.through.id}:{done.through.hash_hex}"),
        ("segments in", done.directory),
    ])  # fmt: skip
    note("keep the segments with the ledger: `receipts verify` names the first receipt that is missing")
