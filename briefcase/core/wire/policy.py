"""Policies on the wire."""

from __future__ import annotations

import msgspec

from briefcase.core.wire.fields import HashHex, Natural


class PolicyRecord(msgspec.Struct, frozen=True):
    """The text that decides now, its SHA-256, and since when; of the history, one that decided, and when it was set."""

    policy_text: str
    policy_hash_hex: str
    updated_at_rfc3339: str


class PolicyChange(msgspec.Struct, frozen=True):
    """The text that is to decide."""

    policy_text: str


class KeptPolicyRecord(msgspec.Struct, frozen=True):
    """One that was set. `by` is empty, and `policies` 0, of what an earlier release had set."""

    policy_hash_hex: HashHex
    set_at: str
    by: str
    policies: Natural
    is_active: bool


class PolicyHistoryList(msgspec.Struct, frozen=True):
    """The policies that were set, newest first; their texts are kept."""

    policies: list[KeptPolicyRecord]


class RollbackRequest(msgspec.Struct, frozen=True):
    """Which policy of the history is to decide again."""

    policy_hash_hex: HashHex
