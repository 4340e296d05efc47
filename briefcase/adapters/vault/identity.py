"""The daemon's identity: one Ed25519 key (RFC 8032), named by its `did:key`. `adapters.keys` says where it is."""

from __future__ import annotations

from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.jose.did import KEY_BYTES, decode_did_key, encode_did_key
from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import EDDSA, PublicKey, parse_public_jwk
from briefcase.model.errors import ConfigError

KEY_NAME: Final = "ed25519"


class IdentityKey(Protocol):
    """An Ed25519 key, wherever its private half is."""

    @property
    def public_key(self) -> bytes:
        """Its public half, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of a message; blocks for as long as the key's place takes.

        Raises:
            StoreError: the place does not answer.
        """
        ...


class Identity:
    """Signs as the daemon. The key never leaves the object.

    Args:
        key: the key, or its 32-byte private half.

    Raises:
        ConfigError: the private half has another length.
    """

    def __init__(self, key: IdentityKey | bytes) -> None:
        self._key: IdentityKey = _SeedKey(key) if isinstance(key, bytes) else key
        self.public_key = self._key.public_key
        self.did = encode_did_key(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of a message. Raises as `IdentityKey.sign`."""
        return self._key.sign(message)

    def proof_signer(self) -> ProofSigner:
        """What makes proofs of possession (RFC 9449) with this key, for the control plane that enrolled it."""
        return ProofSigner(_ProofHandle(self))


class _SeedKey:
    """An identity key in memory."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise ConfigError(f"expected an identity key of {KEY_BYTES} bytes in the vault, got {len(seed)}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class _ProofHandle:
    """An identity as a key of proofs (`jws.KeyHandle`)."""

    algorithm = EDDSA

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        x = encode_base64url(identity.public_key)
        self.public: PublicKey = parse_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": x})

    def sign(self, signing_input: bytes) -> bytes:
        return self._identity.sign(signing_input)


def new_seed() -> bytes:
    """The private half of a new identity."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


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
