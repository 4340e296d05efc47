"""Logging in to a provider: authorization code with PKCE, refresh with rotation, revocation.

OAuth 2.1 with RFC 7636 (S256 only), RFC 8414 and OpenID discovery (metadata), RFC 9207 (issuer in the answer), RFC 8707
(what the token is for), RFC 7009 (revocation) and RFC 9449 (proofs at the token endpoint, where the server says that it
takes them).

A provider that has no metadata is taken to be one of `aacp_v1`: its endpoints are below `/oauth`. The authorization
server of an MCP server must have metadata (`discover_issuer`).
"""

from __future__ import annotations

import base64
import hmac
import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from briefcase.adapters.oauth.custody import Client, Login
from briefcase.adapters.oauth.metadata import (
    BASIC,
    METADATA_NAMES,
    POST,
    ServerMetadata,
    check_issuer_metadata,
    check_metadata,
    metadata_url,
    metadata_urls,
)
from briefcase.adapters.oauth.wire import MAX_ANSWER_BYTES, TIMEOUT_MS, error_word, post_form, read_server_answer
from briefcase.core.jose import pkce
from briefcase.core.jose.dpop import ProofSigner
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock, Entropy, HttpRequest, HttpResponse, Outbound
from briefcase.model.types import US_PER_S

MAX_LIFETIME_S: Final = 86_400  # a server that promises more is asked again after a day
DEFAULT_LIFETIME_S: Final = 300
BEARER: Final = "bearer"  # what a token is whose kind is not named
_TOKEN: Final = re.compile(r"[!-~]{1,16384}")  # wider than RFC 6750 section 2.1, safe in a header


class Begun(msgspec.Struct, frozen=True):
    """A log-in that has begun: where to send the person, and what to hold the answer against."""

    authorization_url: str
    state: str
    issuer: str
    requires_iss: bool


class Started(Begun, frozen=True, kw_only=True):
    """The same, with the verifier: a secret that does not leave the daemon."""

    code_verifier: str

    def __repr__(self) -> str:
        return f"Started(issuer={self.issuer!r}, ...)"


class _TokenAnswer(msgspec.Struct, frozen=True):
    """What is used of a token endpoint's answer (RFC 6749 section 5.1), with the forms that servers give it."""

    access_token: str
    token_type: str = BEARER
    expires_in: float = DEFAULT_LIFETIME_S
    refresh_token: str | None = None
    scope: str | list[str] | None = None

    @property
    def lifetime_s(self) -> int:
        """How long the token lives, within bounds; a server that names no number is taken at the default."""
        named = self.expires_in if math.isfinite(self.expires_in) else DEFAULT_LIFETIME_S
        return int(min(max(named, 0), MAX_LIFETIME_S))

    @property
    def granted(self) -> str | None:
        """The scope, or None where it is the one that was asked for."""
        return " ".join(self.scope) if isinstance(self.scope, list) else self.scope


class OAuthClient:
    """The client side of one authorization server after another.

    Args:
        outbound: the guarded way out.
        clock: the time.
        entropy: makes `state`, verifiers and proof ids.
    """

    def __init__(self, outbound: Outbound, clock: Clock, entropy: Entropy) -> None:
        self._outbound = outbound
        self._clock = clock
        self._entropy = entropy

    async def discover(self, base_url: str) -> ServerMetadata:
        """Read a provider's metadata, and check it before anything in it is used.

        Raises:
            UpstreamError: unreachable, or the metadata is another issuer's, without S256, or names an endpoint that is
                not a plain URL on the issuer's own host (`upstream_refused`).
        """
        metadata = await self._metadata([metadata_url(base_url, name) for name in METADATA_NAMES])
        if metadata is not None:
            check_metadata(metadata, base_url)
            return metadata
        oauth = f"{base_url}/oauth"
        return ServerMetadata(base_url, f"{oauth}/authorize", f"{oauth}/token", f"{oauth}/revoke", (pkce.METHOD,))

    async def discover_issuer(self, issuer: str) -> ServerMetadata:
        """Read the metadata of an issuer that somebody else named, and check it before anything in it is used.

        Raises:
            UpstreamError: unreachable, or the metadata is not there, is not that very issuer's, without S256, or names
                an endpoint that is not to be asked (`upstream_refused`).
        """
        metadata = await self._metadata(metadata_urls(issuer))
        if metadata is None:
            raise UpstreamError("the authorization server has no metadata", code="upstream_refused")
        check_issuer_metadata(metadata, issuer)
        return metadata

    async def _metadata(self, urls: Sequence[str]) -> ServerMetadata | None:
        for url in urls:
            response = await self._outbound.request(
                HttpRequest("GET", url, timeout_ms=TIMEOUT_MS, max_body_bytes=MAX_ANSWER_BYTES)
            )
            if response.status != HTTPStatus.NOT_FOUND:
                return read_server_answer(response, ServerMetadata, "the request for OAuth metadata")
        return None

    def start(
        self,
        metadata: ServerMetadata,
        client_id: str,
        redirect_uri: str,
        scope: str | None,
        resource: str | None = None,
    ) -> Started:
        """Begin a log-in: one `state` and one verifier, used for nothing else; `resource` is what it is for."""
        state, verifier = self._entropy.token(), self._entropy.token()
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": pkce.challenge_of(verifier),
            "code_challenge_method": pkce.METHOD,
        }
        query |= {name: value for name, value in (("scope", scope), ("resource", resource)) if value}
        separator = "&" if "?" in metadata.authorization_endpoint else "?"
        return Started(
            f"{metadata.authorization_endpoint}{separator}{urlencode(query)}",
            state,
            metadata.issuer,
            metadata.authorization_response_iss_parameter_supported,
            code_verifier=verifier,
        )

    async def exchange(
        self,
        metadata: ServerMetadata,
        *,
        code: str,
        redirect_uri: str,
        client: Client,
        code_verifier: str,
        signer: ProofSigner,
        resource: str | None = None,
        scope: str = "",
    ) -> Login:
        """Exchange a code. Raises `UpstreamError`: refused, unreachable, or an answer that is no token."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        blank = Login(
            client.client_id,
            metadata.issuer,
            metadata.token_endpoint,
            metadata.revocation_endpoint,
            access_token="",
            expires_us=0,
            with_proof=signer.algorithm in metadata.dpop_signing_alg_values_supported,
            client_secret=client.client_secret,
            auth_method=client.auth_method,
            resource=resource,
            scope=scope,
        )
        return await self._ask(blank, form, signer, "the exchange of the code")

    async def refresh(self, login: Login, signer: ProofSigner) -> Login:
        """Renew a log-in. The caller keeps the answer before it uses it: the old refresh token may be of no use now.

        Raises:
            UpstreamError: as `exchange`; with the detail `invalid_grant`, the log-in has ended.
        """
        if login.refresh_token is None:
            raise UpstreamError("the log-in cannot be renewed", code="upstream_refused", detail="invalid_grant")
        form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token}
        renewed = await self._ask(login, form, signer, "the renewal of the log-in")
        if login.is_bound and not renewed.is_bound:
            raise UpstreamError("the renewal gave a token that is bound to no key", code="upstream_refused")
        return renewed

    async def revoke(self, login: Login) -> tuple[bool, bool]:
        """Revoke a log-in at its server (RFC 7009): whether it was attempted, and whether it succeeded."""
        if login.revocation_endpoint is None:
            return False, False
        token, hint = (
            (login.refresh_token, "refresh_token") if login.refresh_token else (login.access_token, "access_token")
        )
        known, headers = authenticated(login)
        form = {"token": token, "token_type_hint": hint, **known}
        try:
            response = await post_form(
                self._outbound, login.revocation_endpoint, form, pool_key=login.issuer, headers=headers
            )
        except UpstreamError:
            return True, False
        return True, response.status == HTTPStatus.OK  # RFC 7009 section 2.2

    async def _ask(self, login: Login, form: dict[str, str], signer: ProofSigner, what: str) -> Login:
        asked_us = self._clock.now_us()
        response = await self._post_token(login, form, signer, None)
        nonce = response.headers.get("dpop-nonce")
        if login.with_proof and nonce and error_word(response) == "use_dpop_nonce":
            response = await self._post_token(login, form, signer, nonce)
        answer = read_server_answer(response, _TokenAnswer, what, _secrets_of(login, form))
        if answer.token_type.lower() not in {BEARER, "dpop"}:
            raise UpstreamError(f"{what} gave a token of a kind that is not known")
        if not _TOKEN.fullmatch(answer.access_token):
            raise UpstreamError(f"{what} gave a token that no request can carry")
        return msgspec.structs.replace(
            login,
            access_token=answer.access_token,
            expires_us=asked_us + answer.lifetime_s * US_PER_S,
            refresh_token=answer.refresh_token or login.refresh_token,
            has_ended=False,
            scope=login.scope if answer.granted is None else answer.granted,  # RFC 6749 section 5.1
            is_bound=answer.token_type.lower() == "dpop",
            issued_us=asked_us,
        )

    async def _post_token(
        self, login: Login, form: dict[str, str], signer: ProofSigner, nonce: str | None
    ) -> HttpResponse:
        url = login.token_endpoint
        known, headers = authenticated(login)
        if login.with_proof:
            proof = signer.sign("POST", url, self._entropy.uuid(), self._clock.now_us(), nonce=nonce)
            headers = {**headers, "dpop": proof}
        form = {**form, **known, **({"resource": login.resource} if login.resource else {})}
        return await post_form(self._outbound, url, form, pool_key=login.issuer, headers=headers)


def _secrets_of(login: Login, form: Mapping[str, str]) -> list[str]:
    """What of a request no message may repeat."""
    named = (form.get(name) for name in ("code", "code_verifier", "refresh_token"))
    return [text for text in (*named, login.client_secret, login.access_token) if text]


def authenticated(login: Login) -> tuple[dict[str, str], dict[str, str]]:
    """What says who we are to a token endpoint: form fields and headers (RFC 6749 section 2.3.1)."""
    if login.auth_method == BASIC:
        pair = ":".join(quote(text, safe="") for text in (login.client_id, login.client_secret or ""))
        return {}, {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if login.auth_method == POST:
        return {"client_id": login.client_id, "client_secret": login.client_secret or ""}, {}
    return {"client_id": login.client_id}, {}


def check_answer(begun: Begun, state: str | None, iss: str | None) -> None:
    """Hold an authorization answer against the log-in it should belong to: its `state` letter by letter, its issuer.

    Raises:
        CallerError: the `state` is another's, or `iss` is missing or another server's (RFC 9207 section 2.4).
    """
    if state is None or not hmac.compare_digest(state.encode(errors="replace"), begun.state.encode()):
        raise CallerError("the answer belongs to another log-in: its `state` differs", hint="start the log-in again")
    check_iss(begun.issuer, iss, requires_iss=begun.requires_iss)


def check_iss(issuer: str, iss: str | None, *, requires_iss: bool) -> None:
    """Hold the issuer of an answer against the one that the server's metadata name, as texts (RFC 9207 section 2.4).

    Raises:
        CallerError: it is missing where the server promises it, or is another.
    """
    if iss is None and requires_iss:
        raise CallerError("the answer names no issuer, though its server says that it does", hint="send its `iss` too")
    if iss is not None and iss != issuer:
        raise CallerError("the answer comes from another authorization server: its `iss` differs")
