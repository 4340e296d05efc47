"""Incident controls on the wire."""

from __future__ import annotations

from typing import Literal

import msgspec


class ControlRecord(msgspec.Struct, frozen=True):
    """One control in force; `until` is null where it holds until lifted."""

    id: str
    action: str
    subject: str
    name: str
    by: str = ""
    created_at: str = ""
    until: str | None = None


class AddedControl(ControlRecord, frozen=True):
    """`is_known` is false where nothing of that name exists now: it was set early, or mistyped."""

    is_known: bool = True


class ControlList(msgspec.Struct, frozen=True):
    """All of them, oldest first."""

    controls: list[ControlRecord]


class ControlRequest(msgspec.Struct, frozen=True):
    """What to tighten. `name` is empty for `all`."""

    action: Literal["freeze", "disable", "require_approval"]
    subject: Literal["all", "tool", "category", "agent", "source"]
    name: str = ""
    until: str | None = None


class LiftRequest(msgspec.Struct, frozen=True):
    """What to give back: everything that matches each field that is given, and at least one is."""

    id: str | None = None
    action: Literal["freeze", "disable", "require_approval"] | None = None
    subject: Literal["all", "tool", "category", "agent", "source"] | None = None
    name: str | None = None
