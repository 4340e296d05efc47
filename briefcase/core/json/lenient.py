"""JSON that others wrote, read where exactness is not needed: delivered by one stated rule instead of refused.

`strict` refuses what two readers could understand differently. Here such a text is read one way, and what was read so
is named. Where a value decides something, `strict` is the reader.

| written | read | named |
|---|---|---|
| a byte order mark | skipped | `byte_order_mark` |
| bytes that are no UTF-8 | U+FFFD, as decoders write it | `encoding` |
| half a surrogate pair | U+FFFD | `lone_surrogate` |
| a number that is not exact everywhere (`strict` has the table) | its text, as a string | `number` |
| `NaN`, `Infinity`, `-Infinity` | its text, as a string | `number` |
| a key twice in one object | the last counts, as ECMAScript has it | `duplicate_key` |
| a control character within a string | itself | `control_character` |

Protocol Buffers write 64-bit integers and `NaN` as strings in JSON for the same reason. The depth and the number of
values are bounded as in `strict`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from briefcase.core.json.strict import MAX_DEPTH, MAX_VALUES
from briefcase.core.json.strict import parse as parse_strict
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

MARK: Final = b"\xef\xbb\xbf"
MAX_NUMBER_CHARS: Final = 128
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_WRITTEN: Final = re.compile(r"-?[0-9]{16,128}(?:\.[0-9]*)?|-?[0-9.]{1,128}[eE][+-]?[0-9]{1,8}|NaN|-?Infinity")
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)  # one that does not end takes the rest: read once
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class Reading(msgspec.Struct, frozen=True):
    """What was read, and what of it was no strict JSON, by the names of the module's table, sorted.

    `repeated` has the keys that stand twice in the outermost object.
    """

    value: JsonValue
    inexact: tuple[str, ...] = ()
    repeated: frozenset[str] = frozenset()


def read_lenient(data: bytes) -> Reading:
    """Read one JSON value by the module's table.

    Args:
        data: their number is the caller's to bound.

    Raises:
        CallerError: it is no JSON even so, or it has too many values or too deep ones.
    """
    inexact: set[str] = set()
    if data.startswith(MARK):
        data = data[len(MARK) :]
        inexact.add("byte_order_mark")
    try:
        return Reading(parse_strict(data), tuple(inexact))
    except CallerError as error:
        strict = error
    _check_bounds(data, strict)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        inexact.add("encoding")
    reader = _Reader(inexact)
    try:
        value = reader.read(text)
    except (ValueError, RecursionError):  # (the fault that `strict` tells of may be one that is read here)
        raise strict from None
    if not inexact - {"byte_order_mark"}:
        inexact.add("control_character")  # all else that is read here was named
    return Reading(value, tuple(sorted(inexact)), reader.repeated if isinstance(value, dict) else frozenset())


def inexact_number_in(value: JsonValue) -> str | None:
    """The first text in a value that is a number which is not exact everywhere; None where there is none."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and _WRITTEN.fullmatch(value):
            return value
        if isinstance(value, dict):
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
    return None


def _check_bounds(data: bytes, fault: CallerError) -> None:
    """Raises the fault where a text may have more values than are read, or nests them deeper."""
    bare = _STRINGS.sub(b"", data)
    brackets = bare.translate(None, _NO_BRACKETS)
    if len(brackets) // 2 + bare.count(b",") > MAX_VALUES:
        raise fault
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise fault


class _Reader:
    """One reading. The standard library reads; what it takes beyond JSON is named in `inexact`."""

    def __init__(self, inexact: set[str]) -> None:
        self.repeated: frozenset[str] = frozenset()  # of the object that was read last: the outermost one
        self._inexact = inexact

    def read(self, text: str) -> JsonValue:
        value = json.loads(
            text,
            strict=False,
            parse_int=self._number,
            parse_float=self._number,
            parse_constant=self._constant,
            object_pairs_hook=self._object,
        )
        return self._whole(value)

    def _number(self, text: str) -> JsonValue:
        if len(text) <= MAX_NUMBER_CHARS:
            try:
                return parse_strict(text.encode())
            except CallerError:
                pass
        return self._constant(text)

    def _constant(self, text: str) -> str:
        self._inexact.add("number")
        return text

    def _object(self, pairs: list[tuple[str, JsonValue]]) -> JsonObject:
        members = dict(pairs)
        self.repeated = frozenset()
        if len(members) < len(pairs):
            self._inexact.add("duplicate_key")
            self.repeated = frozenset(_repeated(key for key, _ in pairs))
        return {self._text(key): self._whole(value) for key, value in members.items()}

    def _whole(self, value: JsonValue) -> JsonValue:
        """A string without half a pair, a list of such; an object was made so already."""
        if isinstance(value, str):
            return self._text(value)
        return [self._whole(item) for item in value] if isinstance(value, list) else value

    def _text(self, text: str) -> str:
        if text.isascii() or not _HALF_PAIR.search(text):
            return text
        self._inexact.add("lone_surrogate")
        return _HALF_PAIR.sub(REPLACEMENT, text)


def _repeated(keys: Iterable[str]) -> list[str]:
    return [key for key, times in Counter(keys).items() if times > 1]
