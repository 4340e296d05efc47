"""What a server says when it refuses a request for its credential: `WWW-Authenticate`, read strictly and bounded.

RFC 9110 section 11.6.1 (the grammar), RFC 6750 section 3 and RFC 9449 section 7.1 (the schemes), RFC 9728 section 5.1
(`resource_metadata`). What is not as the grammar says is no challenge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from briefcase.model.identifiers import FIELD_NAME_CHAR

MAX_HEADER_CHARS: Final = 8_192
MAX_SCOPE_CHARS: Final = 2_048
SCHEMES: Final = ("dpop", "bearer")  # the first of these that is there counts
INSUFFICIENT_SCOPE: Final = "insufficient_scope"
USE_NONCE: Final = "use_dpop_nonce"

_WORD: Final = rf"{FIELD_NAME_CHAR}+"  # a token of RFC 9110 section 5.6.2
_SCHEME: Final = re.compile(rf"({_WORD})(?: +|$|(?= *,))")
_PARAM: Final = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:({_WORD})|"((?:[^"\\]|\\.)*)")[ \t]*(?=,|$)')
_ESCAPED: Final = re.compile(r"\\(.)")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")  # RFC 6749 section 3.3


class Challenge(msgspec.Struct, frozen=True):
    """What of a challenge is acted upon; empty where it does not say."""

    error: str = ""
    scope: str = ""
    resource_metadata: str = ""


def challenge_in(headers: Mapping[str, str]) -> Challenge | None:
    """The challenge of an answer, or None where there is none for a scheme we have.

    Args:
        headers: the answer's, names in lower case.
    """
    found = dict(reversed(parse_challenges(headers.get("www-authenticate", ""))))  # of the same scheme the first counts
    for scheme in SCHEMES:
        params = found.get(scheme)
        if params is not None:
            scope = params.get("scope", "")
            return Challenge(
                params.get("error", ""), scope if is_scope(scope) else "", params.get("resource_metadata", "")
            )
    return None


def parse_challenges(value: str) -> list[tuple[str, dict[str, str]]]:
    """The challenges of a field value, in order: scheme and parameters, names in lower case.

    What comes after something that is not as the grammar says is not read; of a parameter given twice, neither is kept.
    """
    challenges: list[tuple[str, dict[str, str]]] = []
    repeated: set[str] = set()
    at, value = 0, value[:MAX_HEADER_CHARS]
    while at < len(value):
        if value[at] in " \t,":
            at += 1
            continue
        param = _PARAM.match(value, at)
        if param is not None and challenges:
            params, name = challenges[-1][1], param[1].lower()
            if name in params or name in repeated:
                repeated.add(name)
                params.pop(name, None)
            else:
                params[name] = param[2] if param[3] is None else _ESCAPED.sub(r"\1", param[3])
            at = param.end()
            continue
        scheme = _SCHEME.match(value, at)
        if scheme is None:
            break
        challenges.append((scheme[1].lower(), {}))
        repeated.clear()
        at = scheme.end()
    return challenges


def is_scope(text: str) -> bool:
    """Whether a text is a list of scopes (RFC 6749 section 3.3) of a length that is sent."""
    return len(text) <= MAX_SCOPE_CHARS and _SCOPE.fullmatch(text) is not None


def union_of(*scopes: str) -> str:
    """All scopes that are named, each once, in the order they came."""
    return " ".join(dict.fromkeys(word for scope in scopes for word in scope.split()))
