"""APIs of ours as an OpenAPI 3.1 document: operations and the structs on the wire become paths and schemas."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from briefcase.model.types import JsonObject, JsonValue

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_REFERENCE: Final = re.compile(rb'"#/components/schemas/(\w+)"')


_TEXT: Final = "text/plain"


class Operation(msgspec.Struct, frozen=True):
    """One operation; its answer, body and query are structs, whose docstrings are what the document says of them.

    `security` names the schemes that a request must satisfy together; None leaves it to the document's own, and none at
    all is for anybody. `others` are answers without a body, and `headers` the fields of a request that are more than
    that: each by its name, with what it says.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: Any
    body: Any = None
    query: Any = None
    media: str = _JSON
    roles: Sequence[str] = ()
    security: Sequence[str] | None = None
    others: Mapping[int, str] = {}
    headers: Mapping[str, str] = {}


class Api(msgspec.Struct, frozen=True):
    """What a document says of an API as a whole; `error` is every answer that is no success."""

    title: str
    summary: str
    version: str
    error: type[msgspec.Struct]
    schemes: Mapping[str, JsonObject]
    security: Sequence[str]


def describe(api: Api, operations: Sequence[Operation]) -> JsonObject:
    """The document: every operation, who may ask, and how it looks on the wire."""
    kinds: list[Any] = [api.error]
    for operation in operations:
        asked = (operation.answer, operation.body, operation.query)
        kinds += [kind for kind in asked if kind is not None and kind not in kinds]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    for component in components.values():  # docstrings, whose indentation some versions of msgspec leave in
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
    schema_of = dict(zip(kinds, schemas, strict=True))
    sent = [kind for kind in kinds if any(kind in {each.body, each.query} for each in operations)]
    _say_what_is_written([kind for kind in kinds if kind not in sent], sent, schema_of, components)
    paths: dict[str, dict[str, JsonValue]] = {}
    for operation in operations:
        described = _operation(operation, schema_of, components)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": api.title,
            "version": api.version,
            "summary": api.summary,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": _required(api.security),
        "paths": {**paths},
        "components": {
            "securitySchemes": {**api.schemes},
            "responses": {"Error": {"description": "no success", "content": {_JSON: {"schema": schema_of[api.error]}}}},
            "schemas": components,
        },
    }


def _required(schemes: Sequence[str]) -> list[JsonValue]:
    return [{scheme: [] for scheme in schemes}] if schemes else []


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


def _operation(operation: Operation, schema_of: dict[Any, JsonObject], components: dict[str, Any]) -> JsonObject:
    answers: JsonObject = {
        "200": {"description": "done", "content": {operation.media: {"schema": schema_of[operation.answer]}}},
        **{str(status): {"description": said} for status, said in operation.others.items()},
        "default": {"$ref": "#/components/responses/Error"},
    }
    described: JsonObject = {"operationId": operation.name, "summary": operation.summary, "responses": answers}
    if operation.roles:
        described["x-roles"] = [*operation.roles]
    if operation.security is not None:
        described["security"] = _required(operation.security)
    parameters: list[JsonValue] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        properties = components[operation.query.__name__]["properties"]
        parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    parameters += [
        {"name": name, "in": "header", "description": said, "schema": {"type": "string"}}
        for name, said in operation.headers.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is str:  # text, whose form is the summary's to say
        described["requestBody"] = {"required": True, "content": {_TEXT: {"schema": schema_of[str]}}}
    elif operation.body is not None:
        required = bool(components[operation.body.__name__].get("required"))
        described["requestBody"] = {
            "required": required,
            "content": {_JSON: {"schema": schema_of[operation.body]}},
        }
    return described
