"""Sealing what was shown to signers: an age file to their own Ed25519 keys (age's `ssh-ed25519` recipients).

The key that a device pinned is the recipient, so there is none to put beside it. For this, age turns the key into one
of X25519 (https://github.com/C2SP/C2SP/blob/main/age.md).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from briefcase.model.errors import CallerError

_SSH: Final = "ssh-ed25519"


def seal(plain: bytes, public_keys: Sequence[bytes]) -> bytes:
    """Seal so that whoever has one of these keys opens it.

    Args:
        plain: what is sealed.
        public_keys: of Ed25519, 32 bytes each; at least one.
    """
    sealed: bytes = pyrage.encrypt(plain, [pyrage.ssh.Recipient.from_str(_ssh_key(key)) for key in public_keys])
    return sealed


def unseal(sealed: bytes, private_key: bytes) -> bytes:
    """Open what was sealed to a key.

    Args:
        sealed: an age file.
        private_key: of Ed25519, 32 bytes.

    Raises:
        CallerError: it is none, was changed, or is sealed to others (`not_found`).
    """
    key = Ed25519PrivateKey.from_private_bytes(private_key)
    written = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    try:
        plain: bytes = pyrage.decrypt(sealed, [pyrage.ssh.Identity.from_buffer(written)])
    except pyrage.DecryptError:
        raise CallerError(
            "this approval is not sealed to this signer", code="not_found", hint="pair the signer with the device first"
        ) from None
    return plain


def _ssh_key(public_key: bytes) -> str:
    """A key as OpenSSH writes it (RFC 4253 section 6.6, RFC 8709)."""
    parts = (_SSH.encode(), public_key)
    return f"{_SSH} {base64.b64encode(b''.join(len(part).to_bytes(4) + part for part in parts)).decode()}"
