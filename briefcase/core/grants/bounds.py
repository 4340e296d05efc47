"""How much of a grant is left: uses, money and time, by the ledger's clock.

Money is reserved with the intent and settled with the outcome; on doubt the reservation is spent.
INVARIANT (grant): uses never pass `max_uses`, and spent + reserved never passes `max_microusd`.
Nothing here does I/O: the ledger applies these functions inside its transaction.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.model.effects import Refused, RevokeGrant, UseGrant
from briefcase.model.grants import Grant, GrantStatus
from briefcase.model.reasons import CONFLICT, INVALID_OR_EXPIRED_APPROVAL

MAX_USES: Final = 10_000
MAX_DAYS: Final = 90


def status_of(grant: Grant, now_us: int) -> GrantStatus:
    """What became of a grant by a moment."""
    terms = grant.terms
    if grant.revoked_us is not None:
        return "revoked"
    if terms.expires_us is not None and now_us >= terms.expires_us:
        return "expired"
    if terms.max_uses is not None and grant.uses >= terms.max_uses:
        return "used_up"
    spent = grant.spent_microusd + grant.reserved_microusd
    return "used_up" if terms.max_microusd is not None and spent > terms.max_microusd else "active"


def use_grant(grant: Grant | None, use: UseGrant) -> Grant | Refused:
    """Count one call, and set its cost aside.

    Refused (`invalid_or_expired_approval`) where the grant has ended, is another's or of another tool or definition, or
    has less left than the call costs.
    """
    if (
        grant is None
        or status_of(grant, use.now_us) != "active"
        or (grant.owner, grant.tool_id, grant.tool_digest_hex) != (use.owner, use.tool_id, use.tool_digest_hex)
    ):
        return Refused(INVALID_OR_EXPIRED_APPROVAL)
    reserved = grant.reserved_microusd + use.cost_microusd
    if grant.terms.max_microusd is not None and grant.spent_microusd + reserved > grant.terms.max_microusd:
        return Refused(INVALID_OR_EXPIRED_APPROVAL)
    return msgspec.structs.replace(grant, uses=grant.uses + 1, reserved_microusd=reserved)


def settle_grant(grant: Grant, reserved_microusd: int, spent_microusd: int) -> Grant:
    """Turn what was set aside for a call into what it cost."""
    return msgspec.structs.replace(
        grant,
        reserved_microusd=grant.reserved_microusd - reserved_microusd,
        spent_microusd=grant.spent_microusd + spent_microusd,
    )


def revoke_grant(grant: Grant | None, revoke: RevokeGrant) -> Grant | Refused:
    """End a grant. Refused (`conflict`) where there is none, or it was revoked before."""
    if grant is None or grant.revoked_us is not None:
        return Refused(CONFLICT)
    return msgspec.structs.replace(grant, revoked_us=revoke.now_us, revoked_by=revoke.by)
