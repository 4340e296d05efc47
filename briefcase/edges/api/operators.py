"""People: operators, approvers and auditors by name. A token is shown once, in the answer that creates it."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.operators import (
    OperatorCreated,
    OperatorList,
    OperatorRequest,
    OperatorRevoked,
    OperatorSummary,
)
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import format_rfc3339


async def list_operators(services: Services, _: Request) -> OperatorList:
    """`GET /v1/operators`."""
    return OperatorList(
        [
            OperatorSummary(
                person.name,
                person.role,
                person.by,
                format_rfc3339(person.created_us),
                None if person.revoked_us is None else format_rfc3339(person.revoked_us),
            )
            for person in services.people.all()
        ]
    )


async def add_operator(services: Services, request: Request) -> OperatorCreated:
    """`POST /v1/operators`: the token is shown only once its receipt is durable."""
    wanted = request.body_as(OperatorRequest)
    token = await services.operator.people.add(wanted.name, wanted.role, request.principal.name)
    return OperatorCreated(wanted.name, wanted.role, token)


async def revoke_operator(services: Services, request: Request) -> OperatorRevoked:
    """`POST /v1/operators/{name}/revoke`."""
    name = request.params["name"]
    await services.operator.people.revoke(name, request.principal.name)
    return OperatorRevoked(name)


ROUTES: Final = (
    Route("GET", "/v1/operators", OPERATOR, list_operators, "The named people", OperatorList),
    Route(
        "POST",
        "/v1/operators",
        OPERATOR,
        add_operator,
        "Let a person in and get their token",
        OperatorCreated,
        body=OperatorRequest,
    ),
    Route("POST", "/v1/operators/{name}/revoke", OPERATOR, revoke_operator, "End a person's access", OperatorRevoked),
)
