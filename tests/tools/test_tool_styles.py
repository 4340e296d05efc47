"""Each style of OpenAPI writes a value as its table says, and nothing that an argument brings leaves its place."""

import base64
import json
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.tools.manifest import parse_manifests
from briefcase.adapters.tools.request import Encoded, encode_request
from briefcase.model.errors import CallerError

LIST = ["a", "b"]
OBJECT = {"x": 1, "y": "z&"}


def declared(arguments: dict, **more):
    properties = {name: {} for name in arguments}
    path = "".join(f"/{{{name}}}" for name, place in arguments.items() if place_kind(place) == "path")
    tool = {
        "id": "t",
        "method": "POST",
        "url": f"https://desk.example/api{path}",
        "category": "read",
        "arguments": arguments,
        "input_schema": {"properties": properties, "required": [*properties]},
        **more,
    }
    return parse_manifests(json.dumps({"tools": [tool]}).encode(), "desk.json")[0]


def place_kind(place) -> str:
    return place["in"] if isinstance(place, dict) else place


def encoded(arguments: dict, values: dict, **more) -> Encoded:
    return encode_request(declared(arguments, **more).template, values)


def query(value, style: str, *, explode: bool, name: str = "n") -> str:
    place = {"in": "query", "name": name, "style": style, "explode": explode}
    return encoded({"a": place}, {"a": value}).url.partition("?")[2]


QUERIES = [
    ("form", True, "v", "n=v"),
    ("form", True, LIST, "n=a&n=b"),
    ("form", True, OBJECT, "x=1&y=z%26"),
    ("form", True, [], ""),
    ("form", False, LIST, "n=a,b"),
    ("form", False, ["a,b", "c"], "n=a%2Cb,c"),
    ("form", False, OBJECT, "n=x,1,y,z%26"),
    ("form", False, {}, ""),
    ("spaceDelimited", False, LIST, "n=a%20b"),
    ("spaceDelimited", True, LIST, "n=a&n=b"),
    ("pipeDelimited", False, LIST, "n=a%7Cb"),
    ("pipeDelimited", False, OBJECT, "n=x%7C1%7Cy%7Cz%26"),
    ("deepObject", True, OBJECT, "n%5Bx%5D=1&n%5By%5D=z%26"),
    ("deepObject", True, {"x": {"y": [1, {"z": True}]}}, "n%5Bx%5D%5By%5D%5B0%5D=1&n%5Bx%5D%5By%5D%5B1%5D%5Bz%5D=true"),
    ("deepObject", False, LIST, "n%5B0%5D=a&n%5B1%5D=b"),
    ("deepObject", True, 7, "n=7"),
]


@pytest.mark.parametrize(("style", "explode", "value", "written"), QUERIES)
def test_a_style_of_the_query(style, explode, value, written):
    assert query(value, style, explode=explode) == written


PATHS = [
    ("simple", False, "v w", "v%20w"),
    ("simple", False, LIST, "a,b"),
    ("simple", False, OBJECT, "x,1,y,z%26"),
    ("simple", True, OBJECT, "x=1,y=z%26"),
    ("label", False, "v", ".v"),
    ("label", False, LIST, ".a,b"),
    ("label", True, LIST, ".a.b"),
    ("label", True, OBJECT, ".x=1.y=z%26"),
    ("matrix", False, "v", ";p=v"),
    ("matrix", False, LIST, ";p=a,b"),
    ("matrix", True, LIST, ";p=a;p=b"),
    ("matrix", False, OBJECT, ";p=x,1,y,z%26"),
    ("matrix", True, OBJECT, ";x=1;y=z%26"),
]


@pytest.mark.parametrize(("style", "explode", "value", "written"), PATHS)
def test_a_style_of_the_path(style, explode, value, written):
    place = {"in": "path", "style": style, "explode": explode}
    assert encoded({"p": place}, {"p": value}).url == f"https://desk.example:443/api/{written}"


@pytest.mark.parametrize(
    ("explode", "value", "written"),
    [(False, "a,b", "a,b"), (False, LIST, "a,b"), (False, {"x": 1}, "x,1"), (True, {"x": 1, "y": 2}, "x=1,y=2")],
)
def test_the_style_of_a_header(explode, value, written):
    place = {"in": "header", "name": "X-A", "style": "simple", "explode": explode}
    assert encoded({"a": place}, {"a": value}).headers["X-A"] == written


def test_cookies_share_one_header_with_the_credential_left_to_its_own():
    places = {"a": "cookie:a", "b": {"in": "cookie", "name": "b", "style": "form", "explode": False}}
    assert encoded(places, {"a": "x; y=z", "b": LIST}).headers["Cookie"] == "a=x%3B%20y%3Dz; b=a,b"
    assert "Cookie" not in encoded({"a": "cookie:a"}, {"a": None}).headers


def test_content_is_json_in_its_place():
    places = {
        name: {"in": name, "content": "application/json", **({} if name == "path" else {"name": "n"})}
        for name in ("path", "query", "header", "cookie")
    }
    values = {name: {"b": 1, "a": [2]} for name in places}
    found = encoded(places, values)

    assert unquote(found.url) == 'https://desk.example:443/api/{"a":[2],"b":1}?n={"a":[2],"b":1}'
    assert found.headers == {"n": '{"a":[2],"b":1}', "Cookie": "n=%7B%22a%22%3A%5B2%5D%2C%22b%22%3A1%7D"}


REFUSED = [
    ({"in": "query", "style": "form", "explode": True}, [LIST]),
    ({"in": "query", "style": "form", "explode": False}, {"x": {}}),
    ({"in": "query", "style": "deepObject"}, {"x]": 1}),
    ({"in": "query", "style": "deepObject"}, {"x": None}),
    ({"in": "query", "style": "form", "explode": True}, {"fixed": 1}),
    ({"in": "query", "style": "form", "explode": True}, {"FIXED[x]": 1}),
    ({"in": "query", "style": "form", "explode": True}, {"key": 1}),
    ({"in": "path", "style": "simple"}, []),
    ({"in": "path", "style": "simple"}, ["a", ".."]),
    ({"in": "path", "style": "label"}, "."),
    ({"in": "path", "style": "label"}, ""),
    ({"in": "path", "style": "matrix"}, {}),
    ({"in": "header", "name": "X", "style": "simple"}, ["a,b"]),
    ({"in": "header", "name": "X", "style": "simple", "explode": True}, {"a=": "b"}),
    ({"in": "header", "name": "X", "style": "simple"}, ["a\r\nb"]),
    ({"in": "cookie", "name": "x", "style": "form", "explode": False}, [{}]),
]


@pytest.mark.parametrize(("place", "value"), REFUSED)
def test_a_value_that_a_style_cannot_write_is_refused(place, value):
    url = "https://desk.example/api" + ("/{a}" if place["in"] == "path" else "") + "?fixed=1"
    credential = {"name": "desk", "query": "key"}
    with pytest.raises(ValueError, match=r"argument|header"):
        encoded({"a": place}, {"a": value}, url=url, credential=credential)


def test_two_objects_bring_no_name_twice():
    places = {name: {"in": "query", "style": "form", "explode": True} for name in "ab"}
    assert encoded(places, {"a": {"x": 1}, "b": {"y": 1}}).url.endswith("?x=1&y=1")
    with pytest.raises(ValueError, match="`b`"):
        encoded(places, {"a": {"x": 1}, "b": {"X": 1}})


TEXTS = st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())


@given(st.sampled_from(["form", "spaceDelimited", "pipeDelimited", "deepObject"]), st.booleans(), TEXTS)
def test_no_text_leaves_its_place_in_the_query(style, explode, value):
    try:
        found = query(value, style, explode=explode)
    except ValueError:
        return
    assert parse_url(f"https://desk.example/?{found}").target == f"/?{found}"
    pairs = parse_qsl(found, keep_blank_values=True, strict_parsing=bool(found))
    count = len(value) if not isinstance(value, str) and (style == "deepObject" or (explode and style == "form")) else 1
    if not isinstance(value, dict) or style in {"form", "deepObject"}:
        assert len(pairs) <= max(count, len(value) if explode else 1)


@given(st.sampled_from(["simple", "label", "matrix"]), st.booleans(), TEXTS)
def test_no_text_leaves_its_segment_of_the_path(style, explode, value):
    try:
        found = encoded({"p": {"in": "path", "style": style, "explode": explode}}, {"p": value})
    except ValueError:
        return
    assert parse_url(found.url).target.count("/") == 2


# --- bodies -----------------------------------------------------------------------------------------------------

FORM = {"type": "application/x-www-form-urlencoded"}
PARTS = {"type": "multipart/form-data"}


def test_a_form_has_a_pair_for_each_member():
    places = {"a": "body", "b": "body:b b", "c": {"in": "body", "style": "deepObject"}, "d": "body", "e": "body"}
    values = {"a": LIST, "b": "x=1&", "c": {"k": [1]}, "d": {"z": 1, "y": 2}, "e": None}
    found = encoded(places, values, body=FORM)

    assert found.headers == {"Content-Type": FORM["type"]}
    assert found.body == b"a=a&a=b&b%20b=x%3D1%26&c%5Bk%5D%5B0%5D=1&d=%7B%22y%22%3A2%2C%22z%22%3A1%7D"


def test_a_member_of_a_form_brings_no_name_of_another():
    places = {"a": {"in": "body", "style": "form", "explode": True}, "b": "body"}
    assert encoded(places, {"a": {"x": 1}}, body=FORM).body == b"x=1"
    with pytest.raises(ValueError, match="`a`"):
        encoded(places, {"a": {"b": 1}}, body=FORM)


def test_parts_are_the_same_bytes_for_the_same_arguments():
    places = {"f": {"in": "body", "encoding": "base64", "content": "image/png"}, "j": "body", "t": "body"}
    values = {"f": base64.b64encode(b"\x00\xff").decode(), "j": [{"a": 1}, 2], "t": "ü"}
    found, again = (encoded(places, values, body=PARTS) for _ in range(2))

    boundary = found.headers["Content-Type"].removeprefix("multipart/form-data; boundary=")
    assert found == again
    parts = found.body.split(f"--{boundary}".encode())
    assert parts == [
        b"",
        b'\r\nContent-Disposition: form-data; name="f"; filename="f"\r\nContent-Type: image/png\r\n\r\n\x00\xff\r\n',
        b'\r\nContent-Disposition: form-data; name="j"\r\nContent-Type: application/json\r\n\r\n{"a":1}\r\n',
        b'\r\nContent-Disposition: form-data; name="j"\r\n\r\n2\r\n',
        b'\r\nContent-Disposition: form-data; name="t"\r\n\r\n\xc3\xbc\r\n',
        b"--\r\n",
    ]


@given(st.dictionaries(st.sampled_from("ab"), st.text() | st.lists(st.text(), max_size=3), min_size=1))
def test_a_boundary_is_in_no_part(values):
    found = encoded(dict.fromkeys("ab", "body"), values, body=PARTS)
    boundary = found.headers["Content-Type"].removeprefix("multipart/form-data; boundary=").encode()
    parts = sum(len(value) if isinstance(value, list) else 1 for value in values.values())
    assert found.body.count(b"--" + boundary) == parts + 1


@pytest.mark.parametrize(
    ("kind", "place", "value", "body"),
    [
        ("application/merge-patch+json", "whole_body", {"b": None, "a": 1}, b'{"a":1,"b":null}'),
        ("text/csv", "whole_body", "a;ü", "a;ü".encode()),
        ("application/pdf", {"in": "whole_body", "encoding": "base64"}, "AP8=", b"\x00\xff"),
        (FORM["type"], "whole_body", {"a": ["x", "y"]}, b"a=x&a=y"),
    ],
)
def test_a_whole_body_is_written_by_its_media_type(kind, place, value, body):
    found = encoded({"w": place}, {"w": value}, body={"type": kind})
    assert (found.headers["Content-Type"], found.body) == (kind, body)


def test_an_optional_body_is_left_out_where_no_argument_of_it_is_given():
    optional = {"type": "application/json", "optional": True}
    assert encoded({"a": "body"}, {}, body=optional).body is None
    assert encoded({"a": "body"}, {"a": 1}, body=optional).body == b'{"a":1}'
    assert encoded({"a": "body"}, {}).body == b"{}"


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("application/pdf", {"in": "whole_body", "encoding": "base64"}, "not base64"),
        ("application/pdf", {"in": "whole_body", "encoding": "base64"}, 7),
        ("text/plain", "whole_body", {"a": 1}),
        (FORM["type"], "whole_body", "a=1"),
        (PARTS["type"], {"in": "body", "name": 'a"b'}, "x"),
        (PARTS["type"], {"in": "body", "name": "a\r\nb"}, "x"),
    ],
)
def test_a_value_that_is_no_such_body_is_refused(kind, place, value):
    with pytest.raises(ValueError, match="argument `w`"):
        encoded({"w": place}, {"w": value}, body={"type": kind})


# --- what a manifest may say ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "more", "said"),
    [
        ({"in": "query", "style": "matrix"}, {}, "as the style in query"),
        ({"in": "header", "name": "X", "style": "form"}, {}, "as the style in header"),
        ({"in": "query", "content": "text/csv"}, {}, "as the content in query"),
        ({"in": "query", "content": "application/*"}, {}, "expected a media type"),
        ({"in": "query", "style": "form", "content": "application/json"}, {}, "and no style"),
        ({"in": "query", "encoding": "base64"}, {}, "encoding only in a body"),
        ({"in": "query", "stile": "form"}, {}, "unknown field"),
        ({"in": "body", "style": "form"}, {}, "a style only in"),
        ({"in": "body", "encoding": "base64"}, {}, "neither content nor encoding"),
        ({"in": "body", "encoding": "base64"}, {"body": FORM}, "an encoding only in"),
        ({"in": "whole_body", "encoding": "base64"}, {}, "a body of bytes"),
        ("body", {"body": {"type": "text/plain"}}, "expected whole_body"),
        ("body", {"body": {"type": "json"}}, "body"),
        ("query", {"credentials": []}, "length"),
        ("query", {"credential": {"name": "a", "header": "X"}, "credentials": [{"name": "b", "header": "Y"}]}, "both"),
        ("query", {"credentials": [{"name": "a", "header": "X"}, {"name": "b", "header": "x"}]}, "place of its own"),
        ("query", {"credentials": [{"name": "a", "basic_user": ""}, {"name": "b", "header": "authorization"}]}, "own"),
        ("cookie:sid", {"credential": {"name": "a", "cookie": "sid"}}, "not the credential's"),
        ("query", {"credential": {"name": "a", "cookie": "s;d"}}, "cookie"),
        ("query", {"credential": {"name": "a", "cookie": "sid", "header": "X"}}, "exactly one"),
    ],
)
def test_what_does_not_go_together_is_refused(place, more, said):
    with pytest.raises(CallerError) as refused:
        declared({"a": place}, **more)
    assert said in refused.value.message
