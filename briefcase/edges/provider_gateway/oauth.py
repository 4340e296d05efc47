"""The authorization server: code with PKCE, rotation of refresh tokens, revocation (OAuth 2.1, RFC 7636, 7009, 9207).

It has no users of its own: whoever reaches `/oauth/authorize` is granted what was asked for. A provider that puts this
in front of a real API puts its own log-in in front of that path.

Access and refresh tokens are signed and carry their family, the grant they come from. Of a family the newest refresh
token works; an older one means that someone else has it, and ends the whole family (RFC 9700 section 4.14.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from briefcase.core.jose import pkce
from briefcase.core.jose.base64url import JoseError
from briefcase.core.jose.jws import Signer, check_signature, parse_compact
from briefcase.edges.provider_gateway.authority import Refused, fact_key
from briefcase.edges.provider_gateway.facts import Fact, Facts, Kind
from briefcase.edges.provider_gateway.keys import GatewayKeys
from briefcase.edges.provider_gateway.settings import SCOPE, GatewaySettings
from briefcase.model.ports import Clock, Entropy
from briefcase.model.types import US_PER_S, JsonObject

ACCESS_TYP: Final = "at+jwt"  # RFC 9068
REFRESH_TYP: Final = "aacp-refresh+jwt"
CODE_TTL_S: Final = 60
MAX_CODES: Final = 10_000
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})

_CLIENT_ID: Final = re.compile(r"[!-~]{1,256}")
_STATE: Final = re.compile(r"[ -~]{1,512}")


class Grant(msgspec.Struct):
    """One authorization code, until it expires; `is_used` once it was exchanged."""

    client_id: str
    redirect_uri: str
    challenge: str
    family: str
    expires_us: int
    is_used: bool = False


class Granted(msgspec.Struct, frozen=True):
    """The claims of an access or a refresh token."""

    iss: str
    client_id: str
    exp: int
    fam: str
    scope: str
    jti: str = ""
    gen: int = 0


class OAuth:
    """The authorization server of one gateway."""

    def __init__(
        self, settings: GatewaySettings, keys: GatewayKeys, facts: Facts, clock: Clock, entropy: Entropy
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._facts = facts
        self._clock = clock
        self._entropy = entropy
        self._access = Signer(keys.signing, ACCESS_TYP)
        self._refresh = Signer(keys.signing, REFRESH_TYP)
        self._codes: dict[str, Grant] = {}

    def metadata(self) -> JsonObject:
        """The server's metadata (RFC 8414)."""
        base = self._settings.base_url
        return {
            "issuer": base,
            "authorization_endpoint": f"{base}/oauth/authorize",
            "token_endpoint": f"{base}/oauth/token",
            "revocation_endpoint": f"{base}/oauth/revoke",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": [pkce.METHOD],
            "token_endpoint_auth_methods_supported": ["none"],
            "scopes_supported": [SCOPE],
            "authorization_response_iss_parameter_supported": True,
        }

    def authorize(self, query: Mapping[str, str]) -> str | Refused:
        """Answer an authorization request.

        Returns:
            The address to send the user agent to, with a code or an error; or a refusal to be shown in place, where
            the client or its address is not to be trusted (OAuth 2.1 section 4.1.2.1).
        """
        client_id, redirect_uri = query.get("client_id", ""), query.get("redirect_uri", "")
        if not _CLIENT_ID.fullmatch(client_id):
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_request", "expected a `client_id`")
        if not self._may_redirect(redirect_uri):
            return Refused(
                HTTPStatus.BAD_REQUEST, "invalid_request", "expected a `redirect_uri` on loopback, or a registered one"
            )
        state = query.get("state", "")
        error = self._authorization_error(query, state)
        if error:
            return self._redirect(redirect_uri, {"error": error}, state)
        return self._redirect(redirect_uri, {"code": self._new_code(client_id, redirect_uri, query)}, state)

    def exchange(self, form: Mapping[str, str]) -> JsonObject | Refused:
        """Answer a token request, by code or by refresh token."""
        grant_type = form.get("grant_type")
        if grant_type == "authorization_code":
            return self._exchange_code(form)
        if grant_type == "refresh_token":
            return self._exchange_refresh(form)
        return Refused(
            HTTPStatus.BAD_REQUEST, "unsupported_grant_type", "expected `authorization_code` or `refresh_token`"
        )

    def revoke(self, form: Mapping[str, str]) -> None:
        """End the family of a token; a token that is none of ours changes nothing (RFC 7009 section 2.2)."""
        token = form.get("token", "")
        granted = self._verified(token, REFRESH_TYP) or self._verified(token, ACCESS_TYP)
        if granted is not None:
            self._end(granted.fam)

    def check_access(self, token: str) -> Granted | None:
        """The claims of an access token that is good now."""
        granted = self._verified(token, ACCESS_TYP)
        return granted if granted is not None and self._is_alive(granted) else None

    # --- authorization ------------------------------------------------------------------------------------------

    def _may_redirect(self, redirect_uri: str) -> bool:
        if redirect_uri in self._settings.redirect_uris:
            return True
        try:
            parts = urlsplit(redirect_uri)
        except ValueError:
            return False
        plain = redirect_uri.isascii() and redirect_uri.isprintable() and "\\" not in redirect_uri
        return (
            plain
            and parts.scheme == "http"
            and parts.hostname in LOOPBACK_HOSTS
            and not (parts.username or parts.password or parts.fragment)
        )

    def _authorization_error(self, query: Mapping[str, str], state: str) -> str | None:
        if query.get("response_type") != "code":
            return "unsupported_response_type"
        if not _STATE.fullmatch(state):
            return "invalid_request"
        if query.get("code_challenge_method") != pkce.METHOD or not pkce.is_challenge(query.get("code_challenge", "")):
            return "invalid_request"
        return None if query.get("scope", SCOPE) == SCOPE else "invalid_scope"

    def _new_code(self, client_id: str, redirect_uri: str, query: Mapping[str, str]) -> str:
        now_us = self._clock.now_us()
        self._codes = {code: grant for code, grant in self._codes.items() if grant.expires_us > now_us}
        while len(self._codes) >= MAX_CODES:
            del self._codes[next(iter(self._codes))]
        code = self._entropy.token()
        expires_us = now_us + CODE_TTL_S * US_PER_S
        self._codes[code] = Grant(client_id, redirect_uri, query["code_challenge"], self._entropy.uuid(), expires_us)
        return code

    def _redirect(self, redirect_uri: str, answer: dict[str, str], state: str) -> str:
        separator = "&" if "?" in redirect_uri else "?"
        fields = answer | ({"state": state} if state else {}) | {"iss": self._settings.base_url}
        return f"{redirect_uri}{separator}{urlencode(fields)}"

    # --- tokens -------------------------------------------------------------------------------------------------

    def _exchange_code(self, form: Mapping[str, str]) -> JsonObject | Refused:
        grant = self._codes.get(form.get("code", ""))
        if grant is None or grant.expires_us <= self._clock.now_us():
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_grant", "the code is unknown or has expired")
        if grant.is_used:
            self._end(grant.family)  # OAuth 2.1 section 4.1.3: whoever had it first may not have been the client
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_grant", "the code was used before")
        grant.is_used = True
        if form.get("client_id") != grant.client_id or form.get("redirect_uri") != grant.redirect_uri:
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_grant", "the code was given to another client or address")
        if not pkce.is_verified(form.get("code_verifier", ""), grant.challenge):
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_grant", "the `code_verifier` is not the one of the request")
        return self._answer(grant.client_id, grant.family, 0)

    def _exchange_refresh(self, form: Mapping[str, str]) -> JsonObject | Refused:
        granted = self._verified(form.get("refresh_token", ""), REFRESH_TYP)
        if granted is None or not self._is_alive(granted) or form.get("client_id") not in {None, granted.client_id}:
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_grant", "the refresh token is unknown, expired or revoked")
        current = self._facts.value(Kind.ROTATED, fact_key(granted.fam)) or 0
        if granted.gen != current:
            self._end(granted.fam)
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_grant", "the refresh token was used before: log in again")
        return self._answer(granted.client_id, granted.fam, current + 1)

    def _answer(self, client_id: str, family: str, generation: int) -> JsonObject:
        settings, now_s = self._settings, self._clock.now_us() // US_PER_S
        base: JsonObject = {"iss": settings.base_url, "client_id": client_id, "iat": now_s}
        claims = base | {"fam": family, "scope": SCOPE}
        refresh_exp = now_s + settings.refresh_ttl_s
        if generation:
            self._facts.add(Fact(Kind.ROTATED, fact_key(family), generation, refresh_exp), sync=True)
        access = claims | {"sub": client_id, "aud": settings.base_url, "jti": self._entropy.uuid()}
        return {
            "access_token": self._access.sign(access | {"exp": now_s + settings.access_ttl_s}),
            "token_type": "Bearer",
            "expires_in": settings.access_ttl_s,
            "refresh_token": self._refresh.sign(claims | {"exp": refresh_exp, "gen": generation}),
            "scope": SCOPE,
        }

    def _verified(self, token: str, typ: str) -> Granted | None:
        try:
            jws = parse_compact(token, typ)
            check_signature(jws, self._keys.signing.public)
            granted = msgspec.convert(jws.claims, Granted)
        except (JoseError, msgspec.ValidationError):
            return None
        is_current = granted.iss == self._settings.base_url and granted.exp > self._clock.now_us() // US_PER_S
        return granted if is_current else None

    def _is_alive(self, granted: Granted) -> bool:
        return self._facts.value(Kind.REVOKED, fact_key(granted.fam)) is None

    def _end(self, family: str) -> None:
        expires_s = self._clock.now_us() // US_PER_S + self._settings.refresh_ttl_s
        self._facts.add(Fact(Kind.REVOKED, fact_key(family), 1, expires_s), sync=True)
