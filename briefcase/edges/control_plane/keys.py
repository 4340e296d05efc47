"""A control plane's key: it signs bundles and their siblings, and names the key that comes after it."""

from __future__ import annotations

import base64

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from briefcase.core.fleet.bundles import PolicyBundle, PolicyKey, signed_bytes
from briefcase.core.fleet.envelopes import KEYS, Envelope, EnvelopeSignature, NextKey, pae
from briefcase.core.jose.base64url import encode_base64url
from briefcase.model.types import format_rfc3339


class SigningKey:
    """An Ed25519 key (RFC 8032).

    Args:
        seed: its private half, 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_b64: PolicyKey = encode_base64url(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of a message."""
        return self._key.sign(message)

    def sign_bundle(self, bundle: PolicyBundle) -> tuple[bytes, bytes]:
        """The bytes of a bundle that are signed, and the signature."""
        message = signed_bytes(bundle)
        return message, self.sign(message)

    def seal(self, payload_type: str, payload: msgspec.Struct) -> Envelope:
        """A sibling of a bundle, signed by itself (DSSE, `core/fleet/envelopes.py`)."""
        message = msgspec.json.encode(payload)
        signature = EnvelopeSignature(base64.b64encode(self.sign(pae(payload_type, message))).decode())
        return Envelope(payload=base64.b64encode(message).decode(), payload_type=payload_type, signatures=[signature])

    def name(self, next_b64: PolicyKey, issued_us: int) -> Envelope:
        """The word that another key signs after this one (the sibling `keys`)."""
        return self.seal(KEYS, NextKey(next_b64, format_rfc3339(issued_us)))
