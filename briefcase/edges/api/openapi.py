"""The daemon's OpenAPI document, generated from the route tables and their wire structs.

`docs/openapi.json` is its golden copy: `python -m docs.generate` rewrites it, a test compares it, and another test
holds every answer the tests see against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from briefcase import __version__
from briefcase.core.openapi.describing import Api, Operation, describe
from briefcase.core.wire.errors import ErrorBody
from briefcase.edges.api.app import ROUTES
from briefcase.edges.api.routing import Route
from briefcase.model.types import JsonObject

API: Final = Api(
    "briefcase",
    "The daemon's API (aacp_v1)",
    __version__,
    ErrorBody,
    {"bearer": {"type": "http", "scheme": "bearer"}},
    ("bearer",),
)


def openapi_document(routes: Sequence[Route] = ROUTES) -> JsonObject:
    """Describe the API: every operation, who may ask, and how it looks on the wire."""
    return describe(API, list(map(_operation, routes)))


def _operation(route: Route) -> Operation:
    return Operation(
        route.method,
        route.path,
        route.handler.__name__,
        route.summary,
        route.answer,
        route.body,
        route.query,
        route.media,
        [role.value for role in sorted(route.roles)],
        None if route.roles else (),
    )
