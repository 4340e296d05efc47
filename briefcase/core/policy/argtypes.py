"""The Cedar type of `context.args`, which differs from tool to tool (docs/adr/0004, 0026).

Cedar's validator knows only closed record types. So each policy is validated against a type made for it:

1. the arguments it speaks of are read off its conditions;
2. each gets the type that the tools it applies to declare (`declared`): the tool named in its scope, the tools of the
   server or provider named there, else all. What the named tool requires is required; everything else is optional, so
   the validator insists on a `has` before it is used;
3. an argument that is compared, and whose type nobody declares or two tools declare differently, is refused; so is one
   that the named tool cannot have, which is a misspelling.

Where the tools are not known (no daemon answers), an argument has the type that the policy itself uses it with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from briefcase.core.policy.cedartypes import BOOL, DECIMAL, LONG, STRING, Field, RecordOf, SetOf, Type, type_text
from briefcase.core.policy.declared import declared_arguments
from briefcase.core.policy.expressions import (
    DECIMAL_METHODS,
    Expression,
    context_path,
    parts_of,
    type_of,
)
from briefcase.model.types import ToolSpec

_ARITHMETIC: Final = {"+", "-", "*", "<", "<=", ">", ">="}
_ARGUMENT_OF: Final[dict[str, Type]] = {"!": BOOL, "neg": LONG, "isEmpty": SetOf(STRING)}
_SOURCES: Final = {"Server": "mcp", "Provider": "provider"}
_NAME_THE_TOOL: Final = 'name one tool in the scope, as in `resource == Tool::"…"`'


class Problem(msgspec.Struct, frozen=True):
    """Why a policy is refused for an argument: `path` says which."""

    path: str
    message: str
    hint: str = ""


class Arguments(msgspec.Struct, frozen=True):
    """What `context.args` is to one policy, and the first thing it gets wrong about it."""

    type: RecordOf
    problem: Problem | None = None


class ToolSchemas:
    """What the registered tools declare of their arguments.

    Args:
        specs: the tools, their input schemas are read once; None where they are not known.
    """

    def __init__(self, specs: Iterable[ToolSpec] | None) -> None:
        self._specs = None if specs is None else {spec.id: spec for spec in specs}
        self._declared: dict[str, RecordOf] = {}

    def arguments_of(self, policy: Mapping[str, Any]) -> Arguments:
        """What `context.args` is to one policy, given in Cedar's JSON format."""
        uses = Uses()
        for clause in policy["conditions"]:
            uses.read(clause["body"], BOOL)
        if self._specs is None:
            return Arguments(_as_used(uses.arguments))
        if not uses.arguments.fields and not uses.arguments.is_read:
            return Arguments(RecordOf())
        scope = policy["resource"]
        tools = self._tools_of(scope)
        named = scope["entity"]["id"] if scope["op"] == "==" and scope["entity"]["type"] == "Tool" else None
        fit = _Fit(named)
        if named is not None and not tools:
            hint = "register what has the tool first: its schema says what its arguments are"
            return Arguments(RecordOf(), Problem(named, f"no tool `{named}` is registered", hint))
        if uses.arguments.is_read:
            hint = "write `context.args.name` for each of them"
            return Arguments(RecordOf(), Problem("args", "the arguments as a whole have no type", hint))
        kind = fit.record(uses.arguments, tools, ())
        return Arguments(kind, fit.problem)

    def _tools_of(self, scope: Mapping[str, Any]) -> list[tuple[str, RecordOf]]:
        """The tools that a scope can apply to, with what they declare."""
        within = scope.get("in", scope) if scope["op"] == "is" else scope
        entity = (within or {}).get("entity", {})
        kind, name = entity.get("type"), entity.get("id")
        return [
            (spec.id, self._declared_by(spec))
            for spec in (self._specs or {}).values()
            if kind is None or (spec.id == name if kind == "Tool" else spec.source == f"{_SOURCES.get(kind)}:{name}")
        ]

    def _declared_by(self, spec: ToolSpec) -> RecordOf:
        declared = self._declared.get(spec.id)
        if declared is None:
            declared = self._declared[spec.id] = declared_arguments(spec.input_schema)
        return declared


class _Fit:
    """One policy held against the tools it applies to; keeps the first problem it meets."""

    def __init__(self, named: str | None) -> None:
        self._named = named
        self.problem: Problem | None = None

    def record(self, use: Use, tools: Sequence[tuple[str, RecordOf]], path: tuple[str, ...]) -> RecordOf:
        """The type of an object that these tools declare, as far as the policy speaks of it."""
        names = set(use.fields)
        if use.is_read:  # its value as a whole, so all of it
            names |= {name for _, record in tools for name, _ in record.fields}
        fields = {}
        for name in sorted(names):
            field = self._field(use.fields.get(name, Use()), name, tools, (*path, name))
            if field is not None:
                fields[name] = field
        return RecordOf(tuple(fields.items()))

    def _field(self, use: Use, name: str, tools: Sequence[tuple[str, RecordOf]], path: tuple[str, ...]) -> Field | None:
        declaring = []
        for tool, record in tools:
            field = record.by_name().get(name, Field(record.rest))
            if field.type is not None:
                declaring.append((tool, field))
        if not declaring:
            return self._undeclared(use, name, tools, path)
        required = self._named is not None and all(field.required for _, field in declaring)
        kinds = [(tool, field.type) for tool, field in declaring if field.type is not None]
        records = [(tool, kind) for tool, kind in kinds if isinstance(kind, RecordOf)]
        if use.fields and len(records) == len(kinds) and not use.is_read:
            return Field(self.record(use, records, path), required)
        first_tool, first = kinds[0]
        for tool, kind in kinds[1:]:
            if type_text(kind) != type_text(first) and (use.is_read or use.fields):
                said = f"`{first_tool}` as {type_text(first)}, `{tool}` as {type_text(kind)}"
                self._refuse(path, f"tools declare the argument `{name}` differently: {said}", _NAME_THE_TOOL)
        if use.fields and isinstance(first, RecordOf):
            self.record(use, records, path)  # what is read inside must be declared too
        return Field(first, required)

    def _undeclared(
        self, use: Use, name: str, tools: Sequence[tuple[str, RecordOf]], path: tuple[str, ...]
    ) -> Field | None:
        """An argument that no tool gives a type."""
        if not use.is_spoken_of:
            return None
        known = {known for _, record in tools for known, _ in record.fields}
        if self._named is not None and name not in known and not any(record.is_open for _, record in tools):
            there = ", ".join(f"`{known}`" for known in _names_in(tools)) or "none"
            self._refuse(path, f"the tool has no argument `{name}`", f"its arguments are {there}")
        elif use.is_read or use.fields:
            where = f"of the tool `{self._named}`" if self._named is not None else "of the tools the policy applies to"
            hint = "a policy can compare what a tool's schema declares as one type; `has` may ask for anything"
            self._refuse(path, f"no type is declared for the argument `{name}` {where}", hint)
        return Field(STRING)

    def _refuse(self, path: tuple[str, ...], message: str, hint: str) -> None:
        if self.problem is None:
            self.problem = Problem(".".join(("args", *path)), message, hint)


def _names_in(tools: Sequence[tuple[str, RecordOf]]) -> list[str]:
    """The names of declared arguments, each once."""
    return list(dict.fromkeys(name for _, record in tools for name, _ in record.fields))


# --- how a policy uses arguments --------------------------------------------------------------------------------


class Use:
    """One argument, or part of one, that a policy speaks of.

    `type` is the type it is used with, `is_read` whether its value is used as a whole, `fields` its own parts, and
    `is_spoken_of` whether it is there at all: `has` speaks of what it does not read.
    """

    def __init__(self) -> None:
        self.type: Type | None = None
        self.is_read = False
        self.is_spoken_of = False
        self.fields: dict[str, Use] = {}

    def at(self, path: Sequence[str]) -> Use:
        """The use of what a path leads to."""
        use = self
        for name in path:
            use = use.fields.setdefault(name, Use())
            use.is_spoken_of = True
        return use


class Uses:
    """The arguments that conditions speak of, read off them one expression at a time."""

    def __init__(self) -> None:
        self.arguments = Use()

    def read(self, expression: Expression, expected: Type | None) -> None:
        """Note every argument in an expression; `expected` is the type its surroundings ask of it."""
        path = context_path(expression)
        if path is not None:
            if path[:1] == ["args"] and (len(path) > 1 or "has" not in expression):
                use = self.arguments.at(path[1:])
                if "has" not in expression:
                    use.type = use.type or expected
                    use.is_read = True
            elif not path:
                self.arguments.is_read = True
            return
        ((name, body),) = expression.items()
        for operand, wanted in _operands(name, body, expression):
            self.read(operand, wanted)


def _as_used(use: Use) -> RecordOf:
    """The type of the arguments that a policy itself asks for."""
    return RecordOf(
        tuple(
            (name, Field(_as_used(part) if part.fields else part.type or STRING))
            for name, part in sorted(use.fields.items())
        )
    )


def _operands(name: str, body: Expression, expression: Expression) -> list[tuple[Expression, Type | None]]:
    """The parts of an operation, each with the type it must have."""
    if name in DECIMAL_METHODS or name == "decimal":
        return [(part, DECIMAL if name in DECIMAL_METHODS else STRING) for part in body]
    if name == "if-then-else":
        return [(body["if"], BOOL), (body["then"], type_of(body["else"])), (body["else"], type_of(body["then"]))]
    if name in _ARGUMENT_OF:
        return [(body["arg"], _ARGUMENT_OF[name])]
    if name == "like":
        return [(body["left"], STRING)]
    if isinstance(body, dict) and "left" in body and "right" in body:
        return list(zip((body["left"], body["right"]), _sides(name, body["left"], body["right"]), strict=True))
    return [(part, None) for part in parts_of(expression)]


def _sides(name: str, left: Expression, right: Expression) -> tuple[Type | None, Type | None]:
    """The types that both sides of an operator must have."""
    if name in {"&&", "||"}:
        return BOOL, BOOL
    if name in _ARITHMETIC:
        return LONG, LONG
    if name == "contains":
        of_left = type_of(left)
        return SetOf(type_of(right) or STRING), of_left.element if isinstance(of_left, SetOf) else None
    return type_of(right), type_of(left)
