"""The operator page: whoever may see it asks here for the link that logs their browser in."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.page import PageLink
from briefcase.edges.api.routing import Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import Role

PEOPLE: Final = frozenset(Role) - {Role.AGENT}


async def new_link(services: Services, request: Request) -> PageLink:
    """`POST /v1/page/links`: opens the page's listener if it is not open yet."""
    return await services.page.new_link(services, request.principal)


ROUTES: Final = (
    Route("POST", "/v1/page/links", PEOPLE, new_link, "A link that logs a browser in to the operator page", PageLink),
)
