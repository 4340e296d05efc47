"""The check of a tool's arguments: its JSON Schema, bounded and compiled once when the tool is registered.

What is refused at registration (`invalid_manifest`), because a call must never pay for it or reach out for it:

- a `$ref` that leaves the document, or is no JSON pointer into it; nothing is ever fetched
- a reference that comes back to itself: the cost of a recursive schema grows with the *power* of the nesting it meets
- a schema that is more than `MAX_WRITTEN_OUT` subschemas with its references written out (forty can double forty times)
- a `pattern` outside of what a linear-time engine runs: look-around and back-references
- a schema of more than `MAX_SCHEMA_BYTES`, or nested deeper than `MAX_SCHEMA_DEPTH`

Dialects: 2020-12 (without a `$schema`), 2019-09 and draft-07. `format` is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import jsonschema_rs

from briefcase.approvals import visible_text
from briefcase.errors import CallerError
from briefcase.receipts.canonical import canonical_bytes
from briefcase.types import JsonObject, JsonValue

MAX_SCHEMA_BYTES: Final = 256 << 10
MAX_SCHEMA_DEPTH: Final = 48
MAX_WRITTEN_OUT: Final = 10_000
MAX_PROBLEM_CHARS: Final = 300
MAX_PATTERN_PROGRAM_BYTES: Final = 1 << 20

DIALECTS: Final = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
)
_ONE: Final = (
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_MAPS: Final = ("dependencies", "dependentSchemas", "patternProperties", "properties")
_DEFINITIONS: Final = ("$defs", "definitions")
_MOVES_THE_BASE: Final = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef")

_PATTERNS: Final = jsonschema_rs.RegexOptions(
    size_limit=MAX_PATTERN_PROGRAM_BYTES, dfa_size_limit=MAX_PATTERN_PROGRAM_BYTES
)


class ArgsCheck:
    """A compiled schema. Its messages name the path and what was expected, and never repeat a value."""

    def __init__(self, schema: JsonObject) -> None:
        """Compile a schema.

        Raises:
            CallerError: it is no schema, or past a bound of this module (`invalid_manifest`).
        """
        check_schema(schema)
        try:
            self._validator = jsonschema_rs.validator_for(
                schema, offline=True, validate_formats=True, pattern_options=_PATTERNS, mask="the value"
            )
        except jsonschema_rs.ValidationError as error:
            raise _invalid(_located(error)) from None
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise _invalid(str(error)) from None

    def problem_of(self, args: JsonObject) -> str | None:
        """None where the arguments are as the schema says, else the first problem with its path."""
        try:
            self._validator.validate(args)
        except jsonschema_rs.ValidationError as error:
            return _located(error)
        except ValueError as error:  # a bound of the validator itself
            return str(error)
        return None


def check_schema(schema: JsonObject) -> None:
    """Hold a schema against the bounds of this module.

    Raises:
        CallerError: it is past one; the message names the place (`invalid_manifest`).
    """
    size = len(canonical_bytes(schema))
    if size > MAX_SCHEMA_BYTES:
        raise _invalid(f"expected a schema of at most {MAX_SCHEMA_BYTES} bytes, got {size}")
    dialect = schema.get("$schema", DIALECTS[0])
    if not isinstance(dialect, str) or dialect.removesuffix("#") not in DIALECTS:
        raise _invalid(f"expected `$schema` as one of {', '.join(DIALECTS)}, got `{dialect}`")
    _Cost(schema).of("#", schema, depth=0)


class _Cost:
    """How many subschemas one validation may visit at one place: every reference written out, each time again."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[str, int] = {}
        self._open: set[str] = set()

    def of(self, at: str, schema: JsonValue, depth: int) -> int:
        """The cost of a subschema, and of all it refers to.

        Raises:
            CallerError: a bound is passed at `at` (`invalid_manifest`).
        """
        if not isinstance(schema, dict):
            return 1
        if depth > MAX_SCHEMA_DEPTH:
            raise _invalid(f"expected a schema nested at most {MAX_SCHEMA_DEPTH} deep, got more at `{at}`")
        for keyword in _MOVES_THE_BASE:
            if keyword in schema and not (keyword == "$id" and schema is self._root):
                raise _invalid(f"expected `$ref` as the only kind of reference, got `{keyword}` at `{at}`")
        for keyword in _DEFINITIONS:
            self._check_definitions(f"{at}/{keyword}", schema.get(keyword), depth)
        cost = 1 + sum(self.of(place, below, depth + 1) for place, below in _subschemas(at, schema))
        if "$ref" in schema:
            cost += self._of_reference(at, schema["$ref"], depth)
        if "unevaluatedItems" in schema or "unevaluatedProperties" in schema:
            cost *= 2  # what was evaluated is found by evaluating once more
        if cost > MAX_WRITTEN_OUT:
            raise _invalid(
                f"expected at most {MAX_WRITTEN_OUT} subschemas with references written out, got more at `{at}`"
            )
        return cost

    def _check_definitions(self, at: str, definitions: JsonValue, depth: int) -> None:
        """They cost nothing until they are referred to, but each of them keeps to the bounds."""
        if isinstance(definitions, dict):
            for name, schema in definitions.items():
                self.of(f"{at}/{_escaped(name)}", schema, depth + 1)

    def _of_reference(self, at: str, reference: JsonValue, depth: int) -> int:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _invalid(f"expected `$ref` within the document, like `#/$defs/name`, got `{reference}` at `{at}`")
        if reference in self._open:
            raise _invalid(f"expected no recursion, but `{reference}` comes back to itself at `{at}`")
        if reference not in self._known:
            self._open.add(reference)
            self._known[reference] = self.of(reference, self._target(at, reference), depth + 1)
            self._open.remove(reference)
        return self._known[reference]

    def _target(self, at: str, reference: str) -> JsonValue:
        value: JsonValue = self._root
        for token in reference.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                raise _invalid(f"`{reference}` at `{at}` leads nowhere")
        return value


def _subschemas(at: str, schema: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    for keyword in _ONE:
        if isinstance(schema.get(keyword), dict):
            yield f"{at}/{keyword}", schema[keyword]
    for keyword in _LISTS:
        below = schema.get(keyword)
        if isinstance(below, list):
            yield from ((f"{at}/{keyword}/{index}", item) for index, item in enumerate(below))
    for keyword in _MAPS:
        below = schema.get(keyword)
        if isinstance(below, dict):
            yield from ((f"{at}/{keyword}/{_escaped(name)}", item) for name, item in below.items())


def _located(error: jsonschema_rs.ValidationError) -> str:
    path = "".join(f"/{part}" for part in error.instance_path)
    return visible_text(f"{error.message} at `{path or '/'}`")[:MAX_PROBLEM_CHARS]


def _escaped(token: str) -> str:
    """A name as a token of a JSON pointer (RFC 6901 section 3)."""
    return token.replace("~", "~0").replace("/", "~1")


def _invalid(problem: str) -> CallerError:
    return CallerError(f"the schema is refused: {problem}", code="invalid_manifest")
