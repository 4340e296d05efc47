"""Signers on the wire: pairing, what a device signs, and what an operator sees of those paired."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from briefcase.core.signers.keys import Algorithm, DeviceAlgorithm
from briefcase.core.wire.approvals import MAX_REASON_CHARS, ShownApproval
from briefcase.model.identifiers import REQUEST_ID

MAX_MESSAGE_CHARS = 4_096
MAX_KEY_CHARS = 256
MAX_SIGNATURE_CHARS = 256
Sha256Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class PairingRequest(msgspec.Struct, frozen=True):
    """`owner` is the person whose yes the device will give; whoever opens the pairing where it is left out."""

    owner: str | None = None


class PairingStarted(msgspec.Struct, frozen=True):
    """An open pairing. The code is shown this once: who has it can pair a device until then."""

    pairing_id: str
    pairing_code: str
    expires_at_rfc3339: str


class PairingCompletion(msgspec.Struct, frozen=True):
    """The device's first handshake message, and its public key: raw of Ed25519, SEC1 of P-256; base64url unpadded."""

    msg1_b64: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE_CHARS)]
    algorithm: DeviceAlgorithm
    signer_pubkey_b64: Annotated[str, msgspec.Meta(max_length=MAX_KEY_CHARS)]
    device_name: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class PairingCompleted(msgspec.Struct, frozen=True):
    """The second handshake message, whose payload is `{signer_id, ts}`."""

    msg2_b64: str


class SignedListing(msgspec.Struct, frozen=True):
    """A device asks what waits; `sig_b64` is over `list_approvals`. `approval_id`, not signed, asks for one alone."""

    signer_id: str
    ts_rfc3339: str
    nonce: str
    sig_b64: Annotated[str, msgspec.Meta(max_length=MAX_SIGNATURE_CHARS)]
    approval_id: Annotated[str, msgspec.Meta(pattern=f"^{REQUEST_ID}$")] | None = None


class SignerApprovals(msgspec.Struct, frozen=True):
    """What waits, each shown whole, oldest first; `left_off` more do. A binding names the daemon by `device_did`."""

    approvals: list[ShownApproval]
    device_did: str = ""
    left_off: int = 0


class SignedDecision(msgspec.Struct, frozen=True):
    """A device's yes or no: with `binding_hex` over `approve_binding` or `deny_binding`, else over the id alone.

    The signature does not cover `reason`.
    """

    signer_id: str
    ts_rfc3339: str
    nonce: str
    sig_b64: Annotated[str, msgspec.Meta(max_length=MAX_SIGNATURE_CHARS)]
    binding_hex: Sha256Hex | None = None
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)] = ""


class SignerSummary(msgspec.Struct, frozen=True):
    """One signer; `revoked_at` is null while it counts. `form` is `bound` where the handshake held the key."""

    signer_id: str
    name: str = ""
    algorithm: Algorithm = "ed25519"
    owner: str = ""
    paired_by: str = ""
    paired_at: str = ""
    form: Literal["bound", "plain"] = "plain"
    revoked_at: str | None = None
    public_key_b64: str = ""


class SignerList(msgspec.Struct, frozen=True):
    """All of them, the revoked too, oldest first."""

    signers: list[SignerSummary]


class SignerRevoked(msgspec.Struct, frozen=True):
    """The signer's signatures count no more."""

    signer_id: str
