"""Tools on the wire (ToolSpec)."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec


class OtherCategory(msgspec.Struct, frozen=True):
    """A category of the operator's own."""

    other: str


Category: TypeAlias = Literal["read", "write", "admin"] | OtherCategory
_KNOWN: Final[dict[str, Category]] = {"read": "read", "write": "write", "admin": "admin"}


class Cost(msgspec.Struct, frozen=True):
    """What one call is expected to cost, in dollars."""

    estimated_usd: float


class Firewall(msgspec.Struct, frozen=True):
    """How much of a result may come back: all of it, or what these JSON pointers name."""

    mode: Literal["allow_all", "allow_paths"]
    allowed_paths: list[str] = []


class ToolRecord(msgspec.Struct, frozen=True):
    """One tool's definition."""

    id: str
    name: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    category: Category
    cost: Cost
    output_firewall: Firewall
    digest_hex: str = ""


class ToolsQuery(msgspec.Struct, frozen=True):
    """`clients` lists also what coding agents run themselves, whose calls are only decided here."""

    clients: bool = False


class ToolList(msgspec.Struct, frozen=True):
    """Tools, sorted by id."""

    tools: list[ToolRecord]


class ToolsLoaded(msgspec.Struct, frozen=True):
    """How many tools the manifests declare now, and the ids that are new, other or gone."""

    tools: int
    added: list[str]
    changed: list[str]
    removed: list[str]


def wire_category(category: str) -> Category:
    """A tool's category as the contract writes it: a known word, or `{"other": word}`."""
    return _KNOWN.get(category) or OtherCategory(category)


def category_name(category: Category) -> str:
    """The word of a category that was read."""
    return category if isinstance(category, str) else category.other
