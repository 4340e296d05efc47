"""The daemon's identity: one Ed25519 key in the vault, named by its `did:key`.

did:key Method v0.9: multibase base58btc (`z`) of the multicodec prefix 0xed01 and the 32-byte public key (RFC 8032).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from briefcase.errors import ConfigError
from briefcase.ports import Secrets

KEY_NAME: Final = "ed25519"
KEY_BYTES: Final = 32

_DID_KEY: Final = "did:key:z"
_ED25519_PUB: Final = b"\xed\x01"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MAX_DID_CHARS: Final = 128


class Identity:
    """Signs as the daemon. The key never leaves the object.

    Args:
        seed: the 32-byte private key.

    Raises:
        ConfigError: the seed has another length.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise ConfigError(f"expected an identity key of {KEY_BYTES} bytes in the vault, got {len(seed)}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.did = encode_did_key(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of a message."""
        return self._key.sign(message)


async def load_identity(secrets: Secrets) -> Identity:
    """Read the identity key, or make it at the first start.

    Args:
        secrets: the vault's `identity` compartment.

    Raises:
        ConfigError: what is there is no Ed25519 key, or the vault does not open.
        StoreError: the vault failed.
    """
    seed = await secrets.get(KEY_NAME)
    if seed is None:
        seed = Ed25519PrivateKey.generate().private_bytes_raw()
        await secrets.put(KEY_NAME, seed)
    return Identity(seed)


def verify_signature(did: str, message: bytes, signature: bytes) -> bool:
    """Whether a signature is that of the key a `did:key` names. False for a DID that names no Ed25519 key."""
    public_key = decode_did_key(did)
    if public_key is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


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
