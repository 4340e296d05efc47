"""Until when something holds: `--for SPAN` or `--until TIME`."""

from __future__ import annotations

import re
import time
from typing import Final

import click

from briefcase.model.errors import CallerError
from briefcase.model.types import US_PER_S, format_rfc3339, parse_rfc3339

_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def end_of(span: str | None, until: str | None) -> str | None:
    """The time that `--for` or `--until` says, in RFC 3339; None where neither is given.

    Raises:
        CallerError: it is no span, or no time.
    """
    if span and until:
        raise click.UsageError("expected --for or --until, got both")
    if span:
        match = _SPAN.fullmatch(span)
        if match is None:
            raise CallerError(f"`--for`: expected a span like `30m`, `2h` or `7d`, got `{span}`")
        return format_rfc3339((int(time.time()) + int(match[1]) * _SECONDS[match[2]]) * US_PER_S)
    if until:
        try:
            parse_rfc3339(until)
        except ValueError as error:
            raise CallerError(f"`--until`: {error}") from None
    return until
