"""Parameters to arguments: those of the path with the operation's own in place of theirs (OpenAPI 3.1 section 4.8.12).

| parameter | becomes |
|---|---|
| `Accept`, `Content-Type`, `Authorization` in a header | nothing, as the specification has it |
| a header that the connection sets (`User-Agent`, `Host`) | nothing, said in the remarks |
| what a security scheme of the operation sends | nothing: the credential alone is put there |
| a style, `content` | the place's style, or JSON |
| what a style cannot write (a list of objects, exploded lists in cookies) | refused where it is required |
| a `{name}` of the path that nothing declares | a text |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from briefcase.core.openapi.document import Node
from briefcase.core.openapi.reading import ARRAY, NESTED, OBJECT, Reading, described, shapes_of
from briefcase.model.identifiers import FIELD_NAME_CHAR
from briefcase.model.types import JsonObject, JsonValue

PLACEHOLDER: Final = re.compile(r"\{([^{}/]+)\}")
_HEADER_NAME: Final = re.compile(rf"{FIELD_NAME_CHAR}{{1,128}}")
_IGNORED_HEADERS: Final = frozenset({"accept", "authorization", "content-type"})
_ALWAYS_SENT: Final = frozenset({"accept-encoding", "connection", "content-length", "host", "user-agent"})
_OF_THE_CONNECTION: Final = _ALWAYS_SENT | {
    "cookie", "expect", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
_STYLES: Final = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}


def add_parameters(reading: Reading, fixed_query: str, secret_places: Iterable[tuple[str, str]]) -> None:
    """Add every parameter.

    Args:
        reading: collects them.
        fixed_query: the query that the path itself has.
        secret_places: where security schemes send their keys: `in` and name.

    Raises:
        CallerError: a required one cannot be carried.
    """
    fixed = {pair.partition("=")[0].casefold() for pair in fixed_query.split("&") if pair}
    secret = {(name.lower() if where == "header" else name, where) for where, name in secret_places}
    parameters = _parameters(reading)
    named = PLACEHOLDER.findall(reading.operation.path)
    for node in sorted(parameters, key=lambda each: each.text("in") != "path"):  # a path's arguments keep their names
        name, where = node.text("name"), node.text("in")
        if _key_of(node) in secret:
            continue
        if where == "path" and name not in named:
            reading.remarks.append(f"the path has no `{{{name}}}`: the parameter is left out")
        elif where == "query" and name.casefold().partition("[")[0] in fixed:
            reading.remarks.append(f"the path itself sets `{name}` in the query: the parameter is left out")
        elif where != "header" or _is_for_a_caller(reading, node, name):
            _add_parameter(reading, node, name, where)
    for name in named:
        if name not in reading.arguments:
            reading.remarks.append(f"nothing declares `{{{name}}}` of the path: it is taken as a text")
            reading.add(name, "path", {"type": "string"}, where="path", required=True)


def _parameters(reading: Reading) -> list[Node]:
    by_key: dict[tuple[str, str], Node] = {}
    for owner in (reading.operation.item, reading.operation.node):
        for each in owner.at("parameters").elements():
            node = reading.document.resolved(each)
            if not node.text("name"):
                reading.lack(node.pointer, "a parameter has no name", required=node.object.get("required") is True)
            else:
                by_key[_key_of(node)] = node
    return list(by_key.values())


def _key_of(node: Node) -> tuple[str, str]:
    """What a parameter stands in place of: the same name in the same place, in a header in either case."""
    name, where = node.text("name"), node.text("in")
    return (name.lower() if where == "header" else name), where


def _is_for_a_caller(reading: Reading, node: Node, name: str) -> bool:
    """Whether a header is an argument; what is none is said."""
    lower = name.lower()
    if lower in _IGNORED_HEADERS:
        if lower == "authorization":
            reading.remarks.append("the header `Authorization` is no argument: write a `credential` for it")
        return False
    if lower in _OF_THE_CONNECTION:
        is_needed = node.object.get("required") is True and lower not in _ALWAYS_SENT
        if is_needed:
            reading.lack(node.pointer, f"the header `{name}` belongs to the connection", required=True)
        reading.remarks.append(f"the header `{name}` is left out: the connection sets it")
        return False
    return True


def _add_parameter(reading: Reading, node: Node, name: str, where: str) -> None:
    is_required = node.object.get("required") is True or where == "path"
    place, schema, problem = None, None, ""
    if where not in _STYLES:
        problem = f"`{where}` is no place of a parameter"
    elif where == "header" and not _HEADER_NAME.fullmatch(name):
        problem = "its name is none of a header"
    elif where == "cookie" and not name.isascii():
        problem = "its name is none of a cookie"
    elif "content" in node.object:
        place, schema, problem = _by_content(reading, node, where, name)
    else:
        schema = reading.schemas.write(node.at("schema"))
        place, problem = _by_style(reading, node, where, name, shapes_of(schema))
    if problem:
        reading.lack(node.pointer, f"the parameter `{name}` in {where}: {problem}", required=is_required)
        return
    reading.add(name, place, described(schema, node.object.get("description")), where=where, required=is_required)


def _by_content(reading: Reading, node: Node, where: str, name: str) -> tuple[JsonValue, JsonValue, str]:
    """Place, schema, and what is wrong with a parameter whose `content` says how it is written."""
    contents = node.at("content").items()
    if len(contents) != 1:
        return None, None, f"expected one media type in `content`, got {len(contents)}"
    kind, media = contents[0]
    base = kind.partition(";")[0].strip().lower()
    if base != "application/json" and not base.endswith("+json"):
        return None, None, f"its `content` is `{kind}`, and only JSON is written there"
    place: JsonObject = {"in": where, **_named(where, name), "content": "application/json"}
    schema = reading.schemas.write(media.at("schema"))
    if isinstance(schema, dict) and schema.get("type") == "string":
        reading.remarks.append(f"`{name}` is sent as JSON, as its `content` says: a text in quotes")
    return place, schema, ""


def _by_style(reading: Reading, node: Node, where: str, name: str, shapes: set[str]) -> tuple[JsonValue, str]:
    """The place of a parameter, and what is wrong with its style."""
    plain_style = _STYLES[where][0]
    style = node.text("style") or plain_style
    explode = node.object.get("explode")
    is_exploded = explode if isinstance(explode, bool) else style == "form"
    if style not in _STYLES[where]:
        return None, f"its style `{style}` is none that can be written there"
    if node.object.get("allowReserved") is True:
        reading.remarks.append(
            f"`{name}` may hold reserved characters as they are: they are percent-encoded all the same"
        )
    plain = where if where == "path" else f"{where}:{name}"
    if style == plain_style and not shapes:
        return plain, ""
    if style == "deepObject":
        if shapes & {ARRAY, NESTED}:
            reading.remarks.append(
                f"`{name}` is written as `{name}[0]=…`, `{name}[a][b]=…`: the specification leaves that open"
            )
    elif NESTED in shapes:
        return None, f"its style `{style}` has no way to write a list or an object inside of another"
    if where == "query" and style == "form" and is_exploded and OBJECT not in shapes:
        return plain, ""
    if where == "cookie" and is_exploded:
        return None, "a list or an object in a cookie has no exploded form"
    return {"in": where, **_named(where, name), "style": style, "explode": is_exploded}, ""


def _named(where: str, name: str) -> JsonObject:
    return {} if where == "path" else {"name": name}
