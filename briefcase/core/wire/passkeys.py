"""Passkeys on the wire: what a page hands to the browser (`navigator.credentials`), and what it hands back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from briefcase.core.wire.approvals import MAX_REASON_CHARS
from briefcase.core.wire.fields import Maybe
from briefcase.core.wire.signers import Sha256Hex
from briefcase.model.identifiers import REQUEST_ID

Origin = Annotated[str, msgspec.Meta(max_length=64)]


class PasskeyRegistration(msgspec.Struct, frozen=True):
    """A new passkey: its name in lists and receipts, and the page's own origin, `http://localhost:PORT`.

    `pairing_code` is of a pairing that is open for whoever asks: an approver needs one, and where only signers are
    taken everybody does.
    """

    origin: Origin
    name: Annotated[str, msgspec.Meta(max_length=256)] = ""
    pairing_code: Annotated[str, msgspec.Meta(max_length=64)] = ""


class PasskeyRegistrationOptions(msgspec.Struct, frozen=True):
    """`options` is for `PublicKeyCredential.parseCreationOptionsFromJSON`, then `navigator.credentials.create`."""

    registration_id: str
    expires_at_rfc3339: str
    options: dict[str, Any]


class NewPasskeyAnswer(msgspec.Struct, frozen=True):
    """What `create` gave, by its `toJSON`."""

    registration_id: str
    credential: dict[str, Any]


class PasskeyRegistered(msgspec.Struct, frozen=True):
    """The new signer."""

    signer_id: str
    name: str
    owner: str


class PasskeyRuling(msgspec.Struct, frozen=True):
    """A yes or a no to the document that the page shows, by the digest of it; `signer_id` where there are several."""

    approval_id: Annotated[str, msgspec.Meta(pattern=f"^{REQUEST_ID}$")]
    to: Literal["approve", "deny"]
    shown_digest_hex: Sha256Hex
    origin: Origin
    signer_id: str | None = None


class PasskeyRulingOptions(msgspec.Struct, frozen=True):
    """`options` is for `PublicKeyCredential.parseRequestOptionsFromJSON`, then `navigator.credentials.get`.

    The challenge is the SHA-256 of `approve_binding` (or `deny_binding`) with these values; a page can make it again.
    """

    assertion_id: str
    signer_id: str
    binding_hex: str
    ts_rfc3339: str
    nonce: str
    expires_at_rfc3339: str
    options: dict[str, Any]


class PasskeyAnswer(msgspec.Struct, frozen=True):
    """What `get` gave, by its `toJSON`. The signature does not cover `reason`."""

    assertion_id: str
    credential: dict[str, Any]
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)] = ""


class PasskeyRuled(msgspec.Struct, frozen=True, omit_defaults=True):
    """Decided: `approved` with the call's token, `rejected`, or `pending` where it takes another person's yes, too."""

    approval_id: str
    status: Literal["approved", "rejected", "pending"]
    approval_token: Maybe[str] = msgspec.UNSET
    approvers: int = 1
    approvals_given: int = 1
