"""Edits of a client's own file, as text: what a person wrote there stays as it is, comments and order too.

JSON may hold comments and a last comma (VS Code, Zed). A member is put first in its object, and an item first in its
list, so that nothing that stands there is touched; TOML tables are put at the end. Each edit is proven by reading the
text before and after: the one is the other with what was asked for, or nothing is done.

Nothing here does I/O.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Final, NamedTuple

from briefcase.edges.cli.client_files import parse_commented
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

_BETWEEN: Final = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR: Final = re.compile(r"[^\s,\]}/]+")
_UNIT: Final = re.compile(r'\n([ \t]+)["\[{]')
_HEADER: Final = re.compile(r"[ \t]*(\[\[?)([^\[\]]+)\]\]?[ \t]*(?:#.*)?")


class _Part(NamedTuple):
    """A member or an item of a text: where its key (or itself) begins, and where its value begins and ends."""

    key: str
    begins: int
    value_begins: int
    ends: int


def with_member(text: str, path: Sequence[str], value: JsonValue) -> str:
    """The text with one member more.

    Args:
        text: JSON, comments allowed; empty stands for an empty object.
        path: where, the member's own name last; objects that are missing are made.
        value: what.

    Raises:
        CallerError: the text is no object, the member is there, or the edit cannot be proven.
    """
    return _edited(text, path, value, is_item=False)


def with_first_item(text: str, path: Sequence[str], value: JsonValue) -> str:
    """The text with one item more, first in the list at `path`, which is made where it is missing. Raises as above."""
    return _edited(text, path, value, is_item=True)


def without_members(text: str, path: Sequence[str], names: Collection[str]) -> str:
    """The text without these members of the object at `path`.

    Raises:
        CallerError: one is not there, or the edit cannot be proven.
    """
    before = _object(text)
    expected = deepcopy(before)
    holder = expected
    for name in path:
        holder = _member(holder, name)
    for name in names:
        if name not in holder:
            raise CallerError(f"expected `{name}` in `{'.'.join(path)}`")
        del holder[name]
        text = _without(text, path, name)
    return _proven(text, expected)


def without_member(text: str, path: Sequence[str], value: JsonValue) -> str:
    """The text without one member, which is this value. Raises as `without_members`."""
    holder: JsonValue = _object(text)
    for name in path[:-1]:
        holder = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or holder.get(path[-1]) != value:
        raise CallerError(f"expected what was written as `{'.'.join(path)}`, unchanged")
    return without_members(text, path[:-1], [path[-1]])


def servers_in(text: str, group: str, *, is_toml: bool) -> JsonObject:
    """A client's list of servers, by their names; empty where it has none.

    Raises:
        CallerError: the text cannot be read.
    """
    if not text.strip():
        return {}
    found = (_toml(text) if is_toml else _object(text)).get(group, {})
    if not isinstance(found, dict):
        raise CallerError(f"expected `{group}` as an object")
    return found


def without_item(text: str, path: Sequence[str], value: JsonValue) -> str:
    """The text without the one item of the list at `path` that is this value. Raises as `without_members`."""
    expected = deepcopy(_object(text))
    items: JsonValue = expected
    for name in path:
        items = items.get(name) if isinstance(items, dict) else None
    if not isinstance(items, list) or items.count(value) != 1:
        raise CallerError(f"expected what was written in `{'.'.join(path)}`, unchanged")
    index = items.index(value)
    items.remove(value)
    begins = _found(text, path)
    return _proven(_cut(text, _parts(text, begins), index), expected)


def with_tables(text: str, tables: str) -> str:
    """The text of a TOML file with more tables at its end.

    Raises:
        CallerError: it is no TOML, has one of them, or the edit cannot be proven.
    """
    before, added = _toml(text), _toml(tables)
    merged = _merged(before, added, ())
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    edited = f"{text}{gap}{tables}"
    if _toml(edited) != merged:
        raise _unproven()
    return edited


def without_text(text: str, written: str) -> str:
    """The text without one passage, which stands there once. Raises `CallerError` where it does not."""
    if text.count(written) != 1:
        raise CallerError("expected what was written there, unchanged")
    before, _, after = text.partition(written)
    return before.removesuffix("\n") + after if before.endswith("\n\n") else before + after


def without_tables(text: str, group: str, names: Collection[str]) -> str:
    """The text of a TOML file without the tables `[group.NAME]` and what is below them.

    Raises:
        CallerError: the edit cannot be proven: the tables are written in another form.
    """
    expected = _toml(text)
    tables = {name: table for name, table in _member(expected, group).items() if name not in names}
    expected = {name: value for name, value in expected.items() if name != group} | ({group: tables} if tables else {})
    kept, is_cut = [], False
    for line in text.splitlines(keepends=True):
        header = _HEADER.fullmatch(line.rstrip("\r\n"))
        if header is not None:
            table = _path_of(header[2])
            is_cut = table[:1] == [group] and len(table) > 1 and table[1] in names
        if not is_cut:
            kept.append(line)
    edited = "".join(kept)
    try:
        is_proven = {name: value for name, value in _toml(edited).items() if name != group or value} == expected
    except CallerError:
        is_proven = False
    if not is_proven:
        raise CallerError(f"cannot take `{group}` out of this file by itself", hint="take them out by hand")
    return edited


# --- JSON -------------------------------------------------------------------------------------------------------------


def _edited(text: str, path: Sequence[str], value: JsonValue, *, is_item: bool) -> str:
    text = text if text.strip() else "{}\n"
    expected = deepcopy(_object(text))
    holder: JsonObject = expected
    for name in path[:-1]:
        holder = _member(holder, name)
    last = path[-1]
    if is_item:
        items = holder.setdefault(last, [])
        if not isinstance(items, list):
            raise CallerError(f"expected `{'.'.join(path)}` as a list")
        items.insert(0, value)
    elif last in holder:
        raise CallerError(f"there is `{'.'.join(path)}` already")
    else:
        holder[last] = value
    return _proven(_inserted(text, path, value, is_item=is_item), expected)


def _inserted(text: str, path: Sequence[str], value: JsonValue, *, is_item: bool) -> str:
    """The text with the value at the path, in the deepest object of it that is there."""
    at = _after(text, 0)
    for depth, name in enumerate(path):
        found = next((part for part in _parts(text, at) if part.key == name), None)
        if found is None:
            inner: JsonValue = [value] if is_item else value
            for missing in reversed(path[depth + 1 :]):
                inner = {missing: inner}
            return _put_first(text, at, depth + 1, f"{json.dumps(name)}: ", inner)
        at = found.value_begins
    return _put_first(text, at, len(path) + 1, "", value)


def _put_first(text: str, at: int, level: int, key: str, value: JsonValue) -> str:
    """Put a member or an item after the bracket at `at`."""
    newline = "\r\n" if "\r\n" in text else "\n"
    unit = found[1] if (found := _UNIT.search(text)) else "  "
    margin = newline + unit * level
    written = json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", margin)
    rest = text[at + 1 :]
    if not _parts(text, at):
        end = newline + unit * (level - 1) if rest[:1] in {"}", "]"} else ""
        return f"{text[: at + 1]}{margin}{key}{written}{end}{rest}"
    gap = "" if rest[:1] in {"\n", "\r"} else margin
    return f"{text[: at + 1]}{margin}{key}{written},{gap}{rest.lstrip(' ') if gap else rest}"


def _without(text: str, path: Sequence[str], name: str) -> str:
    parts = _parts(text, _found(text, path))
    return _cut(text, parts, next(number for number, part in enumerate(parts) if part.key == name))


def _cut(text: str, parts: Sequence[_Part], index: int) -> str:
    """The text without one part and one comma."""
    part = parts[index]
    comma = _after(text, part.ends)
    if text[comma : comma + 1] == ",":
        return text[: part.begins].rstrip(" \t").removesuffix("\n").removesuffix("\r") + text[comma + 1 :]
    if index:
        before = _after(text, parts[index - 1].ends)
        return text[:before] + text[before + 1 : part.begins].rstrip() + text[part.ends :]
    return text[: part.begins].rstrip() + text[part.ends :]


def _found(text: str, path: Sequence[str]) -> int:
    at = _after(text, 0)
    for name in path:
        at = next(part.value_begins for part in _parts(text, at) if part.key == name)
    return at


def _parts(text: str, at: int) -> list[_Part]:
    """The members of the object, or the items of the list, whose bracket is at `at`; the text was read before."""
    is_object, parts = text[at] == "{", []
    at = _after(text, at + 1)
    while text[at] not in "}]":
        begins, key = at, ""
        if is_object:
            end = _string_end(text, at)
            key = json.loads(text[at:end])
            at = _after(text, _after(text, end) + 1)  # the colon
        ends = _value_end(text, at)
        parts.append(_Part(key, begins, at, ends))
        at = _after(text, ends)
        if text[at] == ",":
            at = _after(text, at + 1)
    return parts


def _value_end(text: str, at: int) -> int:
    if text[at] in "{[":
        parts = _parts(text, at)
        end = _after(text, parts[-1].ends if parts else at + 1)
        return (_after(text, end + 1) if text[end] == "," else end) + 1
    if text[at] == '"':
        return _string_end(text, at)
    found = _SCALAR.match(text, at)
    return at if found is None else found.end()


def _string_end(text: str, at: int) -> int:
    found = _STRING.match(text, at)
    return at if found is None else found.end()


def _after(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return at if found is None else found.end()


def _object(text: str) -> JsonObject:
    found = parse_commented(text.encode())
    if not isinstance(found, dict):
        raise CallerError("expected a JSON object")
    return found


def _member(holder: JsonObject, name: str) -> JsonObject:
    inner = holder.setdefault(name, {})
    if not isinstance(inner, dict):
        raise CallerError(f"expected `{name}` as an object")
    return inner


def _proven(text: str, expected: JsonObject) -> str:
    if _object(text) != expected:
        raise _unproven()
    return text


# --- TOML -------------------------------------------------------------------------------------------------------------


def _toml(text: str) -> JsonObject:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CallerError(f"expected TOML: {error}") from None


def _merged(before: JsonObject, added: JsonObject, path: tuple[str, ...]) -> JsonObject:
    merged = dict(before)
    for name, value in added.items():
        known = merged.get(name)
        if known is None:
            merged[name] = value
        elif isinstance(known, dict) and isinstance(value, dict):
            merged[name] = _merged(known, value, (*path, name))
        elif isinstance(known, list) and isinstance(value, list):
            merged[name] = [*known, *value]
        else:
            raise CallerError(f"there is `{'.'.join((*path, name))}` already")
    return merged


def _path_of(header: str) -> list[str]:
    path, table = [], _toml(f"[{header}]\n")
    while table:
        (name, inner), *_ = table.items()
        path.append(name)
        table = inner if isinstance(inner, dict) else {}
    return path


def _unproven() -> CallerError:
    return CallerError(
        "the edit of this file cannot be proven",
        hint="edit it by hand: `briefcase setup CLIENT --dry-run` with no such file shows what to write",
    )
