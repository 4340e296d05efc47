"""The keywords of JSON Schema 2020-12, and those that OpenAPI 3.0 writes otherwise (OpenAPI 3.0.3 section 4.7.24).

A keyword whose value is none that it may have would make the whole schema unusable; it is left out by name.

| written | becomes |
|---|---|
| `nullable: true` beside a `type` | the type or `null` |
| `nullable: true` beside anything else, a reference too | that, or `null` |
| `exclusiveMinimum: true` | the bound itself |
| a list as `items` | `prefixItems` |
| a bound beyond ±(2^53-1) | 2^53-1: no argument is between the two, since arguments have exact numbers |
| an `enum` of which no value has the `type` | nothing |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from briefcase.core.json.drafts import exclusive_bounds
from briefcase.model.types import MAX_SAFE_INTEGER, JsonObject, JsonValue

TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
MAPS: Final = frozenset({"dependentSchemas", "patternProperties", "properties"})
LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
CHILDREN: Final = frozenset({
    "additionalProperties", "contains", "items", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
BESIDE: Final = frozenset({"else", "if", "not", "then"})
SAME_INSTANCE: Final = frozenset({"allOf", "anyOf", "oneOf", *BESIDE})

_LARGEST_ROUND: Final = 10**21  # below it, canonical JSON writes a number in full (RFC 8785)
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _is_count(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_names(value: JsonValue) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_exact_names(value: JsonValue) -> bool:
    return isinstance(value, dict) and all(map(_is_names, value.values()))


PLAIN: Final[Mapping[str, Callable[[JsonValue], bool]]] = {
    "const": lambda _: True,
    "contentEncoding": lambda value: isinstance(value, str),
    "dependentRequired": _is_exact_names,
    "enum": lambda value: isinstance(value, list) and bool(value),
    "exclusiveMaximum": _is_number,
    "exclusiveMinimum": _is_number,
    "format": lambda value: isinstance(value, str),
    "maxContains": _is_count,
    "maxItems": _is_count,
    "maxLength": _is_count,
    "maxProperties": _is_count,
    "maximum": _is_number,
    "minContains": _is_count,
    "minItems": _is_count,
    "minLength": _is_count,
    "minProperties": _is_count,
    "minimum": _is_number,
    "multipleOf": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value > 0,
    "pattern": lambda value: isinstance(value, str),
    "required": _is_names,
    "uniqueItems": lambda value: isinstance(value, bool),
}  # fmt: skip


def is_exact(value: JsonValue) -> bool:
    """Whether an argument can have a value: its numbers are exact everywhere, its texts are Unicode."""
    if isinstance(value, dict):
        return all(is_exact(key) and is_exact(below) for key, below in value.items())
    if isinstance(value, list):
        return all(map(is_exact, value))
    if isinstance(value, str):
        return not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, float):
        return value == value and (not value.is_integer() or abs(value) <= MAX_SAFE_INTEGER)  # noqa: PLR0124 - NaN
    return not isinstance(value, int) or isinstance(value, bool) or abs(value) <= MAX_SAFE_INTEGER


def rewrite_bounds(schema: JsonObject) -> list[str]:
    """Write bounds as 2020-12 has them, in place; gives the keywords that could not be kept."""
    dropped = []
    exclusive_bounds(schema)
    for keyword in _BOUNDS:
        value = schema.get(keyword)
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) <= MAX_SAFE_INTEGER:
            continue
        is_open_side = (value > 0) == keyword.lower().endswith("maximum")
        if abs(value) >= _LARGEST_ROUND and value == value:  # noqa: PLR0124 - NaN
            schema[keyword] = float(value) if abs(value) < float("1e308") else 1e308 * (1 if value > 0 else -1)
        elif is_open_side:
            del schema[keyword]
            schema[keyword.replace("exclusiveM", "m")] = MAX_SAFE_INTEGER if value > 0 else -MAX_SAFE_INTEGER
        else:
            del schema[keyword]
            dropped.append(keyword)
    for keyword, is_valid in PLAIN.items():
        value = schema.get(keyword)
        if is_valid is _is_count and isinstance(value, float) and value.is_integer():
            schema[keyword] = int(value)
        if is_valid is _is_count and _is_count(schema.get(keyword)) and not is_exact(schema[keyword]):
            schema[keyword] = MAX_SAFE_INTEGER  # no argument is that long
    return dropped


def fitting(values: list[JsonValue], types: list[str]) -> bool:
    """Whether any value is of one of the types."""
    return any(_is_of(value, kind) for value in values for kind in types)


def _is_of(value: JsonValue, kind: str) -> bool:
    is_number = _is_number(value)
    return {
        "array": isinstance(value, list),
        "boolean": isinstance(value, bool),
        "integer": is_number and isinstance(value, int | float) and float(value).is_integer(),
        "null": value is None,
        "number": is_number,
        "object": isinstance(value, dict),
        "string": isinstance(value, str),
    }[kind]
