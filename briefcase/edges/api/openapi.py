"""The OpenAPI 3.1 document, generated from the route tables and their wire structs.

`docs/openapi.json` is its golden copy: `python -m docs.generate` rewrites it, a test compares it, and another test
holds every answer the tests see against it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from briefcase import __version__
from briefcase.core.wire.errors import ErrorBody
from briefcase.edges.api.app import ROUTES
from briefcase.edges.api.routing import Route
from briefcase.model.types import JsonObject, JsonValue

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_REFERENCE: Final = re.compile(rb'"#/components/schemas/(\w+)"')


def openapi_document(routes: Sequence[Route] = ROUTES) -> JsonObject:
    """Describe the API: every operation, who may ask, and how it looks on the wire."""
    kinds = [ErrorBody]
    for route in routes:
        kinds += [kind for kind in (route.answer, route.body, route.query) if kind is not None and kind not in kinds]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    for component in components.values():  # docstrings, whose indentation some versions of msgspec leave in
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
    schema_of = dict(zip(kinds, schemas, strict=True))
    sent = [kind for kind in kinds if any(kind in {route.body, route.query} for route in routes)]
    _say_what_is_written([kind for kind in kinds if kind not in sent], sent, schema_of, components)
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


def _say_what_is_written(
    answers: list[Any], sent: list[Any], schema_of: dict[Any, JsonObject], components: dict[str, Any]
) -> None:
    """Mark as required what a reader may do without, for an older daemon's sake, and this daemon always writes.

    What it leaves out at times has no default (`UNSET`), or is of a struct that leaves its defaults out.
    """
    structs = [kind for kind in answers if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    left_out = {kind.__name__ for kind in structs if kind.__struct_config__.omit_defaults}
    for name in _reachable(answers, schema_of, components) - _reachable(sent, schema_of, components) - left_out:
        schema = components[name]
        required = set(schema.get("required", ()))
        for field, about in schema.get("properties", {}).items():
            if field in required:
                continue
            if "default" in about:
                del about["default"]
                required.add(field)
            else:
                about["default"] = None
        schema["required"] = [field for field in schema.get("properties", {}) if field in required]


def _reachable(kinds: list[Any], schema_of: dict[Any, JsonObject], components: dict[str, Any]) -> set[str]:
    """The names of the schemas that some kinds consist of."""
    found: set[str] = set()
    waiting: list[Any] = [schema_of[kind] for kind in kinds]
    while waiting:
        named = {name.decode() for name in _REFERENCE.findall(msgspec.json.encode(waiting.pop()))} - found
        found |= named
        waiting += [components[name] for name in named]
    return found


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
