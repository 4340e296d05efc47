"""What the operator settled about calls: how they are bounded and recorded."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from briefcase.core.approvals import lifecycle as approvals
from briefcase.core.calls.decisions import MAX_OPEN_DECISIONS, MAX_OPEN_DECISIONS_PER_PRINCIPAL


class HookSettings(msgspec.Struct, frozen=True):
    """What a hook of a coding agent gets for a call that a person must approve.

    `asks_client` leaves it to the client's own prompt, where that may stand in; else the hook is held for `wait_ms`.
    """

    asks_client: bool = False
    wait_ms: int = 25_000


class CallSettings(msgspec.Struct, frozen=True):
    """How calls are bounded and recorded.

    `args_form` is what receipts keep of arguments: `digest`, `redacted` (known secrets removed) or `full`.
    A call that a person denied is not asked for again within `denial_ttl_us`.
    A call that a person must approve is shown whole, so one of more than `max_shown_bytes` is refused.
    `has_signer` tells whether a signer was ever paired (by default none was); until then, what needs one waits for the
    operator.
    `max_open_decisions` and `max_open_decisions_per_principal` bound what `decide` allowed and nobody closed yet.
    """

    approval_ttl_us: int = approvals.APPROVAL_TTL_US
    denial_ttl_us: int = approvals.DENIAL_TTL_US
    deadline_ms: int = 30_000
    args_form: str = "redacted"
    has_signer: Callable[[], bool] = bool
    max_open_decisions: int = MAX_OPEN_DECISIONS
    max_open_decisions_per_principal: int = MAX_OPEN_DECISIONS_PER_PRINCIPAL
    max_shown_bytes: int = approvals.MAX_SHOWN_BYTES
