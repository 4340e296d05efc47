"""JSON Schemas of every common draft, rewritten as one that the validator and the policy read alike (docs/adr/0026).

Which draft a schema is of, its `$schema` says. Where that is not there, or names none, it is the newest one; and words
that are of another draft than the one that is named are read as their own draft means them:

| written (draft) | becomes |
|---|---|
| `exclusiveMinimum: true`, `exclusiveMaximum: true` (03, 04) | the bound itself |
| `required: true` in a property (03) | its name among the `required` of the object |
| `type: "any"`, schemas among the types (03) | nothing, `anyOf` |
| `extends`, `disallow`, `divisibleBy` (03; not where a later draft is named) | `allOf`, `not`, `multipleOf` |
| `dependencies: {"a": "b"}` (03) | a list of names |
| what stands beside `$ref` (named 03 to 07) | nothing: these drafts do not look at it |
| `$anchor`, and `id` or `$id` that is a fragment, with references to it | the JSON pointer to its place |
| a `$schema` below the root | nothing: one schema is of one draft |

What comes out is of draft-07 (named 03 to 07), 2019-09 (a list as `items`) or 2020-12, and says so in its `$schema`.
A value that no draft has is left as it is, for the validator to refuse.

Sources: json-schema.org, the specifications of draft-03 to 2020-12; MCP 2025-11-25, basic (2020-12 is the default).
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final, TypeAlias

from briefcase.core.json.pointer import token_of
from briefcase.model.types import JsonObject, JsonValue

DRAFT_03: Final = 3
DRAFT_07: Final = 7
DRAFT_2019: Final = 2019
DRAFT_2020: Final = 2020
URI_OF: Final = {
    DRAFT_07: "http://json-schema.org/draft-07/schema",
    DRAFT_2019: "https://json-schema.org/draft/2019-09/schema",
    DRAFT_2020: "https://json-schema.org/draft/2020-12/schema",
}

_NAMED: Final = re.compile(
    r"https?://json-schema\.org/(?:draft-0([3-7])|draft/(2019)-09|draft/(2020)-12)/schema#?", re.ASCII
)
_SINCE: Final = {
    "dependentRequired": DRAFT_2019,
    "dependentSchemas": DRAFT_2019,
    "maxContains": DRAFT_2019,
    "minContains": DRAFT_2019,
    "prefixItems": DRAFT_2020,
    "unevaluatedItems": DRAFT_2019,
    "unevaluatedProperties": DRAFT_2019,
}
_MAPS: Final = frozenset({
    "$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties",
})  # fmt: skip
_LISTS: Final = frozenset({"allOf", "anyOf", "disallow", "extends", "items", "oneOf", "prefixItems", "type"})
_CHILDREN: Final = frozenset({
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "extends", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
_BESIDE_REFERENCE: Final = frozenset({"$defs", "$id", "$ref", "definitions"})
_BOUNDS: Final = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))
_PIECE: Final = 256  # subschemas: less than a millisecond

_Rewritten: TypeAlias = Generator[None, None, JsonValue]


def read_schema(schema: JsonObject) -> JsonObject:
    """Rewrite a schema of any draft; the schema itself is not changed.

    Args:
        schema: one of draft-03 to 2020-12, nested at most 64 deep.

    Returns:
        The same schema in the words of the draft that its `$schema` then names.
    """
    rewriting = _Rewriting(schema)
    for _ in rewriting.walk():
        pass
    return rewriting.found


def reading_schema(schema: JsonObject) -> Generator[None, None, JsonObject]:
    """Do as `read_schema` does, in pieces."""
    rewriting = _Rewriting(schema)
    yield from rewriting.walk()
    return rewriting.found


def exclusive_bounds(schema: JsonObject) -> None:
    """Write the bounds of draft-04, which say beside them whether they are exclusive, as later drafts do, in place."""
    for exclusive, bound in _BOUNDS:
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)


class _Rewriting:
    """One pass over a schema: `found` is what comes out, once it was walked."""

    def __init__(self, schema: JsonObject) -> None:
        self._named = _named_draft(schema.get("$schema"))
        self.found = schema
        self._words: set[str] = set()
        self._has_item_lists = False
        self._references: list[JsonObject] = []
        self._anchors: dict[str, str | None] = {}
        self._walked = 0

    def walk(self) -> Generator[None, None, None]:
        """Rewrite it, in pieces."""
        own = yield from self._of("#", self.found)
        if isinstance(own, dict):
            draft = self._draft()
            self._settle_references(draft)
            self.found = {"$schema": URI_OF[draft], **own}

    def _of(self, at: str, schema: JsonValue) -> _Rewritten:
        """A schema and all that is below it, rewritten; `at` is the pointer to it."""
        if not isinstance(schema, dict):
            return schema
        self._walked += 1
        if not self._walked % _PIECE:
            yield
        self._words.update(schema)
        own: JsonObject = {}
        for keyword, below in schema.items():
            if isinstance(below, dict) and keyword in _MAPS:
                own[keyword] = yield from self._map(f"{at}/{keyword}", below)
            elif isinstance(below, list) and keyword in _LISTS:
                own[keyword] = yield from self._list(f"{at}/{keyword}", below)
            elif isinstance(below, dict) and keyword in _CHILDREN:
                own[keyword] = yield from self._of(f"{at}/{keyword}", below)
            else:
                own[keyword] = below
        self._has_item_lists = self._has_item_lists or isinstance(own.get("items"), list)
        self._rewrite(own, schema)
        self._note_anchors(at, own)
        if "$ref" in own:
            self._references.append(own)
        return own

    def _draft(self) -> int:
        """The draft of what came out."""
        words = max((_SINCE[word] for word in self._words & _SINCE.keys()), default=DRAFT_03)
        draft = max(self._named or DRAFT_2020, words, DRAFT_07)
        if draft == DRAFT_2020 and self._has_item_lists and "prefixItems" not in self._words:
            return DRAFT_2019
        return draft

    def _settle_references(self, draft: int) -> None:
        """Have each reference say where it leads as a pointer, and nothing beside it where its draft sees nothing."""
        for own in self._references:
            reference = own["$ref"]
            place = self._anchors.get(reference[1:]) if isinstance(reference, str) and reference[:1] == "#" else None
            if place is not None:
                own["$ref"] = place
            if draft == DRAFT_07:
                for keyword in own.keys() - _BESIDE_REFERENCE:
                    del own[keyword]

    def _map(self, at: str, schemas: JsonObject) -> Generator[None, None, JsonObject]:
        own: JsonObject = {}
        for name, schema in schemas.items():
            own[name] = yield from self._of(f"{at}/{token_of(name)}", schema)
        return own

    def _list(self, at: str, schemas: list[JsonValue]) -> Generator[None, None, list[JsonValue]]:
        own: list[JsonValue] = []
        for index, schema in enumerate(schemas):
            own.append((yield from self._of(f"{at}/{index}", schema)))
        return own

    def _rewrite(self, own: JsonObject, schema: JsonObject) -> None:
        own.pop("$schema", None)
        exclusive_bounds(own)
        _types_of_draft_03(own)
        _required_of_draft_03(own, schema.get("properties"))
        dependencies = own.get("dependencies")
        if isinstance(dependencies, dict):
            own["dependencies"] = {
                name: [below] if isinstance(below, str) else below for name, below in dependencies.items()
            }
        if self._named in {None, DRAFT_03}:  # in later drafts these words mean nothing
            _words_of_draft_03(own)

    def _note_anchors(self, at: str, own: JsonObject) -> None:
        """Remember what a place is called, and leave the name out. A name that two have is none."""
        names = [own.pop("$anchor", None)]
        for keyword in ("$id", "id"):
            name = own.get(keyword)
            if isinstance(name, str) and name[:1] == "#" and at != "#":
                names.append(name[1:])
                del own[keyword]
        for name in names:
            if isinstance(name, str) and name[:1] not in {"", "/"}:
                self._anchors[name] = None if name in self._anchors else at


def _named_draft(uri: JsonValue) -> int | None:
    """The draft that `$schema` names; None where it names none."""
    match = _NAMED.fullmatch(uri) if isinstance(uri, str) else None
    return None if match is None else int(match[match.lastindex or 0])


def _types_of_draft_03(own: JsonObject) -> None:
    kinds = own.get("type")
    if kinds == "any" or (isinstance(kinds, list) and "any" in kinds):
        del own["type"]
    elif isinstance(kinds, list) and any(isinstance(kind, dict) for kind in kinds):
        del own["type"]
        _also(own, {"anyOf": [kind if isinstance(kind, dict) else {"type": kind} for kind in kinds]})


def _required_of_draft_03(own: JsonObject, properties: JsonValue) -> None:
    """Have an object say which properties it requires, as they were written; elsewhere such a word requires nothing."""
    if isinstance(own.get("required"), bool):
        del own["required"]
    if not isinstance(properties, dict):
        return
    names = [name for name, below in properties.items() if isinstance(below, dict) and below.get("required") is True]
    already = own.get("required", [])
    if names and isinstance(already, list):
        own["required"] = list(dict.fromkeys([*already, *names]))


def _words_of_draft_03(own: JsonObject) -> None:
    extended = own.get("extends")
    parts = extended if isinstance(extended, list) else [extended]
    if all(isinstance(part, dict) for part in parts):
        del own["extends"]
        for part in parts:
            _also(own, part)
    if "disallow" in own:
        disallowed: JsonObject = {"type": own.pop("disallow")}
        _types_of_draft_03(disallowed)
        _also(own, {"not": disallowed})
    if "divisibleBy" in own:
        own.setdefault("multipleOf", own.pop("divisibleBy"))


def _also(own: JsonObject, schema: JsonValue) -> None:
    """Have a value be as another schema says, too."""
    beside = own.get("allOf", [])
    own["allOf"] = [*(beside if isinstance(beside, list) else [beside]), schema]
