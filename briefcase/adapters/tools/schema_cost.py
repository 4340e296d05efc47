"""What holding a value against a schema may cost, found once from the schema: steps a node, and steps a character.

A step is about 10 ns. An upper bound, by the structure of the schema, with each reference written out:

- a node meets a subschema and all that apply beside it (`allOf`, `anyOf`, a reference): their steps are added
- of `properties` only one applies to a child, so the dearest counts; `items`, each `patternProperties` and their kind
  may apply at once, and are added
- a branch that may be tried in vain counts twice, `uniqueItems` what comparing costs, `enum` and `const` the objects
  and lists in them (plain values are looked up)
- a character counts with each pattern that may read it, by the size of the pattern's program on the linear engine; a
  pattern with look-around or a back-reference runs under a limit of backtracking, and counts with that limit

The walk is work in pieces (`core.pieces`): a schema has up to 4,096 subschemas, and a pattern takes a millisecond. The
validator is compiled in one stretch, so its patterns are bounded together: 8,192 characters, and programs of 1 MiB.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import Final, TypeAlias

import jsonschema_rs
import msgspec

from briefcase.core.json.pointer import NowhereError, token_of, value_at
from briefcase.core.pieces import finished
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

MAX_SCHEMA_DEPTH: Final = 48
MAX_WRITTEN_OUT: Final = 4_096
MAX_PATTERNS: Final = 128
MAX_PATTERN_CHARS: Final = 1_000
MAX_PATTERNS_CHARS: Final = 8_192  # of all patterns of a schema: compiling them takes up to 2 us a character
MAX_PATTERNS_PROGRAM_BYTES: Final = 1 << 20  # of all patterns of a schema: as far as `_PROGRAMS` tells them apart
MAX_BACKTRACKING: Final = 4_000

_PROGRAMS: Final = ((4 << 10, 1), (16 << 10, 5), (64 << 10, 17), (256 << 10, 65))  # bytes at most, steps a character
MAX_PATTERN_PROGRAM_BYTES: Final = _PROGRAMS[-1][0]
BACKTRACKED: Final = MAX_BACKTRACKING // 5  # measured: 2 ns for each step of the limit and each character
_PROGRAM_BYTES: Final = {**{steps: size for size, steps in _PROGRAMS}, BACKTRACKED: 16 << 10}
_READ_FORMATS: Final = frozenset({"uri", "uri-reference", "uri-template", "iri", "iri-reference"})
_FORMAT_STEPS: Final = 2
_UNIQUE_STEPS: Final = 50
_NAME_STEPS: Final = 2
_PIECE: Final = 64  # subschemas: about a millisecond

_BESIDE: Final = ("then", "else", "contentSchema")
_TRIED: Final = ("not", "if")
_BESIDE_LISTS: Final = ("allOf",)
_TRIED_LISTS: Final = ("anyOf", "oneOf")
_BESIDE_MAPS: Final = ("dependencies", "dependentSchemas")
_CHILDREN: Final = (
    "additionalItems", "additionalProperties", "contains", "items", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
_DEFINITIONS: Final = ("$defs", "definitions")
_WITH_MORE: Final = frozenset({  # a schema without any of these is a leaf, as most are
    *_BESIDE, *_TRIED, *_BESIDE_LISTS, *_TRIED_LISTS, *_BESIDE_MAPS, *_CHILDREN, "$ref", "patternProperties",
    "prefixItems", "properties",
})  # fmt: skip
_MOVES_THE_BASE: Final = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef")
# A pattern that gave up counts as one that did not match: below these that would let a value through.
_NOT_BESIDE_BACKTRACKING: Final = frozenset({
    "contains", "dependencies", "dependentSchemas", "if", "not", "oneOf", "patternProperties", "unevaluatedItems",
    "unevaluatedProperties",
})  # fmt: skip


class Steps(msgspec.Struct, frozen=True):
    """What a subschema costs: `here` for the node it applies to, `below` for any one node inside of that.

    `chars_here` and `chars_below` are the same for each character of a text, `subschemas` how many it is written out.
    """

    subschemas: int = 1
    here: int = 1
    below: int = 0
    chars_here: int = 0
    chars_below: int = 0

    @property
    def a_node(self) -> int:
        """The most that one node may cost."""
        return max(self.here, self.below)

    @property
    def a_char(self) -> int:
        """The most that one character may cost."""
        return max(self.chars_here, self.chars_below)


_NOTHING: Final = Steps()
_Walk: TypeAlias = Generator[None, None, Steps]


class SchemaCost:
    """Walks a schema and holds it against the bounds of this module.

    Args:
        root: the whole schema.
    """

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[str, Steps] = {}
        self._open: set[str] = set()
        self._patterns: set[tuple[int, str]] = set()
        self._pattern_chars = 0
        self._program_bytes = 0
        self._walked = 0
        self._found: Steps | None = None
        self._keywords: set[str] = set()
        self.backtracks = False

    def steps(self) -> Steps:
        """What it costs. Raises as `walk`."""
        return self._found or finished(self.walk())

    def walk(self) -> _Walk:
        """Find what it costs, in pieces.

        Raises:
            CallerError: a bound is passed; the message names the place (`invalid_manifest`).
        """
        steps = yield from self._of("#", self._root, 0)
        beside = sorted(self._keywords & _NOT_BESIDE_BACKTRACKING)
        if self.backtracks and beside:
            raise refused(f"expected no `{beside[0]}` in a schema whose patterns look around or refer back")
        self._found = steps
        return steps

    def _of(self, at: str, schema: JsonValue, depth: int) -> _Walk:
        if not isinstance(schema, dict):
            return _NOTHING
        if depth > MAX_SCHEMA_DEPTH:
            raise refused(f"expected a schema nested at most {MAX_SCHEMA_DEPTH} deep, got more at `{at}`")
        for keyword in _MOVES_THE_BASE:
            if keyword in schema and not (keyword == "$id" and schema is self._root):
                raise refused(f"expected `$ref` as the only kind of reference, got `{keyword}` at `{at}`")
        self._walked += 1
        if not self._walked % _PIECE:
            yield
        self._keywords.update(schema)
        for keyword in _DEFINITIONS:  # they cost nothing until they are referred to, but each keeps to the bounds
            for place, below in _map(at, schema, keyword):
                yield from self._of(place, below, depth + 1)
        steps = yield from self._sum(at, schema, depth)
        if steps.subschemas > MAX_WRITTEN_OUT:
            raise refused(
                f"expected at most {MAX_WRITTEN_OUT} subschemas with references written out, got more at `{at}`"
            )
        return steps

    def _sum(self, at: str, schema: JsonObject, depth: int) -> _Walk:
        choices = schema.get("enum")
        here = 1 + _compared(schema.get("const")) + sum(map(_compared, choices if isinstance(choices, list) else ()))
        below = _UNIQUE_STEPS if schema.get("uniqueItems") is True else 0
        text = yield from self._text_steps(at, schema)
        if _WITH_MORE.isdisjoint(schema):
            return Steps(here=here, below=below, chars_here=text)
        tried = yield from self._each_of(_tried(at, schema), depth)
        beside = [*(yield from self._each_of(_beside(at, schema), depth)), *tried, *tried]  # in vain, it counts twice
        if "$ref" in schema:
            beside.append((yield from self._of_reference(at, schema["$ref"], depth)))
        one_of = yield from self._each_of(_one_of(at, schema), depth)
        each = yield from self._each_of(_each(at, schema), depth)
        names = []
        for name, _ in _items(schema, "patternProperties"):
            names.append((yield from self._pattern_steps(at, schema, name)))
        again = 2 if "unevaluatedItems" in schema or "unevaluatedProperties" in schema else 1
        here += sum(part.here for part in beside)
        below += sum(part.below for part in beside) + sum(part.a_node for part in each)
        below += max((part.a_node for part in one_of), default=0) + _NAME_STEPS * len(names)
        chars_below = sum(part.chars_below for part in beside) + sum(part.a_char for part in each) + sum(names)
        subschemas = 1 + sum(part.subschemas for part in (*beside, *one_of, *each))
        return Steps(
            subschemas=again * (subschemas - sum(part.subschemas for part in tried)),  # written out once
            here=again * here,
            below=again * below,
            chars_here=again * (text + sum(part.chars_here for part in beside)),
            chars_below=again * (chars_below + max((part.a_char for part in one_of), default=0)),
        )

    def _each_of(self, places: Iterator[tuple[str, JsonValue]], depth: int) -> Generator[None, None, list[Steps]]:
        found = []
        for place, below in places:
            found.append((yield from self._of(place, below, depth + 1)))
        return found

    def _text_steps(self, at: str, schema: JsonObject) -> Generator[None, None, int]:
        pattern, form = schema.get("pattern"), schema.get("format")
        steps = _FORMAT_STEPS if form in _READ_FORMATS else 0
        if isinstance(pattern, str):
            steps += yield from self._pattern_steps(at, schema, pattern)
        return steps

    def _pattern_steps(self, at: str, schema: JsonObject, pattern: str) -> Generator[None, None, int]:
        is_new = (id(schema), pattern) not in self._patterns
        self._patterns.add((id(schema), pattern))
        if len(self._patterns) > MAX_PATTERNS:
            raise refused(f"expected at most {MAX_PATTERNS} patterns, got more at `{at}`")
        if len(pattern) > MAX_PATTERN_CHARS:
            raise refused(f"expected a pattern of at most {MAX_PATTERN_CHARS} characters, got {len(pattern)} at `{at}`")
        yield
        steps = pattern_steps(pattern)
        if steps is None:
            raise refused(f"expected a pattern whose program is at most {MAX_PATTERN_PROGRAM_BYTES} bytes at `{at}`")
        if is_new:
            self._count_pattern(at, pattern, steps)
        self.backtracks = self.backtracks or steps == BACKTRACKED
        return steps

    def _count_pattern(self, at: str, pattern: str, steps: int) -> None:
        """Hold the patterns together against their bounds: what the validator compiles in one stretch."""
        self._pattern_chars += len(pattern)
        self._program_bytes += _PROGRAM_BYTES[steps]
        if self._pattern_chars > MAX_PATTERNS_CHARS:
            raise refused(f"expected patterns of at most {MAX_PATTERNS_CHARS} characters together, got more at `{at}`")
        if self._program_bytes > MAX_PATTERNS_PROGRAM_BYTES:
            raise refused(
                f"expected patterns whose programs are at most {MAX_PATTERNS_PROGRAM_BYTES} bytes together, "
                f"got more at `{at}`"
            )

    def _of_reference(self, at: str, reference: JsonValue, depth: int) -> _Walk:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise refused(f"expected `$ref` within the document, like `#/$defs/name`, got `{reference}` at `{at}`")
        if reference in self._open:
            raise refused(f"expected no recursion, but `{reference}` comes back to itself at `{at}`")
        if reference not in self._known:
            self._open.add(reference)
            self._known[reference] = yield from self._of(reference, self._target(at, reference), depth + 1)
            self._open.remove(reference)
        return self._known[reference]

    def _target(self, at: str, reference: str) -> JsonValue:
        try:
            return value_at(self._root, reference)
        except NowhereError:
            raise refused(f"`{reference}` at `{at}` leads nowhere") from None


@lru_cache(maxsize=1_024)
def pattern_steps(pattern: str) -> int | None:
    """Steps for each character; None where no engine takes the pattern within its bounds."""
    for program_bytes, steps in _PROGRAMS:
        if _compiles(pattern, jsonschema_rs.RegexOptions(program_bytes, MAX_PATTERN_PROGRAM_BYTES)):
            return steps
    return BACKTRACKED if _compiles(pattern, backtracking()) else None


def linear() -> jsonschema_rs.RegexOptions:
    """The engine that is linear in the text."""
    return jsonschema_rs.RegexOptions(MAX_PATTERN_PROGRAM_BYTES, MAX_PATTERN_PROGRAM_BYTES)


def backtracking() -> jsonschema_rs.FancyRegexOptions:
    """The engine for look-around and back-references, which gives up past its limit: then the text does not match."""
    return jsonschema_rs.FancyRegexOptions(MAX_BACKTRACKING, MAX_PATTERN_PROGRAM_BYTES, MAX_PATTERN_PROGRAM_BYTES)


def refused(problem: str) -> CallerError:
    """Say that a schema is past a bound, or none."""
    return CallerError(f"the schema is refused: {problem}", code="invalid_manifest")


def _compiles(pattern: str, engine: jsonschema_rs.RegexOptions | jsonschema_rs.FancyRegexOptions) -> bool:
    try:
        jsonschema_rs.validator_for({"pattern": pattern}, offline=True, pattern_options=engine)
    except ValueError:
        return False
    return True


def _beside(at: str, schema: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    for keyword in _BESIDE:
        yield from _one(at, schema, keyword)
    for keyword in _BESIDE_LISTS:
        yield from _list(at, schema, keyword)
    for keyword in _BESIDE_MAPS:
        yield from _map(at, schema, keyword)


def _tried(at: str, schema: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    for keyword in _TRIED:
        yield from _one(at, schema, keyword)
    for keyword in _TRIED_LISTS:
        yield from _list(at, schema, keyword)


def _one_of(at: str, schema: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    """Subschemas of which one at most applies to a child."""
    yield from _map(at, schema, "properties")
    yield from _list(at, schema, "prefixItems")
    yield from _list(at, schema, "items")


def _each(at: str, schema: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    """Subschemas that may all apply to a child."""
    yield from _map(at, schema, "patternProperties")
    for keyword in _CHILDREN:
        yield from _one(at, schema, keyword)


def _one(at: str, schema: JsonObject, keyword: str) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(schema.get(keyword), dict):
        yield f"{at}/{keyword}", schema[keyword]


def _list(at: str, schema: JsonObject, keyword: str) -> Iterator[tuple[str, JsonValue]]:
    below = schema.get(keyword)
    if isinstance(below, list):
        yield from ((f"{at}/{keyword}/{index}", item) for index, item in enumerate(below))


def _map(at: str, schema: JsonObject, keyword: str) -> Iterator[tuple[str, JsonValue]]:
    yield from ((f"{at}/{keyword}/{token_of(name)}", item) for name, item in _items(schema, keyword))


def _items(schema: JsonObject, keyword: str) -> Iterator[tuple[str, JsonValue]]:
    below = schema.get(keyword)
    if isinstance(below, dict):
        yield from below.items()


def _compared(value: JsonValue) -> int:
    """Steps of comparing with a constant: the nodes of what is an object or a list."""
    return _nodes(value) if isinstance(value, (dict, list)) else 0


def _nodes(value: JsonValue) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_nodes, below))
