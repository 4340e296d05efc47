"""Reading an answer of the daemon: its bytes become the noun's struct here, or one error that names the field."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from briefcase.model.errors import BriefcaseError

MAX_TOLD_CHARS: Final = 200
HINT: Final = "does the daemon run the version that this program is of? see `briefcase identity show`"

_T = TypeVar("_T")
Kind: TypeAlias = type[_T] | msgspec.json.Decoder[_T]  # a decoder where a document is one of several structs

_decoders: Final[dict[object, msgspec.json.Decoder[Any]]] = {}
_MISSING: Final = re.compile(r"Object missing required field `([^`]++)`(?: - at `\$\.?([^`]*+)`)?")
_PLACED: Final = re.compile(r"(.+?) - at `(?:key in )?\$\.?([^`]*+)`", re.DOTALL)


def read_answer(body: bytes, kind: Kind[_T], endpoint: str) -> _T:
    """Read one answer.

    Args:
        body: its bytes.
        kind: what the endpoint answers.
        endpoint: method and path, for the error.

    Raises:
        BriefcaseError: it is no such document (`unexpected_answer`): not JSON, a promised field missing, or a field of
            another type.
    """
    decoder = kind if isinstance(kind, msgspec.json.Decoder) else _decoder(kind)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _unexpected(endpoint, _problem(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError):  # no JSON, or text that is no UTF-8
        raise _unexpected(endpoint, "expected JSON, got something else") from None


def _decoder(kind: type[_T]) -> msgspec.json.Decoder[_T]:
    """A struct's decoder, made once."""
    found = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = msgspec.json.Decoder(kind)
    return found


def _problem(told: str) -> str:
    """What msgspec found, as a sentence about a field."""
    missing, placed = _MISSING.fullmatch(told), _PLACED.fullmatch(told)
    if missing is not None:
        return f"expected the field `{'.'.join(filter(None, (missing[2], missing[1])))}`, got none"
    if placed is not None and placed[2]:
        return f"field `{placed[2]}`: {placed[1].lower()}"
    return told.lower()


def _unexpected(endpoint: str, problem: str) -> BriefcaseError:
    shown = problem if len(problem) <= MAX_TOLD_CHARS else f"{problem[:MAX_TOLD_CHARS]}…"
    return BriefcaseError(f"answer of `{endpoint}`: {shown}", code="unexpected_answer", hint=HINT)
