"""How a value is written at its place: the styles of OpenAPI 3.1 section 4.8.12.3, over RFC 6570.

| style | a list `[a, b]` | an object `{x: 1, y: 2}` | where |
|---|---|---|---|
| `form` | `n=a&n=b`, else `n=a,b` | `x=1&y=2`, else `n=x,1,y,2` | query, form, cookie (one pair alone) |
| `spaceDelimited`, `pipeDelimited` | `n=a%20b`, `n=a%7Cb` | `n=x%201%20y%202` | query, form |
| `deepObject` | `n[0]=a&n[1]=b` | `n[x]=1&n[y]=2`, deeper likewise | query, form |
| `simple` | `a,b` | `x=1,y=2`, else `x,1,y,2` | path, header |
| `label` | `.a.b`, else `.a,b` | `.x=1.y=2`, else `.x,1,y,2` | path |
| `matrix` | `;n=a;n=b`, else `;n=a,b` | `;x=1;y=2`, else `;n=x,1,y,2` | path |

What stands before "else" is with `explode`. The specification leaves lists and deeper objects of `deepObject` open;
they are written as most servers read them. Everything that an argument brings is percent-encoded, so that a delimiter
is never part of a value; a header has no such encoding, and refuses a delimiter in a value. A message names the
argument and never repeats a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias, TypeGuard
from urllib.parse import quote

from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.types import JsonObject, JsonValue

FORM: Final = "form"
SPACE_DELIMITED: Final = "spaceDelimited"
PIPE_DELIMITED: Final = "pipeDelimited"
DEEP_OBJECT: Final = "deepObject"
SIMPLE: Final = "simple"
LABEL: Final = "label"
MATRIX: Final = "matrix"

QUERY_STYLES: Final = (FORM, SPACE_DELIMITED, PIPE_DELIMITED, DEEP_OBJECT)
PATH_STYLES: Final = (SIMPLE, LABEL, MATRIX)
_DELIMITERS: Final = {FORM: ",", SPACE_DELIMITED: "%20", PIPE_DELIMITED: "%7C"}

Written: TypeAlias = Callable[[str, JsonValue], str]


def scalar(argument: str, value: JsonValue) -> str:
    """Write text, a number or a boolean as it is.

    Raises:
        ValueError: the value is something else.
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list | dict):
        raise ValueError(f"argument `{argument}`: expected text, a number or a boolean")
    return canonical_bytes(value).decode()


def quoted(text: str) -> str:
    """Percent-encode all but the unreserved characters (RFC 3986 section 2.3)."""
    return quote(text, safe="")


def quoted_scalar(argument: str, value: JsonValue) -> str:
    """`scalar`, percent-encoded."""
    return quoted(scalar(argument, value))


def is_spread(value: JsonValue, style: str, *, explode: bool) -> TypeGuard[JsonObject]:
    """Whether a value brings names of its own into a query or a form."""
    return explode and style == FORM and isinstance(value, dict)


def query_pairs(argument: str, name: str, value: JsonValue, style: str, *, explode: bool) -> list[tuple[str, str]]:
    """Write a value as pairs of a query or a form, both sides percent-encoded.

    Raises:
        ValueError: the style has no way to write the value.
    """
    if not isinstance(value, list | dict):
        return [(quoted(name), quoted_scalar(argument, value))]
    if style == DEEP_OBJECT:
        return list(_deep(argument, name, value))
    if is_spread(value, style, explode=explode):
        return [(quoted(key), quoted_scalar(argument, each)) for key, each in value.items()]
    if explode and isinstance(value, list):
        return [(quoted(name), quoted_scalar(argument, each)) for each in value]
    items = _flat(argument, value, quoted_scalar)
    return [(quoted(name), _DELIMITERS[style].join(items))] if items else []


def path_text(argument: str, value: JsonValue, style: str, *, explode: bool, written: Written) -> str:
    """Write a value into a path by `simple`, `label` or `matrix`.

    Args:
        argument: its name, which `matrix` writes too.
        value: a scalar, or a list or an object of scalars, with at least one of them.
        style: the style.
        explode: whether each item stands for itself.
        written: how a scalar is written.

    Raises:
        ValueError: the style has no way to write the value.
    """
    if isinstance(value, list | dict) and not value:
        raise ValueError(f"argument `{argument}`: expected at least one item: it is part of the path")
    exploded = [] if not explode or not isinstance(value, list | dict) else _exploded(argument, value, written)
    plain = "" if exploded else _joined(argument, value, written)
    if style == LABEL:
        return "." + (".".join(exploded) if exploded else plain)
    if style == MATRIX:
        if exploded:
            return "".join(
                f";{each}" if isinstance(value, dict) else f";{quoted(argument)}={each}" for each in exploded
            )
        return f";{quoted(argument)}={plain}"
    return ",".join(exploded) if exploded else plain


def header_text(argument: str, value: JsonValue, *, explode: bool) -> str:
    """Write a value by `simple`, as a header has it: nothing encoded.

    Raises:
        ValueError: the value is nested, or an item of it holds a delimiter.
    """
    if not isinstance(value, list | dict):
        return scalar(argument, value)
    return ",".join(_exploded(argument, value, _undelimited) if explode else _flat(argument, value, _undelimited))


def _joined(argument: str, value: JsonValue, written: Written) -> str:
    return ",".join(_flat(argument, value, written)) if isinstance(value, list | dict) else written(argument, value)


def _flat(argument: str, value: list[JsonValue] | JsonObject, written: Written) -> list[str]:
    """Items, or keys and values in turn."""
    if isinstance(value, list):
        return [written(argument, each) for each in value]
    return [written(argument, each) for pair in value.items() for each in pair]


def _exploded(argument: str, value: list[JsonValue] | JsonObject, written: Written) -> list[str]:
    if isinstance(value, list):
        return [written(argument, each) for each in value]
    return [f"{written(argument, key)}={written(argument, each)}" for key, each in value.items()]


def _deep(argument: str, name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, below in value.items():
            if "[" in key or "]" in key:
                raise ValueError(f"argument `{argument}`: expected no bracket in a name of `deepObject`")
            yield from _deep(argument, f"{name}[{key}]", below)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _deep(argument, f"{name}[{index}]", below)
    else:
        yield quoted(name), quoted_scalar(argument, value)


def _undelimited(argument: str, value: JsonValue) -> str:
    text = scalar(argument, value)
    if "," in text or "=" in text:
        raise ValueError(f"argument `{argument}`: expected no `,` and no `=` in what a header lists")
    return text
