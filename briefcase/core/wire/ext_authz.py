"""What a proxy is told of a request that it asks about (Envoy's `ext_authz`): forward it, or not and why."""

from __future__ import annotations

import msgspec

from briefcase.core.wire.authzen import AccessRequest


class Forward(msgspec.Struct, frozen=True, omit_defaults=True):
    """It may be forwarded, now, once. `receipt_id` is 0 where nobody had to be asked."""

    receipt_id: int = 0


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """It is not forwarded: `reason` is a stable word, `next_step` what to do, `access_request` what it waits for."""

    reason: str
    receipt_id: int = 0
    next_step: str = ""
    policy_ids: list[str] = []
    advice: str = ""
    access_request: AccessRequest | None = None
