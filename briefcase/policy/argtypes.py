"""The Cedar type of `context.args`, which differs from tool to tool (docs/adr/0004).

Cedar's validator knows only closed record types. So each policy is validated against a type made for it:

1. the arguments it speaks of are read off its conditions;
2. each gets the type its tools declare: the tool named in the policy's scope, else all tools, where those that declare
   the argument agree. What the named tool requires is required; everything else is optional, so the validator
   insists on a `has` before it is used;
3. what no tool declares, or tools declare differently, gets the type the policy itself uses it with. Where the named
   tool's schema allows no further properties it is no argument at all: a misspelling, which the check refuses.

JSON Schema to Cedar: string is String, boolean Bool, integer Long, number decimal, array Set, object a record; a union
with null is optional. Anything else counts as not declared. `arguments` turns the values the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from briefcase.types import JsonObject, ToolSpec

Expression: TypeAlias = Any  # Cedar's JSON policy format: parsed JSON of the reference engine's own making


class SetOf(msgspec.Struct, frozen=True):
    """A set type."""

    element: Type


class Field(msgspec.Struct, frozen=True):
    """One attribute of a record type."""

    type: Type
    required: bool = False


class RecordOf(msgspec.Struct, frozen=True):
    """A closed record type: its attributes, sorted by name."""

    fields: tuple[tuple[str, Field], ...] = ()


Type: TypeAlias = str | SetOf | RecordOf

STRING: Final = "String"
LONG: Final = "Long"
BOOL: Final = "Bool"
DECIMAL: Final = "decimal"
_SCALARS: Final = {"string": STRING, "boolean": BOOL, "integer": LONG, "number": DECIMAL}
_ATTRIBUTES: Final[dict[tuple[str, str], Type]] = {
    ("resource", "category"): STRING,
    ("resource", "source"): STRING,
    ("resource", "cost_microusd"): LONG,
    ("resource", "is_write"): BOOL,
    ("resource", "net_access"): BOOL,
    ("resource", "fs_access"): BOOL,
    ("context", "risk"): SetOf(STRING),
}
_DECIMAL_METHODS: Final = {"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"}
_ARGUMENT_OF: Final[dict[str, Type]] = {"!": BOOL, "neg": LONG, "isEmpty": SetOf(STRING)}
_ARITHMETIC: Final = {"+", "-", "*", "<", "<=", ">", ">="}
_BOOLEAN_RESULTS: Final = {
    "!", "&&", "||", "==", "!=", "<", "<=", ">", ">=", "has", "like", "is", "in", "contains", "containsAll",
    "containsAny", "isEmpty", *_DECIMAL_METHODS,
}  # fmt: skip


class Arguments(msgspec.Struct, frozen=True):
    """What `context.args` is to one policy.

    `unknown` are the arguments it speaks of that the tool named in its scope can not have; `known` those it can.
    """

    type: RecordOf
    unknown: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


class ToolSchemas:
    """What the registered tools declare of their arguments.

    Args:
        specs: the tools; their input schemas are read once.
    """

    def __init__(self, specs: Iterable[ToolSpec]) -> None:
        self._by_tool = {spec.id: spec.input_schema for spec in specs}
        self._everywhere: dict[str, list[JsonObject]] = {}
        for schema in self._by_tool.values():
            for name, declared in _properties(schema).items():
                self._everywhere.setdefault(name, []).append(declared)

    def arguments_of(self, policy: Mapping[str, Any]) -> Arguments:
        """What `context.args` is to one policy, given in Cedar's JSON format."""
        uses = Uses()
        for clause in policy["conditions"]:
            uses.read(clause["body"], BOOL)
        used = uses.arguments
        named = policy["resource"].get("entity", {}) if policy["resource"]["op"] == "==" else {}
        schema = self._by_tool.get(named.get("id", "")) if named.get("type") == "Tool" else None
        if schema is None:
            fields = {
                name: Field(_field_type(self._everywhere.get(name, []), use, is_named=False) or STRING)
                for name, use in used.fields.items()
            }
            return Arguments(RecordOf(tuple(sorted(fields.items()))))
        known = _properties(schema)
        unknown = [name for name in used.fields if name not in known and schema.get("additionalProperties") is False]
        return Arguments(_record_type([schema], used, is_named=True), tuple(unknown), tuple(known))


# --- how a policy uses arguments --------------------------------------------------------------------------------


class Use:
    """One argument, or part of one, that a policy speaks of: the type it is used with, and its own parts."""

    def __init__(self) -> None:
        self.type: Type | None = None
        self.fields: dict[str, Use] = {}

    def at(self, path: Sequence[str]) -> Use:
        """The use of what a path leads to."""
        use = self
        for name in path:
            use = use.fields.setdefault(name, Use())
        return use


class Uses:
    """The arguments that conditions speak of, read off them one expression at a time."""

    def __init__(self) -> None:
        self.arguments = Use()

    def read(self, expression: Expression, expected: Type | None) -> None:
        """Note every argument in an expression; `expected` is the type its surroundings ask of it."""
        path = _argument_path(expression)
        if path is not None:
            use = self.arguments.at(path)
            use.type = use.type or expected
            return
        ((name, body),) = expression.items()
        if name in {"Value", "Var", "Slot"}:
            return
        if name == "has" and (path := _argument_path(body["left"])) is not None:
            self.arguments.at([*path, body["attr"]])
            return
        for operand, wanted in _operands(name, body):
            self.read(operand, wanted)


def _argument_path(expression: Expression) -> list[str] | None:
    """The attributes below `context.args` that an expression reads; None where it reads something else."""
    path: list[str] = []
    while "." in expression:
        path.append(expression["."]["attr"])
        expression = expression["."]["left"]
    if expression != {"Var": "context"} or not path or path.pop() != "args":
        return None
    return path[::-1]


def _operands(name: str, body: Expression) -> list[tuple[Expression, Type | None]]:
    """The parts of an operation, each with the type it must have."""
    if isinstance(body, list):
        wanted = DECIMAL if name in _DECIMAL_METHODS else STRING if name == "decimal" else None
        return [(part, wanted) for part in body]
    if name == "Record":
        return [(part, None) for part in body.values()]
    if name == "if-then-else":
        return [(body["if"], BOOL), (body["then"], _type_of(body["else"])), (body["else"], _type_of(body["then"]))]
    if "arg" in body:
        return [(body["arg"], _ARGUMENT_OF.get(name))]
    if "right" not in body:  # `like`, `is`, `has` and `.` on something that is no argument
        return [(body["left"], STRING if name == "like" else None)]
    return list(zip((body["left"], body["right"]), _sides(name, body["left"], body["right"]), strict=True))


def _sides(name: str, left: Expression, right: Expression) -> tuple[Type | None, Type | None]:
    """The types that both sides of an operator must have."""
    if name in {"&&", "||"}:
        return BOOL, BOOL
    if name in _ARITHMETIC:
        return LONG, LONG
    if name == "contains":
        of_left = _type_of(left)
        return SetOf(_type_of(right) or STRING), of_left.element if isinstance(of_left, SetOf) else None
    return _type_of(right), _type_of(left)


def _type_of(expression: Expression) -> Type | None:
    """The type of an expression that tells it by itself."""
    ((name, body),) = expression.items()
    if name == "Value":
        return (
            BOOL
            if isinstance(body, bool)
            else LONG
            if isinstance(body, int)
            else STRING
            if isinstance(body, str)
            else None
        )
    if name == "Set":
        element = next((kind for part in body if (kind := _type_of(part)) is not None), None)
        return None if element is None else SetOf(element)
    if name == "Record":
        return RecordOf(
            tuple(sorted((key, Field(_type_of(part) or STRING, required=True)) for key, part in body.items()))
        )
    if name == ".":
        return _ATTRIBUTES.get((body["left"].get("Var", ""), body["attr"]))
    if name in _BOOLEAN_RESULTS:
        return BOOL
    return {"decimal": DECIMAL, "+": LONG, "-": LONG, "*": LONG, "neg": LONG}.get(name)


# --- what tools declare -----------------------------------------------------------------------------------------


def declared_type(schema: object) -> Type | None:
    """The Cedar type of what a JSON Schema describes; None where it is not one type."""
    if not isinstance(schema, dict):
        return None
    kinds = schema.get("type")
    if isinstance(kinds, list):
        kinds = next(iter(kinds), None) if len(kinds := [kind for kind in kinds if kind != "null"]) == 1 else None
    if isinstance(kinds, str) and kinds in _SCALARS:
        return _SCALARS[kinds]
    if kinds == "array":
        element = declared_type(schema.get("items"))
        return None if element is None else SetOf(element)
    if kinds == "object" and _properties(schema):
        return _record_type([schema], Use(), is_named=True)
    alternatives = _alternatives(schema)
    if len(alternatives) == 1:
        return declared_type(alternatives[0])
    return None


def is_nullable(schema: JsonObject) -> bool:
    """Whether null is among what a JSON Schema allows."""
    kinds = schema.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return True
    return any(
        isinstance(option, dict) and is_nullable(option)
        for word in ("anyOf", "oneOf")
        for option in _list(schema.get(word))
    )


def _alternatives(schema: JsonObject) -> list[JsonObject]:
    """What `anyOf` or `oneOf` allow beside null."""
    options = _list(schema.get("anyOf")) or _list(schema.get("oneOf"))
    return [option for option in options if isinstance(option, dict) and option.get("type") != "null"]


def _record_type(schemas: Sequence[JsonObject], use: Use, *, is_named: bool) -> RecordOf:
    """The type of an object that these schemas describe, with what a policy says of it beyond that."""
    fields: dict[str, Field] = {}
    names = {name for schema in schemas for name in _properties(schema)} if is_named else set()
    for name in sorted(names | use.fields.keys()):
        declared = [part for schema in schemas if (part := _properties(schema).get(name)) is not None]
        required = is_named and all(
            name in _list(schema.get("required")) and not is_nullable(_properties(schema).get(name, {}))
            for schema in schemas
        )
        kind = _field_type(declared, use.fields.get(name), is_named=is_named)
        if kind is not None:
            fields[name] = Field(kind, required)
    return RecordOf(tuple(fields.items()))


def _field_type(declared: Sequence[JsonObject], use: Use | None, *, is_named: bool) -> Type | None:
    if use is not None and use.fields and all(_properties(schema) for schema in declared):
        return _record_type(declared, use, is_named=is_named and bool(declared))
    kinds = {declared_type(schema) for schema in declared}
    agreed = kinds.pop() if len(kinds) == 1 else None
    if agreed is not None or use is None:
        return agreed
    return use.type or STRING


def _properties(schema: JsonObject) -> dict[str, JsonObject]:
    found = schema.get("properties")
    if not isinstance(found, dict):
        return {}
    return {name: part for name, part in found.items() if isinstance(part, dict)}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


# --- as schema text ---------------------------------------------------------------------------------------------


def type_text(kind: Type) -> str:
    """A type as Cedar schema text; attribute names cannot end their quotes."""
    if isinstance(kind, str):
        return kind
    if isinstance(kind, SetOf):
        return f"Set<{type_text(kind.element)}>"
    fields = (f"{quoted(name)}{'' if field.required else '?'}: {type_text(field.type)}" for name, field in kind.fields)
    return f"{{{', '.join(fields)}}}"


def quoted(text: str) -> str:
    """A string literal of Cedar; everything but ASCII letters, digits and spaces is escaped."""
    safe = (char if char.isascii() and (char.isalnum() or char in " _-") else f"\\u{{{ord(char):x}}}" for char in text)
    return f'"{"".join(safe)}"'
