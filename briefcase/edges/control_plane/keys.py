"""The control plane's own key: it signs bundles, and each device's remote key is derived from it.

The key is a file and never in the database: who steals the database can sign nothing. All processes of one control
plane share the file. A device's key in custody is P-256, by HKDF-SHA256 (RFC 5869) from the key and the device's id;
48 bytes of it, taken modulo the order less one, are the private scalar (FIPS 186-5, A.2.1).
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from briefcase.adapters.disk.files import read_private, write_private
from briefcase.adapters.disk.locks import locked
from briefcase.core.fleet.bundles import PolicyBundle, signed_bytes
from briefcase.core.fleet.envelopes import Envelope, EnvelopeSignature, pae
from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.jose.jws import EDDSA, PrivateKey, generate_key, load_private_key
from briefcase.model.errors import ConfigError

MAX_KEY_BYTES: Final = 4_096
_ORDER: Final = (
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256, SP 800-186 section 3.2.1.3
)
_SCALAR_BYTES: Final = 48
_COORDINATE_BYTES: Final = 32
_KEY_HINT: Final = "restore it from a backup: with another key every device has to be enrolled again"
_LABEL: Final = b"briefcase control plane remote signer\n"


class SigningKey:
    """The key in one file.

    Args:
        key: an Ed25519 key.
    """

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._seed = decode_base64url(msgspec.json.decode(key.export(), type=dict[str, str])["d"])
        self.public_b64 = key.public.jwk["x"]

    def sign(self, bundle: PolicyBundle) -> tuple[bytes, bytes]:
        """The bytes of a bundle that are signed, and the signature."""
        message = signed_bytes(bundle)
        return message, self._key.sign(message)

    def seal(self, payload_type: str, payload: msgspec.Struct) -> bytes:
        """A sibling of a bundle, signed by itself (DSSE, `core/fleet/envelopes.py`), as JSON."""
        message = msgspec.json.encode(payload)
        signature = EnvelopeSignature(base64.b64encode(self._key.sign(pae(payload_type, message))).decode())
        return msgspec.json.encode(
            Envelope(payload=base64.b64encode(message).decode(), payload_type=payload_type, signatures=[signature])
        )

    def remote_key(self, device: UUID) -> RemoteKey:
        """The key that is kept for a device."""
        derived = HKDF(hashes.SHA256(), _SCALAR_BYTES, salt=None, info=_LABEL + device.bytes).derive(self._seed)
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


def load_or_make_key(path: Path) -> SigningKey:
    """Read the key's file, or make it where there is none.

    Raises:
        ConfigError: the file is not private, or holds no Ed25519 key.
        StoreError: it could not be read or made.
    """
    with locked(path.with_name(f"{path.name}.lock")):  # two processes that start at once make one key
        exported = read_private(path, max_bytes=MAX_KEY_BYTES)
        if exported is None:
            exported = generate_key(EDDSA).export()
            write_private(path, exported)
    try:
        key = load_private_key(exported)
    except JoseError as error:
        raise ConfigError(f"`{path}`: {error}", hint=_KEY_HINT) from None
    if key.algorithm != EDDSA:
        raise ConfigError(f"`{path}`: expected an Ed25519 key, got one for `{key.algorithm}`", hint=_KEY_HINT)
    return SigningKey(key)
