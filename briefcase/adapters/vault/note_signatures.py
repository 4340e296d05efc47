"""Signatures of notes and their cosignatures, checked: Ed25519 (RFC 8032) and ML-DSA-44 (FIPS 204)."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from briefcase.core.receipts.note_keys import COSIGNER_MLDSA44, NoteKey
from briefcase.model.errors import ConfigError


def verify_note_signature(key: NoteKey, message: bytes, signature: bytes) -> bool:
    """Whether a signature is of a message by a key (`note_keys.Verify`). False for bytes that are no key, too.

    Raises:
        ConfigError: this host's cryptography library has no ML-DSA-44.
    """
    try:
        if key.type == COSIGNER_MLDSA44:
            MLDSA44PublicKey.from_public_bytes(key.public_key).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    except UnsupportedAlgorithm:
        raise ConfigError(
            "the cryptography library here has no ML-DSA-44", hint="install its wheel, or use an Ed25519 witness"
        ) from None
    return True
