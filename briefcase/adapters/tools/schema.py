"""The check of a tool's arguments: its JSON Schema, bounded and compiled once.

What is refused at registration (`invalid_manifest`), because a call must never pay for it or reach out for it:

- a `$ref` that leaves the document, or is no JSON pointer into it; nothing is ever fetched
- a reference that comes back to itself: the cost of a recursive schema grows with the *power* of the nesting it meets
- a schema that is more than `MAX_WRITTEN_OUT` subschemas with its references written out (forty can double forty times)
- more than `MAX_PATTERNS` patterns, one of more than `MAX_PATTERN_CHARS`, or whose program is too large
- patterns of more than `MAX_PATTERNS_CHARS` together, or whose programs are too large together
- a schema of more than `MAX_SCHEMA_BYTES`, or nested deeper than `MAX_SCHEMA_DEPTH`

What is refused at a call (`invalid_args`): arguments that would take more than `MAX_STEPS` against this schema, by the
bound of `schema_cost.py`, before the validator sees them. It holds the interpreter's lock for as long as it takes.

Whether arguments are valid is asked first: that copies nothing. To say what is wrong with them, the validator makes an
error for each branch of an `anyOf` and each item below it, with a copy of the value (8.7 s for 400 KB, seen; 1,000
copies of a megabyte). So it is asked only where they cannot be many; of other arguments only that they are not valid.

A schema may be of any draft from 03 to 2020-12 (`core.json.drafts`). `format` is checked.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import jsonschema_rs

from briefcase.adapters.tools.schema_cost import SchemaCost, backtracking, linear, refused
from briefcase.core.characters.marks import visible_text
from briefcase.core.json.drafts import read_schema, reading_schema
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.types import JsonObject, JsonValue

MAX_SCHEMA_BYTES: Final = 256 << 10
MAX_PROBLEM_CHARS: Final = 300
MAX_STEPS: Final = 2_000_000  # 20 ms
MAX_COPIED_BYTES: Final = 16 << 20  # by what says what is wrong: about 25 ms
_COPIED_NODE_BYTES: Final = 800  # what an error with a copy of a node weighs, in bytes of text that are copied
MAX_ARGS_BYTES: Final = 1 << 20  # of a request, unless the operator takes larger ones
_TOO_LARGE_TO_SAY: Final = "expected arguments as this tool's schema says, got others, too large to say where"
_MAX_NODES: Final = MAX_ARGS_BYTES // 2


class ArgsCheck:
    """A compiled schema. Its messages name the path and what was expected, and never repeat a value."""

    def __init__(self, schema: JsonObject) -> None:
        """Compile a schema.

        Args:
            schema: it.

        Raises:
            CallerError: it is no schema, or past a bound of this module (`invalid_manifest`).
        """
        schema = read_schema(_bounded(schema))
        cost = SchemaCost(schema)
        self._steps = cost.steps()
        self._is_cheap = _MAX_NODES * self._steps.a_node + MAX_ARGS_BYTES * self._steps.a_char <= MAX_STEPS
        self._validator = _compiled(schema, cost)

    def problem_of(self, args: JsonObject) -> str | None:
        """None where the arguments are as the schema says, else the first problem with its path."""
        steps = self._steps
        if not self._is_cheap and _is_too_much(args, MAX_STEPS, steps.a_node, steps.a_char):
            return f"expected arguments that take at most {MAX_STEPS} steps against this tool's schema, got more"
        try:
            if self._validator.is_valid(args):
                return None
            if _is_too_much(args, MAX_COPIED_BYTES, _COPIED_NODE_BYTES * steps.subschemas, steps.subschemas):
                return _TOO_LARGE_TO_SAY
            self._validator.validate(args)
        except jsonschema_rs.ValidationError as error:
            return _located(error)
        except ValueError as error:  # a bound of the validator itself
            return str(error)
        return _TOO_LARGE_TO_SAY  # it was not valid, whatever is said of it the second time


def checking_schema(schema: JsonObject) -> Generator[None, None, None]:
    """Find out whether `ArgsCheck` takes a schema, in pieces of which the last one is the validator; nothing is kept.

    Raises:
        CallerError: it is no schema, or past a bound of this module (`invalid_manifest`).
    """
    schema = yield from reading_schema(_bounded(schema))
    cost = SchemaCost(schema)
    yield from cost.walk()
    yield
    _compiled(schema, cost)


def _bounded(schema: JsonObject) -> JsonObject:
    size = len(canonical_bytes(schema))
    if size > MAX_SCHEMA_BYTES:
        raise refused(f"expected a schema of at most {MAX_SCHEMA_BYTES} bytes, got {size}")
    return schema


def _compiled(schema: JsonObject, cost: SchemaCost) -> jsonschema_rs.Validator:
    patterns = backtracking() if cost.backtracks else linear()
    try:
        return jsonschema_rs.validator_for(
            schema, offline=True, validate_formats=True, pattern_options=patterns, mask="the value"
        )
    except jsonschema_rs.ValidationError as error:
        raise refused(_located(error)) from None
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise refused(str(error)) from None


def _is_too_much(args: JsonObject, left: int, a_node: int, a_char: int) -> bool:
    """Whether a value takes more than is left: each node and name, and each character. Stops counting where it does."""
    waiting: list[JsonValue] = [args]
    while waiting and left >= 0:
        value = waiting.pop()
        left -= a_node
        if isinstance(value, str):
            left -= a_char * len(value)
        elif isinstance(value, dict):
            left -= a_char * sum(map(len, value))
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return left < 0


def _located(error: jsonschema_rs.ValidationError) -> str:
    path = "".join(f"/{part}" for part in error.instance_path)
    return visible_text(f"{error.message} at `{path or '/'}`")[:MAX_PROBLEM_CHARS]
