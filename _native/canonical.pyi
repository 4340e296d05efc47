"""Canonical bytes of JSON values (RFC 8785)."""

from collections.abc import Mapping

from briefcase.model.types import JsonValue

def canonical(value: JsonValue) -> bytes:
    """The RFC 8785 bytes of a JSON value: equal values, equal bytes.

    Args:
        value: str, int within ±(2^53-1), finite float, bool, None, list, and dict with str keys, at most 128 deep.

    Raises:
        TypeError: a value of another type, or a key that is no string; the message names its path.
        ValueError: an integer beyond ±(2^53-1), NaN, an infinity, a lone surrogate, or nesting past the bound.
    """

def canonical_event(event: Mapping[str, object]) -> bytes:
    """The RFC 8785 bytes of a receipt's event: as `canonical`, of a dict, refusing floats (TypeError)."""
