"""How a call's arguments become an HTTP request: each value is encoded for its place, and cannot leave it.

| place | value | encoding |
|---|---|---|
| `path` | text, number, boolean | percent-encoded whole, `/` included; a dot segment or an empty segment is refused |
| `query`, `query:NAME` | the same, or a list of them | percent-encoded whole; a list repeats the name |
| `header:NAME` | text, number, boolean | visible ASCII as it is; anything else is refused |
| `body`, `body:NAME` | any | a member of one JSON object |
| `whole_body` | any | the JSON body |

An optional argument that is absent or null is left out. JSON is written canonically (RFC 8785), so what is sent is
what was approved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from briefcase.adapters.net.urls import check_headers
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.types import JsonObject, JsonValue

PATH: Final = "path"
QUERY: Final = "query"
HEADER: Final = "header"
BODY: Final = "body"
WHOLE_BODY: Final = "whole_body"

_PLACEHOLDER: Final = re.compile(r"\{([^{}/]+)\}")
_SEPARATOR: Final = re.compile(r"[/\\]")


class Place(msgspec.Struct, frozen=True):
    """Where an argument goes. `name` is what it is called there; empty where nothing is."""

    kind: str
    name: str = ""


class RequestTemplate(msgspec.Struct, frozen=True):
    """A request without its arguments. `path` may hold `{argument}`; `path_prefixes` bound what it becomes."""

    method: str
    origin: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    places: Mapping[str, Place] = {}
    path_prefixes: tuple[str, ...] = ()


class Encoded(msgspec.Struct, frozen=True):
    """A request with its arguments, before any credential."""

    url: str
    headers: Mapping[str, str]
    body: bytes | None


def placeholders_of(path: str) -> list[str]:
    """The names of a path's `{argument}` placeholders, in order."""
    return _PLACEHOLDER.findall(path)


def with_placeholders(path: str, text: str) -> str:
    """The path with every placeholder replaced by the same text."""
    return _PLACEHOLDER.sub(text, path)


def parse_place(argument: str, text: str) -> Place:
    """Read where an argument goes.

    Raises:
        ValueError: it is none of the places of this module.
    """
    kind, colon, name = text.partition(":")
    if kind in {PATH, WHOLE_BODY} and not colon:
        return Place(kind)
    if kind in {QUERY, BODY} and (name or not colon):
        return Place(kind, name or argument)
    if kind == HEADER and name:
        return Place(kind, name)
    raise ValueError(f"expected path, query, query:NAME, header:NAME, body, body:NAME or whole_body, got `{text}`")


def encode_request(template: RequestTemplate, args: JsonObject) -> Encoded:
    """Put arguments into their places.

    Raises:
        ValueError: an argument has no place, or its value does not fit there; the message names the argument and
            never repeats the value.
    """
    query = [template.query] if template.query else []
    headers = dict(template.headers)
    members: JsonObject = {}
    body: bytes | None = None
    for argument, value in args.items():
        place = template.places.get(argument)
        if place is None:
            raise ValueError(f"argument `{argument}` has no place in the request")
        if value is None and place.kind in {QUERY, HEADER}:
            continue
        if place.kind == QUERY:
            values = value if isinstance(value, list) else [value]
            query += [f"{_quoted(place.name)}={_quoted(_scalar(argument, each))}" for each in values]
        elif place.kind == HEADER:
            headers[place.name] = _scalar(argument, value)
        elif place.kind == BODY:
            members[place.name] = value
        elif place.kind == WHOLE_BODY:
            body = canonical_bytes(value)
    if any(place.kind == BODY for place in template.places.values()):
        body = canonical_bytes(members)
    if body is not None:
        headers["Content-Type"] = "application/json"
    check_headers(headers)
    path = _PLACEHOLDER.sub(lambda found: _path_value(found[1], args), template.path)
    check_prefix(path, template.path_prefixes)
    target = f"{path}?{'&'.join(query)}" if query else path
    return Encoded(template.origin + target, headers, body)


def check_prefix(path: str, prefixes: tuple[str, ...]) -> None:
    """Check that a path is at or below one of the prefixes; without prefixes every path is.

    Raises:
        ValueError: it is not.
    """
    if prefixes and not any(path == prefix or path.startswith(prefix.rstrip("/") + "/") for prefix in prefixes):
        raise ValueError(f"expected a path at or below {', '.join(prefixes)}")


def _path_value(argument: str, args: JsonObject) -> str:
    text = _scalar(argument, args.get(argument))
    if any(segment in {"", ".", ".."} for segment in _SEPARATOR.split(text)):
        raise ValueError(f"argument `{argument}`: expected no empty and no dot segment")
    return _quoted(text)


def _scalar(argument: str, value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list | dict):
        raise ValueError(f"argument `{argument}`: expected text, a number or a boolean")
    return canonical_bytes(value).decode()


def _quoted(text: str) -> str:
    """Percent-encoded but for the unreserved characters (RFC 3986 section 2.3)."""
    return quote(text, safe="")
