"""Tool arguments that are mirrored into HTTP headers: `x-mcp-header` in a tool's schema (2026-07-28, custom headers).

A proxy on the way may route by such a header, so a server that reads the body must find both saying the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.protocol import decode_header_value, encode_header_value
from briefcase.model.identifiers import FIELD_NAME_CHAR
from briefcase.model.types import JsonObject, JsonValue

KEYWORD: Final = "x-mcp-header"
PREFIX: Final = "mcp-param-"
_TOKEN: Final = re.compile(rf"{FIELD_NAME_CHAR}{{1,64}}")
_TYPES: Final = frozenset({"string", "integer", "boolean"})
_INTEGER: Final = re.compile(r"-?\d{1,16}(?:\.0+)?")

ParamHeaders = Mapping[str, tuple[str, ...]]  # the header's name in lower case, and the path of its argument


def param_headers_of(schema: JsonValue) -> ParamHeaders:
    """The headers a tool's schema asks for.

    Raises:
        ValueError: an annotation breaks the specification's rules; the tool must not be offered over HTTP.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path, node in _annotated(schema):
        name = node[KEYWORD]
        if path is None:
            raise ValueError(f"`{KEYWORD}` stands where no argument can be read from")
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError(f"expected `{KEYWORD}` as a header name")
        if node.get("type") not in _TYPES:
            raise ValueError(f"`{KEYWORD}` is for strings, integers and booleans")
        if PREFIX + name.lower() in found:
            raise ValueError(f"`{KEYWORD}` names `{name}` twice")
        found[PREFIX + name.lower()] = path
    return found


def write_param_headers(wanted: ParamHeaders, arguments: JsonObject) -> dict[str, str]:
    """The headers of a call; an argument that is absent or null has none."""
    written = {}
    for header, path in wanted.items():
        value = _value_at(arguments, path)
        if value is not None:
            written[header] = encode_header_value(_text(value))
    return written


def wrong_param_header(wanted: ParamHeaders, headers: Mapping[str, str], arguments: JsonObject) -> str | None:
    """The first header that does not say what the body says, or None."""
    for header, path in wanted.items():
        value, got = _value_at(arguments, path), headers.get(header)
        if value is None:
            if got is not None:
                return header
            continue
        decoded = None if got is None else decode_header_value(got)
        if decoded is None or not _is_equal(decoded, value):
            return header
    return None


def _annotated(schema: JsonValue) -> Iterator[tuple[tuple[str, ...] | None, JsonObject]]:
    """Every annotated subschema, with the path of `properties` that leads there, None where another keyword does."""
    stack: list[tuple[tuple[str, ...] | None, JsonValue]] = [((), schema)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, list):
            stack.extend((None, item) for item in node)
        if not isinstance(node, dict):
            continue
        if KEYWORD in node:
            yield path or None, node
        for keyword, below in node.items():
            if keyword == "properties" and isinstance(below, dict):
                stack.extend((None if path is None else (*path, name), item) for name, item in below.items())
            elif keyword not in {"default", "examples", "const", "enum"}:
                stack.append((None, below))


def _value_at(arguments: JsonObject, path: tuple[str, ...]) -> JsonValue:
    value: JsonValue = arguments
    for name in path:
        value = as_object(value).get(name)
    return value if isinstance(value, str | int) else None


def _text(value: JsonValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_equal(header: str, value: JsonValue) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return _INTEGER.fullmatch(header) is not None and int(header.partition(".")[0]) == value
    return header == _text(value)
