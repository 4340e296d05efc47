"""Is the daemon there, and can it serve a call durably. Neither needs a token, so neither tells why not."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from briefcase.api.routing import NOBODY_NEEDED, Reply, Request, Route
from briefcase.api.services import Services
from briefcase.errors import CODES
from briefcase.types import format_rfc3339


class Health(msgspec.Struct):
    """The process runs and answers."""

    status: Literal["ok"]
    ts: str


class Ready(msgspec.Struct):
    """Calls are served durably."""

    status: Literal["ready"]


async def show_health(services: Services, _: Request) -> Health:
    """`GET /health`."""
    return Health("ok", format_rfc3339(services.clock.now_us()))


async def show_readiness(services: Services, _: Request) -> Ready | Reply:
    """`GET /ready`: 503 with the failing parts until calls can be served."""
    failing = [part for part, fails in _parts(services).items() if fails]
    if not failing:
        return Ready("ready")
    payload = {
        "code": "not_ready",
        "message": f"calls can not be served: {', '.join(failing)}",
        "request_id": services.entropy.uuid(),
        "failing": failing,
    }
    return Reply(payload, CODES["not_ready"].http_status)


def _parts(services: Services) -> dict[str, bool]:
    return {
        "receipts": services.ledger.gate_problem() is not None,
        "policy": services.policy.problem() is not None,
        "stopping": services.changes.is_stopped,
    }


ROUTES: Final = (
    Route("GET", "/health", NOBODY_NEEDED, show_health, "Whether the process answers", Health),
    Route("GET", "/ready", NOBODY_NEEDED, show_readiness, "Whether calls can be served durably", Ready),
)
