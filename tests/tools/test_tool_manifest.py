"""Manifests are read strictly: each mistake is named with its file, its tool and its key."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.tools.manifest import MAX_MANIFEST_BYTES, parse_manifests
from briefcase.adapters.tools.request import Place, RequestTemplate, encode_request
from briefcase.model.errors import CallerError
from briefcase.model.types import FirewallMode

PLAIN = {"id": "t", "method": "GET", "url": "https://desk.example/api/tickets", "category": "read"}
SHOW = {
    **PLAIN,
    "url": "https://desk.example/api/tickets/{number}",
    "arguments": {"number": "path", "verbose": "query:v"},
    "input_schema": {
        "properties": {"number": {"type": "integer"}, "verbose": {"type": "boolean"}},
        "required": ["number"],
    },
}
ADD = {
    **PLAIN,
    "method": "POST",
    "category": "write",
    "arguments": {"title": "body"},
    "input_schema": {"properties": {"title": {"type": "string"}}},
}
KEY = {"name": "desk", "header": "X-Api-Key"}


def parse(*tools: dict, file: str = "desk.json"):
    return parse_manifests(json.dumps({"tools": tools}).encode(), file)


def with_argument(place: str, **changes) -> dict:
    return {**PLAIN, "arguments": {"a": place}, "input_schema": {"properties": {"a": {}}}, **changes}


def test_a_manifest_becomes_a_definition_and_a_request():
    (declared,) = parse({**SHOW, "cost_usd": "0.002", "name": "Show", "allowed_hosts": ["desk.example"]})

    assert declared.spec.id == "t"
    assert declared.spec.name == "Show"
    assert declared.spec.cost_microusd == 2_000
    assert declared.spec.net_access
    assert declared.spec.source == "http"
    assert declared.spec.input_schema["additionalProperties"] is False
    assert declared.template.origin == "https://desk.example:443"
    assert declared.template.path == "/api/tickets/{number}"
    assert declared.host == "desk.example"


def test_toml_and_json_say_the_same():
    toml = b"""
    [[tools]]
    id = "t"
    method = "GET"
    url = "https://desk.example/api/tickets/{number}"
    category = "read"
    arguments = { number = "path", verbose = "query:v" }
    [tools.input_schema]
    required = ["number"]
    properties = { number = { type = "integer" }, verbose = { type = "boolean" } }
    """

    (from_toml,), (from_json,) = parse_manifests(toml, "desk.toml"), parse(SHOW)

    assert from_toml.manifest == from_json.manifest


REFUSED = {
    "unknown key": ({**PLAIN, "metod": "GET"}, "metod"),
    "missing key": ({"id": "t"}, "method"),
    "wrong type": ({**PLAIN, "timeout_ms": "10"}, "timeout_ms"),
    "other method": ({**PLAIN, "method": "TRACE"}, "method"),
    "id with a space": ({**PLAIN, "id": "a b"}, "id"),
    "id with a slash": ({**PLAIN, "id": "../a"}, "id"),
    "category with upper case": ({**PLAIN, "category": "Read"}, "category"),
    "no time": ({**PLAIN, "timeout_ms": 0}, "timeout_ms"),
    "too much time": ({**PLAIN, "timeout_ms": 10**9}, "timeout_ms"),
    "too large an answer": ({**PLAIN, "max_response_bytes": 1 << 40}, "max_response_bytes"),
    "another scheme": ({**PLAIN, "url": "ftp://desk.example/"}, "url"),
    "userinfo": ({**PLAIN, "url": "https://user:pass@desk.example/"}, "url"),
    "dot segments": ({**PLAIN, "url": "https://desk.example/a/../b"}, "url"),
    "line break in the URL": ({**PLAIN, "url": "https://desk.example/\r\nX: y"}, "url"),
    "placeholder in the host": ({**PLAIN, "url": "https://{a}.example/"}, "url"),
    "placeholder in the query": ({**PLAIN, "url": "https://desk.example/?a={a}"}, "url"),
    "placeholder in the scheme": ({**PLAIN, "url": "{a}://desk.example/"}, "url"),
    "host not allowed": ({**PLAIN, "allowed_hosts": ["other.example"]}, "url"),
    "port not allowed": ({**PLAIN, "allowed_hosts": ["desk.example:8443"]}, "url"),
    "no host": ({**PLAIN, "allowed_hosts": ["https://desk.example"]}, "url"),
    "path not allowed": ({**PLAIN, "allowed_path_prefixes": ["/admin", "/api/tick"]}, "url"),
    "placeholder without an argument": ({**PLAIN, "url": "https://desk.example/{a}"}, "arguments"),
    "argument without a placeholder": (with_argument("path"), "arguments"),
    "no place": (with_argument("trailer:a"), "arguments"),
    "header without a name": (with_argument("header"), "arguments"),
    "query without a name": (with_argument("query:"), "arguments"),
    "argument without a schema": ({**PLAIN, "arguments": {"a": "query"}}, "arguments"),
    "schema without an argument": ({**PLAIN, "input_schema": {"properties": {"a": {}}}}, "arguments"),
    "two in one place": (
        {**PLAIN, "arguments": {"a": "query:x", "b": "query:x"}, "input_schema": {"properties": {"a": {}, "b": {}}}},
        "arguments",
    ),
    "body with GET": (with_argument("body"), "arguments"),
    "two bodies": (
        {
            **PLAIN,
            "method": "POST",
            "arguments": {"a": "body", "b": "whole_body"},
            "input_schema": {"properties": {"a": {}, "b": {}}},
        },
        "arguments",
    ),
    "header of the framing": (with_argument("header:Content-Length"), "headers"),
    "header with a line break": (with_argument("header:X\r\nY"), "headers"),
    "argument as credential": (with_argument("header:Authorization"), "arguments"),
    "argument as cookie": (with_argument("header:cookie"), "arguments"),
    "argument in the credential's header": (with_argument("header:x-api-key", credential=KEY), "arguments"),
    "argument in a fixed header": (with_argument("header:x-version", headers={"X-Version": "1"}), "arguments"),
    **{
        f"argument as the fixed parameter `{query}`": (
            with_argument(f"query:{name}", url=f"https://desk.example.com/api?{query}"),
            "arguments",
        )
        for name, query in [
            ("scope", "scope=own"),
            ("scope", "a=1&scope"),
            ("scope", "%73cope=own"),
            ("SCOPE", "a=1;scope=own"),
            ("scope", "scope[]=own"),
            ("scope[x]", "scope=own"),
            ("%73cope", "scope=own"),
        ]
    },
    "credential as a fixed parameter": (
        {**PLAIN, "url": "https://desk.example.com/api?key=1", "credential": {"name": "desk", "query": "key"}},
        "credential",
    ),
    "argument in the credential's query": (
        with_argument("query:key", credential={"name": "desk", "query": "key"}),
        "arguments",
    ),
    "credential written out": ({**PLAIN, "headers": {"Authorization": "Bearer x"}}, "headers"),
    "credential written twice": ({**PLAIN, "headers": {"x-api-key": "x"}, "credential": KEY}, "headers"),
    "fixed header with a line break": ({**PLAIN, "headers": {"X-A": "a\r\nb"}}, "headers"),
    "credential without a place": ({**PLAIN, "credential": {"name": "desk"}}, "credential"),
    "credential in two places": ({**PLAIN, "credential": {**KEY, "query": "key"}}, "credential"),
    "credential in the framing": ({**PLAIN, "credential": {"name": "desk", "header": "Host"}}, "credential"),
    "prefix without a header": ({**PLAIN, "credential": {"name": "d", "query": "k", "prefix": "x"}}, "prefix"),
    "prefix with a line break": ({**PLAIN, "credential": {**KEY, "prefix": "a\r\n"}}, "credential"),
    "credential's name": ({**PLAIN, "credential": {**KEY, "name": "../x"}}, "credential"),
    "user with a colon": ({**PLAIN, "credential": {"name": "desk", "basic_user": "a:b"}}, "basic_user"),
    "negative cost": ({**PLAIN, "cost_usd": "-1"}, "cost_usd"),
    "cost that is no number": ({**PLAIN, "cost_usd": "free"}, "cost_usd"),
    "cost NaN": ({**PLAIN, "cost_usd": "NaN"}, "cost_usd"),
    "cost without an end": ({**PLAIN, "cost_usd": "Infinity"}, "cost_usd"),
    "cost below a micro-dollar": ({**PLAIN, "cost_usd": "0.0000001"}, "cost_usd"),
    "cost past all": ({**PLAIN, "cost_usd": 1e30}, "cost_usd"),
    "optional part of the path": ({**SHOW, "input_schema": {"properties": {"number": {}, "verbose": {}}}}, "required"),
    "open schema": ({**PLAIN, "input_schema": {"additionalProperties": True}}, "additionalProperties"),
    "schema of a list": ({**PLAIN, "input_schema": {"type": "array"}}, "input_schema"),
    "schema with a reference out": (
        {**ADD, "input_schema": {"properties": {"title": {"$ref": "http://127.0.0.1:1/"}}}},
        "input_schema",
    ),
    "firewall without paths": ({**PLAIN, "output_firewall": {"mode": "allow_paths"}}, "output_firewall"),
    "paths without their mode": ({**PLAIN, "output_firewall": {"allowed_paths": ["/a"]}}, "output_firewall"),
    "no pointer": (
        {**PLAIN, "output_firewall": {"mode": "allow_paths", "allowed_paths": ["a.b"]}},
        "allowed_paths",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_named_with_its_file_and_key(name):
    tool, key = REFUSED[name]

    with pytest.raises(CallerError) as refused:
        parse(tool, file="desk-7.json")

    assert refused.value.code == "invalid_manifest"
    assert "`desk-7.json`" in refused.value.message
    assert key in refused.value.message
    assert refused.value.message.startswith("`desk-7.json`: ")


TOML = b'[[tools]]\nid = "t"\nmethod = "GET"\nurl = "https://a.example"\ncategory = "read"\n'


@pytest.mark.parametrize(
    ("text", "file"),
    [
        (b"", "a.toml"),
        (b"", "a.json"),
        (b"tools = []", "a.toml"),
        (b"tools = 1", "a.toml"),
        (b'{"tools":[]}', "a.json"),
        (b'{"tools":[],"tools":[]}', "a.json"),
        (b"[[tools]]\nid = 1\nid = 2", "a.toml"),
        (b"\xff\xfe", "a.toml"),
        (b"\xef\xbb\xbf[[tools]]", "a.toml"),
        (b"[" * 100_000, "a.toml"),
        (b"[" * 100_000, "a.json"),
        (TOML + b"input_schema = { default = 2026-01-01 }", "a.toml"),
        (TOML + b"cost_usd = nan", "a.toml"),
        (b"#" * (MAX_MANIFEST_BYTES + 1), "a.toml"),
    ],
)  # fmt: skip
def test_what_is_no_manifest_file_is_refused_by_name(text, file):
    with pytest.raises(CallerError) as refused:
        parse_manifests(text, file)

    assert refused.value.code == "invalid_manifest"
    assert f"`{file}`" in refused.value.message


@pytest.mark.parametrize(
    ("cost", "microusd"), [("0.002", 2_000), (0.002, 2_000), (1, 1_000_000), ("0", 0), (0.1, 100_000)]
)
def test_a_cost_is_exact(cost, microusd):
    assert parse({**PLAIN, "cost_usd": cost})[0].spec.cost_microusd == microusd


def test_an_output_firewall_is_taken_over():
    firewall = {"mode": "allow_paths", "allowed_paths": ["/items/*/id"], "max_bytes": 5}

    spec = parse({**PLAIN, "output_firewall": firewall})[0].spec

    assert spec.output_firewall.mode is FirewallMode.ALLOW_PATHS
    assert spec.output_firewall.allowed_paths == ("/items/*/id",)
    assert spec.output_firewall.max_bytes == 5


# --- arguments into a request -----------------------------------------------------------------------------------


def template(**places: Place) -> RequestTemplate:
    return RequestTemplate("POST", "https://desk.example:443", "/api/{p}", "fixed=1", {"X-Fixed": "f"}, places)


ALL = template(
    p=Place("path"), q=Place("query", "q q"), h=Place("header", "X-H"), b=Place("body", "inner"), c=Place("body", "c")
)


def test_each_argument_goes_to_its_place():
    args = {"p": "a b", "q": ["x&y", 2, True], "h": 1.5, "b": {"deep": [None]}, "c": "ü"}

    encoded = encode_request(ALL, args)

    assert encoded.url == "https://desk.example:443/api/a%20b?fixed=1&q%20q=x%26y&q%20q=2&q%20q=true"
    assert encoded.headers == {"X-Fixed": "f", "X-H": "1.5", "Content-Type": "application/json"}
    assert encoded.body == '{"c":"ü","inner":{"deep":[null]}}'.encode()


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("group/project", "group%2Fproject"),
        ("a?b#c", "a%3Fb%23c"),
        ("%2e%2e", "%252e%252e"),
        ("...", "..."),
        ("ü", "%C3%BC"),
    ],
)
def test_a_path_value_is_one_segment_whatever_is_in_it(value, sent):
    assert encode_request(ALL, {"p": value}).url.endswith(f"/api/{sent}?fixed=1")


def test_what_is_absent_or_null_is_left_out():
    encoded = encode_request(ALL, {"p": 1, "q": None, "h": None})

    assert encoded.url == "https://desk.example:443/api/1?fixed=1"
    assert encoded.headers == {"X-Fixed": "f", "Content-Type": "application/json"}
    assert encoded.body == b"{}"


def test_a_whole_body_is_the_canonical_json_of_its_argument():
    whole = template(p=Place("path"), w=Place("whole_body"))

    assert encode_request(whole, {"p": "x", "w": [{"b": 1, "a": 2}]}).body == b'[{"a":2,"b":1}]'


@pytest.mark.parametrize(
    "args",
    [
        {"p": ".."},
        {"p": "."},
        {"p": ""},
        {"p": "../admin"},
        {"p": "a/../../admin"},
        {"p": "a\\..\\admin"},
        {"p": "/absolute"},
        {"p": "a//b"},
        {"p": ["a"]},
        {"p": {"a": 1}},
        {"p": None},
        {},
        {"p": "x", "q": {"a": 1}},
        {"p": "x", "q": [["a"]]},
        {"p": "x", "q": [None]},
        {"p": "x", "h": "a\r\nX-Evil: b"},
        {"p": "x", "h": "a\nb"},
        {"p": "x", "h": "a\tb"},
        {"p": "x", "h": "ü"},
        {"p": "x", "h": " padded"},
        {"p": "x", "h": ["a"]},
        {"p": "x", "unmapped": 1},
    ],
)
def test_a_value_that_does_not_fit_its_place_is_refused(args):
    with pytest.raises(ValueError, match=r"argument|header"):
        encode_request(ALL, args)


@given(st.text(min_size=1), st.text() | st.lists(st.text()))
def test_no_text_leaves_its_place(path_value, query_value):
    try:
        encoded = encode_request(ALL, {"p": path_value, "q": query_value})
    except ValueError:
        return

    url = parse_url(encoded.url)
    path, _, query = url.target.partition("?")
    assert path.count("/") == 2
    values = query_value if isinstance(query_value, list) else [query_value]
    assert query.count("&") == len(values)
    assert query.count("=") == len(values) + 1
    assert url.host == "desk.example"


def test_a_path_stays_below_its_prefix_even_when_the_template_would_not():
    loose = RequestTemplate(
        "GET", "https://desk.example:443", "/{p}/x", places={"p": Place("path")}, path_prefixes=("/api",)
    )

    assert encode_request(loose, {"p": "api"}).url.endswith("/api/x")
    for value in ("admin", "apix", "API"):
        with pytest.raises(ValueError, match="at or below"):
            encode_request(loose, {"p": value})
