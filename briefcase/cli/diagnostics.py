"""`briefcase diagnostics`: is it sound, does it meet its objectives, what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from briefcase.cli.lazy import Lazy, LazyGroup, example

COMMANDS: Final[Mapping[str, Lazy]] = {
    "soak": Lazy("briefcase.cli.soak:soak_command", "Call one tool on a schedule and measure what was promised."),
}


@click.group(cls=LazyGroup, table=COMMANDS, epilog=example("briefcase diagnostics check"))
def diagnostics() -> None:
    """Check, measure and gather evidence."""
