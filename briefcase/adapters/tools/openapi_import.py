"""OpenAPI 3.0 and 3.1 documents to manifests, for the operations an operator chooses.

Nothing is fetched: references are followed within the document only, written out, and refused where they come back to
themselves. JSON only: the package reads no YAML, so convert such a document first. What an operation needs and a
manifest cannot say (a body that is not JSON, a cookie, an object in the query) is refused by name if it is required,
and left out if it is not. Every manifest that is given out has been read back and checked.

Methods other than GET and HEAD become category `write`; the operator changes that, and the cost, in the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NoReturn, cast

import msgspec
import orjson

from briefcase.adapters.net.urls import Url, parse_url
from briefcase.adapters.tools.manifest import WITHOUT_BODY, parse_manifests
from briefcase.adapters.tools.request import BODY, HEADER, PATH, QUERY, WHOLE_BODY, with_placeholders
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

MAX_DOCUMENT_BYTES: Final = 16 << 20
MAX_WRITTEN_OUT: Final = 20_000
MAX_NESTING: Final = 40
MAX_DESCRIPTION_CHARS: Final = 1_000
METHODS: Final = ("get", "head", "post", "put", "patch", "delete")

_VERSION: Final = re.compile(r"3\.[01]\.\d+")
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_IN_SECRET_NAME: Final = re.compile(r"[^a-z0-9._-]+")
_IGNORED_HEADERS: Final = frozenset({"accept", "authorization", "content-type"})  # OpenAPI 3.1 section 4.8.12.2
_SCHEMA_MAPS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DATA_KEYWORDS: Final = frozenset({"const", "default", "enum"})
_ONLY_OPENAPI: Final = frozenset({
    "deprecated", "discriminator", "example", "examples", "externalDocs", "nullable", "readOnly", "writeOnly", "xml",
})  # fmt: skip


class Operation(msgspec.Struct, frozen=True):
    """One operation of a document. `key` is what an operator may call it beside its id: `GET /tickets/{id}`."""

    id: str
    method: str
    path: str
    item: JsonObject
    definition: JsonObject

    @property
    def key(self) -> str:
        """Method and path, as the document writes them."""
        return f"{self.method} {self.path}"


def parse_document(text: bytes) -> JsonObject:
    """Read an OpenAPI document.

    Raises:
        CallerError: it is no JSON, or no OpenAPI 3.0 or 3.1 (`invalid_manifest`).
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        _refuse(f"expected at most {MAX_DOCUMENT_BYTES} bytes, got {len(text)}")
    try:
        document = parse_json(text)
    except CallerError as error:
        _refuse(f"{error.message} (a YAML document must be converted to JSON first)")
    version = document.get("openapi") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(version, str) or not _VERSION.fullmatch(version):
        _refuse(f"expected `openapi` 3.0.x or 3.1.x, got `{version}`")
    return document


def operations_of(document: JsonObject) -> list[Operation]:
    """Every operation of a document, in its order."""
    return [
        Operation(_id_of(definition, method, path), method.upper(), path, item, definition)
        for path, item in _object(document.get("paths")).items()
        if isinstance(item, dict)
        for method in METHODS
        if isinstance(definition := item.get(method), dict)
    ]


def import_openapi(
    text: bytes, chosen: Sequence[str], *, base_url: str | None = None, credential: str | None = None
) -> dict[str, str]:
    """Write a manifest for each chosen operation.

    Args:
        text: the document, JSON.
        chosen: operation ids, or `METHOD /path`; at least one.
        base_url: where the API is, instead of the document's first server.
        credential: the secret's name, instead of the one made of the security scheme's.

    Raises:
        CallerError: an operation is not there, or cannot be said in a manifest (`invalid_manifest`).

    Returns:
        The text of each manifest by its file name.
    """
    document = parse_document(text)
    operations = operations_of(document)
    manifests: dict[str, str] = {}
    for wanted in chosen:
        operation = next((known for known in operations if wanted in {known.id, known.key}), None)
        if operation is None:
            _refuse(f"no operation `{wanted}`: expected one of {', '.join(known.id for known in operations)}")
        name = f"{operation.id}.json"
        manifest = _Importer(document, operation, base_url, credential).manifest()
        data = orjson.dumps({"tools": [manifest]}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        parse_manifests(data, name)
        manifests[name] = data.decode()
    return manifests


class _Importer:
    """One operation on its way into a manifest."""

    def __init__(self, document: JsonObject, operation: Operation, base_url: str | None, secret: str | None) -> None:
        self._document = document
        self._operation = operation
        self._base_url = base_url
        self._secret = secret
        self._left = MAX_WRITTEN_OUT
        self._arguments: dict[str, str] = {}
        self._properties: JsonObject = {}
        self._required: list[JsonValue] = []

    def manifest(self) -> JsonObject:
        operation = self._operation
        base = self._base()
        for parameter in self._parameters():
            self._add_parameter(parameter)
        if operation.method not in WITHOUT_BODY and "requestBody" in operation.definition:
            self._add_body(self._resolved(operation.definition["requestBody"]))
        fixed, _, _ = (base.target.rstrip("/") + operation.path).partition("{")
        credential = self._credential()
        described = operation.definition.get("description") or operation.definition.get("summary") or ""
        return {
            "id": operation.id,
            "name": str(operation.definition.get("summary") or operation.id)[:128],
            "description": str(described)[:MAX_DESCRIPTION_CHARS],
            "method": operation.method,
            "url": f"{base.scheme}://{base.authority}{base.target.rstrip('/')}{operation.path}",
            "category": "read" if operation.method in WITHOUT_BODY else "write",
            "arguments": cast("JsonObject", self._arguments),
            "allowed_hosts": [base.authority],
            "allowed_path_prefixes": [fixed.rpartition("/")[0] or "/"] if "{" in operation.path else [fixed],
            **({"credential": credential} if credential else {}),
            "input_schema": {
                "type": "object",
                "properties": self._properties,
                "required": self._required,
                "additionalProperties": False,
            },
        }

    def _base(self) -> Url:
        servers = self._operation.definition.get("servers") or self._document.get("servers")
        first = _object(servers[0]).get("url") if isinstance(servers, list) and servers else None
        url = self._base_url or first
        try:
            base = parse_url(str(url))
            parse_url(f"{base.scheme}://{base.authority}{with_placeholders(self._operation.path, 'x')}")
        except ValueError as error:
            self._bad(f"the server `{url}` cannot be used: {error}; give the base URL")
        if "?" in base.target:
            self._bad(f"the server `{url}` cannot be used: expected no query")
        return base

    def _parameters(self) -> list[JsonObject]:
        """Those of the path, with the operation's own in place of theirs."""
        by_key: dict[tuple[str, str], JsonObject] = {}
        for owner in (self._operation.item, self._operation.definition):
            listed = owner.get("parameters")
            for each in listed if isinstance(listed, list) else []:
                parameter = self._resolved(each)
                by_key[str(parameter.get("name")), str(parameter.get("in"))] = parameter
        return list(by_key.values())

    def _add_parameter(self, parameter: JsonObject) -> None:
        name, where = str(parameter.get("name")), parameter.get("in")
        required = parameter.get("required") is True or where == "path"
        if where == "header" and name.lower() in _IGNORED_HEADERS:
            return
        places = {"path": PATH, "query": f"{QUERY}:{name}", "header": f"{HEADER}:{name}"}
        place = places.get(str(where))
        schema = self._schema(parameter.get("schema", {}))
        if place is None or "content" in parameter or _is_object(schema):
            if required:
                self._bad(f"the required parameter `{name}` in {where} cannot be said in a manifest")
            return
        if "description" in parameter and isinstance(schema, dict):
            schema.setdefault("description", str(parameter["description"])[:MAX_DESCRIPTION_CHARS])
        self._add(name, place, schema, required=required)

    def _add_body(self, body: JsonObject) -> None:
        required = body.get("required") is True
        content = _object(body.get("content"))
        kind = next((kind for kind in content if kind.partition(";")[0].strip() == "application/json"), None)
        if kind is None:
            if required:
                self._bad(f"the body is {', '.join(content)}: expected application/json")
            return
        schema = self._schema(_object(content[kind]).get("schema", {}))
        members = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(schema, dict) or not isinstance(members, dict) or not set(schema) <= _PLAIN_OBJECT:
            self._add("body" if "body" not in self._arguments else "body_", WHOLE_BODY, schema, required=required)
            return
        needed = schema.get("required")
        for name, member in members.items():
            is_needed = required and isinstance(needed, list) and name in needed
            argument = name if name not in self._arguments else f"body_{name}"
            self._add(argument, f"{BODY}:{name}", member, required=is_needed)

    def _add(self, argument: str, place: str, schema: JsonValue, *, required: bool) -> None:
        if argument in self._arguments:
            self._bad(f"two arguments are called `{argument}`")
        self._arguments[argument] = place
        self._properties[argument] = schema
        if required:
            self._required.append(argument)

    def _credential(self) -> JsonObject | None:
        """Of the first security requirement with one scheme; the secret is then set under the scheme's name."""
        listed = self._operation.definition.get("security", self._document.get("security"))
        for requirement in listed if isinstance(listed, list) else []:
            names = list(_object(requirement))
            if len(names) != 1:
                continue
            schemes = _object(_object(self._document.get("components")).get("securitySchemes"))
            scheme = self._resolved(schemes.get(names[0]))
            secret = self._secret or _NOT_IN_SECRET_NAME.sub("-", names[0].lower())[:64]
            match scheme.get("type"), scheme.get("in"), str(scheme.get("scheme")).lower():
                case "apiKey", "header", _:
                    return {"name": secret, "header": str(scheme.get("name"))}
                case "apiKey", "query", _:
                    return {"name": secret, "query": str(scheme.get("name"))}
                case "http", _, "basic":
                    return {"name": secret, "basic_user": ""}
                case ("http", _, "bearer") | ("oauth2" | "openIdConnect", _, _):
                    return {"name": secret, "header": "Authorization", "prefix": "Bearer "}
        return None

    # --- references -------------------------------------------------------------------------------------------

    def _resolved(self, value: JsonValue) -> JsonObject:
        """An object of the document, or the one it refers to."""
        for _ in range(MAX_NESTING):
            if not isinstance(value, dict) or "$ref" not in value:
                return _object(value)
            value = self._target(value["$ref"])
        return self._bad("its references come back to themselves")

    def _target(self, reference: JsonValue) -> JsonValue:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            self._bad(f"expected references within the document, got `{reference}`: nothing is fetched")
        value: JsonValue = self._document
        for token in reference.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            self._bad(f"`{reference}` leads nowhere")
        return value

    def _schema(self, schema: JsonValue, open_references: tuple[str, ...] = (), depth: int = 0) -> JsonValue:
        """A schema with its references written out, in JSON Schema's own words."""
        self._left -= 1
        if self._left < 0 or depth > MAX_NESTING:
            self._bad(f"its schemas written out are more than {MAX_WRITTEN_OUT}, or nested deeper than {MAX_NESTING}")
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            reference = str(schema["$ref"])
            if reference in open_references:
                self._bad(f"`{reference}` comes back to itself")
            written = self._schema(self._target(reference), (*open_references, reference), depth + 1)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            if not beside.keys() - _ONLY_OPENAPI - {"description", "title"} or not isinstance(written, dict):
                return written
            return {"allOf": [written, self._schema(beside, open_references, depth + 1)]}
        plain = {key: value for key, value in schema.items() if key not in _ONLY_OPENAPI and not key.startswith("x-")}
        _rewrite_openapi_30(schema, plain)
        return {key: self._keyword(key, value, open_references, depth) for key, value in plain.items()}

    def _keyword(self, key: str, value: JsonValue, open_references: tuple[str, ...], depth: int) -> JsonValue:
        if key in _DATA_KEYWORDS:
            return value
        if key in _SCHEMA_MAPS and isinstance(value, dict):
            return {name: self._schema(below, open_references, depth + 1) for name, below in value.items()}
        if isinstance(value, list):
            return [self._schema(below, open_references, depth + 1) for below in value]
        return self._schema(value, open_references, depth + 1) if isinstance(value, dict) else value

    def _bad(self, problem: str) -> NoReturn:
        _refuse(f"`{self._operation.key}`: {problem}")


_PLAIN_OBJECT: Final = frozenset({"type", "properties", "required", "description", "title", "additionalProperties"})


def _rewrite_openapi_30(schema: JsonObject, plain: JsonObject) -> None:
    """`nullable` and boolean exclusive bounds, which only OpenAPI 3.0 writes (section 4.7.24)."""
    if schema.get("nullable") is True and isinstance(plain.get("type"), str):
        plain["type"] = [plain["type"], "null"]
        choices = plain.get("enum")
        if isinstance(choices, list) and None not in choices:
            plain["enum"] = [*choices, None]
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(plain.get(exclusive), bool):
            is_exclusive = plain.pop(exclusive)
            if is_exclusive and bound in plain:
                plain[exclusive] = plain.pop(bound)


def _is_object(schema: JsonValue) -> bool:
    return isinstance(schema, dict) and (schema.get("type") == "object" or "properties" in schema)


def _id_of(definition: JsonObject, method: str, path: str) -> str:
    named = definition.get("operationId")
    text = named if isinstance(named, str) else f"{method}{path}"
    return _NOT_IN_ID.sub("_", text).strip("_.-")[:64] or method


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _refuse(problem: str) -> NoReturn:
    raise CallerError(f"the OpenAPI document: {problem}", code="invalid_manifest") from None
