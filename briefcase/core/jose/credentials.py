"""Entitlements: verifiable credentials as JWTs, and where each says that its status is.

A credential is a `vc+jwt` whose `iss` is a `did:key`, so it verifies from itself. Its status is at the index of a list
that the same issuer signed (`status_lists`), named in one of two ways, or in both, and then both must hold:

 - `status.status_list {idx, uri}` (Token Status List, draft-ietf-oauth-status-list section 6.2)
 - `credentialStatus {type: "BitstringStatusListEntry", …}`, one or several, in the claims or in their `vc`
   (W3C Bitstring Status List v1.0 section 2.1)

A `credentialStatus` of another type or purpose refuses the credential: a status that nobody here can look up is not
left out.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec

from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.jose.jws import COMPACT_PARTS, MAX_DEPTH, MAX_TOKEN_CHARS, check_signature, key_of, parse_compact
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError
from briefcase.model.types import MAX_SAFE_INTEGER, US_PER_S, JsonValue

CREDENTIAL_TYP: Final = "vc+jwt"
MAX_LIST_BYTES: Final = 8 << 20  # what a status list may decompress to: 64 million credentials
MAX_ENTRIES: Final = 4  # lists that one credential may name
OPAQUE_ALGORITHM: Final = "HS256"

Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]
_T = TypeVar("_T")


class TokenEntry(msgspec.Struct, frozen=True):
    """Where a credential's status is in a Token Status List."""

    idx: Annotated[int, msgspec.Meta(ge=0, lt=8 * MAX_LIST_BYTES)]
    uri: Text


class BitstringEntry(msgspec.Struct, frozen=True, rename="camel"):
    """Where a credential's status is in a Bitstring Status List; for either purpose zero is the one good value."""

    type: Literal["BitstringStatusListEntry"]
    status_purpose: Literal["revocation", "suspension"]
    status_list_index: Annotated[str, msgspec.Meta(pattern="^(?:0|[1-9][0-9]{0,8})$")]
    status_list_credential: Text
    status_size: Literal[1] = 1

    @property
    def idx(self) -> int:
        """The index, from the left."""
        return int(self.status_list_index)

    @property
    def uri(self) -> str:
        """Where the list is."""
        return self.status_list_credential


StatusEntry: TypeAlias = TokenEntry | BitstringEntry


class _Status(msgspec.Struct, frozen=True):
    status_list: TokenEntry


class _Inner(msgspec.Struct, frozen=True, rename="camel"):
    credential_status: BitstringEntry | list[BitstringEntry] = []


class Credential(msgspec.Struct, frozen=True):
    """The claims that matter here; times in seconds."""

    iss: Text
    sub: Text
    exp: Seconds
    jti: Text = "-"
    status: _Status | None = None
    vc: _Inner = _Inner()
    credential_status: BitstringEntry | list[BitstringEntry] = msgspec.field(name="credentialStatus", default=[])

    @property
    def status_entries(self) -> tuple[StatusEntry, ...]:
        """Where to ask whether it still holds; empty for one that says nowhere. It holds where all of them say so."""
        named: list[StatusEntry] = [] if self.status is None else [self.status.status_list]
        for given in (self.credential_status, self.vc.credential_status):
            named += given if isinstance(given, list) else [given]
        return tuple(named)


def read_credential(credential_jwt: str, holder_did: str, now_us: int) -> Credential:
    """Verify a credential against its issuer's name.

    Args:
        credential_jwt: the compact JWS.
        holder_did: whom it must be about.
        now_us: the time, microseconds.

    Raises:
        JoseError: it does not verify, is about someone else, has expired, or names a status that is not known here.
    """
    jws = parse_compact(credential_jwt, CREDENTIAL_TYP)
    credential = converted(jws.claims, Credential)
    check_signature(jws, key_of(credential.iss))
    if credential.sub != holder_did:
        raise JoseError("the credential is about another holder")
    if credential.exp <= now_us // US_PER_S:
        raise JoseError("the credential has expired")
    if len(credential.status_entries) > MAX_ENTRIES:
        raise JoseError(f"expected at most {MAX_ENTRIES} status lists of a credential")
    return credential


def check_opaque(credential_jwt: str) -> None:
    """Check that a credential is one that only its issuer can verify: a JWT under a symmetric key.

    Raises:
        JoseError: it is none. One that could be verified and does not verify is never taken for opaque.
    """
    parts = credential_jwt.split(".")
    if len(credential_jwt) > MAX_TOKEN_CHARS or len(parts) != COMPACT_PARTS:
        raise JoseError("expected a compact JWT")
    try:
        header = parse_json(decode_base64url(parts[0]), max_depth=MAX_DEPTH)
    except CallerError as error:
        raise JoseError(error.message) from None
    decode_base64url(parts[1])
    decode_base64url(parts[2])
    if not isinstance(header, dict) or header.get("alg") != OPAQUE_ALGORITHM:
        raise JoseError(f"expected a JWT under `{OPAQUE_ALGORITHM}`")


def converted(claims: JsonValue, kind: type[_T]) -> _T:
    """Claims as a struct. Raises `JoseError`."""
    try:
        return msgspec.convert(claims, kind)
    except msgspec.ValidationError as error:
        raise JoseError(str(error).lower()) from None
