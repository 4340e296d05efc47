"""The members of an object in the spelling of its text, for people: two names that look alike must stay two."""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

_decode: Final = json.JSONDecoder(object_pairs_hook=list, parse_int=str, parse_float=str).raw_decode
_PARAGRAPH: Final = re.compile(r"(?:[^\\]|\\[^n])*+(?:(?:\\n)++|\Z)|.+", re.DOTALL)


class Member(NamedTuple):
    """One member: its name and its value, both as JSON text."""

    name: str
    value: str


def members_of(text: str) -> list[Member]:
    """The members of a canonical JSON object, shortest first; the whole text as one where it is no JSON object.

    Args:
        text: JSON without white space between its parts; two names that look the same stay two.
    """
    members: list[Member] = []
    try:
        at = 1 if text.startswith("{") else len(text)
        while text[at] != "}":
            _, end = _decode(text, at)
            _, stop = _decode(text, end + 1)
            members.append(Member(text[at:end], text[end + 1 : stop]))
            at = stop + (text[stop] == ",")
    except (ValueError, IndexError, RecursionError):
        at = 0
    if at != len(text) - 1:
        return [Member("", text)]
    return sorted(members, key=lambda member: len(member.name) + len(member.value))


def paragraphs_of(value: str) -> list[str]:
    """A JSON text in pieces that each end where a line of its own text does, at an escaped line feed."""
    return _PARAGRAPH.findall(value)
