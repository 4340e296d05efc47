"""Anomalies: what in the receipts is unlike what came before."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.anomalies import AnomalyList, AnomalyQuery, AnomalyRecord
from briefcase.edges.api.routing import READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import format_rfc3339


async def list_anomalies(services: Services, request: Request) -> AnomalyList:
    """`GET /v1/ai/anomalies`: reads on from where the last question read to."""
    after_id = request.query_as(AnomalyQuery).after_id
    return AnomalyList(
        [
            AnomalyRecord(
                one.kind,
                one.severity,
                one.message,
                one.receipt_id,
                format_rfc3339(one.at_us),
                one.principal,
                list(one.receipt_ids),
            )
            for one in await services.anomalies.found()
            if one.receipt_id > after_id
        ]
    )


ROUTES: Final = (
    Route(
        "GET",
        "/v1/ai/anomalies",
        READERS,
        list_anomalies,
        "What in the receipts is unlike what came before",
        AnomalyList,
        query=AnomalyQuery,
    ),
)
