"""`briefcase receipts list`: the newest receipts, as a table or as lines for programs, and what comes after them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import click
import msgspec

from briefcase.core.wire.reading import unexpected_answer
from briefcase.core.wire.receipts import ReceiptList
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.json_output import json_text
from briefcase.edges.cli.late import marks, receipt_followers, receipt_forms, receipt_sources, render, rich_text
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.receipt_filters import check_words, filter_options, holds, wanted_of
from briefcase.edges.cli.receipts import flat_text
from briefcase.model.types import JsonObject, Receipt

DEFAULT_LIMIT: Final = 20
HEADERS: Final = (">ID", "TIME", "KIND", "WHO", "TOOL", "WHY")
WIDTHS: Final = (6, 20, 18, 16, 24)  # of a followed list's columns, whose later rows nobody knows yet
FORMS: Final = ("csv", "ocsf")

_Write = Callable[[Sequence[Receipt]], None]


@click.command(
    "list",
    epilog=example(
        "briefcase receipts list --agent scout --since 1h",
        "briefcase receipts list --decision deny --limit 5 --json",
        "briefcase receipts list --follow --format ocsf",
    ),
)
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=DEFAULT_LIMIT, show_default=True, help="At most so many."
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Skip so many of the newest.")
@click.option("--after-id", type=click.IntRange(0), help="Only newer ones than this receipt.")
@filter_options
@click.option("--follow", is_flag=True, help="Oldest first, then each new one as it comes, until interrupted.")
@click.option("--format", "form", type=click.Choice(FORMS), help="Write lines of this form.")
@json_option
@pass_app
def list_receipts(
    app: App,
    /,
    *,
    limit: int,
    offset: int,
    after_id: int | None,
    follow: bool,
    form: str | None,
    as_json: bool,
    **by: str | None,
) -> None:
    """List receipts, the newest first."""
    if as_json and form:
        raise click.UsageError("expected one of `--json` and `--format`")
    if follow and offset:
        raise click.UsageError("`--follow` begins at the newest receipts: give it without `--offset`")
    wanted = wanted_of(by)
    client = app.client()
    reply = client.get("/v1/receipts", ReceiptList, limit=limit, offset=offset, after_id=after_id, **wanted)
    found = [Receipt(*msgspec.structs.astuple(record)) for record in reply.answer.receipts]
    if not all(holds(receipt.event, wanted) for receipt in found):
        raise unexpected_answer(reply.endpoint, "expected receipts that the filter lets pass")
    if not found:
        check_words(receipt_sources.DaemonSource(client), wanted)
    if as_json and not follow:
        app.json(reply.document)
        return
    write = _writer(app, form, as_json=as_json, is_followed=follow)
    write(found[::-1] if follow else found)
    if follow:
        newest = max((receipt.id for receipt in found), default=after_id)
        source = receipt_sources.DaemonSource(client)
        begin = source.head().id if newest is None else newest
        for receipt in receipt_followers.follow(source, begin, wanted):
            write([receipt])
            sys.stdout.flush()


def _writer(app: App, form: str | None, *, as_json: bool, is_followed: bool) -> _Write:
    """What writes receipts, in the order it is given them."""
    if form is not None:
        lines = receipt_forms.lines_in(form)
        click.echo(lines.head, nl=False)
        return lambda receipts: click.echo(b"".join(map(lines.line, receipts)), nl=False)
    if as_json:
        return lambda receipts: click.echo(
            "".join(f"{json_text(msgspec.to_builtins(one))}\n" for one in receipts), nl=False
        )
    if is_followed:
        return lambda receipts: _write_lines(app, receipts)
    return lambda receipts: app.screen.table(HEADERS, _rows(app, receipts), empty="no receipts match")


def _write_lines(app: App, receipts: Sequence[Receipt]) -> None:
    for id_cell, *cells, why in _rows(app, receipts):
        parts: list[str | rich_text.Text] = [str(id_cell).rjust(WIDTHS[0])]
        for cell, width in zip(cells, WIDTHS[1:], strict=True):
            text = cell if isinstance(cell, rich_text.Text) else rich_text.Text(marks.visible_text(cell))
            parts += ["  ", text, " " * max(0, width - text.cell_len)]
        app.screen.line(*parts, "  ", why)


def _rows(app: App, receipts: Sequence[Receipt]) -> list[tuple[str | rich_text.Text, ...]]:
    now_us = time.time_ns() // 1_000
    rows: list[tuple[str | rich_text.Text, ...]] = []
    for receipt in receipts:
        event = receipt.event
        kind, style = marks.visible_text(_said(event, "kind")), render.STYLES.get(_said(event, "decision"), "")
        rows.append(
            (
                str(receipt.id),
                app.screen.short_time(receipt.ts, now_us),
                rich_text.Text(kind, style),
                _said(event, "principal", "by"),
                _said(event, "tool_id"),
                _why(event),
            )
        )
    return rows


def _said(event: JsonObject, *names: str) -> str:
    """The first of these members that an event has, on one line; an event's members are those of its kind."""
    return next((flat_text(event[name]) for name in names if event.get(name) not in (None, "", [], {})), "")


def _why(event: JsonObject) -> str:
    """What explains an event in a few words."""
    if "control_id" in event:
        return f"{_said(event, 'action')} {_said(event, 'about').removesuffix(':')}"
    if event.get("kind") == "approval_decided":  # the daemon's word first; a person's own never stands without it
        status, reason = _said(event, "status"), _said(event, "reason")
        return f"{status}: `{reason}`" if reason else status
    if event.get("tool_error"):
        return "ok: the tool says that it failed"
    said, policies = _said(event, "reason", "error", "status", "cause"), event.get("policy_ids")
    if not policies or "decision" not in event:
        return said or _said(event, "policy_ids")
    by = f"by {flat_text(policies)}"
    return f"{said} {by}" if said else by
