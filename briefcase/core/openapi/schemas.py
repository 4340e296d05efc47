"""A schema of a document as one that arguments are checked by: references written out, bounded, in plain JSON Schema.

| in the document | in the manifest |
|---|---|
| a reference | what it refers to |
| a reference that comes back to itself | written out `MAX_TURNS` times, and any value below that |
| what is deeper or larger than a manifest's schema may be | any value of its type below that |
| a property that is `readOnly` | left out, of `required` too: no request has it (OpenAPI 3.0.3 section 4.7.24.2) |
| `writeOnly` | as it is |
| a pattern that no engine here takes, a keyword without a valid value | left out |

The middle rows check less than the document says, never more; what is sent is the argument itself. Each of them is
said in the remarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from briefcase.core.openapi.document import Document, Node
from briefcase.core.openapi.keywords import (
    BESIDE,
    CHILDREN,
    LISTS,
    MAPS,
    PLAIN,
    SAME_INSTANCE,
    TYPES,
    fitting,
    is_exact,
    rewrite_bounds,
)
from briefcase.model.types import JsonObject, JsonValue

MAX_TURNS: Final = 3  # of a reference that comes back to itself
MAX_DEFAULT_CHARS: Final = 200
MAX_BRANCHES_DEEP: Final = 8
_NO_NAMES: Final[frozenset[str]] = frozenset()


class Limits(msgspec.Struct, frozen=True):
    """How much of a schema is written out: `depth` counts properties and items, `subschemas` everything.

    `takes_pattern` says whether the validator takes a pattern. `description_chars` is kept of each description below
    an argument's own.
    """

    depth: int
    subschemas: int
    description_chars: int
    takes_pattern: Callable[[str], bool]


class TooLargeError(Exception):
    """A schema has more subschemas than the limits let it have."""


class SchemaWriter:
    """Writes the schemas of one operation.

    Args:
        document: where references lead.
        limits: for all its schemas together.
    """

    def __init__(self, document: Document, limits: Limits) -> None:
        self._document = document
        self._limits = limits
        self._left = limits.subschemas
        self._loose: dict[str, None] = {}
        self._deep = 0

    def remarks(self) -> Iterator[str]:
        """What is checked less than the document says."""
        yield from self._loose
        if self._deep:
            yield f"{self._deep} schemas deeper than {self._limits.depth} levels are not checked"

    def write(self, node: Node) -> JsonValue:
        """Write a schema.

        Raises:
            CallerError: a reference leads nowhere or out of the document.
            TooLargeError: it is larger than the limits.
        """
        return self._write(node, 0, (), _NO_NAMES)

    def _write(self, node: Node, depth: int, opened: tuple[str, ...], unsent: frozenset[str]) -> JsonValue:
        """One schema; `unsent` names what its `required` may not ask for, `opened` the references it stands in."""
        schema = node.value
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            if schema is not None:
                self._note(node, "it is no schema, and any value is taken")
            return {}
        self._left -= 1
        if self._left < 0:
            raise TooLargeError
        if isinstance(schema.get("$ref"), str):
            return self._reference(node, schema, depth, opened, unsent)
        unsent = unsent | self._read_only(node, 0)
        written = self._plain(node, schema, unsent)
        for keyword, below in node.items():
            part = self._subschemas(keyword, below, depth, opened, unsent)
            if part is not None:
                written[keyword] = part
        if isinstance(schema.get("items"), list):
            written["prefixItems"] = [self._below(each, depth, opened) for each in node.at("items").elements()]
        return _nullable(schema, written)

    def _reference(
        self, node: Node, schema: JsonObject, depth: int, opened: tuple[str, ...], unsent: frozenset[str]
    ) -> JsonValue:
        reference = str(schema["$ref"])
        target = self._document.target(node)
        if opened.count(target.pointer) >= MAX_TURNS:
            self._note(target, f"it comes back to itself, and is checked {MAX_TURNS} times over")
            return _of_its_type(target)
        written = self._write(target, depth, (*opened, target.pointer), unsent)
        if self._document.is_30:  # section 4.7.23: what stands beside a reference is ignored; nobody means that here
            return _nullable({"nullable": schema.get("nullable")}, written if isinstance(written, dict) else {})
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        if not beside.keys() & _CHECKED or reference == "#":
            return written
        return {"allOf": [written, self._write(Node(beside, node.pointer), depth, opened, unsent)]}

    def _plain(self, node: Node, schema: JsonObject, unsent: frozenset[str]) -> JsonObject:
        """The keywords that hold no schemas."""
        written = {key: value for key, value in schema.items() if key in PLAIN}
        for keyword in rewrite_bounds(written):
            self._note(node, f"`{keyword}` is no bound that an argument can be held against")
        for keyword in [keyword for keyword, value in written.items() if not PLAIN[keyword](value)]:
            del written[keyword]
            self._note(node, f"`{keyword}` has no valid value")
        self._type(node, schema, written)
        self._choices(node, written)
        pattern = written.get("pattern")
        if isinstance(pattern, str) and not (is_exact(pattern) and self._limits.takes_pattern(pattern)):
            del written["pattern"]
            self._note(node, "its pattern is none that the validator takes")
        for keyword in ("multipleOf", "const"):
            if keyword in written and not is_exact(written[keyword]):
                del written[keyword]
                self._note(node, f"`{keyword}` is no exact number")
        required = written.pop("required", None)
        names = [str(name) for name in required] if isinstance(required, list) else []
        kept: list[JsonValue] = [name for name in dict.fromkeys(names) if name not in unsent and is_exact(name)]
        if kept:
            written["required"] = kept
        for keyword in ("title", "description"):
            text = schema.get(keyword)
            limit = self._limits.description_chars
            if isinstance(text, str) and limit:
                written[keyword] = unicode_text(text)[:limit]
        default = schema.get("default")
        if default is not None and is_exact(default) and len(str(default)) <= MAX_DEFAULT_CHARS:
            written["default"] = default
        return written

    def _type(self, node: Node, schema: JsonObject, written: JsonObject) -> None:
        found = schema.get("type")
        if found is None:
            return
        kinds = [kind for kind in (found if isinstance(found, list) else [found]) if isinstance(kind, str)]
        kinds = ["string" if kind == "file" else kind for kind in kinds]
        known = [kind for kind in dict.fromkeys(kinds) if kind in TYPES]
        if len(known) != len(set(kinds)) or not known:
            self._note(node, "`type` is none of JSON Schema's, and any is taken")
        elif isinstance(found, list):
            written["type"] = [*known]
        else:
            written["type"] = known[0]

    def _choices(self, node: Node, written: JsonObject) -> None:
        choices = written.get("enum")
        if not isinstance(choices, list):
            return
        exact: list[JsonValue] = []
        for choice in choices:
            if is_exact(choice) and not any(choice == known and type(choice) is type(known) for known in exact):
                exact.append(choice)
        kind = written.get("type")
        kinds = [str(each) for each in kind] if isinstance(kind, list) else [kind] if isinstance(kind, str) else []
        if len(exact) < len(choices) and not all(map(is_exact, choices)):
            self._note(node, "some of its choices are no exact numbers, and cannot be sent")
        if not exact or (kinds and not fitting(exact, kinds)):
            del written["enum"]
            self._note(node, "none of its choices is of its type, and any value of the type is taken")
        else:
            written["enum"] = exact

    def _subschemas(
        self, keyword: str, node: Node, depth: int, opened: tuple[str, ...], unsent: frozenset[str]
    ) -> JsonValue:
        """What a keyword that holds schemas becomes; None where it is none, or holds none."""
        own = unsent if keyword in SAME_INSTANCE else _NO_NAMES
        if keyword in MAPS and isinstance(node.value, dict):
            return {name: self._below(below, depth, opened) for name, below in self._members(keyword, node, unsent)}
        if keyword in LISTS and isinstance(node.value, list) and node.value:
            if keyword == "prefixItems":
                return [self._below(each, depth, opened) for each in node.elements()]
            return [self._write(each, depth, opened, own) for each in node.elements()]
        if keyword in CHILDREN and isinstance(node.value, dict | bool):
            return self._below(node, depth, opened)
        if keyword in BESIDE and isinstance(node.value, dict | bool):
            return self._write(node, depth, opened, own)
        return None

    def _members(self, keyword: str, node: Node, unsent: frozenset[str]) -> Iterator[tuple[str, Node]]:
        for name, below in node.items():
            if not is_exact(name):
                self._note(below, "its name is no Unicode text")
            elif keyword == "patternProperties" and not self._limits.takes_pattern(name):
                self._note(below, "its pattern is none that the validator takes")
            elif keyword != "properties" or name not in unsent or not self._is_read_only(below):
                yield name, below

    def _below(self, node: Node, depth: int, opened: tuple[str, ...]) -> JsonValue:
        if depth >= self._limits.depth and isinstance(node.value, dict):
            self._deep += 1
            return _of_its_type(self._document.resolved(node))
        return self._write(node, depth + 1, opened, _NO_NAMES)

    def _read_only(self, node: Node, depth: int) -> frozenset[str]:
        """The names of read-only properties, those of `allOf` and of what it refers to, too."""
        if depth > MAX_BRANCHES_DEEP:
            return _NO_NAMES
        names = {name for name, below in node.at("properties").items() if self._is_read_only(below)}
        for branch in node.at("allOf").elements():
            names |= self._read_only(self._document.resolved(branch), depth + 1)
        return frozenset(names)

    def _is_read_only(self, node: Node) -> bool:
        if node.object.get("readOnly") is True and not (self._document.is_30 and "$ref" in node.object):
            return True
        return "$ref" in node.object and self._document.resolved(node).object.get("readOnly") is True

    def _note(self, node: Node, problem: str) -> None:
        self._loose[f"the schema at `#{unicode_text(node.pointer)}`: {problem}"] = None


_CHECKED: Final = frozenset({"type", "nullable", *PLAIN, *MAPS, *LISTS, *CHILDREN, *BESIDE}) - {"format"}


def unicode_text(text: str) -> str:
    """A text without halves of surrogate pairs."""
    return text.encode(errors="replace").decode()


def _nullable(schema: JsonObject, written: JsonObject) -> JsonObject:
    if schema.get("nullable") is not True or not written:
        return written
    choices = written.get("enum")
    if isinstance(choices, list) and None not in choices:
        written = {**written, "enum": [*choices, None]}
    kind = written.get("type")
    if isinstance(kind, str):
        return {**written, "type": [kind, "null"] if kind != "null" else kind}
    if isinstance(kind, list):
        return {**written, "type": [*kind, *({"null"} - {*map(str, kind)})]}
    return {"anyOf": [written, {"type": "null"}]}


def _of_its_type(node: Node) -> JsonObject:
    """A schema that says a value's type alone."""
    kind = node.object.get("type")
    if kind is None and isinstance(node.object.get("properties"), dict):
        kind = "object"
    if not isinstance(kind, str) or kind not in TYPES:
        return {}
    return {"type": [kind, "null"] if node.object.get("nullable") is True else kind}
