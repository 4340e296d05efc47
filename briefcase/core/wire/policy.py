"""Policies on the wire."""

from __future__ import annotations

import msgspec


class PolicyRecord(msgspec.Struct, frozen=True):
    """The text that decides now, its SHA-256, and since when."""

    policy_text: str
    policy_hash_hex: str
    updated_at_rfc3339: str


class PolicyChange(msgspec.Struct, frozen=True):
    """The text that is to decide."""

    policy_text: str
