"""Where an argument goes, as a manifest declares it: a word, or an object where the word alone does not say how.

arguments = { number = "path", tags = { in = "query", style = "pipeDelimited", explode = false } }
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from briefcase.adapters.tools.bodies import FORM_URLENCODED, JSON, MULTIPART, check_media_type, kind_of
from briefcase.adapters.tools.request import BODY, COOKIE, HEADER, PATH, QUERY, WHOLE_BODY, Place, parse_place
from briefcase.adapters.tools.styles import FORM, PATH_STYLES, QUERY_STYLES, SIMPLE

_Name = Annotated[str, msgspec.Meta(max_length=256)]

_STYLES: Final[Mapping[str, tuple[str, ...]]] = {
    PATH: PATH_STYLES, QUERY: QUERY_STYLES, HEADER: (SIMPLE,), COOKIE: (FORM,), BODY: QUERY_STYLES, WHOLE_BODY: (),
}  # fmt: skip


class Placed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"kind": "in"}):
    """An argument's place with its style, or with what its value is written as.

    `content` is `application/json` in a path, query, header or cookie; in a form or a part, the member's media type.
    With `encoding = "base64"` the argument has bytes in base64, and the bytes are sent.
    """

    kind: Literal["path", "query", "header", "cookie", "body", "whole_body"]
    name: _Name = ""
    style: _Name = ""
    explode: bool | None = None
    content: _Name = ""
    encoding: Literal["", "base64"] = ""


def place_of(argument: str, declared: str | Placed) -> Place:
    """Read where an argument goes.

    Raises:
        ValueError: it is none of the places there are, or its style is none of that place.
    """
    if isinstance(declared, str):
        return parse_place(argument, declared)
    plain = parse_place(argument, f"{declared.kind}:{declared.name}" if declared.name else declared.kind)
    style = declared.style
    if style and style not in _STYLES[plain.kind]:
        raise ValueError(f"expected one of {list(_STYLES[plain.kind])} as the style in {plain.kind}, got `{style}`")
    if declared.content:
        check_media_type(declared.content)
        if style or (plain.kind != BODY and kind_of(declared.content) != JSON):
            raise ValueError(f"expected {JSON} as the content in {plain.kind}, and no style, got `{declared.content}`")
    if declared.encoding and plain.kind not in {BODY, WHOLE_BODY}:
        raise ValueError(f"expected an encoding only in a body, got one in {plain.kind}")
    explode = style == FORM if declared.explode is None else declared.explode  # OpenAPI 3.1 section 4.8.12.2
    return msgspec.structs.replace(
        plain, style=style, explode=explode, content=declared.content, is_base64=bool(declared.encoding)
    )


def check_places(places: Mapping[str, Place], media_type: str, *, has_body: bool) -> None:
    """Check that places go together.

    Args:
        places: of each argument.
        media_type: of the body.
        has_body: whether the method has one.

    Raises:
        ValueError: two are the same, or the body is not to be made of them.
    """
    elsewhere = [
        (place.kind, place.name.lower() if place.kind == HEADER else place.name)
        for place in places.values()
        if place.kind != PATH
    ]
    if len(set(elsewhere)) != len(elsewhere):
        raise ValueError("expected each place once")
    kinds = {place.kind for place in places.values()}
    if not has_body and kinds & {BODY, WHOLE_BODY}:
        raise ValueError("expected no body with this method")
    if kinds >= {BODY, WHOLE_BODY}:
        raise ValueError("expected body or whole_body, got both")
    kind = kind_of(media_type)
    if BODY in kinds and not kind:
        raise ValueError(f"expected whole_body with the media type `{media_type}`")
    for place in places.values():
        _check_body_place(place, kind)


def _check_body_place(place: Place, kind: str) -> None:
    """A style is of a form, content of a form or a part, and bytes are of a part or of a body that is neither."""
    if place.kind == WHOLE_BODY and place.is_base64 and kind:
        raise ValueError(f"expected an encoding only with a body of bytes, got `{kind}`")
    if place.kind != BODY:
        return
    if place.style and kind != FORM_URLENCODED:
        raise ValueError(f"expected a style only in `{FORM_URLENCODED}`, got `{place.style}`")
    if (place.content or place.is_base64) and kind == JSON:
        raise ValueError("expected neither content nor encoding in a member of JSON")
    if place.is_base64 and kind != MULTIPART:
        raise ValueError(f"expected an encoding only in `{MULTIPART}`")
