"""Grants: what people let pass without being asked again, and its end."""

from __future__ import annotations

from typing import Final

from briefcase.core.operator.approvals import DECIDING_ROLES
from briefcase.core.wire.grants import GrantList, GrantListQuery, GrantRevoked, wire_grant
from briefcase.edges.api.routing import Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import JsonObject


async def list_grants(services: Services, request: Request) -> JsonObject:
    """`GET /v1/grants`: those in force, or all of them; oldest first."""
    wanted = request.query_as(GrantListQuery).status
    listed = services.operator.grants.list()
    return {"grants": [wire_grant(one, status) for one, status in listed if wanted in {"all", status}]}


async def revoke_grant(services: Services, request: Request) -> GrantRevoked:
    """`POST /v1/grants/{id}/revoke`: at once; durable when this answers."""
    return GrantRevoked((await services.operator.grants.revoke(request.params["id"], request.principal.name)).id)


ROUTES: Final = (
    Route(
        "GET", "/v1/grants", DECIDING_ROLES, list_grants, "What passes without asking", GrantList, query=GrantListQuery
    ),
    Route("POST", "/v1/grants/{id}/revoke", DECIDING_ROLES, revoke_grant, "End a grant", GrantRevoked),
)
