"""Devices' keys and signatures on `cryptography`: Ed25519 (RFC 8032) and P-256 over SHA-256 (FIPS 186-5)."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from briefcase.adapters.signers.noise import Responder
from briefcase.core.signers.keys import DeviceAlgorithm, Opened
from briefcase.model.errors import CallerError

ED25519_BYTES: Final = 32
P256_BYTES: Final = (33, 65)  # SEC1, compressed and not
COORDINATE_BYTES: Final = 32

_FIELD: Final = 2**255 - 19
_EIGHTH: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826  # y of two points of order 8
_LOW_ORDER: Final = frozenset({0, 1, _FIELD - 1, _EIGHTH, _FIELD - _EIGHTH})  # the y of every point of order 1, 2, 4, 8


class DeviceKeys:
    """Checks devices' keys, signatures and first messages (`signers.keys.SignerKeys`)."""

    def check_key(self, algorithm: DeviceAlgorithm, key: bytes) -> None:
        """Check a public key before it is kept. Raises as `SignerKeys.check_key`."""
        lengths = (ED25519_BYTES,) if algorithm == "ed25519" else P256_BYTES
        if len(key) not in lengths:
            raise CallerError(
                f"expected a key of {' or '.join(map(str, lengths))} bytes for `{algorithm}`, got {len(key)}",
                code="invalid_signer_pubkey_len",
            )
        try:
            if algorithm == "ed25519":
                _check_order(key)
                Ed25519PublicKey.from_public_bytes(key)
            else:
                ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        except ValueError:
            raise CallerError(f"the key is none of `{algorithm}`", code="invalid_signer_pubkey") from None

    def is_signature(self, algorithm: DeviceAlgorithm, key: bytes, text: bytes, signature: bytes) -> bool:
        """Whether a signature is a key's over a text. False for bytes that are none, too."""
        if algorithm == "ed25519":
            return _is_ed25519(key, text, signature)
        raw = b""
        if len(signature) == 2 * COORDINATE_BYTES:
            r, s = signature[:COORDINATE_BYTES], signature[COORDINATE_BYTES:]
            raw = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        return _is_p256(key, text, signature) or (bool(raw) and _is_p256(key, text, raw))

    def open_message(self, pairing_code: bytes, message: bytes) -> Opened:
        """Read message 1 of a pairing's handshake. Raises as `SignerKeys.open_message`."""
        responder = Responder(pairing_code)
        return Opened(responder.read_message(message), responder.write_message)


def _check_order(key: bytes) -> None:
    """Raises ValueError for a point of low order, which verifies signatures of anybody, and for a second spelling."""
    y = int.from_bytes(key, "little") & (1 << 255) - 1
    if y >= _FIELD or y in _LOW_ORDER:
        raise ValueError("a point of low order")


def _is_ed25519(key: bytes, text: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_p256(key: bytes, text: bytes, signature: bytes) -> bool:
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        public.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
