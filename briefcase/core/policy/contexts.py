"""Contexts read by a schema, as Cedar reads them: a text where the schema has a `decimal`, an `ipaddr` or an entity.

Cedar takes a context without escapes (`"10.0.0.1"` for an `ipaddr`, `{"type": …, "id": …}` for an entity) where a
schema says what it is. The reference engine reads entities so, and hands them back with their escapes; contexts it
only takes. So a context is put to it as the one attribute of an entity that is declared beside the schema for that:

    entity BriefcaseContext0 { context: <the type of the action's context> };

A schema in Cedar's syntax is scanned for the types of its actions' contexts, one in JSON is read. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import cedarpy
import msgspec

from briefcase._native.entities import value_of
from briefcase._native.values import EntityUid
from briefcase.core.policy.check import SCHEMA_TEXT
from briefcase.model.types import JsonObject

if TYPE_CHECKING:
    from briefcase._native.values import Value

ENTITY: Final = "BriefcaseContext"

# briefcase's own schema has another type of arguments for each policy, and a test says of a call what it needs
_OWN_CONTEXT: Final = f"entity {ENTITY} {{ context: {{ risk?: Set<String>, shell?: Shell, time?: datetime }} }};"
_ARGUMENTS: Final = "args"
_NO_POLICIES: Final = cedarpy.PolicySet.from_str("")
_TOKEN: Final = re.compile(
    r"//[^\n]*+|\s++|(?P<told>\"(?:[^\"\\]|\\.)*+\"|[A-Za-z_]\w*+(?:::[A-Za-z_]\w*+)*+|.)", re.DOTALL
)
_ESCAPE: Final = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_PLAIN_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_AFTER_NAMES: Final = frozenset({"in", "appliesTo", "attributes", ";"})
_OPENING: Final = "{[(<"
_CLOSING: Final = "}])>"

_Token = tuple[str, int]  # and where it ends


class _Context(msgspec.Struct, frozen=True):
    """The type of the context that some actions have, in which namespace, and where their declaration ends."""

    namespace: str
    actions: tuple[str, ...]
    type: str
    end: int


class ContextReader:
    """Reads contexts by a schema.

    Args:
        schema: its text, in Cedar's syntax or in JSON; None for briefcase's own.
    """

    def __init__(self, schema: str | None) -> None:
        self._entities: dict[EntityUid, str] = {}
        self._is_own = schema is None
        if schema is None:
            self._schema = cedarpy.Schema.from_str(f"{SCHEMA_TEXT}\n{_OWN_CONTEXT}")
        elif schema.lstrip().startswith("{"):
            self._schema = cedarpy.Schema.from_json_str(self._extend_json(json.loads(schema)))
        else:
            self._schema = cedarpy.Schema.from_str(self._extend(schema))

    def read(self, action: EntityUid, context: JsonObject, *, must_fit: bool) -> Value:
        """A context as the value that policies see.

        Args:
            action: what is asked for.
            context: in Cedar's JSON format, with escapes or without.
            must_fit: refuse what the schema does not allow; else such a context is read without it.

        Raises:
            ValueError: it is not what the schema says of this action's context, or no value at all.
        """
        try:
            return value_of(self._read_own(context) if self._is_own else self._read(action, context))
        except ValueError:
            if must_fit:
                raise
            return value_of(context)

    def check_request(self, principal: EntityUid, action: EntityUid, resource: EntityUid, context: JsonObject) -> None:
        """Check that a request is one that the schema allows.

        Raises:
            ValueError: its principal, action, resource or context is another.
        """
        if self._is_own:
            return  # what it says of arguments, no request could fit
        uids = {"principal": principal, "action": action, "resource": resource}
        request = {name: {"type": uid.type, "id": uid.id} for name, uid in uids.items()}
        found = cedarpy.is_authorized({**request, "context": context}, _NO_POLICIES, [], self._schema)
        if found.decision is cedarpy.Decision.NoDecision:
            raise ValueError("; ".join(found.diagnostics.errors))

    def _read_own(self, context: JsonObject) -> JsonObject:
        rest = {name: value for name, value in context.items() if name != _ARGUMENTS}
        return {**context, **self._by_schema(ENTITY, rest)}

    def _read(self, action: EntityUid, context: JsonObject) -> JsonObject:
        entity = self._entities.get(action)
        return context if entity is None else self._by_schema(entity, context)

    def _by_schema(self, entity: str, context: JsonObject) -> JsonObject:
        asked = [{"uid": {"type": entity, "id": "0"}, "attrs": {"context": context}, "parents": []}]
        try:
            read = json.loads(str(cedarpy.Entities.from_json_str(json.dumps(asked), self._schema)))
        except (ValueError, RecursionError):  # whose words are of an entity that nobody wrote
            raise ValueError("its context is not what the schema says of it") from None
        found = next(one for one in read if one["uid"]["type"] == entity)
        context_read: JsonObject = found["attrs"]["context"]
        return context_read

    def _extend(self, schema: str) -> str:
        """A schema in Cedar's syntax, with an entity beside each action for its context."""
        pieces, start = [], 0
        for number, context in enumerate(_contexts_of(schema)):
            name = f"{ENTITY}{number}"
            self._add(context.namespace, context.actions, name)
            pieces += [schema[start : context.end], f" entity {name} {{ context: {context.type} }};"]
            start = context.end
        return "".join([*pieces, schema[start:]])

    def _extend_json(self, schema: dict[str, Any]) -> str:
        number = 0
        for namespace, members in schema.items():
            for action, declared in members.get("actions", {}).items():
                context = (declared.get("appliesTo") or {}).get("context")
                if context is None:
                    continue
                name, number = f"{ENTITY}{number}", number + 1
                self._add(namespace, (action,), name)
                shape = {"type": "Record", "attributes": {"context": context}}
                members.setdefault("entityTypes", {})[name] = {"shape": shape}
        return json.dumps(schema)

    def _add(self, namespace: str, actions: tuple[str, ...], entity: str) -> None:
        prefix = f"{namespace}::" if namespace else ""
        for action in actions:
            self._entities[EntityUid(f"{prefix}Action", action)] = f"{prefix}{entity}"


def _contexts_of(schema: str) -> Iterator[_Context]:
    """The contexts of the actions of a schema in Cedar's syntax, in the order of its text."""
    tokens = [(found[0], found.end()) for found in _TOKEN.finditer(schema) if found["told"]]
    namespace, depth, place = "", 0, 0
    while place < len(tokens):
        word = tokens[place][0]
        if word == "namespace" and depth == 0 and place + 1 < len(tokens):
            namespace = tokens[place + 1][0]
        elif word == "{":
            depth += 1
        elif word == "}":
            depth -= 1
            namespace = namespace if depth else ""
        elif word == "action" and depth == (1 if namespace else 0):
            end = _end_of(tokens, place, ";")
            found = _type_of_context(tokens[place:end])
            if found and end < len(tokens):
                yield _Context(namespace, _names_of(tokens[place + 1 : end]), found, tokens[end][1])
            place = end
        place += 1


def _end_of(tokens: Sequence[_Token], start: int, *ends: str) -> int:
    """Where the first of these signs is that stands in no bracket opened since."""
    depth = 0
    for place in range(start, len(tokens)):
        word = tokens[place][0]
        if depth == 0 and word in ends:
            return place
        depth += (word in _OPENING) - (word in _CLOSING)
    return len(tokens)


def _names_of(tokens: Sequence[_Token]) -> tuple[str, ...]:
    """The actions that a declaration begins with."""
    names = takewhile(lambda word: word not in _AFTER_NAMES, (word for word, _ in tokens))
    return tuple(_ESCAPE.sub(_unescaped, word[1:-1]) if word.startswith('"') else word for word in names if word != ",")


def _unescaped(found: re.Match[str]) -> str:
    digits = found[1] or found[2]
    return chr(int(digits, 16)) if digits else _PLAIN_ESCAPES.get(found[3], found[3])


def _type_of_context(tokens: Sequence[_Token]) -> str:
    """What an action's declaration says of its context; nothing where it says nothing."""
    words = [word for word, _ in tokens]
    if "appliesTo" not in words:
        return ""
    place = words.index("appliesTo") + 2
    while place < len(words) and words[place] != "}":
        end = _end_of(tokens, place, ",", "}")
        if words[place : place + 2] == ["context", ":"]:
            return " ".join(words[place + 2 : end])
        place = end + 1
    return ""
