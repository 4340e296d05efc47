"""When two URLs name the same resource: the `htu` comparison of RFC 9449 section 4.3, step 9.

Both sides are brought to one spelling by the syntax- and scheme-based normalisation of RFC 3986 sections 6.2.2 and
6.2.3; query and fragment are left out. What a reader could take in two ways has no normal form and equals nothing:
userinfo, backslashes, control characters, spaces, characters that are not ASCII, a dangling `%`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MAX_URL_CHARS: Final = 2_048

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<path>/[!$&-;=@-Z_a-z~%]*)?"  # RFC 3986 section 3.3: pchar and `/`
    r"(?:\?[!\"$-~]*)?(?:#[!-~]*)?",
    re.IGNORECASE,
)
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


@lru_cache(maxsize=1024)
def normal_url(url: str) -> str | None:
    """The one spelling of an `http` or `https` URL without query and fragment, or None where it has none.

    Args:
        url: an absolute URL of at most `MAX_URL_CHARS`.
    """
    if len(url) > MAX_URL_CHARS:
        return None
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host, port = match["scheme"].lower(), match["host"].lower(), (match["port"] or "").lstrip("0")
    path = _ESCAPE.sub(_normal_escape, match["path"] or "/")
    if "\0" in path:
        return None
    authority = host if port in {"", _DEFAULT_PORTS[scheme]} else f"{host}:{port}"
    return f"{scheme}://{authority}{_without_dots(path)}"


def _normal_escape(match: re.Match[str]) -> str:
    digits = match[1]
    if digits is None:
        return "\0"  # a `%` without two digits: no path may hold this, so the caller refuses it
    char = chr(int(digits, 16))
    return char if char in _UNRESERVED else f"%{digits.upper()}"


def _without_dots(path: str) -> str:
    """Remove dot segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
