r"""A call's arguments as a grant's condition reads them, and what "within what was shown" means.

Each value of the arguments has a JSON pointer and a type. A grant that fixes some of them lets the rest differ so:

| shown | another call may have |
|---|---|
| an object, an array | the same members; as many items |
| a text | at most as many characters, each an ASCII letter, a digit or a space, or one that the shown text has |
| a text that names a place | the same text |
| a whole number n | one from 0 to n |
| another number, true, false, null | the same |

A text names a place where it has `/`, `\`, `@`, or a `.` or `:` right before a letter or digit: a URL, a host, an
address, a path, a file, a time. A text that names none must go on naming none. All types stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from briefcase.core.json.pointer import token_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.types import JsonObject, JsonValue

TEXT: Final = "text"
INTEGER: Final = "whole number"
_PLACE: Final = re.compile(r"[/\\@]|[.:](?=\w)")
_ORDINARY: Final = re.compile(r"[A-Za-z0-9 ]")


class Member(msgspec.Struct, frozen=True):
    """One value of the arguments: where it is, of what type, and the value itself."""

    pointer: str
    type: str
    value: JsonValue

    @property
    def is_leaf(self) -> bool:
        """Whether no other value is in it."""
        return not isinstance(self.value, dict | list)

    @property
    def text(self) -> str:
        """The value as canonical JSON."""
        return canonical_bytes(self.value).decode()

    @property
    def is_free_to_differ(self) -> bool:
        """Whether a value of this type may differ where it is not fixed."""
        return self.type in {TEXT, INTEGER}


def members_of(args: JsonValue) -> Iterator[Member]:
    """All values of the arguments, the whole first, each before what is in it."""
    waiting = [("", args)]
    while waiting:
        pointer, value = waiting.pop()
        yield Member(pointer, _type_of(value), value)
        inside: list[tuple[str, JsonValue]] = []
        if isinstance(value, dict):
            inside = [(f"{pointer}/{token_of(name)}", one) for name, one in value.items()]
        elif isinstance(value, list):
            inside = [(f"{pointer}/{index}", one) for index, one in enumerate(value)]
        waiting.extend(reversed(inside))


def marks_of(text: str) -> list[str]:
    """The characters of a text that are no ASCII letters, digits or spaces, each once."""
    return sorted(set(_ORDINARY.sub("", text)))


def context_of(args: JsonValue) -> JsonObject:
    """The part of a condition's context that is read of the arguments."""
    found = list(members_of(args))
    texts = [(one.pointer, one.value) for one in found if isinstance(one.value, str)]
    return {
        "members": [typed(one) for one in found],
        "value": {one.pointer: one.text for one in found if one.is_leaf},
        "length": {pointer: len(text) for pointer, text in texts},
        "marks": {pointer: list[JsonValue](marks_of(text)) for pointer, text in texts},
        "number": {one.pointer: one.value for one in found if one.type == INTEGER},
    }


def typed(member: Member) -> str:
    """A value's type and place, as a condition compares them.

    No type has a `/`, with which every place but the whole's begins: two values are never the same text, whatever their
    members are called.
    """
    return f"{member.type} {member.pointer}"


def _type_of(value: JsonValue) -> str:
    if isinstance(value, bool) or value is None:
        return "true or false" if isinstance(value, bool) else "null"
    if isinstance(value, str):
        return "place" if _PLACE.search(value) else TEXT
    if isinstance(value, int):
        return INTEGER
    if isinstance(value, list):
        return f"{len(value)} items"
    return "object" if isinstance(value, dict) else "number"
