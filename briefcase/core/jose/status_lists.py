"""Status lists: signed bit strings that tell which credentials of an issuer no longer hold.

| | Token Status List (draft-ietf-oauth-status-list section 5) | Bitstring Status List v1.0 (W3C) |
|---|---|---|
| typ | `statuslist+jwt` | `vc+jwt`, a `BitstringStatusListCredential` |
| its name | `sub` | `id` |
| bits | `status_list.lst`, ZLIB, base64url, 1 to 8 a status | `credentialSubject.encodedList`, GZIP, multibase `u`, 1 |
| index 0 | the lowest bit of the first byte | the highest bit of the first byte |
| until | `exp` | `validUntil` and `exp`, and `ttl` from when it was read |

Read in this order, and the first thing that is wrong refuses the list:

 1. it is a compact JWS of that kind, of at most `MAX_LIST_CHARS`
 2. it is the list that the entry names, for the purpose that the entry names
 3. the credential's own issuer signed it
 4. it is of this time
 5. it decompresses, whole and alone, to at most `MAX_LIST_BYTES`; a Bitstring to no less than `MIN_BITSTRING_BYTES`

An index beyond the list is of no credential that holds.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Final, Literal

import msgspec

from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.jose.credentials import (
    CREDENTIAL_TYP,
    MAX_LIST_BYTES,
    BitstringEntry,
    Credential,
    Seconds,
    StatusEntry,
    Text,
    TokenEntry,
    converted,
)
from briefcase.core.jose.jws import check_signature, key_of, parse_compact
from briefcase.model.types import MAX_SAFE_INTEGER, US_PER_S, JsonObject, parse_rfc3339

STATUS_TYP: Final = "statuslist+jwt"
MAX_LIST_CHARS: Final = 1 << 20
MIN_BITSTRING_BYTES: Final = 16 << 10  # 131,072 entries: a shorter list tells who is on it
DEFAULT_TTL_MS: Final = 300_000
MS_PER_S: Final = 1_000
BASE64URL: Final = "u"  # of Multibase: base64url without padding
GZIP_BITS: Final = 16 + zlib.MAX_WBITS  # RFC 1952, of any window


class _List(msgspec.Struct, frozen=True):
    bits: Literal[1, 2, 4, 8]
    lst: str


class _ListClaims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    exp: Seconds
    status_list: _List


class _Issuer(msgspec.Struct, frozen=True):
    id: str


class _Bitstring(msgspec.Struct, frozen=True, rename="camel"):
    type: Literal["BitstringStatusList"]
    status_purpose: str | list[str]
    encoded_list: str
    ttl: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)] = DEFAULT_TTL_MS


class _BitstringCredential(msgspec.Struct, frozen=True, rename="camel"):
    id: Text
    type: list[str]
    issuer: str | _Issuer
    credential_subject: _Bitstring
    valid_from: str | None = None
    valid_until: str | None = None


class StatusList(msgspec.Struct, frozen=True):
    """A verified list. It may be used until `expires_s`; `is_leftmost` says that index 0 is a byte's highest bit."""

    expires_s: int
    bits: int
    data: bytes
    is_leftmost: bool = False

    def is_valid(self, index: int) -> bool:
        """Whether the credential at an index holds; one beyond the list does not."""
        byte, shift = divmod(index * self.bits, 8)
        if byte >= len(self.data):
            return False
        if self.is_leftmost:
            shift = 8 - self.bits - shift
        return self.data[byte] >> shift & ((1 << self.bits) - 1) == 0


def read_status_list(list_jwt: str, credential: Credential, entry: StatusEntry, now_us: int) -> StatusList:
    """Verify a status list of a credential's own issuer, by the steps of the module's docstring.

    Args:
        list_jwt: what its address answered.
        credential: whose status it is.
        entry: the one of `credential.status_entries` that names the list.
        now_us: the time, microseconds.

    Raises:
        JoseError: it does not verify, is another list or another issuer's, is of another time, or is too large.
    """
    if isinstance(entry, TokenEntry):
        return _read_token_list(list_jwt, credential, entry, now_us)
    return _read_bitstring(list_jwt, credential, entry, now_us)


def _read_token_list(list_jwt: str, credential: Credential, entry: TokenEntry, now_us: int) -> StatusList:
    jws = parse_compact(list_jwt, STATUS_TYP, max_chars=MAX_LIST_CHARS)  # 1
    claims = converted(jws.claims, _ListClaims)
    if claims.sub != entry.uri or claims.iss != credential.iss:  # 2
        raise _other_list()
    check_signature(jws, key_of(credential.iss))  # 3
    if claims.exp <= now_us // US_PER_S:  # 4
        raise JoseError("the status list has expired")
    data = _decompress(decode_base64url(claims.status_list.lst), zlib.MAX_WBITS)  # 5
    return StatusList(claims.exp, claims.status_list.bits, data)


def _read_bitstring(list_jwt: str, credential: Credential, entry: BitstringEntry, now_us: int) -> StatusList:
    jws = parse_compact(list_jwt, CREDENTIAL_TYP, max_chars=MAX_LIST_CHARS)  # 1
    inner = jws.claims.get("vc")  # VC Data Model 1.1 has it there; 2.0 has the claims themselves
    document = converted(inner if isinstance(inner, dict) else jws.claims, _BitstringCredential)
    issuer = document.issuer if isinstance(document.issuer, str) else document.issuer.id
    found = document.credential_subject
    if "BitstringStatusListCredential" not in document.type:
        raise JoseError("expected a credential that is a Bitstring Status List")
    if document.id != entry.uri or any(name != credential.iss for name in (issuer, jws.claims.get("iss", issuer))):  # 2
        raise _other_list()
    purposes = found.status_purpose if isinstance(found.status_purpose, list) else [found.status_purpose]
    if entry.status_purpose not in purposes:
        raise JoseError(f"expected a status list for the purpose `{entry.status_purpose}`")
    check_signature(jws, key_of(credential.iss))  # 3
    expires_s = _bitstring_end_s(document, jws.claims, now_us)  # 4
    if not found.encoded_list.startswith(BASE64URL):
        raise JoseError("expected `encodedList` in Multibase base64url")
    data = _decompress(decode_base64url(found.encoded_list[1:]), GZIP_BITS)  # 5
    if len(data) < MIN_BITSTRING_BYTES:
        raise JoseError(f"expected a status list of at least {MIN_BITSTRING_BYTES} bytes, got {len(data)}")
    return StatusList(expires_s, 1, data, is_leftmost=True)


def _bitstring_end_s(document: _BitstringCredential, claims: JsonObject, now_us: int) -> int:
    """Until when a list is of use, in seconds. Raises `JoseError` where it is of another time."""
    named = converted({name: claims[name] for name in ("exp", "nbf") if name in claims}, _Times)
    try:
        until_us = [parse_rfc3339(document.valid_until)] if document.valid_until else []
        from_us = [parse_rfc3339(document.valid_from)] if document.valid_from else []
    except ValueError:
        raise JoseError("expected `validFrom` and `validUntil` to be times") from None
    until_us += [] if named.exp is None else [named.exp * US_PER_S]
    from_us += [] if named.nbf is None else [named.nbf * US_PER_S]
    if min(until_us, default=now_us + 1) <= now_us:
        raise JoseError("the status list has expired")
    if max(from_us, default=now_us) > now_us:
        raise JoseError("the status list is not valid yet")
    read_again_us = now_us + document.credential_subject.ttl * US_PER_S // MS_PER_S
    return min(*until_us, read_again_us) // US_PER_S if until_us else read_again_us // US_PER_S


class _Times(msgspec.Struct, frozen=True):
    exp: Seconds | None = None
    nbf: Seconds | None = None


def _other_list() -> JoseError:
    return JoseError("the status list is not the one the credential names")


def _decompress(data: bytes, window_bits: int) -> bytes:
    """What one stream holds: bounded, whole, and with nothing after it. Raises `JoseError`."""
    stream = zlib.decompressobj(window_bits)
    try:
        plain = stream.decompress(data, MAX_LIST_BYTES)
    except zlib.error:
        raise JoseError("expected the status list to be one compressed stream") from None
    if stream.unconsumed_tail or not stream.eof or stream.unused_data:
        raise JoseError(f"expected one whole status list of at most {MAX_LIST_BYTES} bytes")
    return plain
