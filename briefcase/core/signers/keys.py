"""What a signer's cryptography is to the rules: an interface; `adapters/signers` keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from briefcase.model.types import JsonObject

if TYPE_CHECKING:
    from briefcase.core.signers.signers import Signer

Algorithm = Literal["ed25519", "p256", "webauthn"]
DeviceAlgorithm = Literal["ed25519", "p256"]


class Opened(NamedTuple):
    """A first handshake message that was made with the pairing code: its payload, and what makes the answer to it."""

    payload: bytes
    answer: Callable[[bytes], bytes]


class SignerKeys(Protocol):
    """Keys, signatures and the handshake. Pure: nothing is kept, nothing waits."""

    def check_key(self, algorithm: DeviceAlgorithm, key: bytes) -> None:
        """Check a public key before it is kept.

        Args:
            algorithm: what it signs by.
            key: 32 raw bytes of Ed25519, or a SEC1 point of P-256 (33 or 65 bytes).

        Raises:
            CallerError: another length (`invalid_signer_pubkey_len`), no point of the curve, or one that takes
                signatures of anybody (`invalid_signer_pubkey`).
        """
        ...

    def is_signature(self, algorithm: DeviceAlgorithm, key: bytes, text: bytes, signature: bytes) -> bool:
        """Whether a signature is a key's over a text: 64 bytes of Ed25519; of P-256 DER or 64 bytes r and s."""
        ...

    def open_message(self, pairing_code: bytes, message: bytes) -> Opened:
        """Read message 1 of Noise_NNpsk0_25519_ChaChaPoly_SHA256.

        Args:
            pairing_code: the PSK, 32 bytes.
            message: as it was sent, at most 65,535 bytes.

        Raises:
            ValueError: it was made with another code, or holds no usable key.
        """
        ...


class NewPasskey(NamedTuple):
    """A passkey that a browser made: its id and its COSE key, as bytes, and how often it counted already."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


class Passkeys(Protocol):
    """What browsers answer for passkeys (WebAuthn Level 3). Pure."""

    def check_registration(self, credential: JsonObject, challenge: bytes, rp_id: str, origin: str) -> NewPasskey:
        """Verify a new passkey, made on a page of the origin by a verified user, and for this challenge (32 bytes).

        Raises:
            CallerError: it is not (`invalid_signature`).
        """
        ...

    def check_assertion(self, credential: JsonObject, challenge: bytes, signer: Signer) -> int:
        """Verify a passkey's signature over a challenge, at its own origin, by a verified user; gives its new counter.

        Raises:
            CallerError: it is another's, elsewhere, over something else, or its counter did not go on: a copy of it
                may be in use (`invalid_signature`).
        """
        ...
