"""Canonical bytes: the one form of a JSON value that is hashed, compared, approved and sent (RFC 8785, JCS)."""

from __future__ import annotations

import hashlib

from briefcase._native.canonical import canonical
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonValue


def canonical_bytes(value: JsonValue) -> bytes:
    """Write a JSON value canonically: equal values have equal bytes.

    Args:
        value: strings, integers within ±(2^53-1), finite floats, booleans, nulls, lists and string-keyed
            dictionaries, at most 128 deep.

    Raises:
        CallerError: the value has no canonical form (a lone surrogate, NaN, an integer that is not exact everywhere,
            nesting past the bound); the message names its path.
        TypeError: the value is no JSON value: a fault of the program, not of a caller.
    """
    try:
        return canonical(value)
    except ValueError as error:
        raise CallerError(str(error)) from None


def digest_hex(value: JsonValue) -> str:
    """SHA-256 of the canonical bytes, in hexadecimal.

    Raises:
        CallerError: as `canonical_bytes`.
        TypeError: as `canonical_bytes`.
    """
    return hashlib.sha256(canonical_bytes(value)).hexdigest()
