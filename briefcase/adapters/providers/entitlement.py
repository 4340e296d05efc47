"""Entitlements on the daemon's side: fetched with the log-in, verified, and their status kept fresh.

A status is asked for ahead of need and remembered as long as its list says. While it cannot be learned it is
*unknown*: then the operator's choice holds (`BRIEFCASE_VC_STATUS_UNKNOWN_MODE`), a person's approval or a denial,
and never a guess.

A credential that only its issuer can verify (a JWT under a symmetric key, as some providers of the contract issue) is
kept where the operator says so of that provider, and its status is never known.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.adapters.oauth.custody import Entitlement
from briefcase.adapters.oauth.wire import MAX_ANSWER_BYTES, TIMEOUT_MS, read_server_answer
from briefcase.adapters.providers.registry import Provider
from briefcase.core.jose.base64url import JoseError
from briefcase.core.jose.credentials import (
    CREDENTIAL_TYP,
    Credential,
    StatusEntry,
    TokenEntry,
    check_opaque,
    read_credential,
)
from briefcase.core.jose.status_lists import MAX_LIST_CHARS, STATUS_TYP, StatusList, read_status_list
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock, HttpRequest, Outbound
from briefcase.model.types import US_PER_S, parse_rfc3339

LIST_TYPES: Final = f"application/{STATUS_TYP}, application/{CREDENTIAL_TYP}"
MAX_LISTS: Final = 16  # of up to 8 MiB each; a provider chooses their addresses
STATUS_RETRY_S: Final = 10  # how long an unknown status is remembered before it is asked for again


class EntitlementStatus(StrEnum):
    """What is known of a credential now."""

    NONE = "none"
    VALID = "valid"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class _IssueAnswer(msgspec.Struct, frozen=True):
    vc_jwt: str
    expires_at_rfc3339: str


class _Known(msgspec.Struct, frozen=True):
    """A status list as last asked for; None where it could not be had."""

    found: StatusList | None
    until_us: int


class EntitlementClient:
    """Fetches credentials and the lists that revoke them.

    Args:
        outbound: the guarded way out.
        clock: the time.
        holder_did: whom credentials are issued to: the daemon.
        opaque_from: the providers whose credentials are kept though only they can verify them.
    """

    def __init__(
        self, outbound: Outbound, clock: Clock, holder_did: str, opaque_from: frozenset[str] = frozenset()
    ) -> None:
        self._outbound = outbound
        self._clock = clock
        self._holder_did = holder_did
        self._opaque_from = opaque_from
        self._lists: dict[tuple[str, StatusEntry], _Known] = {}

    async def fetch(self, provider: Provider, access_token: str) -> Entitlement:
        """Ask a provider for a credential, and verify it before it is kept.

        Raises:
            UpstreamError: refused, unreachable, or what came is not a good credential about this daemon.
        """
        url = f"{provider.base_url}/vc/issue?holder_did={self._holder_did}"
        headers = {"authorization": f"Bearer {access_token}"}
        response = await self._outbound.request(
            HttpRequest(
                "POST", url, headers, timeout_ms=TIMEOUT_MS, max_body_bytes=MAX_ANSWER_BYTES, pool_key=provider.id
            )
        )
        answer = read_server_answer(response, _IssueAnswer, "the request for a credential")
        try:
            expires_us = parse_rfc3339(answer.expires_at_rfc3339)
            if provider.id in self._opaque_from and _is_opaque(answer.vc_jwt):
                return Entitlement(answer.vc_jwt, expires_us)
            credential = self._read(answer.vc_jwt)
        except (JoseError, ValueError) as error:
            hint = "`[providers] opaque_credentials` in `briefcase.toml` takes one that only its issuer can verify"
            raise UpstreamError(
                "the provider's credential is not good",
                detail=str(error),
                hint=hint if _is_opaque(answer.vc_jwt) else "",
            ) from None
        return Entitlement(answer.vc_jwt, min(credential.exp * US_PER_S, expires_us))

    async def status(self, provider: Provider, entitlement: Entitlement | None) -> EntitlementStatus:
        """What is known of an entitlement now; asks the provider only where nothing fresh is remembered."""
        if entitlement is None:
            return EntitlementStatus.NONE
        try:
            credential = self._read(entitlement.credential_jwt)
        except JoseError:
            return self._status_of_opaque(provider, entitlement)
        found = [await self._status_by(provider, credential, entry) for entry in credential.status_entries]
        for status in (EntitlementStatus.REVOKED, EntitlementStatus.UNKNOWN):
            if status in found:
                return status
        return EntitlementStatus.VALID

    def _status_of_opaque(self, provider: Provider, entitlement: Entitlement) -> EntitlementStatus:
        """Unknown, while it lives and the operator keeps such; any other is as good as none (expired, of another)."""
        is_kept = provider.id in self._opaque_from and _is_opaque(entitlement.credential_jwt)
        is_alive = entitlement.expires_us > self._clock.now_us()
        return EntitlementStatus.UNKNOWN if is_kept and is_alive else EntitlementStatus.NONE

    async def _status_by(self, provider: Provider, credential: Credential, entry: StatusEntry) -> EntitlementStatus:
        """What one list says, or said when it was last asked for."""
        key = credential.iss, _of_list(entry)
        known = self._lists.get(key)
        if known is None or known.until_us <= self._clock.now_us():
            known = await self._ask(provider, credential, entry)
            self._lists.pop(key, None)
            self._lists[key] = known
            while len(self._lists) > MAX_LISTS:
                del self._lists[next(iter(self._lists))]  # the one that was asked for the longest ago
        if known.found is None:
            return EntitlementStatus.UNKNOWN
        return EntitlementStatus.VALID if known.found.is_valid(entry.idx) else EntitlementStatus.REVOKED

    def _read(self, credential_jwt: str) -> Credential:
        return read_credential(credential_jwt, self._holder_did, self._clock.now_us())

    async def _ask(self, provider: Provider, credential: Credential, entry: StatusEntry) -> _Known:
        now_us = self._clock.now_us()
        asked = HttpRequest(
            "GET",
            entry.uri,
            {"accept": LIST_TYPES},
            timeout_ms=TIMEOUT_MS,
            max_body_bytes=MAX_LIST_CHARS,
            pool_key=provider.id,
        )
        try:
            response = await self._outbound.request(asked)
            if response.status != HTTPStatus.OK:
                return _Known(None, now_us + STATUS_RETRY_S * US_PER_S)
            found = read_status_list(response.body.decode("ascii"), credential, entry, now_us)
        except (UpstreamError, CallerError, JoseError, UnicodeDecodeError):
            return _Known(None, now_us + STATUS_RETRY_S * US_PER_S)
        return _Known(found, found.expires_s * US_PER_S)


def _of_list(entry: StatusEntry) -> StatusEntry:
    """What names a list: an entry at its first index."""
    if isinstance(entry, TokenEntry):
        return msgspec.structs.replace(entry, idx=0)
    return msgspec.structs.replace(entry, status_list_index="0")


def _is_opaque(credential_jwt: str) -> bool:
    try:
        check_opaque(credential_jwt)
    except JoseError:
        return False
    return True
