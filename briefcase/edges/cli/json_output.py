"""JSON on standard output, for programs and for people: nothing in it acts on a terminal, and its value is unchanged.

A character that nobody sees is written as its escape. A command with `--json` loads this and no table writer.
"""

from __future__ import annotations

import re
import sys
from typing import Final

import click
import orjson

from briefcase.core.characters.marks import has_unseen
from briefcase.model.types import JsonValue

MAX_BASIC_PLANE: Final = 0xFFFF  # what lies beyond takes two of JSON's escapes

_NOT_PLAIN: Final = re.compile(r"[^\x20-\x7e\n]")


def write_json(value: JsonValue) -> None:
    """Write one JSON value: indented on a terminal, on one line for programs."""
    click.echo(json_text(value, indent=sys.stdout.isatty()))


def json_text(value: JsonValue, *, indent: bool = False) -> str:
    """JSON whose text holds nothing a terminal would act on; its value is unchanged."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0).decode()
    return _NOT_PLAIN.sub(_escape_json, text)


def _escape_json(match: re.Match[str]) -> str:
    """Write a character that nobody sees as its JSON escape; only strings can hold one."""
    char = match[0]
    if not has_unseen(char):
        return char
    code = ord(char)
    if code <= MAX_BASIC_PLANE:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)  # RFC 8259 section 7: a surrogate pair
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
