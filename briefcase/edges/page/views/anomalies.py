"""Anomalies: what in the receipts is unlike what came before, newest first."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.anomalies import AnomalyList
from briefcase.edges.page.asking import Asked, Shown, View

HOME: Final = "/anomalies"
NEEDS: Final = "/v1/ai/anomalies"


async def list_anomalies(asked: Asked) -> Shown:
    """`GET /anomalies`: those of the last seven days."""
    return Shown("anomalies", "Anomalies", {"anomalies": (await asked.get(NEEDS, AnomalyList)).anomalies})


VIEWS: Final = (View("GET", HOME, list_anomalies),)
