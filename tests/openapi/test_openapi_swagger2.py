"""A Swagger 2.0 document imports as the same operations said in OpenAPI 3.0."""

import json

import pytest

from briefcase.adapters.openapi.importing import (
    Choices,
    chosen_operation,
    import_operation,
    operations_of,
    read_document,
)
from briefcase.model.errors import CallerError

DOCUMENT = {
    "swagger": "2.0",
    "info": {"title": "Desk", "version": "1"},
    "host": "desk.example",
    "basePath": "/v1/",
    "schemes": ["http", "https"],
    "consumes": ["application/json"],
    "produces": ["application/xml", "application/json"],
    "security": [{"basic": []}],
    "securityDefinitions": {"basic": {"type": "basic"}, "key": {"type": "apiKey", "in": "query", "name": "k"}},
    "parameters": {"page": {"name": "page", "in": "query", "type": "integer", "minimum": 1, "required": False}},
    "definitions": {"Ticket": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}}},
    "paths": {
        "/tickets/{ids}": {
            "parameters": [
                {"name": "ids", "in": "path", "required": True, "type": "array", "items": {"type": "string"}}
            ],
            "get": {
                "operationId": "show",
                "security": [{"key": []}],
                "parameters": [
                    {"$ref": "#/parameters/page"},
                    {"name": "csv", "in": "query", "type": "array", "items": {"type": "string"}},
                    {"name": "multi", "in": "query", "type": "array", "items": {}, "collectionFormat": "multi"},
                    {"name": "pipes", "in": "query", "type": "array", "items": {}, "collectionFormat": "pipes"},
                ],
                "responses": {"200": {"description": "ok"}},
            },
        },
        "/tickets": {
            "post": {
                "operationId": "add",
                "schemes": ["http"],
                "parameters": [
                    {"name": "ticket", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Ticket"}}
                ],
                "responses": {"201": {"description": "ok"}},
            },
            "put": {
                "operationId": "upload",
                "consumes": ["multipart/form-data"],
                "parameters": [
                    {"name": "file", "in": "formData", "type": "file", "required": True, "description": "It"},
                    {"name": "note", "in": "formData", "type": "string"},
                ],
                "responses": {"200": {"description": "ok"}},
            },
            "patch": {
                "operationId": "change",
                "consumes": ["application/x-www-form-urlencoded"],
                "parameters": [
                    {"name": "tags", "in": "formData", "type": "array", "items": {"type": "string"}},
                ],
                "responses": {"200": {"description": "ok"}},
            },
        },
    },
}


def imported(wanted: str, **changes) -> dict:
    document = read_document(json.dumps({**DOCUMENT, **changes}).encode())
    operation = chosen_operation(operations_of(document), wanted)
    return json.loads(import_operation(document, operation, Choices()).text)["tools"][0]


def test_host_path_and_scheme_are_the_server_https_before_http():
    show = imported("show")
    assert show["url"] == "https://desk.example:443/v1/tickets/{ids}"
    assert show["credential"] == {"name": "desk-key", "query": "k"}
    assert show["headers"] == {"Accept": "application/json"}
    assert imported("add")["url"] == "http://desk.example:80/v1/tickets"
    assert imported("show", schemes=[])["url"].startswith("https://")


def test_a_collection_format_is_a_style():
    show = imported("show")
    where = {"in": "query", "explode": False}
    assert show["arguments"] == {
        "ids": {"in": "path", "style": "simple", "explode": False},
        "page": "query:page",
        "csv": {**where, "name": "csv", "style": "form"},
        "multi": "query:multi",
        "pipes": {**where, "name": "pipes", "style": "pipeDelimited"},
    }
    assert show["input_schema"]["properties"]["page"] == {"type": "integer", "minimum": 1}


def test_a_body_is_the_definition_it_refers_to():
    add = imported("add")
    assert add["arguments"] == {"title": "body:title"}
    assert add["input_schema"]["required"] == ["title"]
    assert add["credential"] == {"name": "desk-basic", "basic_user": ""}


def test_form_data_is_a_form_and_parts_where_a_file_is_among_it():
    upload, change = imported("upload"), imported("change")
    assert upload["body"] == {"type": "multipart/form-data", "optional": False}
    assert upload["arguments"] == {"file": {"in": "body", "name": "file", "encoding": "base64"}, "note": "body:note"}
    assert change["body"] == {"type": "application/x-www-form-urlencoded", "optional": True}
    assert change["arguments"] == {"tags": {"in": "body", "name": "tags", "style": "form", "explode": False}}


def test_a_document_without_a_host_asks_for_the_base_url():
    with pytest.raises(CallerError) as refused:
        imported("show", host="")
    assert refused.value.hint == "give the base URL: `--base-url URL`"


def test_a_format_that_a_path_cannot_have_is_refused():
    paths = json.loads(json.dumps(DOCUMENT["paths"]))
    paths["/tickets/{ids}"]["parameters"][0]["collectionFormat"] = "ssv"
    with pytest.raises(CallerError, match=r"`ssv of Swagger 2\.0` is none"):
        imported("show", paths=paths)
