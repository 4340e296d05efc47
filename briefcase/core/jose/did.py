"""`did:key` for Ed25519 (did:key Method v0.9): a name from which anyone can verify a signature.

Multibase base58btc (`z`) of the multicodec prefix 0xed01 and the 32-byte public key (RFC 8032).
"""

from __future__ import annotations

from typing import Final

KEY_BYTES: Final = 32

_DID_KEY: Final = "did:key:z"
_ED25519_PUB: Final = b"\xed\x01"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MAX_DID_CHARS: Final = 128


def encode_did_key(public_key: bytes) -> str:
    """The `did:key` of a 32-byte Ed25519 public key."""
    number = int.from_bytes(_ED25519_PUB + public_key)  # its first byte is never zero: no leading `1`
    digits = []
    while number:
        number, digit = divmod(number, len(_BASE58))
        digits.append(_BASE58[digit])
    return _DID_KEY + "".join(reversed(digits))


def decode_did_key(did: str) -> bytes | None:
    """The 32-byte Ed25519 public key a `did:key` names, or None where it names none."""
    if not did.startswith(_DID_KEY) or len(did) > _MAX_DID_CHARS:
        return None
    number = 0
    for char in did[len(_DID_KEY) :]:
        digit = _BASE58.find(char)
        if digit < 0:
            return None
        number = number * len(_BASE58) + digit
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    public_key = raw.removeprefix(_ED25519_PUB)
    return public_key if len(raw) == len(_ED25519_PUB) + KEY_BYTES and len(public_key) == KEY_BYTES else None
