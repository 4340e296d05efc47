"""What a tool's JSON Schema declares of its arguments, as Cedar types (docs/adr/0026).

The one reading of a schema: the check of a policy and the values of a call both use it. It need not be complete to be
safe, because `arguments` gives no value that is not of the declared type.

| JSON Schema | Cedar |
|---|---|
| string, boolean, integer, number | String, Bool, Long, decimal |
| array of one type, tuple of one type | Set |
| object | record; `patternProperties` and `additionalProperties` of one type for the names that are not declared |
| `const`, `enum` without a `type` | the type of the values, where they have one |
| `$ref`, `allOf` | everything that they say together |
| `anyOf`, `oneOf`, a list of types | the one type of the alternatives beside null; objects are merged |
| null among what is allowed | an optional attribute |

Two types, a schema that says nothing, `true`, `false`, `not` and conditions declare no type. Words of older drafts are
read as `core.json.drafts` writes them, which is what arguments are held against, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from briefcase.core.json.drafts import read_schema
from briefcase.core.json.pointer import NowhereError, value_at
from briefcase.core.policy.cedartypes import BOOL, DECIMAL, LONG, STRING, Field, RecordOf, SetOf, Type
from briefcase.model.types import JsonObject

MAX_STEPS: Final = 10_000  # of one schema; past it the tool declares nothing

_SCALARS: Final = {"string": STRING, "boolean": BOOL, "integer": LONG, "number": DECIMAL}
_OBJECT_WORDS: Final = ("properties", "patternProperties")
_ARRAY_WORDS: Final = ("items", "prefixItems")
_MAX_INTEGER: Final = 2**63

# Beside the types: what says nothing of the type, and what only null, or no value at all, satisfies.
_UNKNOWN: Final = "unknown"
_NOTHING: Final = "nothing"


class _Said(msgspec.Struct, frozen=True):
    """What one schema says of a value: its type, and whether it may be null."""

    kind: Type
    nullable: bool


_SAYS_NOTHING: Final = _Said(_UNKNOWN, nullable=True)


class _TooLargeError(Exception):
    """The schema takes more than `MAX_STEPS` to read."""


def declared_arguments(input_schema: JsonObject) -> RecordOf:
    """The type of a tool's arguments.

    Args:
        input_schema: the tool's JSON Schema, of any draft; its references stay inside it.

    Returns:
        The record type of `context.args`. What has no type in it is there as a `Field` of None, or not at all.
    """
    schema = read_schema(input_schema)
    reading = _Reading(schema)
    try:
        kind = _settled(reading.said(schema).kind)
    except _TooLargeError:
        return RecordOf()
    return kind if isinstance(kind, RecordOf) else RecordOf()


class _Reading:
    """One pass over a schema; each reference is followed once."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._followed: dict[str, _Said] = {}
        self._steps = 0

    def said(self, schema: object) -> _Said:
        """What a schema and everything it combines say."""
        self._step()
        if not isinstance(schema, dict):
            return _Said(_NOTHING, nullable=False) if schema is False else _SAYS_NOTHING
        parts = [self._own(schema)]
        if isinstance(reference := schema.get("$ref"), str):
            parts.append(self._target(reference))
        parts += [self.said(part) for part in _list(schema.get("allOf"))]
        for word in ("anyOf", "oneOf"):
            if options := _list(schema.get(word)):
                parts.append(self._any_of([self.said(option) for option in options]))
        kind = parts[0].kind
        for part in parts[1:]:
            kind = self._both(kind, part.kind)
        return _Said(kind, all(part.nullable for part in parts))

    def _step(self, steps: int = 1) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise _TooLargeError

    def _target(self, reference: str) -> _Said:
        if reference not in self._followed:
            self._followed[reference] = _SAYS_NOTHING  # what comes back to itself says nothing there
            self._followed[reference] = self.said(_at(self._root, reference))
        return self._followed[reference]

    def _own(self, schema: JsonObject) -> _Said:
        """What the keywords of the schema itself say."""
        kinds = schema.get("type")
        if isinstance(kinds, str | list):
            named = kinds if isinstance(kinds, list) else [kinds]
            says = self._any_of([_Said(self._of_kind(kind, schema), kind == "null") for kind in named])
            allowed = _values(schema)
            return says if allowed is None else _Said(says.kind, says.nullable and None in allowed)
        if (allowed := _values(schema)) is not None:
            return self._any_of([_Said(self._of_value(value), value is None) for value in allowed])
        for words, kind in ((_OBJECT_WORDS, "object"), (_ARRAY_WORDS, "array")):
            if any(word in schema for word in words):
                return _Said(self._of_kind(kind, schema), nullable=True)
        return _SAYS_NOTHING

    def _of_kind(self, kind: object, schema: JsonObject) -> Type:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        return _NOTHING if kind == "null" else _SCALARS.get(str(kind), _UNKNOWN)

    def _of_value(self, value: object) -> Type:
        """The type of one allowed value."""
        self._step()
        if isinstance(value, bool):
            return BOOL
        if isinstance(value, int | float):
            return LONG if value == int(value) and abs(value) < _MAX_INTEGER else DECIMAL
        if isinstance(value, list):
            return SetOf(self._any_of([_Said(self._of_value(part), part is None) for part in value]).kind)
        if isinstance(value, dict):
            fields = {name: Field(self._of_value(part), part is not None) for name, part in value.items()}
            return RecordOf(tuple(sorted(fields.items())), is_open=False)
        return _NOTHING if value is None else STRING

    def _object(self, schema: JsonObject) -> RecordOf:
        required = _list(schema.get("required"))
        fields = {}
        for name, part in _map(schema.get("properties")).items():
            says = self.said(part)
            fields[name] = Field(says.kind, name in required and not says.nullable)
        others = list(_map(schema.get("patternProperties")).values())
        is_open = True
        for word in ("additionalProperties", "unevaluatedProperties"):
            if isinstance(schema.get(word), dict):
                others.append(schema[word])
            is_open = is_open and schema.get(word) is not False
        rest = self._any_of([self.said(part) for part in others]).kind if others else None
        return RecordOf(tuple(sorted(fields.items())), rest, is_open or bool(others))

    def _array(self, schema: JsonObject) -> SetOf:
        """An array of one type; what an array of draft-07 lists is a tuple too."""
        items, extra = schema.get("items"), schema.get("additionalItems")
        parts = _list(schema.get("prefixItems"))
        parts = [*parts, *items] if isinstance(items, list) else [*parts, items]
        parts = [part for part in (*parts, extra) if part is not None] or [True]
        return SetOf(self._any_of([self.said(part) for part in parts]).kind)

    # --- combining ----------------------------------------------------------------------------------------------

    def _any_of(self, options: Sequence[_Said]) -> _Said:
        kind: Type = _NOTHING
        for option in options:
            kind = self._either(kind, option.kind)
        return _Said(kind, any(option.nullable for option in options))

    def _either(self, left: Type, right: Type) -> Type:
        """The one type that values of both alternatives have; unknown where there is none."""
        self._step()
        if left is right or right is _NOTHING:
            return left
        if left is _NOTHING:
            return right
        return self._inside(left, right, self._either) or _joined(left, right, DECIMAL, _UNKNOWN)

    def _both(self, left: Type, right: Type) -> Type:
        """The type of what is as both say; what says nothing changes nothing."""
        self._step()
        if left is right or right is _UNKNOWN:
            return left
        if left is _UNKNOWN:
            return right
        return self._inside(left, right, self._both) or _joined(left, right, LONG, _NOTHING)

    def _inside(self, left: Type, right: Type, combine: Callable[[Type, Type], Type]) -> Type | None:
        """Two sets or two records, combined member by member; None where they are something else."""
        if isinstance(left, SetOf) and isinstance(right, SetOf):
            return SetOf(combine(left.element, right.element))
        if not isinstance(left, RecordOf) or not isinstance(right, RecordOf):
            return None
        is_both = combine == self._both
        one, other = left.by_name(), right.by_name()
        fields = {}
        self._step(len(one) + len(other))
        for name in sorted(one.keys() | other.keys()):
            here, there = one.get(name), other.get(name)
            if here is None or there is None:
                only = here or there or Field(_UNKNOWN)
                fields[name] = Field(only.type, only.required and is_both)
            else:
                required = here.required or there.required if is_both else here.required and there.required
                fields[name] = Field(combine(here.type or _UNKNOWN, there.type or _UNKNOWN), required)
        rest = left.rest or right.rest
        if left.rest is not None and right.rest is not None:
            rest = combine(left.rest, right.rest)
        is_open = left.is_open and right.is_open if is_both else left.is_open or right.is_open
        return RecordOf(tuple(fields.items()), rest, is_open)


def _joined(left: Type, right: Type, of_numbers: Type, otherwise: Type) -> Type:
    """Two scalars as one type: an integer is a number too."""
    if not isinstance(left, str) or not isinstance(right, str):
        return otherwise
    if {left, right} == {LONG, DECIMAL}:
        return of_numbers
    return left if left == right else otherwise


def _values(schema: JsonObject) -> list[Any] | None:
    """The values that `const` or `enum` allow; None where neither is there."""
    if "const" in schema:
        return [schema["const"]]
    allowed = schema.get("enum")
    return allowed if isinstance(allowed, list) else None


def _at(root: JsonObject, reference: str) -> object:
    """What a reference within the document leads to; `True`, which says nothing, where it leads nowhere."""
    try:
        return value_at(root, reference) if reference.startswith("#") else True
    except NowhereError:
        return True


def _settled(kind: Type | None) -> Type | None:
    """The type without anything in it that is not one."""
    if isinstance(kind, SetOf):
        element = _settled(kind.element)
        return None if element is None else SetOf(element)
    if isinstance(kind, RecordOf):
        fields = tuple((name, Field(_settled(field.type), field.required)) for name, field in kind.fields)
        return RecordOf(fields, _settled(kind.rest), kind.is_open)
    return None if kind in {_UNKNOWN, _NOTHING} else kind


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}
