"""Noise_NNpsk0_25519_ChaChaPoly_SHA256 (Noise Protocol Framework, revision 34), both sides, for pairing a device.

    -> psk, e
    <- e, ee

Two messages, after which nothing more is sent: the second one's payload tells the device its id. The pairing code is
the PSK, so a message 1 that decrypts was made by who has the code; the prologue is empty, and mixed in (section 5.3).
The maintained library of the field has no release in years and no types, so this is on `cryptography`'s primitives,
held to a recorded vector and to that library as the other end in the tests.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

PROTOCOL: Final = b"Noise_NNpsk0_25519_ChaChaPoly_SHA256"
PSK_BYTES: Final = 32
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
MAX_MESSAGE_BYTES: Final = 65_535  # section 3


class NoiseError(ValueError):
    """A message was made with another key, was changed, or holds no usable key; no more is said to who guesses."""


class _Symmetric:
    """The SymmetricState of section 5.2, with its CipherState's key `k` and nonce `n`."""

    def __init__(self) -> None:
        self.h = hashlib.sha256(PROTOCOL).digest() if len(PROTOCOL) > KEY_BYTES else PROTOCOL.ljust(KEY_BYTES, b"\0")
        self._ck = self.h
        self._k = b""
        self._n = 0

    def mix_key(self, material: bytes) -> None:
        self._ck, self._k = self._hkdf(material, 2)
        self._n = 0

    def mix_hash(self, data: bytes) -> None:
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key_and_hash(self, material: bytes) -> None:
        self._ck, mixed, self._k = self._hkdf(material, 3)
        self.mix_hash(mixed)
        self._n = 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = ChaCha20Poly1305(self._k).encrypt(self._next_nonce(), plaintext, self.h)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        try:
            plaintext = ChaCha20Poly1305(self._k).decrypt(self._next_nonce(), ciphertext, self.h)
        except InvalidTag:
            raise NoiseError("the message was made with another key, or was changed") from None
        self.mix_hash(ciphertext)
        return plaintext

    def _next_nonce(self) -> bytes:
        nonce = bytes(4) + self._n.to_bytes(8, "little")  # section 12.3
        self._n += 1
        return nonce

    def _hkdf(self, material: bytes, outputs: int) -> list[bytes]:
        temporary = hmac.digest(self._ck, material, "sha256")
        found, last = [], b""
        for number in range(1, outputs + 1):
            last = hmac.digest(temporary, last + bytes([number]), "sha256")
            found.append(last)
        return found


class _Side:
    """One side of the handshake."""

    def __init__(self, psk: bytes, ephemeral: bytes | None = None) -> None:
        if len(psk) != PSK_BYTES:
            raise NoiseError(f"expected a PSK of {PSK_BYTES} bytes, got {len(psk)}")
        self._symmetric = _Symmetric()
        self._symmetric.mix_hash(b"")  # the empty prologue
        self._symmetric.mix_key_and_hash(psk)  # the token `psk` comes first in both patterns of message 1
        self._own = X25519PrivateKey.from_private_bytes(os.urandom(KEY_BYTES) if ephemeral is None else ephemeral)
        self._public = self._own.public_key().public_bytes_raw()

    @property
    def handshake_hash(self) -> bytes:
        """What both sides hold alike, once both messages were read."""
        return self._symmetric.h

    def _write_e(self) -> bytes:
        self._symmetric.mix_hash(self._public)
        self._symmetric.mix_key(self._public)  # section 9.2: with a PSK, `e` is mixed into the key too
        return self._public

    def _read_e(self, message: bytes) -> bytes:
        if not KEY_BYTES + TAG_BYTES <= len(message) <= MAX_MESSAGE_BYTES:
            raise NoiseError("the message has another length than a handshake's")
        theirs = message[:KEY_BYTES]
        self._symmetric.mix_hash(theirs)
        self._symmetric.mix_key(theirs)
        return theirs

    def _mix_ee(self, theirs: bytes) -> None:
        try:
            self._symmetric.mix_key(self._own.exchange(X25519PublicKey.from_public_bytes(theirs)))
        except ValueError:  # a point of low order: the secret would be zeros, which everybody knows
            raise NoiseError("the message holds no usable key") from None


class Responder(_Side):
    """The daemon's side.

    Args:
        psk: the pairing code, 32 bytes.
        ephemeral: the private key, 32 bytes, for a test's vector; random by default.
    """

    def __init__(self, psk: bytes, ephemeral: bytes | None = None) -> None:
        super().__init__(psk, ephemeral)
        self._theirs = b""

    def read_message(self, message: bytes) -> bytes:
        """Read message 1 and give its payload.

        Raises:
            NoiseError: another code made it, it was changed, or its key is of low order.
        """
        self._theirs = self._read_e(message)
        payload = self._symmetric.decrypt_and_hash(message[KEY_BYTES:])
        try:
            self._own.exchange(X25519PublicKey.from_public_bytes(self._theirs))
        except ValueError:
            raise NoiseError("the message holds no usable key") from None
        return payload

    def write_message(self, payload: bytes) -> bytes:
        """Write message 2, once message 1 was read."""
        public = self._write_e()
        self._mix_ee(self._theirs)
        return public + self._symmetric.encrypt_and_hash(payload)


class Initiator(_Side):
    """The device's side. Args as `Responder`."""

    def write_message(self, payload: bytes) -> bytes:
        """Write message 1."""
        public = self._write_e()
        return public + self._symmetric.encrypt_and_hash(payload)

    def read_message(self, message: bytes) -> bytes:
        """Read message 2 and give its payload.

        Raises:
            NoiseError: it was not made with the code for this message 1, or was changed.
        """
        theirs = self._read_e(message)
        self._mix_ee(theirs)
        return self._symmetric.decrypt_and_hash(message[KEY_BYTES:])
