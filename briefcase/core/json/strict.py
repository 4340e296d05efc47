"""Strict JSON: the one reader for bytes that someone else wrote (RFC 8259, narrowed to RFC 7493, I-JSON).

What two readers could understand differently is refused, never guessed: a duplicate key, a number that is not exact
everywhere, an unpaired surrogate, a byte order mark, any encoding but UTF-8, anything after the value.

Numbers have one reading each, so that equal values have equal canonical bytes (RFC 8785 section 3.2.2.3):

| written | read |
|---|---|
| `1`, `1.0`, `10e-1` | the integer 1 |
| `0`, `-0`, `-0.0` | the integer 0 |
| `1.5`, `1e22` | a float |
| beyond ±(2^53-1) where RFC 8785 writes an integer, below 10^21 in any notation | refused |
| more than the largest double (`1e400`), or so small that it would turn into 0 (`1e-400`) | refused |
| more than 128 characters | refused, before any conversion |

Objects cost memory and time by their number, not by their bytes, so a text has at most `MAX_VALUES` values.

The reading itself is native, one pass over the bytes (docs/adr/0006); here are the rules and what a refusal says.
"""

from __future__ import annotations

import json
from typing import Final

from briefcase._native.strict import NotStrictError, read_strict
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonValue

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 250_000  # 8 MiB of `[]` would be 2.8 million, and two seconds of the loop
MAX_SHOWN_CHARS: Final = 64

_MARK: Final = b"\xef\xbb\xbf"
_MESSAGES: Final = {
    "constant": "expected a JSON value, got `{found}`: numbers must be finite",
    "depth": "expected at most {max_depth} nested arrays and objects, got more",
    "duplicate": "expected each key once, got `{key}` twice in one object",
    "integer": "expected an integer within ±(2^53-1), got `{found}`",
    "integral": "expected an integral number within ±(2^53-1), got `{found}`",
    "lone_surrogate": "expected a surrogate pair, got `{found}` alone at character {at}",
    "long_number": "expected a number of at most 128 characters, got `{found}`",
    "more": "expected one JSON value, got more after it at character {at}",
    "range": "expected a number within the range of a double, got `{found}`",
    "syntax": "expected JSON, got a syntax error at line {line} column {column}: expected {about}",
    "values": "expected at most {max_values} values, got more",
    "underflow": "expected a number a double can tell from 0, got `{found}`",
}


def parse(data: bytes, *, max_depth: int = MAX_DEPTH) -> JsonValue:
    """Read one JSON value, or refuse the whole of it.

    Args:
        data: UTF-8 bytes. Their number is the caller's to bound; the time is linear in it.
        max_depth: how many arrays and objects may be nested in one another.

    Raises:
        CallerError: not one strict JSON value (`bad_request`); the message says what and where.

    Returns:
        The value; integers are exact, and a float never has an integral value below 10^21.
    """
    try:
        value: JsonValue = read_strict(data, max_depth, MAX_VALUES)
    except NotStrictError as error:
        raise _refusal(data, error, max_depth) from None
    return value


def _refusal(data: bytes, fault: NotStrictError, max_depth: int) -> CallerError:
    """What is wrong with a text that was not read; its encoding is told before anything else."""
    if data.startswith(_MARK):
        return CallerError("expected JSON without a byte order mark, got one at byte 0")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return CallerError(f"expected JSON in UTF-8, got an invalid sequence at byte {error.start}")
    if not text:
        return CallerError("expected a JSON value, got nothing")
    at = len(data[: fault.start].decode())
    message = _MESSAGES[fault.problem].format(
        about=fault.about,
        at=at,
        column=at - text.rfind("\n", 0, at),
        found=_shown(text[at:][: fault.end - fault.start]),
        key=_shown(json.dumps(fault.about)),
        line=text.count("\n", 0, at) + 1,
        max_depth=max_depth,
        max_values=f"{MAX_VALUES:,}",
    )
    return CallerError(message)


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
