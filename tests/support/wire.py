"""Answers made up from the wire's structs: a whole one, the least the contract promises, and every wrong one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import inspect

from briefcase.core.wire.reading import read_answer
from briefcase.edges.client.reply import Reply

Place: TypeAlias = tuple[str | int, ...]

NEVER_SAID: Final = "a value of the answer"
A_TIME: Final = "2026-01-01T00:00:00Z"
_TEXTS: Final = ("text", "ab" * 32)  # one of them fits every pattern of the wire
_OTHERS: Final = (NEVER_SAID, 7, True)  # none of them is right in every place
_MISSING: Final = "(missing)"
_TIMES: Final = re.compile(r".*_at|.*rfc3339|ts|at|until|timestamp")


def example(kind: Any, *, is_least: bool = False, **changes: Any) -> Any:
    """A document of a kind.

    Args:
        kind: a struct, or the decoder of several.
        is_least: leave out each field that has a default.
        changes: fields of the document.
    """
    found = _example(inspect.type_info(_type_of(kind)), "", is_least=is_least)
    return {**found, **changes} if changes else found


def reply_of(kind: Any, document: Any, path: str = "/v1/x") -> Reply[Any]:
    """A document as a client reads it."""
    body, endpoint = msgspec.json.encode(document), f"GET {path}"
    return Reply(read_answer(body, kind, endpoint), body, endpoint)


def wrong_answers(kind: Any, document: Any) -> Iterator[tuple[str, Any]]:
    """A document made wrong in one place after the other: by a value of another type, by null, by nothing at all.

    Args:
        kind: as of `example`.
        document: a right one, whose places are tried.

    Yields:
        The place, for people, and the wrong document.
    """
    for place in _places(document, ()):
        shown = ".".join(map(str, place))
        changed = [(other, _changed(document, place, other)) for other in (*_OTHERS, None, _MISSING)]
        wrong = [(other, one) for other, one in changed if not _is_of(kind, one)]
        others = [(other, one) for other, one in wrong if other not in {None, _MISSING}]
        yield from ((f"{shown}: {other!r}", one) for other, one in (*others[:1], *wrong[len(others) :]))


def _is_of(kind: Any, document: Any) -> bool:
    try:
        msgspec.convert(document, _type_of(kind))
    except msgspec.ValidationError:
        return False
    return True


def _type_of(kind: Any) -> Any:
    return kind.type if isinstance(kind, msgspec.json.Decoder) else kind


def _example(told: inspect.Type, name: str, *, is_least: bool) -> Any:
    match told:
        case inspect.StructType():
            tag = {} if told.tag_field is None else {told.tag_field: told.tag}
            fields = [field for field in told.fields if field.required or not is_least]
            return tag | {
                field.encode_name: _example(field.type, field.encode_name, is_least=is_least) for field in fields
            }
        case inspect.UnionType():
            return _example(
                next(one for one in told.types if not isinstance(one, inspect.NoneType)), name, is_least=is_least
            )
        case inspect.ListType():
            return [_example(told.item_type, name, is_least=is_least)]
        case inspect.TupleType():
            return [_example(one, name, is_least=is_least) for one in told.item_types]
        case inspect.DictType():
            return {"text": _example(told.value_type, name, is_least=is_least)}
        case inspect.StrType():
            texts = (A_TIME,) if _TIMES.fullmatch(name) else _TEXTS
            return next(text for text in texts if told.pattern is None or re.search(told.pattern, text))
        case inspect.LiteralType():
            return told.values[0]
        case inspect.Metadata():
            return _example(told.type, name, is_least=is_least)
    return {inspect.IntType: 1, inspect.BoolType: True, inspect.FloatType: 0.5}.get(type(told), {})


def _places(value: Any, place: Place) -> Iterator[Place]:
    """Every place within a document."""
    inner: Sequence[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        inner = [*value.items()]
    elif isinstance(value, list):
        inner = [*enumerate(value)]
    for name, item in inner:
        yield (*place, name)
        yield from _places(item, (*place, name))


def _changed(document: Any, place: Place, other: Any) -> Any:
    changed = copy.deepcopy(document)
    holder = changed
    for name in place[:-1]:
        holder = holder[name]
    if other == _MISSING:
        del holder[place[-1]]
    else:
        holder[place[-1]] = other
    return changed
