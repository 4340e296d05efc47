"""Health: every rule of the host measured now, and the chain verified on request."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.diagnostics import Checks
from briefcase.core.wire.receipts import VerificationRecord
from briefcase.edges.page.asking import Asked, Shown, View


async def show_health(asked: Asked) -> Shown:
    """`GET /health`."""
    compat = await asked.get("/v1/diagnostics/compat", Checks)
    security = await asked.get("/v1/diagnostics/security", Checks)
    checks = sorted([*compat.checks, *security.checks], key=lambda check: check.ok)
    values = {"checks": checks, "mode": compat.mode, "failing": [one for one in checks if not one.ok]}
    return Shown("health", "Health", values)


async def verify(asked: Asked) -> Shown:
    """`POST /health/verify`: reads the whole chain, and changes nothing."""
    found = await asked.post("/v1/receipts/verify", VerificationRecord, state=True)
    return Shown("verified", "The receipt chain", {"found": found})


VIEWS: Final = (View("GET", "/health", show_health), View("POST", "/health/verify", verify))
