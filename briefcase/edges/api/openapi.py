"""The OpenAPI 3.1 document, generated from the route tables and their wire structs.

`docs/openapi.json` is its golden copy: `python -m docs.generate` rewrites it, a test compares it, and another test
holds every answer the tests see against it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from briefcase import __version__
from briefcase.edges.api.app import ROUTES
from briefcase.edges.api.routing import Route
from briefcase.model.types import JsonObject, JsonValue

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """Every answer that is no success. `code` is a stable word; `request_id` finds it in the daemon's log."""

    code: str
    message: str
    request_id: str
    hint: str | None = None


def openapi_document(routes: Sequence[Route] = ROUTES) -> JsonObject:
    """Describe the API: every operation, who may ask, and how it looks on the wire."""
    kinds = [ErrorBody]
    for route in routes:
        kinds += [kind for kind in (route.answer, route.body, route.query) if kind is not None and kind not in kinds]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, JsonValue]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "briefcase",
            "version": __version__,
            "summary": "The daemon's API (aacp_v1)",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": {**paths},
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": {"description": "no success", "content": {_JSON: {"schema": schema_of[ErrorBody]}}}},
            "schemas": components,
        },
    }


def _operation(route: Route, schema_of: dict[Any, JsonObject], components: dict[str, Any]) -> JsonObject:
    answers: JsonObject = {
        "200": {"description": "done", "content": {route.media: {"schema": schema_of[route.answer]}}},
        "default": {"$ref": "#/components/responses/Error"},
    }
    operation: JsonObject = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "responses": answers,
    }
    if route.roles:
        operation["x-roles"] = [role.value for role in sorted(route.roles)]
    else:
        operation["security"] = []
    parameters: list[JsonValue] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    if route.query is not None:
        properties = components[route.query.__name__]["properties"]
        parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        required = bool(components[route.body.__name__].get("required"))
        operation["requestBody"] = {"required": required, "content": {_JSON: {"schema": schema_of[route.body]}}}
    return operation
