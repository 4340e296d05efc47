"""OpenAPI operations become manifests that work against a real service; what cannot be said is refused by name."""

import copy
import json

import pytest

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.openapi.importing import (
    Choices,
    Written,
    chosen_operation,
    import_each,
    import_operation,
    operations_of,
    read_document,
)
from briefcase.adapters.tools.http import HttpTool
from briefcase.adapters.tools.manifest import parse_manifests
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.model.errors import CallerError
from briefcase.model.ports import CallContext
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


def written(*chosen: str, document=DOCUMENT, **choices) -> list[Written]:
    read = read_document(json.dumps(document).encode())
    operations = operations_of(read)
    return [import_operation(read, chosen_operation(operations, wanted), Choices(**choices)) for wanted in chosen]


def imported(*chosen: str, document=DOCUMENT, **choices) -> list[dict]:
    return [json.loads(each.text)["tools"][0] for each in written(*chosen, document=document, **choices)]


def context() -> CallContext:
    return CallContext("call", "scout", "request", FakeClock().monotonic_ns() + 10_000_000_000)


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
    assert show["credential"] == {"name": "desk-api-key", "header": "X-Api-Key"}
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
    assert add["credential"] == {"name": "desk-login", "basic_user": ""}


def test_a_body_that_is_no_plain_object_is_one_argument():
    (replace,) = imported("replaceAll")

    assert replace["arguments"] == {"body": "whole_body"}
    assert replace["input_schema"]["required"] == ["body"]
    assert "credential" not in replace


def test_an_operation_without_an_id_is_called_by_method_and_path():
    (remove,) = imported("DELETE /tickets/{number}")

    assert remove["id"] == "delete_tickets_number"
    assert remove["category"] == "write"
    assert remove["credential"] == {"name": "desk-bearer", "header": "Authorization", "prefix": "Bearer "}


def test_every_operation_can_be_listed():
    listed = [operation.key for operation in operations_of(read_document(json.dumps(DOCUMENT).encode()))]

    assert listed == ["GET /tickets/{number}", "DELETE /tickets/{number}", "POST /tickets", "PUT /tickets"]


async def test_an_imported_tool_calls_a_real_service():
    async def run(text: str):
        secrets = FakeSecrets(**{"desk-api-key": "tk-live-4f9a1c77"})
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
        (show,) = written("showTicket", base_url=f"{server.url}/v1")
        assert await run(show.text) == {"id": 7}

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
    "http reference": (
        body({JSON_BODY: {"schema": {"$ref": "http://127.0.0.1:1/"}}}),
        "addTicket",
        "#/paths/~1tickets/post/requestBody/content/application~1json/schema",
    ),
    "file reference": (body({JSON_BODY: {"schema": {"$ref": "other.json#/a"}}}), "addTicket", "within the document"),
    "reference to nowhere": (body({JSON_BODY: {"schema": {"$ref": "#/nowhere"}}}), "addTicket", "leads nowhere"),
    "references in a circle": (
        changed("paths>/tickets>post>requestBody", {"$ref": "#/paths/~1tickets/post/requestBody"}),
        "addTicket",
        "come back to themselves",
    ),
    "parts of another kind": (body({"multipart/related": {}}), "addTicket", "its body is `multipart/related`"),
    "a form that is no object": (
        body({"application/x-www-form-urlencoded": {"schema": {"type": "string"}}}),
        "addTicket",
        "`application/x-www-form-urlencoded`, and the schema of it is no object",
    ),
    "parts that are no object": (
        body({"multipart/form-data": {"schema": {"type": "string", "format": "binary"}}}),
        "addTicket",
        "`multipart/form-data`, and the schema of it is no object",
    ),
    "object in a cookie": (
        parameter(**{"in": "cookie", "schema": {"type": "object"}}),
        "showTicket",
        "at `#/paths/~1tickets~1{number}/get/parameters/1`",
    ),
    "optional part that cannot be carried": (
        parameter(**{"in": "cookie", "required": False, "schema": {"type": "array"}}),
        "showTicket",
        "has parts that cannot be carried: the parameter `x` in cookie",
    ),
    "list of objects in the query": (
        parameter(**{"in": "query", "schema": {"type": "array", "items": {"type": "object"}}}),
        "showTicket",
        "inside of another",
    ),
    "content in the query that is not JSON": (
        parameter(**{"in": "query", "content": {"application/xml": {}}}),
        "showTicket",
        "only JSON is written there",
    ),
    "unknown style": (parameter(**{"in": "query", "style": "tabDelimited", "schema": {}}), "showTicket", "its style"),
    "place that there is not": (parameter(**{"in": "body", "schema": {}}), "showTicket", "`body` is no place"),
    "required header of the framing": (
        parameter(**{"in": "header", "name": "Transfer-Encoding", "schema": {}}),
        "showTicket",
        "Transfer-Encoding",
    ),
    "no scheme of its own": (changed("security", [{"other": []}]), "showTicket", "`other` is no security scheme"),
    "signed requests": (
        changed("components>securitySchemes>api_key", {"type": "http", "scheme": "hmac"}),
        "showTicket",
        "no fixed value",
    ),
    "two credentials in one header": (
        changed("paths>/tickets>post>security", [{"login": [], "bearer": []}]),
        "addTicket",
        "`login` and `bearer` are sent in one place",
    ),
    "TRACE": (changed("paths>/tickets>trace", {}), "TRACE /tickets", "TRACE"),
    "no server": (changed("servers", []), "showTicket", "it has no server"),
    "relative server": (changed("servers", [{"url": "/v1"}]), "showTicket", "relative"),
    "server with a variable": (changed("servers", [{"url": "https://{region}.example"}]), "showTicket", "no default"),
    "server with userinfo": (changed("servers", [{"url": "https://a:b@desk.example"}]), "showTicket", "cannot be used"),
    "openapi 4": (changed("openapi", "4.0.0"), "x", "expected `openapi`"),
    "swagger 1": ({"swagger": "1.2"}, "x", "expected Swagger 2.0"),
    "a list": ([], "x", "expected `openapi`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(name):
    document, operation, said = REFUSED[name]

    with pytest.raises(CallerError) as refused:
        imported(operation, document=document)

    assert refused.value.code == "invalid_manifest"
    assert said in refused.value.message


def test_a_server_that_cannot_be_used_asks_for_the_base_url():
    with pytest.raises(CallerError) as refused:
        imported("showTicket", document=changed("servers", [{"url": "/v1"}]))
    assert refused.value.hint == "give the base URL: `--base-url URL`"


def test_an_optional_part_is_left_out_by_choice_and_by_name():
    document = parameter(**{"in": "cookie", "required": False, "schema": {"type": "array"}})

    (show,) = written("showTicket", document=document, leave_out=True)

    assert json.loads(show.text)["tools"][0]["arguments"] == {"number": "path", "verbose": "query:verbose"}
    assert [problem.partition(":")[0] for problem in show.imported.left_out] == ["the parameter `x` in cookie"]


def test_of_all_operations_those_are_named_that_cannot_be_imported():
    document = read_document(json.dumps(body({"multipart/related": {}})).encode())

    found = list(import_each(document, operations_of(document), Choices()))

    names = [each.name if isinstance(each, Written) else each.operation.key for each in found]
    assert names == ["showTicket.json", "delete_tickets_number.json", "POST /tickets", "replaceAll.json"]


# --- ids --------------------------------------------------------------------------------------------------------


def test_a_text_that_is_sent_as_json_is_said_to_be_in_quotes():
    content = {"application/json": {"schema": {"type": "string"}}}
    (show,) = written("showTicket", document=parameter(**{"in": "query", "content": content}))
    assert show.imported.remarks == ("`x` is sent as JSON, as its `content` says: a text in quotes",)


def test_an_operation_is_chosen_by_its_own_id_and_written_by_one_that_a_tool_may_have():
    (one,) = imported("desk/show it", document=changed("paths>/tickets>get", {"operationId": "desk/show it"}))
    assert one["id"] == "desk_show_it"
    assert one["operation"] == "GET /tickets"
    assert one["api"] == "desk"


def test_an_operation_is_chosen_by_the_id_it_is_listed_by_whatever_its_tool_is_named():
    document = read_document(json.dumps(DOCUMENT).encode())
    listed, named = operations_of(document), operations_of(document, "desk")
    assert "delete_tickets_number" in {one.id for one in listed}
    assert [chosen_operation(named, one.id).key for one in listed] == [one.key for one in named]


def test_ids_are_unique_whatever_the_document_says_and_do_not_depend_on_what_is_chosen():
    document = read_document(json.dumps(changed("paths>/tickets>get", {"operationId": "showTicket"})).encode())
    operations = operations_of(document)

    ids = [operation.id for operation in operations]
    assert ids[0] == "showTicket"
    assert ids[2] == "showTicket_bb9d55a6"
    with pytest.raises(CallerError, match="the id of 2 operations"):
        chosen_operation(operations, "showTicket")
    assert chosen_operation(operations, "GET /tickets/{number}").id == ids[0]


def test_ids_begin_with_the_name_of_the_api_where_it_has_one():
    document = read_document(json.dumps(DOCUMENT).encode())
    assert [each.id for each in operations_of(document, "desk")][:2] == [
        "desk_showTicket",
        "desk_delete_tickets_number",
    ]


def test_an_unknown_operation_is_answered_with_the_nearest():
    with pytest.raises(CallerError) as refused:
        imported("showTickt")
    assert refused.value.message == "the OpenAPI document: no operation `showTickt` among 4"
    assert refused.value.hint == "did you mean `showTicket` or `addTicket`?"


# --- servers ----------------------------------------------------------------------------------------------------


def test_the_servers_of_an_operation_come_before_its_paths_and_these_before_the_documents():
    other = [{"url": "https://path.example/p"}]
    document = changed("paths>/tickets>servers", other)
    document["paths"]["/tickets"]["put"]["servers"] = [{"url": "https://own.example"}]

    add, replace, show = imported("addTicket", "replaceAll", "showTicket", document=document)

    assert add["url"] == "https://path.example:443/p/tickets"
    assert replace["url"] == "https://own.example:443/tickets"
    assert show["allowed_hosts"] == ["desk.example:443"]
    assert add["credential"]["name"] == "desk-login-path-example"  # a secret of its own for another host


def test_server_variables_have_their_defaults():
    variables = {"region": {"default": "eu", "enum": ["eu", "us"]}, "port": {"default": 8443}}
    server = {"url": "https://{region}.desk.example:{port}/v1", "variables": variables}

    (show,) = imported("showTicket", document=changed("servers", [server]))

    assert show["url"] == "https://eu.desk.example:8443/v1/tickets/{number}"


def test_a_base_url_stands_in_place_of_every_server_and_that_is_said():
    (add,) = written(
        "addTicket",
        document=changed("paths>/tickets>servers", [{"url": "https://path.example"}]),
        base_url="https://staging.example/x",
    )
    assert add.imported.manifest["url"] == "https://staging.example:443/x/tickets"
    assert "its own server `https://path.example` is replaced by the base URL" in add.imported.remarks


@pytest.mark.parametrize(
    ("base", "url", "said"),
    [
        (
            "https://a.example",
            "https://a.example:443/v1/tickets/{number}",
            "the server `/v1` is taken below the base URL",
        ),
        (
            "https://a.example/",
            "https://a.example:443/v1/tickets/{number}",
            "the server `/v1` is taken below the base URL",
        ),
        (
            "https://a.example/x",
            "https://a.example:443/x/tickets/{number}",
            "the server `/v1` is replaced by the base URL, path and all",
        ),
    ],
)
def test_a_relative_server_is_below_a_base_url_without_a_path(base, url, said):
    (show,) = written("showTicket", document=changed("servers", [{"url": "/v1"}]), base_url=base)
    assert show.imported.manifest["url"] == url
    assert said in show.imported.remarks


def test_a_server_without_a_scheme_is_taken_over_https_and_that_is_said():
    (show,) = written("showTicket", document=changed("servers", [{"url": "//desk.example/v2"}]))
    assert show.imported.manifest["url"] == "https://desk.example:443/v2/tickets/{number}"
    assert show.imported.remarks == ("the server `//desk.example/v2` has no scheme: https is taken",)


# --- parameters -------------------------------------------------------------------------------------------------


def test_references_are_json_pointers_with_percent_encoding_and_into_lists():
    reference = {"$ref": "#/paths/~1tickets~1%7Bnumber%7D/parameters/1"}
    (one,) = imported("one", document=changed("paths>/tickets>get", {"operationId": "one", "parameters": [reference]}))
    assert one["arguments"] == {"verbose": "query:verbose"}


STYLED = [
    ({"in": "query", "schema": {"type": "array"}}, "query:x"),
    ({"in": "query", "schema": {"type": "array"}, "explode": False}, {"style": "form", "explode": False}),
    ({"in": "query", "schema": {"type": "object"}}, {"style": "form", "explode": True}),
    ({"in": "query", "schema": {}, "style": "spaceDelimited"}, {"style": "spaceDelimited", "explode": False}),
    ({"in": "query", "schema": {"type": "object"}, "style": "deepObject"}, {"style": "deepObject", "explode": False}),
    ({"in": "query", "content": {"application/json": {}}}, {"content": "application/json"}),
    ({"in": "header", "schema": {"type": "array"}}, {"style": "simple", "explode": False}),
    ({"in": "cookie", "schema": {"type": "string"}}, "cookie:x"),
    ({"in": "cookie", "schema": {"type": "array"}, "explode": False}, {"style": "form", "explode": False}),
]


@pytest.mark.parametrize(("declared", "place"), STYLED)
def test_a_style_is_the_places_own(declared, place):
    (show,) = imported("showTicket", document=parameter(**declared))

    where = {"in": declared["in"], "name": "x"}
    assert show["arguments"]["x"] == (place if isinstance(place, str) else {**where, **place})


def test_a_path_has_its_styles():
    document = changed("paths>/tickets/{number}>get>parameters", [
        {"name": "number", "in": "path", "required": True, "style": "label", "schema": {"type": "string"}},
    ])  # fmt: skip
    assert imported("showTicket", document=document)[0]["arguments"]["number"] == {
        "in": "path", "style": "label", "explode": False,
    }  # fmt: skip


def test_what_the_connection_sets_and_what_the_credential_is_are_no_arguments():
    headers = [{"name": name, "in": "header", "schema": {}} for name in ("User-Agent", "X-API-KEY", "authorization")]
    (show,) = written("showTicket", document=changed("paths>/tickets/{number}>get>parameters", headers))

    assert json.loads(show.text)["tools"][0]["arguments"] == {"number": "path", "verbose": "query:verbose"}
    assert show.imported.remarks == (
        "the header `User-Agent` is left out: the connection sets it",
        "the header `Authorization` is no argument: write a `credential` for it",
    )


def test_a_header_of_the_operation_stands_in_place_of_the_paths_in_either_case():
    document = changed("paths>/tickets/{number}>get>parameters", [{"name": "X-A", "in": "header", "schema": {}}])
    document["paths"]["/tickets/{number}"]["parameters"].append({"name": "x-a", "in": "header", "schema": {}})
    assert list(imported("showTicket", document=document)[0]["arguments"].values()) == [
        "path", "query:verbose", "header:X-A",
    ]  # fmt: skip


def test_two_parameters_of_one_name_are_two_arguments():
    document = parameter(**{"in": "query", "name": "number", "schema": {}})
    assert imported("showTicket", document=document)[0]["arguments"] == {
        "number": "path", "query_number": "query:number", "verbose": "query:verbose",
    }  # fmt: skip


def test_a_name_in_the_path_that_nothing_declares_is_a_text_and_one_that_is_not_there_is_left_out():
    document = changed("paths>/tickets/{number}>parameters", [{"name": "other", "in": "path", "schema": {}}])
    (remove,) = written("DELETE /tickets/{number}", document=document)

    assert json.loads(remove.text)["tools"][0]["input_schema"]["properties"] == {"number": {"type": "string"}}
    assert remove.imported.remarks == (
        "the path has no `{other}`: the parameter is left out",
        "nothing declares `{number}` of the path: it is taken as a text",
    )


def test_a_path_with_a_query_and_a_fragment_sends_the_one_and_not_the_other():
    document = changed("paths>/tickets?op=list#now", {"get": {"operationId": "listed"}})
    (listed,) = written("listed", document=document)
    assert listed.imported.manifest["url"] == "https://desk.example:443/v1/tickets?op=list"
    assert listed.imported.remarks == ("the path has a fragment, which is no part of a request",)


# --- bodies -----------------------------------------------------------------------------------------------------

PLAIN = {"schema": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {}}}}


def test_an_optional_body_asks_for_what_it_needs_only_where_there_is_one():
    document = changed("paths>/tickets>post>requestBody", {"content": {JSON_BODY: PLAIN}})
    (add,) = imported("addTicket", document=document)

    assert add["body"] == {"type": "application/json", "optional": True}
    assert add["input_schema"]["required"] == []
    (declared,) = parse_manifests(json.dumps({"tools": [add]}).encode(), "a.json")
    assert declared.check.problem_of({}) is None
    assert declared.check.problem_of({"a": "x"}) is None
    assert declared.check.problem_of({"b": 1}) is not None


def test_a_form_has_its_members_with_their_encoding():
    media = {**PLAIN, "encoding": {"b": {"style": "deepObject", "explode": True}}}
    (add,) = imported("addTicket", document=body({"application/x-www-form-urlencoded": media}))

    assert add["body"] == {"type": "application/x-www-form-urlencoded", "optional": False}
    assert add["arguments"] == {
        "a": "body:a", "b": {"in": "body", "name": "b", "style": "deepObject", "explode": True},
    }  # fmt: skip


def test_a_file_among_parts_is_bytes_in_base64():
    members = {"file": {"type": "string", "format": "binary", "description": "It"}, "meta": {"type": "object"}}
    media = {"schema": {"type": "object", "properties": members}, "encoding": {"file": {"contentType": "image/png"}}}
    (add,) = imported("addTicket", document=body({"multipart/form-data": media}))

    assert add["arguments"] == {
        "file": {"in": "body", "name": "file", "encoding": "base64", "content": "image/png"}, "meta": "body:meta",
    }  # fmt: skip
    assert add["input_schema"]["properties"]["file"] == {
        "type": "string", "contentEncoding": "base64", "description": "It",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind", "place"),
    [
        (["application/merge-patch+json"], "application/merge-patch+json", "body:a"),
        (["application/xml", "application/vnd.desk+json; v=1"], "application/vnd.desk+json; v=1", "body:a"),
        (["*/*"], "application/json", "body:a"),
        (["application/x-www-form-urlencoded", "text/json"], "text/json", "body:a"),
        (["text/csv"], "text/csv", "whole_body"),
        (["application/octet-stream"], "application/octet-stream", {"in": "whole_body", "encoding": "base64"}),
    ],
)
def test_of_several_media_types_the_one_is_taken_that_says_most(content, kind, place):
    (add,) = imported("addTicket", document=body(dict.fromkeys(content, PLAIN)))

    assert add.get("body", {"type": "application/json"})["type"] == kind
    assert next(iter(add["arguments"].values())) == place


def test_a_body_with_members_that_are_not_named_is_one_argument():
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}}
    assert imported("addTicket", document=body({JSON_BODY: {"schema": schema}}))[0]["arguments"] == {
        "body": "whole_body"
    }


def test_a_body_of_get_is_left_out_and_that_is_said():
    document = changed("paths>/tickets/{number}>get>requestBody", {"required": True, "content": {JSON_BODY: PLAIN}})
    (show,) = written("showTicket", document=document)
    assert show.imported.remarks == ("its body is left out: a body means nothing with GET",)
    with pytest.raises(CallerError, match="means nothing with GET"):
        written("showTicket", document={**document, "openapi": "3.1.0"})


# --- credentials ------------------------------------------------------------------------------------------------


def test_two_credentials_are_sent_at_once_and_the_second_of_two_ways_where_the_first_cannot():
    schemes = {
        **DOCUMENT["components"]["securitySchemes"],
        "session": {"type": "apiKey", "in": "cookie", "name": "SID"},
        "mutual": {"type": "mutualTLS"},
    }
    document = changed("components>securitySchemes", schemes)
    document["security"] = [{"mutual": []}, {"api_key": [], "session": []}]

    (show,) = imported("showTicket", document=document)

    assert show["credentials"] == [
        {"name": "desk-api-key", "header": "X-Api-Key"}, {"name": "desk-session", "cookie": "SID"},
    ]  # fmt: skip


def test_a_secret_has_the_apis_name_alone_where_there_is_one_scheme():
    document = changed("components>securitySchemes", {"k": {"type": "apiKey", "in": "query", "name": "key"}})
    document["security"] = [{"k": []}]
    assert imported("showTicket", document=document)[0]["credential"] == {"name": "desk", "query": "key"}
    assert imported("showTicket", document=document, api="My Desk")[0]["credential"]["name"] == "my-desk"
    assert imported("showTicket", document=document, secret="mine")[0]["credential"]["name"] == "mine"


def test_two_flows_of_oauth_are_one_token():
    schemes = {name: {"type": "oauth2", "flows": {}} for name in ("code", "implicit")}
    document = changed("components>securitySchemes", schemes)
    document["security"] = [{"code": [], "implicit": []}]

    (show,) = written("showTicket", document=document)

    assert show.imported.manifest["credential"] == {
        "name": "desk-code", "header": "Authorization", "prefix": "Bearer ",
    }  # fmt: skip
    assert show.imported.remarks == ("`code` and `implicit` are sent as one value where they meet",)


# --- what is asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "accept"),
    [
        (["application/json"], None),
        (["application/xml", "application/json"], "application/json"),
        (["application/vnd.desk+json"], "application/vnd.desk+json"),
        (["text/csv", "application/pdf"], "text/csv"),
        (["application/pdf"], None),
    ],
)
def test_an_answer_that_can_be_read_is_asked_for(kinds, accept):
    responses = {"200": {"description": "ok", "content": {kind: {} for kind in kinds}}}
    (show,) = imported("showTicket", document=changed("paths>/tickets/{number}>get>responses", responses))
    assert show.get("headers", {}).get("Accept") == accept
