"""What goes to standard error: one line for what happened, one for what to do next; under `--json`, one object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click
import orjson

from briefcase.errors import BriefcaseError, CallerError


class PointedError(CallerError):
    """Something a person typed that can not be read. `excerpt` is the line at fault and a caret below the character."""

    def __init__(self, message: str, *, hint: str = "", excerpt: str = "") -> None:
        super().__init__(message, code="invalid_args", hint=hint)
        self.excerpt = excerpt


def wire_of(error: BriefcaseError) -> dict[str, Any]:
    """An error in the daemon's own form."""
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "request_id": getattr(error, "request_id", ""),
        "excerpt": getattr(error, "excerpt", ""),
    }


def complain(wire: Mapping[str, Any], *, as_json: bool = False, label: str = "error") -> None:
    """Say what went wrong.

    Args:
        wire: `code`, `message`, and any of `hint`, `request_id`, `excerpt`; empty ones are left out.
        as_json: write the object itself.
        label: the word before the message.
    """
    present = {name: value for name, value in wire.items() if value}
    if as_json:
        present.pop("excerpt", None)
        click.echo(orjson.dumps(present).decode(), err=True)
        return
    from briefcase.approvals import visible_text  # noqa: PLC0415 - `--version` needs none of it

    _write(label, "red", visible_text(present["message"]))
    if "excerpt" in present:
        click.echo(present["excerpt"], err=True)
    if "hint" in present:
        _write("hint", "cyan", visible_text(present["hint"]))


def note(text: str) -> None:
    """Say something beside the result: progress, provenance, what to do next."""
    from briefcase.approvals import visible_text  # noqa: PLC0415 - as above

    click.echo(click.style(visible_text(text), dim=True), err=True, color=_color())


def _write(label: str, color: str, text: str) -> None:
    click.echo(f"{click.style(f'{label}:', fg=color)} {text}", err=True, color=_color())


def _color() -> bool | None:
    """None lets click decide by whether it writes to a terminal."""
    return False if os.environ.get("NO_COLOR") else None
