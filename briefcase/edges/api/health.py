"""Is the daemon there, and can it serve a call durably. Neither needs a token, so neither tells more than the part."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.identity import Health, Ready
from briefcase.edges.api.routing import NOBODY_NEEDED, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.errors import CODES
from briefcase.model.types import format_rfc3339


async def show_health(services: Services, _: Request) -> Health:
    """`GET /health`."""
    return Health("ok", format_rfc3339(services.clock.now_us()))


async def show_readiness(services: Services, _: Request) -> Ready | Reply:
    """`GET /ready`: 503 with the failing parts until calls can be served."""
    problems = _problems(services)
    if not problems:
        return Ready("ready")
    said = [part if problem is None else f"{part}: {problem}" for part, problem in problems.items()]
    payload = {
        "code": "not_ready",
        "message": f"calls cannot be served: {', '.join(said)}",
        "request_id": services.entropy.uuid(),
        "failing": list(problems),
    }
    return Reply(payload, CODES["not_ready"].http_status)


def _problems(services: Services) -> dict[str, str | None]:
    """What fails, and what of it may be said to anybody."""
    replaced = services.ledger.files_problem()
    failing = {
        "receipts": services.ledger.gate_problem() is not None,
        "store": replaced is not None,
        "policy": services.policy.problem() is not None,
        "stopping": services.changes.is_stopped,
    }
    return {part: replaced if part == "store" else None for part, fails in failing.items() if fails}


ROUTES: Final = (
    Route("GET", "/health", NOBODY_NEEDED, show_health, "Whether the process answers", Health),
    Route("GET", "/ready", NOBODY_NEEDED, show_readiness, "Whether calls can be served durably", Ready),
)
