"""A request body to arguments: the media type that is taken, and one argument a member or one for the whole.

Of several media types the first of JSON, JSON of another name, a form, parts, text and bytes is taken. A body whose
schema is a plain object is taken apart; where it is optional and has members that it needs, each member asks for them.
With GET, HEAD and OPTIONS a body means nothing (RFC 9110 section 9.3.1): it is left out by name.
"""

from __future__ import annotations

import re
from typing import Final

from briefcase.core.openapi.document import Node
from briefcase.core.openapi.reading import Reading, described
from briefcase.model.types import JsonObject, JsonValue

WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
PARTS: Final = "multipart/form-data"
OCTETS: Final = "application/octet-stream"

_MEDIA_TYPE: Final = re.compile(
    r"[a-z0-9!#$&^_.+*-]{1,127}/[a-z0-9!#$&^_.+*-]{1,127}(?:\s*;[ -~]{0,200})?", re.IGNORECASE
)
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)
_RANKS: Final = {JSON: 0, "+json": 1, FORM: 2, PARTS: 3, "text": 4, OCTETS: 5}
_NEVER: Final = 9
_JSON_NAMES: Final = frozenset({JSON, "text/json", "application/x-json"})
_WILD: Final = frozenset({"*/*", "application/*", "application/*+json"})
_TEXT: Final = re.compile(
    r"text/.+|.+\+(?:xml|yaml)|application/(?:xml|yaml|x-yaml|graphql|javascript|x-ndjson|ndjson|jsonl|jwt|jose|sql|csv"
    r"|xml-dtd|x-sh|toml|soap)"
)
_PLAIN_OBJECT: Final = frozenset(
    {"type", "properties", "required", "description", "title", "additionalProperties", "default"}
)
_QUERY_STYLES: Final = frozenset({"form", "spaceDelimited", "pipeDelimited", "deepObject"})


def add_body(reading: Reading) -> JsonObject | None:
    """Add the arguments of an operation's body; gives the manifest's `body`, where it needs one.

    Raises:
        CallerError: the body is required, and cannot be carried.
    """
    entry = reading.operation.node.at("requestBody")
    if entry.value is None:
        return None
    body = reading.document.resolved(entry)
    is_required = body.object.get("required") is True
    if reading.operation.method in WITHOUT_BODY:
        _leave_out(reading, body, required=is_required and not reading.document.is_30)
        return None
    chosen = _chosen(body.at("content"))
    if chosen is None:
        found = ", ".join(f"`{kind}`" for kind, _ in body.at("content").items()) or "of no media type"
        reading.lack(body.pointer, f"its body is {found}", required=is_required)
        return None
    media_type, media = chosen
    if _base(media_type) in {FORM, PARTS} and not _may_be_object(reading.document.resolved(media.at("schema"))):
        problem = f"its body is `{media_type}`, and the schema of it is no object"
        reading.lack(media.pointer, problem, required=is_required)
        return None
    if _base(media_type) in {FORM, PARTS} or _is_json(media_type):
        _add_members(reading, body, media_type, media, required=is_required)
    else:
        _add_whole_text(reading, body, media_type, media, required=is_required)
    if media_type == JSON and is_required:
        return None
    return {"type": media_type, "optional": not is_required}


def _may_be_object(schema: Node) -> bool:
    """Whether a form or parts can be made of a value: they have names."""
    kind = schema.object.get("type", "object")
    return "object" in kind if isinstance(kind, list) else kind == "object"


def _leave_out(reading: Reading, body: Node, *, required: bool) -> None:
    problem = f"a body means nothing with {reading.operation.method}"
    if required:
        reading.lack(body.pointer, problem, required=True)
    reading.remarks.append(f"its body is left out: {problem}")


def _chosen(content: Node) -> tuple[str, Node] | None:
    """The media type to write, and what the document says of it."""
    ranked = []
    for index, (kind, media) in enumerate(content.items()):
        written, rank = _written(kind, media)
        if written:
            ranked.append((rank, index, written, media))
    if not ranked:
        return None
    _, _, written, media = min(ranked, key=lambda each: each[:2])
    return written, media


def _written(kind: str, media: Node) -> tuple[str, int]:
    """The media type as it is sent, and how early it is taken; empty where it cannot be sent."""
    kind = kind.strip()
    base = _base(kind)
    if not _MEDIA_TYPE.fullmatch(kind) or (base.startswith("multipart/") and base != PARTS):
        return "", _NEVER
    if "*" in base:
        return _of_wildcard(base, media)
    if base in _RANKS:
        return PARTS if base == PARTS else kind, _RANKS[base]
    if _is_json(base):
        return kind, _RANKS["+json"]
    return _written_text(kind) if _TEXT.fullmatch(base) else (kind, _RANKS[OCTETS])


def _of_wildcard(base: str, media: Node) -> tuple[str, int]:
    """JSON where anything may be sent, bytes where the schema says so."""
    if base in _WILD:
        is_binary = media.at("schema").object.get("format") == "binary" and base != "application/*+json"
        return (OCTETS, _RANKS[OCTETS]) if is_binary else (JSON, _RANKS["+json"])
    return ("text/plain", _RANKS["text"]) if base == "text/*" else ("", _NEVER)


def _written_text(kind: str) -> tuple[str, int]:
    """Text is sent in UTF-8, so no other charset is taken."""
    charset = _CHARSET.search(kind)
    is_other = charset is not None and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}
    return ("", _NEVER) if is_other else (kind, _RANKS["text"])


def _add_members(reading: Reading, body: Node, media_type: str, media: Node, *, required: bool) -> None:
    schema = reading.schemas.write(media.at("schema"))
    members = schema.get("properties") if isinstance(schema, dict) else None
    needed = schema.get("required", []) if isinstance(schema, dict) else []
    if (
        not isinstance(schema, dict)
        or not isinstance(members, dict)
        or not members
        or not set(schema) <= _PLAIN_OBJECT
        or schema.get("additionalProperties", False) is not False
        or not isinstance(needed, list)
        or not set(map(str, needed)) <= set(members)
    ):
        if not _is_json(media_type) and isinstance(schema, dict) and not schema:
            schema = {"type": "object"}
        text = body.object.get("description")
        reading.add("body", "whole_body", described(schema, text), where="whole", required=required)
        return
    names: list[str] = []
    for name, member in members.items():
        place, written = _member(reading, media_type, media, name, member)
        names.append(reading.add(name, place, written, where="body", required=required and name in needed))
    if needed and not required:
        by_name = dict(zip(members, names, strict=True))
        asked = [by_name[str(name)] for name in needed]
        reading.dependent.update({name: [other for other in asked if other != name] for name in names})


def _member(
    reading: Reading, media_type: str, media: Node, name: str, schema: JsonValue
) -> tuple[JsonValue, JsonValue]:
    """Where a member goes, and its schema: in a form by its encoding, as a part in bytes where it is binary."""
    plain = f"body:{name}"
    encoding = reading.document.resolved(media.at("encoding", name))
    if _is_json(media_type):
        return plain, schema
    content = _base(encoding.text("contentType").partition(",")[0])
    if "*" in content or not _MEDIA_TYPE.fullmatch(content):
        content = ""
    if encoding.at("headers").items():
        reading.uncarried.append(f"the headers of the part `{name}` (at `#{encoding.pointer}`)")
    if _base(media_type) == FORM:
        style, explode = encoding.text("style"), encoding.object.get("explode")
        if style in _QUERY_STYLES or isinstance(explode, bool):
            style = style if style in _QUERY_STYLES else "form"
            is_exploded = explode if isinstance(explode, bool) else style == "form"
            return {"in": "body", "name": name, "style": style, "explode": is_exploded}, schema
        is_json = _is_json(content)
        return {"in": "body", "name": name, "content": content} if is_json else plain, schema
    if _is_binary(media.at("schema"), reading, name):
        return {"in": "body", "name": name, "encoding": "base64", **({"content": content} if content else {})}, (
            _as_base64(schema)
        )
    return {"in": "body", "name": name, "content": content} if content else plain, schema


def _is_binary(schema: Node, reading: Reading, name: str) -> bool:
    """Whether a property is bytes, or a list of them (OpenAPI 3.0.3 section 4.7.14.2, 3.1 section 4.8.14.4)."""
    for owner in (schema, reading.document.resolved(schema)):
        member = reading.document.resolved(owner.at("properties", name))
        if member.text("type") == "array":
            member = reading.document.resolved(member.at("items"))
        found = member.object
        if found.get("format") == "binary" or found.get("type") == "file":
            return True
        if "contentMediaType" in found and "contentEncoding" not in found:
            return True
    return False


def _as_base64(schema: JsonValue) -> JsonValue:
    base64: JsonObject = {"type": "string", "contentEncoding": "base64"}
    if not isinstance(schema, dict):
        return base64
    kept: JsonObject = {key: schema[key] for key in ("title", "description") if key in schema}
    if schema.get("type") == "array":
        return {**kept, "type": "array", "items": base64}
    return {**base64, **kept}


def _add_whole_text(reading: Reading, body: Node, media_type: str, media: Node, *, required: bool) -> None:
    """A body that is text or bytes: one argument, which has bytes in base64."""
    schema = reading.document.resolved(media.at("schema"))
    is_text = _TEXT.fullmatch(_base(media_type)) is not None
    place: JsonValue = "whole_body" if is_text else {"in": "whole_body", "encoding": "base64"}
    plain: JsonObject = {"type": "string"} if is_text else {"type": "string", "contentEncoding": "base64"}
    said = body.text("description") or schema.text("description")
    what = f"the body, {media_type}" if is_text else f"the body, {media_type}, in base64"
    text = f"{said} ({what})" if said else what
    reading.add("body", place, described(plain, text), where="whole", required=required)


def _base(kind: str) -> str:
    return kind.partition(";")[0].strip().lower()


def _is_json(kind: str) -> bool:
    base = _base(kind)
    return base in _JSON_NAMES or base.endswith("+json")
