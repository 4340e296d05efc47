"""State that goes out to whoever asked and comes back with their next request: a MAC over its bytes, nothing hidden."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, TypeVar

import msgspec

from briefcase.core.jose.base64url import decode_base64url, encode_base64url

MAX_SEALED_CHARS: Final = 256 << 10
_MAC_BYTES: Final = 32
_T = TypeVar("_T")


def derive_key(secret: bytes, purpose: str) -> bytes:
    """A key of its own for one purpose, from a secret that has more than one."""
    return hmac.new(secret, b"seal\x00" + purpose.encode(), hashlib.sha256).digest()


class Sealer:
    """Seals and opens values with one key. The key's life is the values' life.

    Args:
        key: 32 unpredictable bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, value: msgspec.Struct) -> str:
        """Write a value as opaque text.

        Raises:
            ValueError: the text would be longer than `open` takes.
        """
        body = msgspec.msgpack.encode(value)
        text = encode_base64url(self._mac(body) + body)
        if len(text) > MAX_SEALED_CHARS:
            raise ValueError(f"expected a state of at most {MAX_SEALED_CHARS} characters, got {len(text)}")
        return text

    def open(self, text: object, kind: type[_T]) -> _T | None:
        """Read such text back; None where we did not write it, byte for byte."""
        if not isinstance(text, str) or len(text) > MAX_SEALED_CHARS:
            return None
        try:
            sealed = decode_base64url(text.rstrip("="))  # earlier versions wrote padding
            mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
            return msgspec.msgpack.decode(body, type=kind) if hmac.compare_digest(mac, self._mac(body)) else None
        except (ValueError, msgspec.DecodeError):
            return None

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()
