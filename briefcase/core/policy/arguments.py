"""A call's JSON arguments as Cedar values, by the type that the tool declares (docs/adr/0026).

| declared (`declared`) | JSON | Cedar |
|---|---|---|
| String, Bool | string, boolean | the same |
| Long | an integer, `1.0` included | Long |
| decimal | a number of at most four fraction digits | decimal, whole numbers too |
| Set | array | set; each member by the type of the members |
| record | object | record; each member by its own type |
| anything | null in an object | absent: `has` is false |

A name that nobody declares, and that a server which reads names loosely (another case, another Unicode form of the
same letters) takes for a declared one, is an error in that one's place: `{"to": "alice", "To": "mallory"}` has no `to`.

Everything else has no value: what is not of its declared type, and what nobody declares. It is there, but a policy that
reads it errs, and a `forbid` that errs denies.
INVARIANT (typed): a policy meets no value of an argument that is not of the declared type, however deep.
INVARIANT (data): arguments are data. No key of them is Cedar's JSON escape for an entity or an extension value,
whatever it is called; only this module and the engine make such values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias
from unicodedata import normalize

from briefcase._native.entities import value_of
from briefcase._native.values import Fault
from briefcase.core.policy.cedartypes import BOOL, DECIMAL, LONG, STRING, RecordOf, SetOf, Type, type_text
from briefcase.model.types import JsonObject, JsonValue

CedarFields: TypeAlias = dict[str, Any]  # JSON values, and values of the native engine

FRACTION_DIGITS: Final = 4
MAX_DECIMAL: Final = Decimal(2**63 - 1).scaleb(-FRACTION_DIGITS)
MIN_DECIMAL: Final = Decimal(-(2**63)).scaleb(-FRACTION_DIGITS)
MAX_LONG: Final = 2**63
MAX_SHORT: Final = 900_000_000_000_000  # within any decimal's range
MAX_MEMBERS: Final = 10_000  # of the arrays and objects of one call that are converted one by one
MAX_SHOWN_CHARS: Final = 100

_PLAIN: Final[dict[Type, type]] = {STRING: str, BOOL: bool, LONG: int}
_UNDECLARED: Final = Fault("the tool declares no type for this argument")
_AMBIGUOUS: Final = Fault("an undeclared argument has the name of this one but for case or Unicode form")
_TOO_MANY: Final = Fault(f"the arguments have more than {MAX_MEMBERS} members that a policy may have to read")


class _Other:
    """The class of no value: stands where an argument is converted."""


class Plan:
    """How values of one declared type are read; made once for a tool. Without a type it reads nothing."""

    __slots__ = ("fields", "kind", "loose", "members", "plain", "wrong")

    def __init__(self, kind: Type | None) -> None:
        self.kind = kind
        self.plain = _PLAIN.get(kind, _Other) if isinstance(kind, str) else _Other
        self.wrong = _UNDECLARED
        self.members: Plan | None = None  # of a set, and of the names that a record does not declare
        self.fields: dict[str, Plan] = {}
        self.loose: dict[str, list[str]] = {}
        if kind is not None:
            self.wrong = Fault(f"the argument is not of its declared type, {type_text(kind)[:MAX_SHOWN_CHARS]}")
        if isinstance(kind, SetOf):
            self.members = Plan(kind.element)
        elif isinstance(kind, RecordOf):
            self.members = Plan(kind.rest)
            self.fields = {name: Plan(field.type) for name, field in kind.fields}
            self.loose = _by_loose_name(self.fields)


class ArgumentReader:
    """Reads the arguments of one tool.

    Args:
        declared: their type.
        names: the first names of what policies read; None where they may read everything.
    """

    def __init__(self, declared: RecordOf, names: frozenset[str] | None = None) -> None:
        others = Plan(declared.rest)
        self._declared = frozenset(name for name, _ in declared.fields)
        self._loose = _by_loose_name(self._declared | (names or frozenset()))
        self._fields = {name: Plan(field.type) for name, field in declared.fields if names is None or name in names}
        self._fields.update((name, others) for name in names or () if name not in self._fields)
        self._others = others if names is None else None
        self._kinds = {name: plan.plain for name, plan in self._fields.items()}

    def read(self, args: JsonObject) -> CedarFields:
        """The fields of the record `context.args`, as far as policies read them.

        Args:
            args: strictly parsed arguments (no NaN, integers within ±(2^53-1), nested at most 64 deep).
        """
        if self._others is None:
            kinds, declared = self._kinds, self._declared
            for name, value in args.items():
                kind = kinds.get(name)
                if kind is None:
                    if kinds and name not in declared:
                        break
                elif type(value) is not kind:
                    break
            else:
                return args
        return self.convert(args, Values())

    def convert(self, args: JsonObject, values: Values) -> CedarFields:
        """The same, with values made by `values`."""
        fields, others = self._fields, self._others
        found = {
            name: values.of(value, plan)
            for name, value in args.items()
            if value is not None and (plan := fields.get(name, others)) is not None
        }
        found.update((name, values.fault(_AMBIGUOUS)) for name in _taken_for(args.keys() - self._declared, self._loose))
        return found


class Values:
    """Makes the values of one call."""

    def __init__(self) -> None:
        self._left = MAX_MEMBERS

    def of(self, value: JsonValue, plan: Plan) -> object:
        """One JSON value that is not null, as a value of its declared type; an error where it is not of it."""
        if type(value) is plan.plain:
            return value
        kind = plan.kind
        if kind == DECIMAL and (type(value) is int or type(value) is float):
            text = decimal_text(value)
            return self.fault(plan.wrong) if text is None else self.decimal(text)
        if isinstance(value, list) and isinstance(kind, SetOf):
            return self._set(value, plan)
        if isinstance(value, dict) and isinstance(kind, RecordOf):
            return self._record(value, plan)
        if kind == LONG and type(value) is float and value == int(value) and abs(value) < MAX_LONG:
            return int(value)
        return self.fault(plan.wrong)

    def decimal(self, text: str) -> object:
        """A decimal of the native engine."""
        return value_of({"__extn": {"fn": "decimal", "arg": text}})

    def fault(self, fault: Fault) -> object:
        """What stands where there is no value."""
        return fault

    def _set(self, value: list[JsonValue], plan: Plan) -> object:
        members = plan.members
        if members is None or set(map(type, value)) <= {members.plain}:
            return value
        self._left -= len(value)
        if self._left < 0:
            return self.fault(_TOO_MANY)
        return [self.fault(plan.wrong) if part is None else self.of(part, members) for part in value]

    def _record(self, value: JsonObject, plan: Plan) -> object:
        self._left -= len(value)
        if self._left < 0:
            return self.fault(_TOO_MANY)
        declared, others = plan.fields, plan.members
        fields = {}
        for name, part in value.items():
            field = declared.get(name, others)
            if part is not None and field is not None:
                fields[name] = self.of(part, field)
        fields.update((name, self.fault(_AMBIGUOUS)) for name in _taken_for(value.keys() - declared.keys(), plan.loose))
        return fields


def _loosely(name: str) -> str:
    """A member's name as a reader has it that ignores case and Unicode form (Go's `encoding/json`, for one)."""
    return normalize("NFKC", name).casefold()


def _by_loose_name(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by how a loose reader has them."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_loosely(name), []).append(name)
    return found


def _taken_for(undeclared: Iterable[str], loose: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The names that a loose reader takes undeclared ones for."""
    return (meant for name in undeclared for meant in loose.get(_loosely(name), ()) if meant != name)


def decimal_text(number: float) -> str | None:
    """A number as Cedar writes a decimal, or None where it is none. 19.99 is read as JSON wrote it, so it is one."""
    if -MAX_SHORT < number < MAX_SHORT:
        whole, _, fraction = repr(number).partition(".")
        if len(fraction) <= FRACTION_DIGITS and whole.lstrip("-").isdecimal() and (fraction or "0").isdecimal():
            return f"{whole}.{fraction:0<4}"
    exact = Decimal(repr(number))
    if not MIN_DECIMAL <= exact <= MAX_DECIMAL or exact != round(exact, FRACTION_DIGITS):
        return None
    return f"{exact:.{FRACTION_DIGITS}f}"
