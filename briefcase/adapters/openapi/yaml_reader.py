"""YAML 1.2 as far as OpenAPI has it: what JSON can say, by the core schema (YAML 1.2.2 section 10.3).

The library gives the events of its parser alone: no tag makes an object, no resolver of YAML 1.1 turns `no`, `12:30`
or a date into something else than text. A key is the text that is written. Anchors are shared, not copied, and counted
as what they stand for, so that a document of a few lines cannot become more than `MAX_VALUES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NoReturn

import yaml

from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

MAX_VALUES: Final = 4_000_000
MAX_DEPTH: Final = 200
_MERGE: Final = "<<"
_STRING: Final = "tag:yaml.org,2002:str"
_OWN_TAGS: Final = frozenset({
    "!", _STRING, *(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "map", "null", "seq")),
})  # fmt: skip

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,4000}")
_OTHER_BASE: Final = re.compile(r"0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def read_yaml(text: bytes) -> JsonValue:
    """Read one document.

    Raises:
        CallerError: it is no YAML, more than JSON can say, or past a bound; the message names the line
            (`invalid_manifest`).
    """
    try:
        return _Reader(yaml.parse(text.decode(), Loader=_LOADER)).document()
    except UnicodeDecodeError as error:
        _refuse(f"expected UTF-8, got an invalid sequence at byte {error.start}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1} column {mark.column + 1}" if mark is not None else ""
        _refuse(f"expected JSON or YAML, got a syntax error{place}: {error.problem}")
    except yaml.YAMLError as error:
        _refuse(f"expected JSON or YAML: {str(error).partition(chr(10))[0]}")


_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser in C, where the library was built with it


class _Reader:
    """Makes values of the parser's events."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[JsonValue, int]] = {}
        self._count = 0

    def document(self) -> JsonValue:
        value: JsonValue = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._bad(event, "expected one document, got another")
                value = self._value(next(self._events), 0)
        return value

    def _value(self, event: yaml.Event, depth: int) -> JsonValue:
        before = self._count
        self._counted(event, 1)
        if depth > MAX_DEPTH:
            self._bad(event, f"expected at most {MAX_DEPTH} nested values, got more")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                self._bad(event, f"the anchor `{event.anchor}` is not there, or stands within itself")
            value, size = self._anchors[event.anchor]
            self._counted(event, size)
            return value
        if event.tag is not None and event.tag not in _OWN_TAGS:
            self._bad(event, f"expected no tag, got `{event.tag[:100]}`")
        value = self._node(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._count - before
        return value

    def _node(self, event: yaml.Event, depth: int) -> JsonValue:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event) if _is_plain(event) else str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(depth)
        return self._mapping(depth)

    def _list(self, depth: int) -> JsonValue:
        found: list[JsonValue] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found

    def _mapping(self, depth: int) -> JsonValue:
        found: JsonObject = {}
        merged: JsonObject = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._bad(event, "expected a key that is text")
            key = str(event.value)
            value = self._value(next(self._events), depth + 1)
            if key == _MERGE and _is_plain(event):
                self._merge(event, merged, value)
            elif key in found:
                self._bad(event, f"expected each key once, got `{key[:200]}` twice")
            else:
                found[key] = value
        return {**merged, **found}

    def _merge(self, event: yaml.Event, merged: JsonObject, value: JsonValue) -> None:
        """A merge key, which YAML 1.2 has no longer and many documents have: the first of several says a key."""
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, dict):
                self._bad(event, f"expected mappings to merge by `{_MERGE}`")
            self._counted(event, len(each))
            for key, below in each.items():
                merged.setdefault(key, below)

    def _scalar(self, event: yaml.ScalarEvent) -> JsonValue:
        text = str(event.value)
        if text in _NULL:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _OTHER_BASE.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if number in {float("inf"), float("-inf")}:
                self._bad(event, "expected a number within the range of a double")
            return number
        return text

    def _counted(self, event: yaml.Event, values: int) -> None:
        self._count += values
        if self._count > MAX_VALUES:
            self._bad(event, f"expected at most {MAX_VALUES} values with anchors written out, got more")

    def _bad(self, event: yaml.Event, problem: str) -> NoReturn:
        _refuse(f"line {event.start_mark.line + 1}: {problem}")


def _is_plain(event: yaml.ScalarEvent) -> bool:
    """Whether a scalar may be more than text. The parser in C writes no style as an empty one."""
    return not event.style and event.tag not in {_STRING, "!"}


def _refuse(problem: str) -> NoReturn:
    raise CallerError(f"the OpenAPI document: {problem}", code="invalid_manifest") from None
