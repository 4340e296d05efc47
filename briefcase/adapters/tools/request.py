"""How a call's arguments become an HTTP request: each value is encoded for its place, and cannot leave it.

| place | value | encoding |
|---|---|---|
| `path` | text, number, boolean | percent-encoded whole, `/` included; a dot segment or an empty segment is refused |
| `query`, `query:NAME` | the same, or a list of them | percent-encoded whole; a list repeats the name |
| `header:NAME` | text, number, boolean | visible ASCII as it is; anything else is refused |
| `cookie:NAME` | text, number, boolean | percent-encoded whole, in the one `Cookie` header |
| `body`, `body:NAME` | any | a member of the body |
| `whole_body` | any | the body |

A place that is declared with a style writes lists and objects too (`briefcase.adapters.tools.styles`); what a body
becomes by its media type is in `briefcase.adapters.tools.bodies`. An optional argument that is absent or null is left
out, and so is an optional body of which no argument is given. JSON is written canonically (RFC 8785), so what is sent
is what was approved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_plus

import msgspec

from briefcase.adapters.net.urls import check_headers
from briefcase.adapters.tools.bodies import JSON, Member, encode_members, encode_whole
from briefcase.adapters.tools.styles import (
    header_text,
    is_spread,
    path_text,
    query_pairs,
    quoted,
    quoted_scalar,
    scalar,
)
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.types import JsonObject, JsonValue

PATH: Final = "path"
QUERY: Final = "query"
HEADER: Final = "header"
COOKIE: Final = "cookie"
BODY: Final = "body"
WHOLE_BODY: Final = "whole_body"

_BESIDE_THE_BODY: Final = frozenset({QUERY, HEADER, COOKIE})
_PLACEHOLDER: Final = re.compile(r"\{([^{}/]+)\}")
_SEPARATOR: Final = re.compile(r"[/\\]")


class Place(msgspec.Struct, frozen=True):
    """Where an argument goes. `name` is what it is called there; empty where nothing is.

    `style` and `explode` are those of OpenAPI, an empty style the plain one of the kind. `content` is the media type
    that the value is written as, and `is_base64` says that the argument has bytes in base64.
    """

    kind: str
    name: str = ""
    style: str = ""
    explode: bool = True
    content: str = ""
    is_base64: bool = False


class RequestTemplate(msgspec.Struct, frozen=True):
    """A request without its arguments. `path` may hold `{argument}`; `path_prefixes` bound what it becomes.

    `media_type` is that of a body, which is sent without an argument of its own too unless `is_body_optional`.
    `query_names` are those, as `parameter_key` has them, that no key of an argument may be taken for.
    """

    method: str
    origin: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    places: Mapping[str, Place] = {}
    path_prefixes: tuple[str, ...] = ()
    media_type: str = JSON
    is_body_optional: bool = False
    query_names: frozenset[str] = frozenset()

    @property
    def has_members(self) -> bool:
        """Whether arguments become members of the body."""
        return any(place.kind == BODY for place in self.places.values())


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
    if kind in {HEADER, COOKIE} and name:
        return Place(kind, name)
    raise ValueError(
        f"expected path, query, query:NAME, header:NAME, cookie:NAME, body, body:NAME or whole_body, got `{text}`"
    )


def parameter_key(name: str) -> str:
    """What upstreams may take a query parameter's name for: decoded, in either case, `a[]` and `a[b]` as `a`."""
    return unquote_plus(name).casefold().partition("[")[0]


def encode_request(template: RequestTemplate, args: JsonObject) -> Encoded:
    """Put arguments into their places.

    Raises:
        ValueError: an argument has no place, or its value does not fit there; the message names the argument and
            never repeats the value.
    """
    query = [template.query] if template.query else []
    headers = dict(template.headers)
    free: set[str] = set()
    for argument, value in args.items():
        place = template.places.get(argument)
        if place is None:
            raise ValueError(f"argument `{argument}` has no place in the request")
        if value is None or place.kind not in _BESIDE_THE_BODY:
            continue
        if place.kind == QUERY:
            query += _query(template, argument, place, value, free)
        elif place.kind == HEADER:
            headers[place.name] = _header(argument, place, value)
        else:
            pair = f"{quoted(place.name)}={_cookie(argument, place, value)}"
            headers["Cookie"] = f"{headers['Cookie']}; {pair}" if "Cookie" in headers else pair
    body = _body(template, args)
    if body is not None:
        headers["Content-Type"] = body[0]
    check_headers(headers)
    path = _PLACEHOLDER.sub(lambda found: _path_value(template, found[1], args), template.path)
    check_prefix(path, template.path_prefixes)
    target = f"{path}?{'&'.join(query)}" if query else path
    return Encoded(template.origin + target, headers, None if body is None else body[1])


def check_prefix(path: str, prefixes: tuple[str, ...]) -> None:
    """Check that a path is at or below one of the prefixes; without prefixes every path is.

    Raises:
        ValueError: it is not.
    """
    if prefixes and not any(path == prefix or path.startswith(prefix.rstrip("/") + "/") for prefix in prefixes):
        raise ValueError(f"expected a path at or below {', '.join(prefixes)}")


def _query(template: RequestTemplate, argument: str, place: Place, value: JsonValue, free: set[str]) -> list[str]:
    """The pairs of one argument. `free` collects the names that arguments bring themselves, each of them once."""
    name = quoted(place.name)
    if place.content:
        return [f"{name}={quoted(canonical_bytes(value).decode())}"]
    if not place.style:
        values = value if isinstance(value, list) else [value]
        return [f"{name}={quoted_scalar(argument, each)}" for each in values]
    if is_spread(value, place.style, explode=place.explode):
        brought = {parameter_key(key) for key in value}
        if brought & (template.query_names | free):
            raise ValueError(f"argument `{argument}`: expected no name in it that another query parameter has")
        free |= brought
    pairs = query_pairs(argument, place.name, value, place.style, explode=place.explode)
    return [f"{key}={text}" for key, text in pairs]


def _header(argument: str, place: Place, value: JsonValue) -> str:
    if place.content:
        return canonical_bytes(value).decode()
    return header_text(argument, value, explode=place.explode) if place.style else scalar(argument, value)


def _cookie(argument: str, place: Place, value: JsonValue) -> str:
    """A cookie's value (RFC 6265 section 4.2.1): what is percent-encoded holds nothing that ends it."""
    if place.content:
        return quoted(canonical_bytes(value).decode())
    if not place.style:
        return quoted_scalar(argument, value)
    return "".join(text for _, text in query_pairs(argument, place.name, value, place.style, explode=False))


def _body(template: RequestTemplate, args: JsonObject) -> tuple[str, bytes] | None:
    """The content type and the bytes; None where there is no body."""
    members: JsonObject = {}
    for argument, value in args.items():
        place = template.places[argument]
        if place.kind == BODY:
            members[place.name] = value
        elif place.kind == WHOLE_BODY:
            return encode_whole(template.media_type, argument, value, is_base64=place.is_base64)
    if not members and (template.is_body_optional or not template.has_members):
        return None
    if template.media_type == JSON:
        return JSON, canonical_bytes(members)
    places = {place.name: (argument, place) for argument, place in template.places.items() if place.kind == BODY}
    ways = {
        name: Member(place.style, place.explode, place.content, place.is_base64)
        for name, (_, place) in places.items()
        if name in members
    }
    return encode_members(template.media_type, members, {name: own for name, (own, _) in places.items()}, ways)


def _path_value(template: RequestTemplate, argument: str, args: JsonObject) -> str:
    place, value = template.places.get(argument), args.get(argument)
    if place is not None and place.content:
        return _path_scalar(argument, canonical_bytes(value).decode())
    if place is None or not place.style:
        return _path_scalar(argument, value)
    return path_text(argument, value, place.style, explode=place.explode, written=_path_scalar)


def _path_scalar(argument: str, value: JsonValue) -> str:
    text = scalar(argument, value)
    if any(segment in {"", ".", ".."} for segment in _SEPARATOR.split(text)):
        raise ValueError(f"argument `{argument}`: expected no empty and no dot segment")
    return quoted(text)
