"""Swagger 2.0 as OpenAPI 3.0: the same operations, said in the later version's words.

| Swagger 2.0 | OpenAPI 3.0 |
|---|---|
| `schemes`, `host`, `basePath` | one server; without a scheme https, without a host a relative URL |
| a parameter's `type`, `format`, `items`, bounds | its `schema` |
| `collectionFormat` | `style` and `explode` |
| `in: body`, with `consumes` | `requestBody` |
| `in: formData`, with `consumes` | `requestBody` as a form, or as parts where a file is among them |
| `securityDefinitions` | `components.securitySchemes` |
| `produces` | the media types of each response |

Definitions stay where they are, so references to them and pointers in messages are those of the document.
"""

from __future__ import annotations

from typing import Final

from briefcase.core.openapi.document import Document, Node, refuse
from briefcase.model.types import JsonObject, JsonValue

_METHODS: Final = ("get", "head", "options", "post", "put", "patch", "delete", "trace")
_SCHEMES: Final = ("https", "http")
_FORM: Final = "application/x-www-form-urlencoded"
_PARTS: Final = "multipart/form-data"
_ANY_JSON: Final = "application/json"
_OF_A_SCHEMA: Final = (
    "default", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems", "maxLength", "maximum",
    "minItems", "minLength", "minimum", "multipleOf", "pattern", "type", "uniqueItems",
)  # fmt: skip
_STYLES: Final = {"csv": "form", "ssv": "spaceDelimited", "tsv": "tabDelimited", "pipes": "pipeDelimited"}


def converted(value: JsonObject) -> JsonObject:
    """A Swagger 2.0 document as one of OpenAPI 3.0.

    Raises:
        CallerError: its version is another one, or a reference leads nowhere (`invalid_manifest`).
    """
    version = value.get("swagger")
    if str(version) != "2.0":
        refuse("/swagger", f"expected Swagger 2.0, or OpenAPI 3.0 or 3.1, got `{str(version)[:100]}`")
    source = Document({**value, "openapi": "3.0.3"})
    return {
        **{key: below for key, below in value.items() if key not in {"parameters", "responses"}},
        "openapi": "3.0.3",
        "servers": _servers(source.root),
        "paths": _paths(source),
        "components": {"securitySchemes": _security_schemes(source)},
    }


def _servers(root: Node, schemes: JsonValue = None) -> list[JsonValue]:
    given = schemes if isinstance(schemes, list) else root.object.get("schemes")
    listed = [str(scheme) for scheme in given] if isinstance(given, list) else []
    scheme = next((scheme for scheme in _SCHEMES if scheme in listed), "https")
    host, base = root.text("host"), root.text("basePath").rstrip("/")
    if base and not base.startswith("/"):
        base = "/" + base
    return [{"url": f"{scheme}://{host}{base}" if host else base or "/"}]


def _paths(source: Document) -> JsonObject:
    paths: JsonObject = {}
    for path, entry in source.root.at("paths").items():
        item = source.resolved(entry)
        written: JsonObject = {}
        for method in _METHODS:
            node = item.at(method)
            if isinstance(node.value, dict):
                written[method] = _operation(source, item, node)
        if written:
            paths[path] = written
    return paths


def _operation(source: Document, item: Node, node: Node) -> JsonValue:
    parameters: dict[tuple[str, str], Node] = {}
    for owner in (item, node):
        for each in owner.at("parameters").elements():
            found = source.resolved(each)
            where = found.text("in")
            parameters["" if where == "body" else found.text("name"), where] = found
    media = _media_types(source, node, "consumes")
    written: JsonObject = {
        key: below for key, below in node.object.items() if key not in {"parameters", "requestBody", "servers"}
    }
    written["parameters"] = [
        _parameter(each) for each in parameters.values() if each.text("in") not in {"body", "formData"}
    ]
    body = next((each for each in parameters.values() if each.text("in") == "body"), None)
    fields = [each for each in parameters.values() if each.text("in") == "formData"]
    if body is not None:
        written["requestBody"] = _body(body, media)
    elif fields:
        written["requestBody"] = _form(fields, media)
    if "schemes" in node.object:
        written["servers"] = _servers(source.root, node.object["schemes"])
    produced = _media_types(source, node, "produces")
    written["responses"] = {
        status: {"content": {kind: {} for kind in produced}} for status, _ in node.at("responses").items()
    }
    return written


def _media_types(source: Document, node: Node, key: str) -> list[str]:
    owner = node if isinstance(node.object.get(key), list) else source.root
    return [str(each.value) for each in owner.at(key).elements() if isinstance(each.value, str)]


def _parameter(node: Node) -> JsonValue:
    where = node.text("in")
    written: JsonObject = {
        key: node.object[key] for key in ("name", "in", "description", "required") if key in node.object
    }
    written["schema"] = _schema(node)
    if node.text("type") == "array":
        style, explode = _style(node, where)
        written["style"] = style
        written["explode"] = explode
    return written


def _style(node: Node, where: str) -> tuple[str, bool]:
    found = node.text("collectionFormat") or "csv"
    if found == "multi":
        return "form", True
    if where in {"path", "header"}:
        return ("simple" if found == "csv" else f"{found} of Swagger 2.0"), False
    return _STYLES.get(found, found), False


def _schema(node: Node) -> JsonValue:
    """The schema that a parameter is itself."""
    schema: JsonObject = {key: node.object[key] for key in _OF_A_SCHEMA if key in node.object}
    if schema.get("type") == "file":
        schema.update({"type": "string", "format": "binary"})
    return schema


def _body(node: Node, media: list[str]) -> JsonValue:
    schema = node.object.get("schema", {})
    kinds = [kind for kind in media if kind.partition(";")[0].strip().lower() not in {_FORM, _PARTS}] or [_ANY_JSON]
    return {
        "description": node.text("description"),
        "required": node.object.get("required") is True,
        "content": {kind: {"schema": schema} for kind in kinds},
    }


def _form(fields: list[Node], media: list[str]) -> JsonValue:
    has_file = any(field.text("type") == "file" for field in fields)
    kinds = {kind.partition(";")[0].strip().lower() for kind in media}
    kind = _PARTS if has_file or (_PARTS in kinds and _FORM not in kinds) else _FORM
    encoding: JsonObject = {}
    properties: JsonObject = {}
    for field in fields:
        schema = _schema(field)
        if isinstance(schema, dict) and field.text("description"):
            schema["description"] = field.text("description")
        properties[field.text("name")] = schema
        if field.text("type") == "array" and kind == _FORM:
            style, explode = _style(field, "formData")
            encoding[field.text("name")] = {"style": style, "explode": explode}
    required: list[JsonValue] = [field.text("name") for field in fields if field.object.get("required") is True]
    schema = {"type": "object", "properties": properties, **({"required": required} if required else {})}
    return {"required": bool(required), "content": {kind: {"schema": schema, "encoding": encoding}}}


def _security_schemes(source: Document) -> JsonObject:
    return {name: _security_scheme(node) for name, node in source.root.at("securityDefinitions").items()}


def _security_scheme(node: Node) -> JsonValue:
    if node.text("type") == "basic":
        return {**node.object, "type": "http", "scheme": "basic"}
    return node.value
