"""Schemas of each draft of JSON Schema, in that draft's own words, as Hypothesis strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

Schemas: TypeAlias = st.SearchStrategy[Any]

URIS: Final = {
    3: "http://json-schema.org/draft-03/schema#",
    4: "http://json-schema.org/draft-04/schema#",
    6: "http://json-schema.org/draft-06/schema#",
    7: "http://json-schema.org/draft-07/schema#",
    2019: "https://json-schema.org/draft/2019-09/schema",
    2020: "https://json-schema.org/draft/2020-12/schema",
}
DEFINITIONS: Final[dict[str, Any]] = {
    "n": {"type": "number"},
    "o": {"type": "object", "properties": {"a": {"type": "number"}}},
    "to_n": {"$ref": "#/definitions/n"},
}
KINDS: Final = st.sampled_from(["string", "integer", "number", "boolean", "null", "object", "array"])
NAMES: Final = st.sampled_from(["a", "b", "c"])
# No float that is a whole number: whether one is an `integer` is what draft-04 and draft-06 differ in.
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, 3, 666, -1, 1.5, 2.5, 2**53 - 1])
    | st.sampled_from(["", "a", "b", "666"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def documents(draft: int, *, dialects: Schemas | None = None) -> Schemas:
    """Schemas of an object with the member `x`.

    Args:
        draft: one of `URIS`.
        dialects: what stands as `$schema`, None for nothing; the draft's own where it is not given.
    """
    named = st.just(URIS[draft]) if dialects is None else dialects
    return st.builds(_document, named, schemas(draft))


def schemas(draft: int) -> Schemas:
    """Schemas of a draft, whose references lead into `DEFINITIONS`."""
    return st.recursive(_leaves(draft), lambda inner: _combined(draft, inner), max_leaves=6)


def _document(named: str | None, x: object) -> dict[str, Any]:
    document = {"type": "object", "properties": {"x": x}, "definitions": DEFINITIONS}
    return document if named is None else {"$schema": named, **document}


def _leaves(draft: int) -> Schemas:
    kinds = st.lists(KINDS, min_size=1, max_size=2, unique=True)
    found = (
        st.builds(lambda kind: {"type": kind}, KINDS)
        | st.builds(lambda kinds: {"type": kinds}, kinds)
        | st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=2))
        | st.builds(lambda name: {"$ref": f"#/definitions/{name}"}, st.sampled_from(sorted(DEFINITIONS)))
        | st.builds(lambda kind: {"$ref": "#/definitions/n", "type": kind}, KINDS)
        | st.sampled_from([{}, {"minimum": 1, "maximum": 3}, {"minLength": 1, "pattern": "^(?!b)"}])
    )
    if draft == 3:
        found |= st.sampled_from([{"type": "any"}, {"type": ["any", "null"]}, {"divisibleBy": 2}])
        found |= st.builds(lambda kinds: {"disallow": kinds}, kinds)
    else:
        found |= st.just({"multipleOf": 2})
    if draft <= 4:
        found |= st.builds(
            lambda low, high: {"minimum": 1, "exclusiveMinimum": low, "maximum": 3, "exclusiveMaximum": high},
            st.booleans(),
            st.booleans(),
        )
    else:
        found |= st.builds(lambda value: {"const": value}, VALUES) | st.booleans()
        found |= st.sampled_from([{"exclusiveMinimum": 1}, {"exclusiveMaximum": 3, "maximum": 5}])
    return found


def _combined(draft: int, inner: Schemas) -> Schemas:
    found = (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(_objects(draft), st.dictionaries(NAMES, inner, max_size=3), st.lists(NAMES, max_size=2), inner)
        | st.builds(lambda part: {"patternProperties": {"^a": part}}, inner)
    )
    parts = st.lists(inner, min_size=1, max_size=3)
    if draft == 3:
        found |= st.builds(lambda parts: {"extends": parts}, parts) | st.builds(lambda part: {"extends": part}, inner)
        found |= st.builds(lambda part, kind: {"type": [part, kind]}, inner.filter(_is_object), KINDS)
        found |= st.builds(lambda part: {"disallow": [part]}, inner.filter(_is_object))
        found |= st.just({"dependencies": {"a": "b"}})
    else:
        words = st.sampled_from(["anyOf", "oneOf", "allOf"])
        found |= st.builds(lambda word, parts: {word: parts}, words, parts)
        found |= st.builds(lambda part: {"not": part}, inner)
    if draft <= 7:
        found |= st.builds(lambda part: {"dependencies": {"a": part, "b": ["c"]}}, inner.filter(_is_object))
    if draft >= 7:
        found |= st.builds(lambda one, two, three: {"if": one, "then": two, "else": three}, inner, inner, inner)
    if draft >= 2019:
        found |= st.builds(lambda part: {"dependentSchemas": {"a": part}, "dependentRequired": {"b": ["c"]}}, inner)
        found |= st.builds(lambda part: {"allOf": [part], "unevaluatedProperties": False}, inner)
    tuples = st.lists(inner, min_size=1, max_size=2)
    if draft == 2020:
        return found | st.builds(lambda parts, rest: {"prefixItems": parts, "items": rest}, tuples, inner)
    return found | st.builds(lambda parts, rest: {"items": parts, "additionalItems": rest}, tuples, inner)


def _objects(draft: int) -> Callable[[dict[str, Any], list[str], object], dict[str, Any]]:
    def made(properties: dict[str, Any], required: list[str], extra: object) -> dict[str, Any]:
        names = list(dict.fromkeys(required))
        said: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": extra}
        if draft == 3:
            said["properties"] = {
                name: {**part, "required": name in names} if _is_object(part) and "$ref" not in part else part
                for name, part in properties.items()
            }
        elif names:
            said["required"] = names
        return said

    return made


def _is_object(schema: object) -> bool:
    return isinstance(schema, dict)
