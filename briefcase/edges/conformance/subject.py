"""The provider under test, seen by a client that can also do wrong on purpose.

Every request is one `HttpRequest` through the guarded way out. Proofs are made claim by claim, so that a check can
change exactly one.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from briefcase.adapters.oauth.wire import FORM
from briefcase.core.jose import pkce
from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.jose.dpop import token_hash
from briefcase.core.jose.jws import PrivateKey, generate_key
from briefcase.core.json.strict import parse as parse_json
from briefcase.edges.conformance.checks import BrokenError, body_of, text_of
from briefcase.edges.conformance.proofs import sign_proof
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock, Entropy, HttpRequest, HttpResponse, Outbound
from briefcase.model.types import US_PER_S, JsonObject

REDIRECT_URI: Final = "http://127.0.0.1:49152/callback"
REDIRECTS: Final = frozenset({HTTPStatus.FOUND, HTTPStatus.SEE_OTHER, HTTPStatus.TEMPORARY_REDIRECT})
CLIENT_ID: Final = "briefcase-conformance"
RESOURCE_PATH: Final = "/api/quote"
ADMIN_HEADER: Final = "x-aag-admin-secret"


class Minted(msgspec.Struct, frozen=True):
    """A capability as `POST /token` gave it."""

    token: str
    answer: JsonObject


class Subject:
    """One provider.

    Args:
        base_url: its address, without a trailing slash.
        outbound: the way to it.
        clock: the time, for proofs.
        entropy: ids of proofs.
        admin_secret: for `POST /api/revoke`; without it, what needs revoking is skipped.
    """

    def __init__(
        self, base_url: str, outbound: Outbound, clock: Clock, entropy: Entropy, admin_secret: str | None = None
    ) -> None:
        self.base_url = base_url
        self.admin_secret = admin_secret
        self.key = generate_key()
        self._outbound = outbound
        self._clock = clock
        self._entropy = entropy
        self._nonce: str | None = None

    def now_s(self) -> int:
        """The time, seconds."""
        return self._clock.now_us() // US_PER_S

    def new_jti(self) -> str:
        """An id for a proof."""
        return self._entropy.uuid()

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpResponse:
        """One request."""
        try:
            response = await self._outbound.request(HttpRequest(method, self.base_url + path, headers or {}, body))
        except UpstreamError as error:
            raise BrokenError(f"`{method} {path}` got no answer: {error.message}") from None
        self._nonce = response.headers.get("dpop-nonce", self._nonce)
        return response

    # --- OAuth --------------------------------------------------------------------------------------------------

    async def authorize(self, verifier: str, **changed: str | None) -> Mapping[str, str]:
        """An authorization request: the fields of the address it redirects to; empty where it does not redirect."""
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "state": "state-of-the-harness",
            "code_challenge": pkce.challenge_of(verifier),
            "code_challenge_method": pkce.METHOD,
        } | changed
        kept = {name: value for name, value in query.items() if value is not None}
        response = await self.ask("GET", f"/oauth/authorize?{urlencode(kept)}")
        location = response.headers.get("location", "")
        if response.status not in REDIRECTS or not location.startswith(REDIRECT_URI + "?"):
            return {}
        return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}

    async def exchange(self, code: str, verifier: str, **changed: str) -> HttpResponse:
        """A token request with a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "client_id": CLIENT_ID,
            "code_verifier": verifier,
        }
        return await self.post_form("/oauth/token", form | changed)

    async def post_form(self, path: str, form: Mapping[str, str]) -> HttpResponse:
        """A form, as OAuth's endpoints take it."""
        return await self.ask("POST", path, {"content-type": FORM}, urlencode(form).encode())

    async def log_in(self) -> JsonObject:
        """The tokens of a fresh log-in."""
        verifier = self._entropy.token()
        answer = await self.authorize(verifier)
        if "code" not in answer:
            raise BrokenError("`GET /oauth/authorize` gave no code")
        return body_of(await self.exchange(answer["code"], verifier), HTTPStatus.OK, "`POST /oauth/token`")

    # --- capabilities -------------------------------------------------------------------------------------------

    async def mint(self, key: PrivateKey | None = None) -> Minted:
        """A capability bound to a key, the harness's own unless another is given."""
        headers = {"authorization": f"Bearer {text_of(await self.log_in(), 'access_token')}"}
        response = await self.ask("POST", "/token", {**headers, "dpop": self.proof("POST", "/token", key=key)})
        if response.status == HTTPStatus.UNAUTHORIZED and "dpop-nonce" in response.headers:  # RFC 9449 section 8
            response = await self.ask("POST", "/token", {**headers, "dpop": self.proof("POST", "/token", key=key)})
        answer = body_of(response, HTTPStatus.OK, "`POST /token`")
        return Minted(text_of(answer, "token"), answer)

    def proof(
        self,
        method: str = "GET",
        path: str = RESOURCE_PATH,
        *,
        token: str | None = None,
        key: PrivateKey | None = None,
        header: JsonObject | None = None,
        claims: JsonObject | None = None,
    ) -> str:
        """A proof; `header` and `claims` change members of a good one, and None leaves one out."""
        good: JsonObject = {
            "jti": self.new_jti(),
            "htm": method,
            "htu": self.base_url + path,
            "iat": self.now_s(),
            "ath": None if token is None else token_hash(token),
            "nonce": self._nonce,
        }
        return sign_proof(key or self.key, good | (claims or {}), header)

    async def call(self, token: str, proof: str | None = None, *, scheme: str = "DPoP") -> HttpResponse:
        """The protected resource; an empty proof sends none, None a good one."""
        sent = self.proof(token=token) if proof is None else proof
        headers = {"authorization": f"{scheme} {token}"} | ({"dpop": sent} if sent else {})
        return await self.ask("GET", f"{RESOURCE_PATH}?symbol=ACME", headers)

    async def revoke(self, token: str) -> HttpResponse:
        """Ask the provider's administration to end a capability."""
        headers = {ADMIN_HEADER: self.admin_secret or "", "content-type": "application/json"}
        return await self.ask("POST", "/api/revoke", headers, msgspec.json.encode({"token": token}))


def claims_of(token: str) -> JsonObject:
    """The claims of a JWT, unverified: the harness has no key of the provider's."""
    try:
        claims = parse_json(decode_base64url(token.split(".")[1]))
    except (IndexError, JoseError, CallerError):
        raise BrokenError("expected the capability to be a JWT") from None
    if not isinstance(claims, dict):
        raise BrokenError("expected the capability's claims to be an object")
    return claims
