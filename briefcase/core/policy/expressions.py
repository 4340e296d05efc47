r"""Conditions of policies as the engine parsed them: which of the context they read, and of what type they are.

An expression is one in Cedar's JSON policy format, parsed by the reference engine. Nothing about a policy is ever
looked for in its text, where `context["t\u{69}me"]` is spelt otherwise.

`==`, `!=` and the `contains` family never err on types that differ: they are false. So where an argument is one side,
both sides must be of one declared type. The check refuses a policy for which they are not; a policy that was set
before the tool was as it is now errs there (`with_faults`), and a `forbid` that errs denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from briefcase.core.policy.cedartypes import (
    BOOL,
    DECIMAL,
    LONG,
    STRING,
    Field,
    RecordOf,
    SetOf,
    Type,
    is_same,
    type_of_field,
)

Expression: TypeAlias = Any  # parsed JSON of the reference engine's own making
Policy: TypeAlias = Mapping[str, Any]

DATETIME: Final = "datetime"
DURATION: Final = "duration"
ADDRESS: Final = "ipaddr"
ENTITY: Final = "entity "
SILENT: Final = frozenset({"==", "!=", "contains", "containsAll", "containsAny"})
DECIMAL_METHODS: Final = frozenset({"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"})

_SIDES: Final = ("arg", "left", "right", "in")
_LEAVES: Final = frozenset({"Value", "Var", "Slot"})
_ATTRIBUTES: Final[dict[tuple[str, str], Type]] = {
    ("resource", "category"): STRING,
    ("resource", "source"): STRING,
    ("resource", "cost_microusd"): LONG,
    ("resource", "is_write"): BOOL,
    ("resource", "net_access"): BOOL,
    ("resource", "fs_access"): BOOL,
    ("context", "risk"): SetOf(STRING),
    ("context", "time"): DATETIME,
}
_VARIABLES: Final = {"principal": f"{ENTITY}Agent", "action": f"{ENTITY}Action", "resource": f"{ENTITY}Tool"}
_RESULTS: Final[dict[str, Type]] = {
    **dict.fromkeys(
        ("!", "&&", "||", "==", "!=", "<", "<=", ">", ">=", "has", "like", "is", "in", "contains", "containsAll",
         "containsAny", "isEmpty", "hasTag", "isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange",
         *DECIMAL_METHODS),
        BOOL,
    ),
    **dict.fromkeys(("+", "-", "*", "neg", "toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays"), LONG),
    **dict.fromkeys(("durationSince", "toTime", "duration"), DURATION),
    **dict.fromkeys(("offset", "toDate", "datetime"), DATETIME),
    "decimal": DECIMAL,
    "ip": ADDRESS,
}  # fmt: skip


class Silent(msgspec.Struct, frozen=True):
    """A policy with comparisons of an argument that are silent about types, each as (operator, operands)."""

    policy: Policy
    comparisons: tuple[tuple[str, Expression], ...]


class Reads(msgspec.Struct, frozen=True):
    """What a policy set reads of the context of a call.

    `shell` is a shell's command, which is one of the arguments. `names` are the arguments it speaks of,
    by their first name; None where it takes all arguments as one value.
    `silent` are the policies by name that compare an argument in a way that is silent about types.
    """

    context: bool
    time: bool
    args: bool
    shell: bool
    names: frozenset[str] | None
    silent: Mapping[str, Silent]


def reads_of(policies: Mapping[str, Policy]) -> Reads:
    """What policies, given by name in Cedar's JSON format, read of the context."""
    attributes: set[str] = set()
    names: set[str] | None = set()
    is_whole = False
    silent = {}
    for name, policy in policies.items():
        comparisons = []
        for part in (part for clause in policy["conditions"] for part in walk(clause["body"])):
            path = context_path(part)
            if path is None:
                if not SILENT.isdisjoint(part) and touches_arguments(part):
                    comparisons += part.items()
                continue
            attributes.update(path[:1])
            is_whole = is_whole or not path
            if names is not None and path[:1] in ([], ["args"]):
                names = names | {path[1]} if len(path) > 1 else None
        if comparisons:
            silent[name] = Silent(policy, tuple(comparisons))
    return Reads(
        context=bool(attributes) or is_whole,
        time="time" in attributes or is_whole,
        args=not attributes.isdisjoint(("args", "shell")) or is_whole,
        shell="shell" in attributes or is_whole,
        names=None if names is None else frozenset(names),
        silent=silent,
    )


def walk(expression: Expression) -> Iterator[Expression]:
    """An expression and its parts; a path that begins at the context is one part."""
    waiting = [expression]
    while waiting:
        part = waiting.pop()
        yield part
        if context_path(part) is None:
            waiting.extend(parts_of(part))


def parts_of(expression: Expression) -> list[Expression]:
    """The expressions an expression is directly made of."""
    ((name, body),) = expression.items()
    if name in _LEAVES:
        return []
    if isinstance(body, list):
        return body
    if name in {"Record", "if-then-else"}:
        return list(body.values())
    return [body[side] for side in _SIDES if body.get(side) is not None]


def context_path(expression: Expression) -> list[str] | None:
    """The attributes below `context` that an expression reads or asks for; None where it is something else."""
    path: list[str] = []
    asked = expression.get("has")
    if asked is not None:
        path.append(asked["attr"])
        expression = asked["left"]
    while "." in expression:
        path.append(expression["."]["attr"])
        expression = expression["."]["left"]
    return path[::-1] if expression == {"Var": "context"} else None


def argument_path(expression: Expression) -> list[str] | None:
    """The attributes below `context.args` that an expression reads; None where it reads something else."""
    path = None if "has" in expression else context_path(expression)
    return path[1:] if path and path[0] == "args" else None


def touches_arguments(expression: Expression) -> bool:
    """Whether an argument, or the whole context, is anywhere in an expression's value or on the way to it."""
    return any(path is not None and path[:1] in ([], ["args"]) for path in map(context_path, walk(expression)))


def type_of(expression: Expression, arguments: RecordOf | None = None) -> Type | None:
    """The type of an expression; None where it is not known, or not one type.

    Args:
        expression: any.
        arguments: the type of `context.args`; without it an argument has none.
    """
    path = argument_path(expression)
    if path is not None:
        return None if arguments is None else _type_at(arguments, path)
    ((name, body),) = expression.items()
    known = _RESULTS.get(name)
    return known if known is not None else _type_of_other(name, body, arguments)


def _type_of_other(name: str, body: Expression, arguments: RecordOf | None) -> Type | None:
    """The type of what has not the same one each time."""
    kind: Type | None = None
    if name == "Value":
        kind = _type_of_literal(body)
    elif name == "Var":
        kind = _VARIABLES.get(body)
    elif name == "Set":
        first, *others = [type_of(part, arguments) for part in body] or [None]
        kind = SetOf(first) if first is not None and all(is_same(first, other) for other in others) else None
    elif name == "Record":
        fields = {key: Field(type_of(part, arguments), required=True) for key, part in body.items()}
        kind = RecordOf(tuple(sorted(fields.items()))) if all(field.type for field in fields.values()) else None
    elif name == "if-then-else":
        then, otherwise = type_of(body["then"], arguments), type_of(body["else"], arguments)
        kind = then if is_same(then, otherwise) else None
    elif name == ".":
        kind = _ATTRIBUTES.get((body["left"].get("Var", ""), body["attr"]))
        left = None if kind is not None else type_of(body["left"], arguments)
        kind = type_of_field(left, body["attr"]) if isinstance(left, RecordOf) else kind
    return kind


def _type_at(arguments: RecordOf, path: Iterable[str]) -> Type | None:
    kind: Type | None = arguments
    for name in path:
        kind = type_of_field(kind, name) if isinstance(kind, RecordOf) else None
    return kind


def _type_of_literal(value: object) -> Type | None:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, dict):
        return f"{ENTITY}{value['__entity']['type']}" if "__entity" in value else None
    return LONG if isinstance(value, int) else STRING if isinstance(value, str) else None


# --- faults -----------------------------------------------------------------------------------------------------


def faults_of(reads: Reads, arguments: RecordOf) -> dict[str, Policy]:
    """The policies, by name, that decide otherwise about a tool than they stand: see `with_faults`."""
    names = {name for name, field in arguments.fields if field.type is not None}
    if arguments.rest is None and reads.names is not None and names.isdisjoint(reads.names):
        return {}  # no argument that a policy reads has a value
    return {
        name: with_faults(silent.policy, arguments)
        for name, silent in reads.silent.items()
        if not all(_fits(operator, operands, arguments) for operator, operands in silent.comparisons)
    }


def with_faults(policy: Policy, arguments: RecordOf) -> Policy:
    """A policy with an error in the place of every comparison whose sides are not of one type.

    Args:
        policy: in Cedar's JSON format.
        arguments: the type of `context.args` for the tool that is called.
    """
    conditions = [{**clause, "body": _faulty(clause["body"], arguments)} for clause in policy["conditions"]]
    return {**policy, "conditions": conditions}


def _faulty(expression: Expression, arguments: RecordOf) -> Expression:
    """The expression with an error in the place of each comparison that does not fit."""
    ((name, body),) = expression.items()
    if name in _LEAVES or context_path(expression) is not None:
        return expression
    if name in SILENT and touches_arguments(expression) and not _fits(name, body, arguments):
        return {"Fault": "the two sides of the comparison are not of one type the tool declares"}
    if isinstance(body, list):
        return {name: [_faulty(part, arguments) for part in body]}
    inside = body.keys() if name in {"Record", "if-then-else"} else _SIDES
    return {
        name: {
            key: _faulty(part, arguments) if key in inside and part is not None else part for key, part in body.items()
        }
    }


def _fits(name: str, body: Expression, arguments: RecordOf) -> bool:
    """Whether both sides of a silent comparison are of one known type."""
    left, right = type_of(body["left"], arguments), type_of(body["right"], arguments)
    if name in {"==", "!="}:
        return is_same(left, right)
    if not isinstance(left, SetOf):
        return False
    return is_same(left.element, right) if name == "contains" else is_same(left, right)
