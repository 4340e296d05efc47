"""How one provider gateway issues and checks: lifetimes, limits and its own address."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from briefcase.core.jose.dpop import ProofWindow
from briefcase.core.jose.replay import DEFAULT_MAX_ENTRIES

PROFILE_HEADER: Final = "x-briefcase-compatibility-profile"
ERROR_HEADER: Final = "x-briefcase-error"
ADMIN_HEADER: Final = "x-aag-admin-secret"
SCOPE: Final = "quote"
BITSTRING: Final = "bitstring"
STATUS_LISTS: Final = ("token", BITSTRING)


class GatewaySettings(msgspec.Struct, frozen=True):
    """One provider.

    `base_url` is the address clients use, without a trailing slash: proofs are compared with it, whatever a proxy in
    between made of the request. `admin_secret` opens `POST /api/revoke`; empty, nobody may revoke.
    `redirect_uris` are the exact redirect addresses allowed beside loopback ones (RFC 8252 section 7.3).
    `status_list` is the form, one of `STATUS_LISTS`, of the list that credentials name.
    """

    base_url: str
    state_dir: Path
    admin_secret: str = ""
    redirect_uris: tuple[str, ...] = ()
    requires_nonce: bool = False
    takes_payments: bool = True
    max_calls: int = 100
    cost_microusd: int = 2_000
    capability_ttl_s: int = 600
    access_ttl_s: int = 3_600
    refresh_ttl_s: int = 30 * 86_400
    credential_ttl_s: int = 86_400
    status_ttl_s: int = 300
    status_list: str = STATUS_LISTS[0]
    payment_ttl_s: int = 600
    window: ProofWindow = ProofWindow()
    max_replay_entries: int = DEFAULT_MAX_ENTRIES
