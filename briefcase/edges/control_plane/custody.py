"""The keys that a control plane keeps for devices (`remote-signer`), each derived from one secret and the device's id.

A key is P-256, by HKDF-SHA256 (RFC 5869): the secret is its pseudorandom key, and 48 bytes of output, taken modulo the
order less one, are the private scalar (FIPS 186-5, A.2.1). The secret was extracted from the first signing key, which
cannot be found from it: so devices keep their keys when the signing key becomes another, and that one can be destroyed.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from briefcase.core.jose.base64url import encode_base64url

SECRET_BYTES: Final = 32
_ORDER: Final = (
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256, SP 800-186 section 3.2.1.3
)
_SCALAR_BYTES: Final = 48
_COORDINATE_BYTES: Final = 32
_LABEL: Final = b"briefcase control plane remote signer\n"


class Custody:
    """Every device's key in custody.

    Args:
        secret: gives 32 bytes, as `extract_secret` does, of the key file as it is now.
    """

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret

    def key_of(self, device: UUID) -> RemoteKey:
        """The key that is kept for a device."""
        derived = HKDFExpand(hashes.SHA256(), _SCALAR_BYTES, _LABEL + device.bytes).derive(self._secret())
        scalar = int.from_bytes(derived, "big") % (_ORDER - 1) + 1
        return RemoteKey(device, ec.derive_private_key(scalar, ec.SECP256R1()))


class RemoteKey:
    """A device's key in custody; its id is the device's."""

    def __init__(self, device: UUID, key: ec.EllipticCurvePrivateKey) -> None:
        self.key_id = str(device)
        self._key = key

    @property
    def description(self) -> dict[str, object]:
        """`key_id`, `algorithm` and the public JWK (RFC 7518 section 6.2)."""
        numbers = self._key.public_key().public_numbers()
        x, y = (encode_base64url(value.to_bytes(_COORDINATE_BYTES, "big")) for value in (numbers.x, numbers.y))
        return {
            "key_id": self.key_id,
            "algorithm": "p256",
            "public_jwk": {"kty": "EC", "crv": "P-256", "x": x, "y": y},
        }

    def sign(self, message: bytes) -> bytes:
        """The signature over SHA-256 of a message, as r and s of 32 bytes each."""
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


def extract_secret(seed: bytes) -> bytes:
    """The secret of a control plane whose first signing key has this seed: HKDF-Extract without salt."""
    return hmac.digest(bytes(SECRET_BYTES), seed, "sha256")
