"""A call's JSON arguments as Cedar values: the one rule, the same for every tool (docs/adr/0004).

| JSON | Cedar |
|---|---|
| string, boolean, object, array | String, Bool, record, set |
| integer | Long; a decimal where the tool's schema declares a `number` |
| other number | decimal with at most four fraction digits; any other number has no value |
| null in an object | absent: `has` is false |
| null in an array | the array has no value |

What has no value can be there, but a policy that reads it errs, and a `forbid` that errs denies.
INVARIANT (data): arguments are data. No key of them is Cedar's JSON escape for an entity or an extension value,
whatever it is called; only this module and the engine make such values.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, TypeAlias

from briefcase._native.entities import value_of
from briefcase._native.values import unrepresentable
from briefcase.policy.argtypes import DECIMAL, declared_type
from briefcase.types import JsonObject, JsonValue

CedarFields: TypeAlias = dict[str, Any]  # JSON values, and values of the native engine
Decimals: TypeAlias = "dict[str, Decimals] | None"

FRACTION_DIGITS: Final = 4
MAX_DECIMAL: Final = Decimal(2**63 - 1).scaleb(-FRACTION_DIGITS)
MIN_DECIMAL: Final = Decimal(-(2**63)).scaleb(-FRACTION_DIGITS)
_PLAIN: Final = frozenset({str, int, bool})


def decimals_of(input_schema: JsonObject) -> dict[str, Decimals]:
    """The properties of a tool's arguments that are decimals even when the number is whole.

    Returns:
        By name: None for a `number`, the same again for an object that holds some.
    """
    found: dict[str, Decimals] = {}
    properties = input_schema.get("properties")
    for name, schema in properties.items() if isinstance(properties, dict) else ():
        if declared_type(schema) == DECIMAL:
            found[name] = None
        elif isinstance(schema, dict) and (inner := decimals_of(schema)):
            found[name] = inner
    return found


def cedar_arguments(args: JsonObject, decimals: dict[str, Decimals]) -> CedarFields:
    """The fields of the record `context.args`.

    Args:
        args: strictly parsed arguments (no NaN, integers within ±(2^53-1), nested at most 64 deep).
        decimals: what `decimals_of` the tool's schema says.
    """
    if not decimals:
        for value in args.values():
            if type(value) not in _PLAIN:
                break
        else:
            return args
    return {name: _cedar_value(value, decimals.get(name, {})) for name, value in args.items() if value is not None}


def _cedar_value(value: JsonValue, decimals: Decimals) -> object:
    if isinstance(value, dict):
        inner = decimals or {}
        return {name: _cedar_value(part, inner.get(name, {})) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_cedar_value(part, {}) for part in value]
    if isinstance(value, float) or (decimals is None and type(value) is int):
        return decimal_value(value)
    return value


def decimal_value(number: float) -> object:
    """A number as a decimal of the native engine, where it is one exactly."""
    text = decimal_text(number)
    return unrepresentable if text is None else value_of({"__extn": {"fn": "decimal", "arg": text}})


def decimal_text(number: float) -> str | None:
    """A number as Cedar writes a decimal, or None where it is none. 19.99 is read as JSON wrote it, so it is one."""
    exact = Decimal(repr(number))
    if not MIN_DECIMAL <= exact <= MAX_DECIMAL or exact != round(exact, FRACTION_DIGITS):
        return None
    return f"{exact:.{FRACTION_DIGITS}f}"
