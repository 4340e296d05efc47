"""`briefcase receipts anomalies`: what in the receipts is unlike what came before."""

from __future__ import annotations

from typing import Final

import click

from briefcase.core.wire.anomalies import AnomalyList
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import example

TIMEOUT_S: Final = 120.0


@click.command("anomalies", epilog=example("briefcase receipts anomalies", "briefcase receipts anomalies --json"))
@json_option
@pass_app
def anomalies(app: App, *, as_json: bool) -> None:
    """List what is unlike what came before: spending, costs, destinations.

    Secrets in outputs, words that steer a model, and bursts of refusals, too: of the last seven days, newest first,
    each with why and the receipts it is from. `[anomalies]` in briefcase.toml says from when on it counts.
    """
    reply = app.client(TIMEOUT_S).get("/v1/ai/anomalies", AnomalyList)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (render.when(one.ts_rfc3339), one.severity, one.kind, one.message, _receipts_of(one.receipt_ids))
        for one in reply.answer.anomalies
    ]
    app.screen.table(("WHEN", "SEVERITY", "KIND", "WHAT", "RECEIPTS"), rows, empty="nothing is unlike what came before")


def _receipts_of(ids: list[int]) -> str:
    return str(ids[0]) if len(ids) == 1 else f"{ids[0]} to {ids[-1]}" if ids else ""
