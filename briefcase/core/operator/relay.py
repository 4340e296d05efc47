"""An approval on its way to signers through a control plane: what was shown, signed by the device that showed it.

The control plane knows every recipient, so it could seal something of its own to them. A signer that says yes to that
signs a binding of which no device knows; the device's signature keeps it from being shown at all. The text is filled
up with blanks, so that its length says in which 4 KiB it ends and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.jose.jws import key_of
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject

FILL_BYTES: Final = 4 << 10


class Carried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed: the document as it was shown, of which device it is, and that device's signature (base64url)."""

    device_did: str
    document: dict[str, object]
    signature_b64: str


def carried_text(device_did: str, document: JsonObject) -> bytes:
    """What a device signs of a document that it sends to signers."""
    return f"briefcase relayed approval\n{device_did}\n{shown_digest_of(document)}\n".encode()


def write_carried(document: JsonObject, device_did: str, sign: Callable[[bytes], bytes]) -> bytes:
    """What is sealed to signers.

    Args:
        document: an approval as it is shown (`Approvers.shown`).
        device_did: the `did:key` of the device.
        sign: signs with its identity key.

    Raises:
        StoreError: the key's place does not answer.
    """
    signature = sign(carried_text(device_did, document))
    plain = canonical_bytes(
        {"device_did": device_did, "document": document, "signature_b64": encode_base64url(signature)}
    )
    return plain.ljust(-(-len(plain) // FILL_BYTES) * FILL_BYTES)


def read_carried(plain: bytes, device_did: str) -> JsonObject:
    """The document that a device showed, out of what was sealed.

    Args:
        plain: what was opened.
        device_did: the device that the signer is paired with.

    Raises:
        CallerError: it is no such document, or not that device's (`conflict`): nobody should be shown it.
    """
    try:
        whole = parse_json(plain)
        carried = msgspec.convert(whole, Carried)
        key, signature = key_of(device_did), decode_base64url(carried.signature_b64)
    except (CallerError, msgspec.ValidationError, JoseError):
        raise _not_theirs() from None
    document = whole["document"] if isinstance(whole, dict) else None
    if not isinstance(document, dict) or carried.device_did != device_did:
        raise _not_theirs()
    if not key.is_signature(carried_text(device_did, document), signature):
        raise _not_theirs()
    return document


def _not_theirs() -> CallerError:
    return CallerError(
        "what the control plane carried is not signed by the device that this signer is paired with",
        code="conflict",
        hint="decide at the device itself, and ask who runs the control plane",
    )
