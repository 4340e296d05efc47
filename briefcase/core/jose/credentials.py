"""Entitlements: verifiable credentials as JWTs, and the signed list that tells which ones no longer hold.

A credential is a `vc+jwt` whose `iss` is a `did:key`, so it verifies from itself. Where it has `status.status_list`,
a Token Status List (draft-ietf-oauth-status-list section 5) under that address, signed by the same issuer, says
whether it still holds: its bits at `idx` are zero for a valid one.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.jose.jws import check_signature, key_of, parse_compact
from briefcase.model.types import MAX_SAFE_INTEGER, US_PER_S

CREDENTIAL_TYP: Final = "vc+jwt"
STATUS_TYP: Final = "statuslist+jwt"
MAX_LIST_CHARS: Final = 1 << 20
MAX_LIST_BYTES: Final = 8 << 20  # what it may decompress to: 64 million credentials

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
_T = TypeVar("_T")
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]


class StatusEntry(msgspec.Struct, frozen=True):
    """Where a credential's status is."""

    idx: Annotated[int, msgspec.Meta(ge=0, lt=8 * MAX_LIST_BYTES)]
    uri: _Text


class _Status(msgspec.Struct, frozen=True):
    status_list: StatusEntry


class Credential(msgspec.Struct, frozen=True):
    """The claims that matter here; times in seconds."""

    iss: _Text
    sub: _Text
    exp: _Seconds
    jti: _Text = "-"
    status: _Status | None = None

    @property
    def status_entry(self) -> StatusEntry | None:
        """Where to ask whether it still holds; None for one that says nowhere."""
        return self.status.status_list if self.status else None


class _List(msgspec.Struct, frozen=True):
    bits: Literal[1, 2, 4, 8]
    lst: str


class _ListClaims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    exp: _Seconds
    status_list: _List


class StatusList(msgspec.Struct, frozen=True):
    """A verified list. It may be used until `expires_s`."""

    expires_s: int
    bits: int
    data: bytes

    def is_valid(self, index: int) -> bool:
        """Whether the credential at an index holds; one beyond the list does not."""
        byte, shift = divmod(index * self.bits, 8)
        if byte >= len(self.data):
            return False
        return self.data[byte] >> shift & ((1 << self.bits) - 1) == 0


def read_credential(credential_jwt: str, holder_did: str, now_us: int) -> Credential:
    """Verify a credential against its issuer's name.

    Args:
        credential_jwt: the compact JWS.
        holder_did: whom it must be about.
        now_us: the time, microseconds.

    Raises:
        JoseError: it does not verify, is about someone else, or has expired.
    """
    jws = parse_compact(credential_jwt, CREDENTIAL_TYP)
    credential = _converted(jws.claims, Credential)
    check_signature(jws, key_of(credential.iss))
    if credential.sub != holder_did:
        raise JoseError("the credential is about another holder")
    if credential.exp <= now_us // US_PER_S:
        raise JoseError("the credential has expired")
    return credential


def read_status_list(list_jwt: str, credential: Credential, now_us: int) -> StatusList:
    """Verify the status list of a credential's own issuer.

    Raises:
        JoseError: it does not verify, is another list or another issuer's, has expired, or is too large.
    """
    entry = credential.status_entry
    jws = parse_compact(list_jwt, STATUS_TYP, max_chars=MAX_LIST_CHARS)
    claims = _converted(jws.claims, _ListClaims)
    if entry is None or claims.sub != entry.uri or claims.iss != credential.iss:
        raise JoseError("the status list is not the one the credential names")
    check_signature(jws, key_of(credential.iss))
    if claims.exp <= now_us // US_PER_S:
        raise JoseError("the status list has expired")
    return StatusList(claims.exp, claims.status_list.bits, _decompress(decode_base64url(claims.status_list.lst)))


def _decompress(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, MAX_LIST_BYTES)
    except zlib.error:
        raise JoseError("expected the status list to be a ZLIB stream") from None
    if stream.unconsumed_tail or not stream.eof:
        raise JoseError(f"expected a status list of at most {MAX_LIST_BYTES} bytes")
    return plain


def _converted(claims: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(claims, kind)
    except msgspec.ValidationError as error:
        raise JoseError(str(error).lower()) from None
