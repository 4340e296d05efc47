"""`briefcase diagnostics`: is it sound, does it meet its objectives, what happened."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import click

from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import ledger_files, render, rich_text, triage
from briefcase.edges.cli.lazy import Lazy, LazyGroup, example
from briefcase.model.errors import CODES

PROBE_TIMEOUT_S: Final = 5.0
VERIFY_TIMEOUT_S: Final = 600.0
RED: Final = CODES["receipt_chain_broken"].exit_code
UNREACHABLE: Final = CODES["daemon_unreachable"].exit_code
COMMANDS: Final[Mapping[str, Lazy]] = {
    "soak": Lazy("briefcase.edges.cli.soak:soak_command", "Call one tool on a schedule and measure what was promised."),
    "bundle": Lazy("briefcase.edges.cli.evidence:bundle", "Gather the evidence of an incident into one file."),
    "canary": Lazy("briefcase.edges.cli.evidence:canary", "Look for the vault's own secrets where they must not be."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    epilog=example(
        "briefcase diagnostics check",
        "briefcase diagnostics soak --duration-secs 3600 --interval-ms 1000 --tool notes_list --out dist/soak.json",
    ),
)
def diagnostics() -> None:
    """Check, measure and gather evidence."""


@diagnostics.command("check", epilog=example("briefcase diagnostics check", "briefcase diagnostics check --json"))
@json_option
@pass_app
def check(app: App, *, as_json: bool) -> int:
    """Judge each part green, yellow or red, with what to do and where to read on.

    Works without a daemon too: the data directory is then checked from its files. Exits with 0 where nothing is red,
    with 7 where something is, and with 5 where no daemon answers within five seconds. Shows no secret.
    """
    parts = triage.triage(app.client(PROBE_TIMEOUT_S), app.client(VERIFY_TIMEOUT_S), time.time_ns() // 1_000)
    answers = len(parts) > 1
    if not answers:
        data_dir = app.data_dir
        parts = (
            *parts,
            *triage.triage_files(data_dir, lambda: ledger_files.verify_files(data_dir, None, lambda _done, _all: None)),
        )
        parts = (*parts, *triage.unknown_parts(parts))
    colour = triage.worst_of(parts)
    if as_json:
        app.json({"status": colour, "parts": [{name: getattr(part, name) for name in _FIELDS} for part in parts]})
    else:
        _show(app, parts)
    if not answers:
        return UNREACHABLE
    return RED if colour == "red" else 0


_FIELDS: Final = ("name", "colour", "detail", "hint", "read")
_STYLES: Final = {"green": "green", "yellow": "yellow", "red": "bold red"}


def _show(app: App, parts: tuple[triage.Part, ...]) -> None:
    for part in parts:
        app.screen.line(rich_text.Text(f"{part.colour:<7}", _STYLES[part.colour]), f"{part.name:<14}{part.detail}")
        if part.colour != "green":
            told = "; ".join(text for text in (part.hint, f"read {part.read}") if text)
            app.screen.line(render.dim(f"{'':21}{told}"))
