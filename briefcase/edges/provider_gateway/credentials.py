"""Verifiable credentials: an entitlement as a signed JWT, and the list that says which ones were revoked.

A credential is a JWT (`vc+jwt`) whose issuer is the gateway's `did:key`, so that it verifies without asking anyone. It
points into a list signed by the same key, in which a zero bit is valid and a one is revoked: `status.status_list` into
a Token Status List (draft-ietf-oauth-status-list), or, as the settings say, `credentialStatus` into a W3C Bitstring
Status List. Both lists are served, whichever a credential names.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from briefcase.core.jose.base64url import JoseError, encode_base64url
from briefcase.core.jose.credentials import CREDENTIAL_TYP
from briefcase.core.jose.jws import Signer, check_signature, did_of, parse_compact
from briefcase.core.jose.status_lists import BASE64URL, MIN_BITSTRING_BYTES, MS_PER_S, STATUS_TYP
from briefcase.edges.provider_gateway.authority import fact_key
from briefcase.edges.provider_gateway.facts import Fact, Facts, Kind
from briefcase.edges.provider_gateway.keys import GatewayKeys
from briefcase.edges.provider_gateway.settings import BITSTRING, SCOPE, GatewaySettings
from briefcase.model.ports import Clock
from briefcase.model.types import US_PER_S, JsonObject, format_rfc3339

STATUS_PATH: Final = "/vc/status"
BITSTRING_PATH: Final = "/vc/bitstring"
MIN_LIST_BYTES: Final = 1_024  # a list of one would tell who is on it

_COUNTER: Final = fact_key("credentials issued")
_FOR_EVER_S: Final = 2**62


class _Credential(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    exp: int
    jti: str


class Credentials:
    """The credentials of one gateway."""

    def __init__(self, settings: GatewaySettings, keys: GatewayKeys, facts: Facts, clock: Clock) -> None:
        self._settings = settings
        self._facts = facts
        self._clock = clock
        self._key = keys.signing
        self._did = did_of(keys.signing.public)
        self._credential = Signer(keys.signing, CREDENTIAL_TYP, kid=self._did)
        self._status = Signer(keys.signing, STATUS_TYP, kid=self._did)

    def issue(self, holder_did: str) -> tuple[str, int]:
        """A credential for a holder, and when it expires (seconds)."""
        now_s = self._clock.now_us() // US_PER_S
        expires_s = now_s + self._settings.credential_ttl_s
        index = self._issued
        self._facts.add(Fact(Kind.COUNTER, _COUNTER, index + 1, _FOR_EVER_S), sync=True)
        claims: JsonObject = {
            "iss": self._did,
            "sub": holder_did,
            "iat": now_s,
            "exp": expires_s,
            "jti": _id_of(index),
            "vc": {"type": ["VerifiableCredential", "CapabilityEntitlement"], "scope": SCOPE},
            **self._status_claims(index),
        }
        return self._credential.sign(claims), expires_s

    def check(self, credential_jwt: str) -> bool:
        """Whether a credential is ours, unexpired and not revoked."""
        credential = self._verified(credential_jwt)
        return credential is not None and self._facts.value(Kind.REVOKED, fact_key(credential.jti)) is None

    def jti_of(self, credential_jwt: str) -> str | None:
        """The id of one of our unexpired credentials."""
        credential = self._verified(credential_jwt)
        return None if credential is None else credential.jti

    def revoke(self, jti: str) -> None:
        """End a credential; on disk when this returns."""
        expires_s = self._clock.now_us() // US_PER_S + self._settings.credential_ttl_s
        self._facts.add(Fact(Kind.REVOKED, fact_key(jti), 1, expires_s), sync=True)

    def bitstring(self) -> str:
        """The signed list as it is now, as W3C has it."""
        uri, now_s = self._settings.base_url + BITSTRING_PATH, self._clock.now_us() // US_PER_S
        bits = bytearray(max(MIN_BITSTRING_BYTES, self._issued // 8 + 1))
        for index in self._revoked():
            bits[index // 8] |= 128 >> index % 8  # from the left
        return self._credential.sign(
            {
                "@context": ["https://www.w3.org/ns/credentials/v2"],
                "id": uri,
                "type": ["VerifiableCredential", "BitstringStatusListCredential"],
                "issuer": self._did,
                "validFrom": format_rfc3339(now_s * US_PER_S),
                "validUntil": format_rfc3339((now_s + self._settings.status_ttl_s) * US_PER_S),
                "credentialSubject": {
                    "id": f"{uri}#list",
                    "type": "BitstringStatusList",
                    "statusPurpose": "revocation",
                    "encodedList": BASE64URL + encode_base64url(gzip.compress(bytes(bits), mtime=0)),
                    "ttl": self._settings.status_ttl_s * MS_PER_S,
                },
            }
        )

    def status_list(self) -> str:
        """The signed list as it is now, as OAuth has it."""
        bits = bytearray(max(MIN_LIST_BYTES, self._issued // 8 + 1))
        for index in self._revoked():
            bits[index // 8] |= 1 << index % 8
        now_s = self._clock.now_us() // US_PER_S
        return self._status.sign(
            {
                "iss": self._did,
                "sub": self._settings.base_url + STATUS_PATH,
                "iat": now_s,
                "exp": now_s + self._settings.status_ttl_s,
                "ttl": self._settings.status_ttl_s,
                "status_list": {"bits": 1, "lst": encode_base64url(zlib.compress(bytes(bits), 9))},
            }
        )

    def _status_claims(self, index: int) -> JsonObject:
        """Where the status of a credential is, by the form that the settings name."""
        base_url = self._settings.base_url
        if self._settings.status_list != BITSTRING:
            return {"status": {"status_list": {"idx": index, "uri": base_url + STATUS_PATH}}}
        return {
            "credentialStatus": {
                "id": f"{base_url}{BITSTRING_PATH}#{index}",
                "type": "BitstringStatusListEntry",
                "statusPurpose": "revocation",
                "statusListIndex": str(index),
                "statusListCredential": base_url + BITSTRING_PATH,
            }
        }

    @property
    def _issued(self) -> int:
        return self._facts.value(Kind.COUNTER, _COUNTER) or 0

    def _revoked(self) -> Iterator[int]:
        """The indices of the credentials that were revoked."""
        for index in range(self._issued):
            if self._facts.value(Kind.REVOKED, fact_key(_id_of(index))) is not None:
                yield index

    def _verified(self, credential_jwt: str) -> _Credential | None:
        try:
            jws = parse_compact(credential_jwt, CREDENTIAL_TYP)
            check_signature(jws, self._key.public)
            credential = msgspec.convert(jws.claims, _Credential)
        except (JoseError, msgspec.ValidationError):
            return None
        return credential if credential.exp > self._clock.now_us() // US_PER_S else None


def _id_of(index: int) -> str:
    return f"urn:aacp:credential:{index}"
