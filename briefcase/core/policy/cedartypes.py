"""Types of the Cedar language, as the validator's schema text writes them.

They say what an argument of a call is: `declared` makes them from a tool's JSON Schema, `argtypes` holds policies
against them, and `arguments` reads the call's values by them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec


class SetOf(msgspec.Struct, frozen=True):
    """A set type."""

    element: Type


class Field(msgspec.Struct, frozen=True):
    """One attribute of a record type; a `type` of None is declared, but is not one type of Cedar."""

    type: Type | None
    required: bool = False


class RecordOf(msgspec.Struct, frozen=True):
    """A record type: its attributes, sorted by name.

    `rest` is the type of every attribute that is not named; None where nobody declares one. `is_open` says whether
    there can be any.
    """

    fields: tuple[tuple[str, Field], ...] = ()
    rest: Type | None = None
    is_open: bool = True

    def by_name(self) -> dict[str, Field]:
        """The named attributes."""
        return dict(self.fields)


Type: TypeAlias = str | SetOf | RecordOf

STRING: Final = "String"
LONG: Final = "Long"
BOOL: Final = "Bool"
DECIMAL: Final = "decimal"


def type_of_field(record: RecordOf, name: str) -> Type | None:
    """The type of one attribute, named or not; None where nobody declares one."""
    for known, field in record.fields:
        if known == name:
            return field.type
    return record.rest


def is_same(left: Type | None, right: Type | None) -> bool:
    """Whether both are known and the same type to Cedar; optional and required attributes are not the same."""
    return left is not None and right is not None and (left is right or type_text(left) == type_text(right))


def type_text(kind: Type) -> str:
    """A type as Cedar schema text; attribute names cannot end their quotes."""
    if isinstance(kind, str):
        return kind
    if isinstance(kind, SetOf):
        return f"Set<{type_text(kind.element)}>"
    fields = (
        f"{quoted(name)}{'' if field.required else '?'}: {type_text(field.type)}"
        for name, field in kind.fields
        if field.type is not None
    )
    return f"{{{', '.join(fields)}}}"


def quoted(text: str) -> str:
    """A string literal of Cedar; everything but ASCII letters, digits and spaces is escaped."""
    safe = (char if char.isascii() and (char.isalnum() or char in " _-") else f"\\u{{{ord(char):x}}}" for char in text)
    return f'"{"".join(safe)}"'


def literal(text: str) -> str:
    """A string literal of Cedar that a person can read: printable ASCII stands for itself, all else is escaped."""
    safe = (char if " " <= char <= "~" and char not in '"\\' else f"\\u{{{ord(char):x}}}" for char in text)
    return f'"{"".join(safe)}"'
