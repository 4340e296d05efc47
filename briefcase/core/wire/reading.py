"""Reading an answer of the daemon: its bytes become the noun's struct here, or one error that names the field.

The error names the endpoint and the place in the answer, never what stood there: it may be a secret.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import orjson

from briefcase.model.errors import BriefcaseError
from briefcase.model.types import JsonObject

MAX_TOLD_CHARS: Final = 200
HINT: Final = "does the daemon run the version that this program is of? see `briefcase identity show`"

_T = TypeVar("_T")
Kind: TypeAlias = type[_T] | msgspec.json.Decoder[_T]  # a decoder where a document is one of several structs

_decoders: Final[dict[object, msgspec.json.Decoder[Any]]] = {}
_MISSING: Final = re.compile(r"Object missing required field `([^`]++)`(?: - at `\$\.?([^`]*+)`)?")
_PLACED: Final = re.compile(r"(.+) - at `(?:key in )?\$\.?([^`]*+)`", re.DOTALL)  # the last place: a value may hold one
_QUOTING: Final = re.compile(r"Invalid (?:enum )?value '.*", re.DOTALL)


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
        raise unexpected_answer(endpoint, _problem(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # no JSON, no UTF-8, or nested without end
        raise unexpected_answer(endpoint, "expected JSON, got something else") from None


def read_document(body: bytes, endpoint: str) -> JsonObject:
    """Read one answer as it came, to be handed on whole. Raises as `read_answer`."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise unexpected_answer(endpoint, "expected JSON, got something else") from None
    if not isinstance(document, dict):
        raise unexpected_answer(endpoint, "expected `object`, got another kind of JSON")
    return document


def unexpected_answer(endpoint: str, problem: str) -> BriefcaseError:
    """The error of an answer that is not what its endpoint answers."""
    shown = problem if len(problem) <= MAX_TOLD_CHARS else f"{problem[:MAX_TOLD_CHARS]}…"
    return BriefcaseError(f"answer of `{endpoint}`: {shown}", code="unexpected_answer", hint=HINT)


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
        return f"field `{placed[2]}`: {_without_value(placed[1])}"
    return _without_value(told)


def _without_value(told: str) -> str:
    """What msgspec says of a value; a value that it quotes is the answer's own, and is not said."""
    return "expected a value that is known here, got another one" if _QUOTING.fullmatch(told) else told.lower()
