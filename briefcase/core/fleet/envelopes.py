"""The siblings of a bundle, each signed by itself: DSSE envelopes (secure-systems-lab/dsse, protocol 1.0.0).

What is signed is not the payload but its pre-authentication encoding, which holds the payload's type too, so that one
sibling is never taken for another:

    PAE(type, payload) = "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload

| sibling | payload, a JSON object | says |
|---|---|---|
| `freshness` | `bundle_id, issued_at, expires_at` | which bundle is the present one, until when |
| `keys` | `policy_signing_pubkey_b64, issued_at` | which key signs next; signed by the present one |
| `key_chain` | a list of such words | which key came after which, each signed by the earlier one; the oldest first |
| `mandatory` | `id, policy_text` | what every device forbids, whatever else its policy says; an empty text ends it |

A sibling is a member of an enrolment's answer and of a policy's, beside `policy_bundle`. Times are RFC 3339.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, TypeVar

import msgspec

from briefcase.core.fleet.bundles import BundleError, Fresh, MandatoryPart, PolicyKey, is_signed_by
from briefcase.core.fleet.words import INVALID_SIGNATURE, MALFORMED
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, parse_rfc3339

FRESHNESS: Final = "application/vnd.briefcase.fleet.freshness+json"
KEYS: Final = "application/vnd.briefcase.fleet.keys+json"
MANDATORY: Final = "application/vnd.briefcase.fleet.mandatory+json"
MAX_SIGNATURES: Final = 8
MAX_PAYLOAD_CHARS: Final = 400_000

_T = TypeVar("_T")


class EnvelopeSignature(msgspec.Struct, frozen=True):
    """One signature of an envelope, in base64. `keyid` is a hint that nobody here follows."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """A payload of one type with its signatures; the names are DSSE's."""

    payload: str
    signatures: list[EnvelopeSignature]
    payload_type: str = msgspec.field(name="payloadType")


class Freshness(msgspec.Struct, frozen=True):
    """Which bundle is the present one, from when until when."""

    bundle_id: int
    issued_at: str
    expires_at: str


class NextKey(msgspec.Struct, frozen=True):
    """The key that signs after the one that signed this (base64url without padding)."""

    policy_signing_pubkey_b64: PolicyKey
    issued_at: str


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that an envelope's signatures are over."""
    encoded = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(encoded), encoded, len(payload), payload)


def read_freshness(value: JsonObject, key_b64: PolicyKey) -> Fresh:
    """Read the sibling `freshness`. Raises as `open_envelope`."""
    said = open_envelope(value, FRESHNESS, Freshness, key_b64)
    try:
        return Fresh(said.bundle_id, parse_rfc3339(said.expires_at))
    except ValueError as error:
        raise BundleError(MALFORMED, f"expected an RFC 3339 time in `freshness`: {error}") from None


def read_next_key(value: JsonObject, key_b64: PolicyKey) -> NextKey:
    """Read the sibling `keys`. Raises as `open_envelope`."""
    return open_envelope(value, KEYS, NextKey, key_b64)


def read_mandatory(value: JsonObject, key_b64: PolicyKey) -> MandatoryPart:
    """Read the sibling `mandatory`. Raises as `open_envelope`."""
    return open_envelope(value, MANDATORY, MandatoryPart, key_b64)


def open_envelope(value: JsonObject, payload_type: str, kind: type[_T], key_b64: PolicyKey) -> _T:
    """Read what an envelope holds.

    Args:
        value: the envelope as it came.
        payload_type: the type it must be of.
        kind: what the payload is read as; members it does not know are ignored.
        key_b64: the key that must have signed it.

    Raises:
        BundleError: it is of another form or type (`malformed_bundle`), or the key did not sign it
            (`invalid_signature`).
    """
    # 1. the form
    try:
        envelope = msgspec.convert(value, Envelope)
        payload = decode_payload(envelope.payload)
        signatures = [decode_payload(signature.sig) for signature in envelope.signatures[:MAX_SIGNATURES]]
    except (msgspec.ValidationError, ValueError) as error:
        raise BundleError(MALFORMED, f"expected a DSSE envelope: {error}") from None
    # 2. the type
    if envelope.payload_type != payload_type:
        raise BundleError(MALFORMED, f"expected an envelope of `{payload_type}`")
    # 3. the signature
    signed = pae(payload_type, payload)
    if not any(is_signed_by(key_b64, signed, signature) for signature in signatures):
        raise BundleError(INVALID_SIGNATURE, f"an envelope of `{payload_type}` is not signed by the pinned key")
    # 4. the payload, which nobody reads before
    try:
        return msgspec.convert(parse_json(payload), kind)
    except (CallerError, msgspec.ValidationError) as error:
        raise BundleError(MALFORMED, f"the payload of `{payload_type}` is not as expected: {error}") from None


def decode_payload(text: str) -> bytes:
    """Read base64, standard or URL-safe, as DSSE lets a writer choose.

    Raises:
        ValueError: it is neither, or too long.
    """
    if len(text) > MAX_PAYLOAD_CHARS:
        raise ValueError(f"expected at most {MAX_PAYLOAD_CHARS} characters of base64")
    padded = text + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded.translate(_TO_STANDARD), validate=True)
    except binascii.Error:
        raise ValueError("expected base64") from None


_TO_STANDARD: Final = str.maketrans("-_", "+/")
