"""OpenAPI operations become manifests that work against a real service; what cannot be said is refused by name."""

import copy
import json

import pytest
from test_tool_http import context

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.tools.http import HttpTool
from briefcase.adapters.tools.manifest import parse_manifests
from briefcase.adapters.tools.openapi_import import import_openapi, operations_of, parse_document
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.model.errors import CallerError
from support.clock import FakeClock
from support.hostile_servers import RawServer, answering, close_outbound, http_answer
from support.secrets import FakeSecrets

TICKET = {
    "type": "object",
    "required": ["title"],
    "properties": {
        "title": {"type": "string", "example": "printer"},
        "notes": {"type": "string", "nullable": True},
        "weight": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "labels": {"type": "array", "items": {"$ref": "#/components/schemas/Label"}},
    },
}
DOCUMENT = {
    "openapi": "3.0.3",
    "info": {"title": "Desk", "version": "1"},
    "servers": [{"url": "https://desk.example/v1/"}],
    "security": [{"api_key": []}],
    "paths": {
        "/tickets/{number}": {
            "parameters": [
                {"name": "number", "in": "path", "required": True, "schema": {"type": "string"}},
                {"name": "verbose", "in": "query", "schema": {"type": "boolean"}},
            ],
            "get": {
                "operationId": "showTicket",
                "summary": "Show one ticket",
                "parameters": [
                    {"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}},
                    {"$ref": "#/components/parameters/Trace"},
                    {"name": "Accept", "in": "header", "schema": {"type": "string"}},
                ],
            },
            "delete": {"summary": "Remove", "security": [{"bearer": []}]},
        },
        "/tickets": {
            "post": {
                "operationId": "addTicket",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ticket"}}},
                },
                "security": [{"login": []}],
            },
            "put": {
                "operationId": "replaceAll",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Ticket"}}
                        }
                    },
                },
                "security": [],
            },
        },
    },
    "components": {
        "parameters": {"Trace": {"name": "X-Trace", "in": "header", "schema": {"type": "string"}}},
        "schemas": {
            "Ticket": TICKET,
            "Label": {"type": "string", "enum": ["red", "green"]},
            "Tree": {"type": "object", "properties": {"below": {"$ref": "#/components/schemas/Tree"}}},
        },
        "securitySchemes": {
            "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
            "login": {"type": "http", "scheme": "Basic"},
        },
    },
}


def imported(*chosen: str, document=DOCUMENT, **fields) -> list[dict]:
    texts = import_openapi(json.dumps(document).encode(), chosen, **fields)
    return [json.loads(text)["tools"][0] for text in texts.values()]


def changed(path: str, value) -> dict:
    """The document with one place replaced; the path is written with `>`."""
    document = copy.deepcopy(DOCUMENT)
    *names, last = path.split(">")
    below = document
    for name in names:
        below = below[name]
    below[last] = value
    return document


def test_an_operation_becomes_a_manifest():
    (show,) = imported("showTicket")

    assert show["id"] == "showTicket"
    assert show["method"] == "GET"
    assert show["url"] == "https://desk.example:443/v1/tickets/{number}"
    assert show["category"] == "read"
    assert show["arguments"] == {"number": "path", "verbose": "query:verbose", "X-Trace": "header:X-Trace"}
    assert show["input_schema"]["properties"]["number"] == {"type": "integer"}
    assert show["input_schema"]["required"] == ["number"]
    assert show["credential"] == {"name": "api_key", "header": "X-Api-Key"}
    assert show["allowed_hosts"] == ["desk.example:443"]
    assert show["allowed_path_prefixes"] == ["/v1/tickets"]


def test_a_body_is_taken_apart_into_its_members_in_json_schemas_own_words():
    (add,) = imported("addTicket")

    assert add["category"] == "write"
    assert add["arguments"] == {name: f"body:{name}" for name in ("title", "notes", "weight", "labels")}
    assert add["input_schema"]["required"] == ["title"]
    assert add["input_schema"]["properties"] == {
        "title": {"type": "string"},
        "notes": {"type": ["string", "null"]},
        "weight": {"type": "number", "exclusiveMinimum": 0},
        "labels": {"type": "array", "items": {"type": "string", "enum": ["red", "green"]}},
    }
    assert add["credential"] == {"name": "login", "basic_user": ""}


def test_a_body_that_is_no_plain_object_is_one_argument():
    (replace,) = imported("replaceAll")

    assert replace["arguments"] == {"body": "whole_body"}
    assert replace["input_schema"]["required"] == ["body"]
    assert "credential" not in replace


def test_an_operation_without_an_id_is_called_by_method_and_path():
    (remove,) = imported("DELETE /tickets/{number}")

    assert remove["id"] == "delete_tickets_number"
    assert remove["category"] == "write"
    assert remove["credential"] == {"name": "bearer", "header": "Authorization", "prefix": "Bearer "}


def test_every_operation_can_be_listed():
    listed = [operation.key for operation in operations_of(parse_document(json.dumps(DOCUMENT).encode()))]

    assert listed == ["GET /tickets/{number}", "DELETE /tickets/{number}", "POST /tickets", "PUT /tickets"]


async def test_an_imported_tool_calls_a_real_service():
    async def run(text: str):
        secrets = FakeSecrets(api_key="tk-live-4f9a1c77")
        outbound = GuardedOutbound([server.address])
        declared = parse_manifests(text.encode(), "show.json")[0]
        tool = HttpTool(
            declared, outbound=outbound, secrets=secrets, redactor=SecretRedactor(secrets), clock=FakeClock()
        )
        assert tool.check_args({"number": "7"})
        result = await tool.execute({"X-Trace": "t", "number": 7, "verbose": True}, context())
        await close_outbound(outbound)
        return result.content

    with RawServer(answering(http_answer(b'{"id":7}'))) as server:
        texts = import_openapi(json.dumps(DOCUMENT).encode(), ["showTicket"], base_url=f"{server.url}/v1")
        assert await run(texts["showTicket.json"]) == {"id": 7}

    lines = server.heads[0].split(b"\r\n")
    assert lines[0] == b"GET /v1/tickets/7?verbose=true HTTP/1.1"
    assert b"X-Trace: t" in lines
    assert b"X-Api-Key: tk-live-4f9a1c77" in lines


def parameter(**fields) -> dict:
    return changed("paths>/tickets/{number}>get>parameters", [
        {"name": "number", "in": "path", "required": True, "schema": {}}, {"name": "x", "required": True, **fields},
    ])  # fmt: skip


def body(content: dict) -> dict:
    return changed("paths>/tickets>post>requestBody", {"required": True, "content": content})


def bomb() -> dict:
    schemas = {"a0": {"type": "string"}}
    for line in range(1, 16):
        schemas[f"a{line}"] = {"anyOf": [{"$ref": f"#/components/schemas/a{line - 1}"}] * 4}
    document = changed("components>schemas", schemas)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/a15"}}}
    document["paths"]["/tickets"]["post"]["requestBody"] = {"required": True, "content": content}
    return document


JSON_BODY = "application/json"
REFUSED = {
    "no such operation": (DOCUMENT, "missing", "no operation `missing`"),
    "recursive schema": (
        body({JSON_BODY: {"schema": {"$ref": "#/components/schemas/Tree"}}}),
        "addTicket",
        "comes back to itself",
    ),
    "http reference": (
        body({JSON_BODY: {"schema": {"$ref": "http://127.0.0.1:1/"}}}),
        "addTicket",
        "within the document",
    ),
    "file reference": (body({JSON_BODY: {"schema": {"$ref": "other.json#/a"}}}), "addTicket", "within the document"),
    "reference to nowhere": (body({JSON_BODY: {"schema": {"$ref": "#/nowhere"}}}), "addTicket", "leads nowhere"),
    "references in a circle": (
        changed("paths>/tickets>post>requestBody", {"$ref": "#/paths/~1tickets/post/requestBody"}),
        "addTicket",
        "come back to themselves",
    ),
    "four times fifteen times over": (bomb(), "addTicket", "written out"),
    "form body": (body({"application/x-www-form-urlencoded": {}}), "addTicket", "expected application/json"),
    "required cookie": (parameter(**{"in": "cookie", "schema": {}}), "showTicket", "cookie"),
    "object in the query": (parameter(**{"in": "query", "schema": {"type": "object"}}), "showTicket", "`x`"),
    "content in the query": (parameter(**{"in": "query", "content": {JSON_BODY: {}}}), "showTicket", "`x`"),
    "header of the framing": (
        changed(
            "components>parameters>Trace",
            {"name": "Transfer-Encoding", "in": "header", "schema": {"type": "string"}},
        ),
        "showTicket",
        "Transfer-Encoding",
    ),
    "a pattern that is none": (
        changed("components>schemas>Ticket>properties>title", {"type": "string", "pattern": "(a"}),
        "addTicket",
        "pattern",
    ),
    "no server": (changed("servers", []), "showTicket", "give the base URL"),
    "relative server": (changed("servers", [{"url": "/v1"}]), "showTicket", "give the base URL"),
    "server with a variable": (changed("servers", [{"url": "https://{region}.example"}]), "showTicket", "base URL"),
    "server with userinfo": (changed("servers", [{"url": "https://a:b@desk.example"}]), "showTicket", "base URL"),
    "path parameter that is not declared": (
        changed("paths>/tickets/{number}>parameters", []) | {"x": 1},
        "DELETE /tickets/{number}",
        "arguments",
    ),
    "swagger 2": ({"swagger": "2.0"}, "x", "expected `openapi`"),
    "openapi 4": (changed("openapi", "4.0.0"), "x", "expected `openapi`"),
    "a list": ([], "x", "expected `openapi`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_said_in_a_manifest_is_refused_by_name(name):
    document, operation, said = REFUSED[name]

    with pytest.raises(CallerError) as refused:
        imported(operation, document=document)

    assert refused.value.code == "invalid_manifest"
    assert said in refused.value.message


@pytest.mark.parametrize(
    "text", [b"openapi: 3.0.3\n", b"", b"\xff", b'{"openapi":"3.0.3","openapi":"3.0.3"}', b"[" * 10_000]
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(CallerError) as refused:
        import_openapi(text, ["x"])
    assert "YAML" in refused.value.message


def test_what_is_optional_and_can_not_be_said_is_left_out():
    document = parameter(**{"in": "cookie", "required": False, "schema": {}})

    assert imported("showTicket", document=document)[0]["arguments"] == {"number": "path", "verbose": "query:verbose"}
