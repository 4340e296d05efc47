"""What goes to standard error: one line for what happened, one for what to do next; under `--json`, one object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click
import orjson

from briefcase.edges.cli.late import marks
from briefcase.model.errors import BriefcaseError


def wire_of(error: BriefcaseError) -> dict[str, Any]:
    """An error in the daemon's own form."""
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "request_id": getattr(error, "request_id", ""),
    }


def complain(wire: Mapping[str, Any], *, as_json: bool = False, label: str = "error") -> None:
    """Say what went wrong.

    Args:
        wire: `code`, `message`, and any of `hint` and `request_id`; empty ones are left out. Further lines of a
            message (a place in a text, and a caret below it) are indented, so none can pass for a line of ours.
        as_json: write the object itself.
        label: the word before the message.
    """
    present = {name: value for name, value in wire.items() if value}
    if as_json:
        click.echo(orjson.dumps(present).decode(), err=True)
        return
    first, *further = present["message"].split("\n")
    _write(label, "red", marks.visible_text(first))
    for line in further:
        click.echo(f"  {marks.visible_text(line)}", err=True)
    if "hint" in present:
        _write("hint", "cyan", marks.visible_text(present["hint"]))


def note(text: str) -> None:
    """Say something beside the result: progress, provenance, what to do next."""
    click.echo(click.style(marks.visible_text(text), dim=True), err=True, color=_color())


def _write(label: str, color: str, text: str) -> None:
    click.echo(f"{click.style(f'{label}:', fg=color)} {text}", err=True, color=_color())


def _color() -> bool | None:
    """None lets click decide by whether it writes to a terminal."""
    return False if os.environ.get("NO_COLOR") else None
