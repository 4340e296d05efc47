"""Names that widespread clients take: letters, digits, `_` and `-`, at most 64 of them, for tools and their arguments.

 1. a name that is so is kept
 2. in every other one `.` becomes `__`
 3. where that is still odd, too long, or the name of another, each odd character becomes `_`, it is cut to 55
    characters, and `_` and 8 hex digits of the name's SHA-256 end it

The daemon's ids do not change, nor what policy and receipts say. A client's name stands for what its own last list said
(`NameLists`): a tool that comes later under a name that was given already is not called in its place. Nothing here does
I/O.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from briefcase.core.mcp.jsonrpc import as_object
from briefcase.edges.gateway.view import View
from briefcase.model.types import JsonObject, JsonValue

MAX_CHARS: Final = 64
HASH_CHARS: Final = 8
MAX_NAMES: Final = 131_072  # of all clients' lists together
_PLAIN: Final = re.compile(rf"[a-zA-Z0-9_-]{{1,{MAX_CHARS}}}")
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]")
_GIVEN: Final = re.compile(r"__|_[0-9a-f]{8}$")
# keywords beside `properties` and `required` that name arguments: a schema with one of them keeps its names
_NAMING: Final = frozenset(
    {"$ref", "allOf", "anyOf", "dependencies", "dependentRequired", "dependentSchemas", "else", "if", "not", "oneOf",
     "patternProperties", "propertyNames", "then", "unevaluatedProperties"}
)  # fmt: skip


class Names(msgspec.Struct, frozen=True):
    """What one list's names stand for.

    `tools` has the view's own name of each tool by the one that was given, `arguments` the same for those arguments of
    each tool that were given another, by the tool's id.
    """

    tools: Mapping[str, str] = {}
    arguments: Mapping[str, Mapping[str, str]] = {}

    @property
    def count(self) -> int:
        """How many names these are, and one for the list itself."""
        return 1 + len(self.tools) + sum(map(len, self.arguments.values()))


class NameLists:
    """What was listed last for each client; bounded in all, and the list that was used longest ago gives way."""

    def __init__(self) -> None:
        self._lists: OrderedDict[tuple[bytes, str | None, View], Names] = OrderedDict()
        self._count = 0

    def put(self, key: tuple[bytes, str | None, View], names: Names) -> None:
        """Note a list."""
        before = self._lists.pop(key, None)
        self._lists[key] = names
        self._count += names.count - (0 if before is None else before.count)
        while self._count > MAX_NAMES and len(self._lists) > 1:
            self._count -= self._lists.popitem(last=False)[1].count

    def get(self, key: tuple[bytes, str | None, View]) -> Names | None:
        """The last list, or None."""
        names = self._lists.get(key)
        if names is not None:
            self._lists.move_to_end(key)
        return names


def given_names(own: Iterable[str]) -> dict[str, str]:
    """The name a client is given for each, by the rule of the module's docstring; it does not depend on their order."""
    names = list(dict.fromkeys(own))
    plain = {name for name in names if _PLAIN.fullmatch(name)}
    wanted = {name: name.replace(".", "__") for name in names if name not in plain}
    times = Counter(wanted.values())
    given = {name: name for name in plain}
    for name, text in wanted.items():
        is_free = _PLAIN.fullmatch(text) is not None and text not in plain and times[text] == 1
        given[name] = text if is_free else _hashed(name, text)
    return {name: given[name] for name in names}


def may_be_given(name: str) -> bool:
    """Whether a name looks like one of ours, so that the list is worth another look."""
    return _GIVEN.search(name) is not None


def given_arguments(schema: JsonValue) -> dict[str, str]:
    """The names a client is given for the arguments of a tool, where they are not its own.

    A schema that names its arguments elsewhere than in `properties` and `required` keeps them.
    """
    schema = as_object(schema)
    properties = as_object(schema.get("properties"))
    if not _NAMING.isdisjoint(schema) or all(_PLAIN.fullmatch(name) for name in properties):
        return {}
    return {own: name for own, name in given_names(properties).items() if own != name}


def renamed_schema(schema: JsonObject, given: Mapping[str, str]) -> JsonObject:
    """A tool's schema under the names that `given_arguments` gave."""
    if not given:
        return schema
    properties, required = as_object(schema.get("properties")), schema.get("required")
    renamed: JsonObject = {
        **schema,
        "properties": {given.get(own, own): described for own, described in properties.items()},
    }
    if isinstance(required, list):
        renamed["required"] = [given.get(own, own) if isinstance(own, str) else own for own in required]
    return renamed


def own_arguments(arguments: JsonObject, own: Mapping[str, str]) -> JsonObject:
    """A call's arguments under the tool's own names."""
    return {own.get(name, name): value for name, value in arguments.items()} if own else arguments


def _hashed(name: str, text: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARS]
    return f"{_ODD.sub('_', text)[: MAX_CHARS - HASH_CHARS - 1]}_{digest}"


def inverted(given: Mapping[str, str]) -> dict[str, str]:
    """From what was given to what it stands for."""
    return {name: own for own, name in given.items()}
