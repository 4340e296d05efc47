"""The body of a request, by its media type: JSON, a form, `multipart/form-data`, text, or bytes.

| media type | one argument a member (`body`) | the whole of it (`whole_body`) |
|---|---|---|
| JSON (`application/json`, `+json`) | a member of one object | the value |
| `application/x-www-form-urlencoded` | a pair, or several by its style | an object, each member a pair |
| `multipart/form-data` | a part, a list a part for each item | an object, each member a part |
| anything else | | text in UTF-8, or bytes that the argument has in base64 |

JSON is canonical (RFC 8785). In a form and in parts a list without a style repeats its name, and an object is JSON.
The boundary of the parts is made of their digest, so that equal arguments make equal bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from briefcase.adapters.tools.styles import is_spread, query_pairs, quoted, quoted_scalar, scalar
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.types import JsonObject, JsonValue

JSON: Final = "application/json"
FORM_URLENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
OCTETS: Final = "application/octet-stream"

_MEDIA_TYPE: Final = re.compile(
    r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}(?:\s*;[ -~]{0,200})?", re.IGNORECASE
)
_NOT_IN_NAME: Final = re.compile(r'[\x00-\x1f\x7f"\\]')


class Member(msgspec.Struct, frozen=True):
    """How a member of a form, or a part, is written. All empty: by its kind of value."""

    style: str = ""
    explode: bool = True
    content: str = ""
    is_base64: bool = False


_PLAIN: Final = Member()


def kind_of(media_type: str) -> str:
    """JSON, FORM_URLENCODED or MULTIPART, or empty for what is text or bytes."""
    base = media_type.partition(";")[0].strip().lower()
    if base in {JSON, "text/json"} or base.endswith("+json"):
        return JSON
    return base if base in {FORM_URLENCODED, MULTIPART} else ""


def check_media_type(text: str) -> None:
    """Check that a text is one media type, without wildcards.

    Raises:
        ValueError: it is none.
    """
    if not _MEDIA_TYPE.fullmatch(text) or "*" in text.partition(";")[0]:
        raise ValueError(f"expected a media type like `application/json`, got {text[:64]!a}")


def encode_members(
    media_type: str, values: JsonObject, arguments: Mapping[str, str], members: Mapping[str, Member]
) -> tuple[str, bytes]:
    """Write the members of a body.

    Args:
        media_type: of the body.
        values: the value of each member.
        arguments: the name of the argument that each member comes from, for messages; of all members there may be.
        members: how those are written that are not written by their kind of value.

    Raises:
        ValueError: a value does not fit.

    Returns:
        The content type, and the bytes.
    """
    kind = kind_of(media_type)
    if kind == JSON:
        return media_type, canonical_bytes(values)
    if kind == FORM_URLENCODED:
        pairs = [
            pair
            for name, value in values.items()
            for pair in _form_pairs(arguments[name], name, value, members.get(name, _PLAIN), arguments.keys())
        ]
        return media_type, "&".join(f"{name}={value}" for name, value in pairs).encode()
    parts = [
        part
        for name, value in values.items()
        for part in _parts(arguments[name], name, value, members.get(name, _PLAIN))
    ]
    boundary = "briefcase-" + hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]
    marked = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    return f"{MULTIPART}; boundary={boundary}", marked + b"--" + boundary.encode() + b"--\r\n"


def encode_whole(media_type: str, argument: str, value: JsonValue, *, is_base64: bool) -> tuple[str, bytes]:
    """Write the one argument that is the body.

    Raises:
        ValueError: it does not fit.

    Returns:
        The content type, and the bytes.
    """
    kind = kind_of(media_type)
    if kind == JSON:
        return media_type, canonical_bytes(value)
    if kind:
        if not isinstance(value, dict):
            raise ValueError(f"argument `{argument}`: expected an object")
        return encode_members(media_type, value, dict.fromkeys(value, argument), {})
    return media_type, decoded(argument, value) if is_base64 else scalar(argument, value).encode()


def decoded(argument: str, value: JsonValue) -> bytes:
    """The bytes that an argument has in base64 (RFC 4648 section 4).

    Raises:
        ValueError: it is no base64.
    """
    try:
        return base64.b64decode(scalar(argument, value), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"argument `{argument}`: expected base64") from None


def _form_pairs(
    argument: str, name: str, value: JsonValue, member: Member, taken: AbstractSet[str]
) -> list[tuple[str, str]]:
    if value is None:
        return []
    if member.style:
        if is_spread(value, member.style, explode=member.explode) and not value.keys().isdisjoint(taken):
            raise ValueError(f"argument `{argument}`: expected no name in it that another member has")
        return query_pairs(argument, name, value, member.style, explode=member.explode)
    if member.content and kind_of(member.content) == JSON:
        return [(quoted(name), quoted(canonical_bytes(value).decode()))]
    values = value if isinstance(value, list) else [value]
    return [(quoted(name), _form_value(argument, each)) for each in values]


def _form_value(argument: str, value: JsonValue) -> str:
    if isinstance(value, list | dict):
        return quoted(canonical_bytes(value).decode())
    return quoted_scalar(argument, value)


def _parts(argument: str, name: str, value: JsonValue, member: Member) -> list[bytes]:
    """The parts of one member, without what stands between parts (RFC 7578)."""
    if value is None:
        return []
    if _NOT_IN_NAME.search(name):
        raise ValueError(f"argument `{argument}`: expected a part's name without quotes and controls")
    values = value if isinstance(value, list) else [value]
    return [_part(argument, name, each, member) for each in values]


def _part(argument: str, name: str, value: JsonValue, member: Member) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    content = member.content
    if member.is_base64:
        disposition += f'; filename="{name}"'
        content, data = content or OCTETS, decoded(argument, value)
    elif isinstance(value, list | dict) or (content and kind_of(content) == JSON):
        content, data = content or JSON, canonical_bytes(value)
    else:
        data = scalar(argument, value).encode()
    head = f"{disposition}\r\nContent-Type: {content}" if content else disposition
    return head.encode() + b"\r\n\r\n" + data
