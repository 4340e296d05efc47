"""Base64url without padding (RFC 7515 section 2), read strictly: each value has exactly one spelling."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")


class JoseError(ValueError):
    """A text, token, key or signature is not as its specification has it; the words say what, and hold no secret."""


def encode_base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Read canonical base64url without padding.

    Raises:
        JoseError: another alphabet, padding, an impossible length, or bits set that carry nothing.
    """
    if not _BASE64URL.fullmatch(text):
        raise JoseError("expected base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise JoseError("expected base64url of a possible length") from None
    if len(text) % 4 and encode_base64url(data[-(len(data) % 3) :])[-1] != text[-1]:
        raise JoseError("expected base64url without stray bits")
    return data
