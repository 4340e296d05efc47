"""Grants: a person's yes to further calls like the one they saw, bounded in number, money and time."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

GrantStatus: TypeAlias = Literal["active", "revoked", "expired", "used_up"]


class GrantTerms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person lets pass beside the call they approve; at least one of `max_uses` and `expires_us` is there.

    `fixed` names, as JSON pointers, what of the arguments stays as it was shown; None: all of it does.
    """

    fixed: tuple[str, ...] | None = None
    max_uses: int | None = None
    max_microusd: int | None = None
    expires_us: int | None = None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One grant and what was used of it.

    `id` is the approval's that it was said with. `owner` is whose calls (`Principal.owner`), `principal` their name.
    `cedar` is the condition that a call must meet, and `sentence` the same in words, both as they were shown. `by` are
    those who said yes to it. Money in micro-USD: `reserved_microusd` of calls under way, `spent_microusd` of others.
    """

    id: str
    owner: str
    principal: str
    tool_id: str
    tool_digest_hex: str
    terms: GrantTerms
    cedar: str
    sentence: str
    by: tuple[str, ...]
    created_us: int
    uses: int = 0
    reserved_microusd: int = 0
    spent_microusd: int = 0
    revoked_us: int | None = None
    revoked_by: str = ""
