"""JSON pointers (RFC 6901): their tokens, and the walk along one. A `#` before the first `/` is no token."""

from __future__ import annotations

import re
from typing import Final

from briefcase.model.types import JsonValue

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,15}")  # section 4


class NowhereError(LookupError):
    """A pointer leads nowhere in its document."""


def tokens_of(pointer: str) -> list[str]:
    """The tokens of a pointer, unescaped, from the root on."""
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def token_of(name: str) -> str:
    """A name as a token of a pointer (section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def value_at(root: JsonValue, pointer: str) -> JsonValue:
    """What a pointer leads to.

    Raises:
        NowhereError: it leads nowhere.
    """
    value = root
    for token in tokens_of(pointer):
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            raise NowhereError(pointer)
    return value
