"""The daemon's identity: one Ed25519 key in the vault (RFC 8032), named by its `did:key`."""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.jose.did import KEY_BYTES, decode_did_key, encode_did_key
from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import load_private_key
from briefcase.model.errors import ConfigError
from briefcase.model.ports import Secrets

KEY_NAME: Final = "ed25519"


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

    def proof_signer(self) -> ProofSigner:
        """What makes proofs of possession (RFC 9449) with this key, for the control plane that enrolled it."""
        seed, public_key = self._key.private_bytes_raw(), self.public_key
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(public_key), "d": encode_base64url(seed)}
        return ProofSigner(load_private_key(msgspec.json.encode(jwk)))


async def read_identity(secrets: Secrets) -> Identity | None:
    """Read the identity key; None where the vault has none.

    Args:
        secrets: the vault's `identity` compartment.

    Raises:
        ConfigError: what is there is no Ed25519 key, or the vault does not open.
        StoreError: the vault failed.
    """
    seed = await secrets.get(KEY_NAME)
    return None if seed is None else Identity(seed)


async def load_identity(secrets: Secrets) -> Identity:
    """Read the identity key, or make it at the first start. Takes and raises as `read_identity`."""
    identity = await read_identity(secrets)
    if identity is None:
        seed = Ed25519PrivateKey.generate().private_bytes_raw()
        await secrets.put(KEY_NAME, seed)
        identity = Identity(seed)
    return identity


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
