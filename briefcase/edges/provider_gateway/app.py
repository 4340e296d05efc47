"""The provider gateway's paths, one table that BlackSheep serves; what is protected is behind the guard."""

from __future__ import annotations

import hmac
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

import blacksheep
import msgspec

from briefcase.adapters.telemetry.refusal_log import RefusalLog
from briefcase.core.jose.credentials import CREDENTIAL_TYP
from briefcase.core.jose.status_lists import STATUS_TYP
from briefcase.edges.provider_gateway.authority import (
    BEARER_SCHEME,
    Authority,
    Refused,
    refuse_token,
    split_credentials,
)
from briefcase.edges.provider_gateway.credentials import BITSTRING_PATH, STATUS_PATH, Credentials
from briefcase.edges.provider_gateway.facts import Facts
from briefcase.edges.provider_gateway.guard import CapabilityGuard
from briefcase.edges.provider_gateway.http import (
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    read_request,
    refusal,
    response_of,
)
from briefcase.edges.provider_gateway.keys import load_or_create_keys
from briefcase.edges.provider_gateway.oauth import OAuth
from briefcase.edges.provider_gateway.payments import CHALLENGE_HEADER, L402, X402, Payment, Payments, header_of
from briefcase.edges.provider_gateway.settings import ADMIN_HEADER, ERROR_HEADER, SCOPE, GatewaySettings
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.ports import Clock, Entropy
from briefcase.model.types import COMPATIBILITY_PROFILE, US_PER_S, JsonObject, format_rfc3339

QUOTE_PATH: Final = "/api/quote"
RAIL_HEADER: Final = "x-accept-payment-rail"
CREDENTIAL_HEADER: Final = "x-vc-jwt"

_CLIENTS: Final = "clients"  # nobody is known here before a token is good
_SYMBOL: Final = re.compile(r"[A-Za-z0-9.-]{1,16}")
_DID: Final = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._:%-]{1,256}")

_Handler: TypeAlias = Callable[[Request], Reply | Refused]
_Served: TypeAlias = Callable[[blacksheep.Request], Awaitable[blacksheep.Response]]


class Entitled(msgspec.Struct, frozen=True):
    """The right to a capability; `payment` is used up when it is issued."""

    payment: Payment | None = None


class ProviderGateway:
    """One provider as an ASGI application.

    Args:
        settings: how it issues and checks.
        clock: the time.
        entropy: makes ids and codes.

    Raises:
        ConfigError: its state directory holds what it cannot use.
    """

    def __init__(self, settings: GatewaySettings, clock: Clock, entropy: Entropy) -> None:
        keys = load_or_create_keys(settings.state_dir)
        self._settings = settings
        self._clock = clock
        self._refusals = RefusalLog(clock.monotonic_ns)
        self.facts = Facts(settings, clock.now_us() // US_PER_S)
        self.authority = Authority(settings, keys, self.facts, clock, entropy)
        self._oauth = OAuth(settings, keys, self.facts, clock, entropy)
        self._credentials = Credentials(settings, keys, self.facts, clock)
        self._payments = Payments(settings, keys, self.facts, clock, entropy)
        self._table: Mapping[tuple[str, str], _Handler] = {
            ("GET", "/health"): self._health,
            ("POST", "/token"): self._token,
            ("POST", "/api/revoke"): self._revoke,
            ("GET", "/.well-known/oauth-authorization-server"): lambda _: Reply(self._oauth.metadata()),
            ("GET", "/oauth/authorize"): self._authorize,
            ("POST", "/oauth/token"): self._oauth_token,
            ("POST", "/oauth/revoke"): self._oauth_revoke,
            ("POST", "/vc/issue"): self._issue_credential,
            ("GET", STATUS_PATH): self._status_list,
            ("GET", BITSTRING_PATH): self._bitstring,
            ("POST", "/pay"): self._pay,
            ("POST", "/l402/pay"): self._pay_invoice,
            ("GET", QUOTE_PATH): self._quote,
        }
        self._site = self._new_site()
        self._guarded = CapabilityGuard(
            self._site,
            self.authority,
            base_url=settings.base_url,
            scope=SCOPE,
            answer_of=lambda refused: self._refusal(refused, f"GET {QUOTE_PATH}"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        await self._site.start()  # type: ignore[no-untyped-call] # the first time; it returns at once afterwards
        app = self._guarded if scope["path"] == QUOTE_PATH else self._site
        await app(scope, receive, send)

    def _new_site(self) -> blacksheep.Application:
        """The table as an application of BlackSheep's."""
        site = blacksheep.Application(router=blacksheep.Router())
        site.show_error_details = False  # whatever `APP_SHOW_ERROR_DETAILS` says
        for (method, path), handler in self._table.items():
            site.router.add(method, path, self._served(path, handler))
        site.router.fallback = self._served("", self._nowhere)
        return site

    def _served(self, path: str, handler: _Handler) -> _Served:
        """A handler of BlackSheep's at exactly one path: its router takes any case, and a slash at the end."""

        async def serve(asked: blacksheep.Request) -> blacksheep.Response:
            try:
                request = await read_request(asked)
                answer = handler(request) if request.path == path else self._nowhere(request)
            except BriefcaseError as error:
                answer = Refused(error.http_status, error.code, error.message)
            return response_of(
                self._refusal(answer, f"{asked.method} {path}") if isinstance(answer, Refused) else answer
            )

        return serve

    def _refusal(self, refused: Refused, operation: str) -> Reply:
        """The answer of a refusal, which the log has, too."""
        reply = refusal(refused)
        named = self._refusals.note_unnamed(
            _CLIENTS, reply.status, refused.error, refused.description, operation=operation
        )
        headers = tuple((name.decode(), value.decode()) for name, value in named)
        return msgspec.structs.replace(reply, headers=(*reply.headers, *headers))

    def _nowhere(self, request: Request) -> Reply:
        is_known = any(path == request.path for _, path in self._table)
        raise CallerError("nothing is at this path", code="method_not_allowed" if is_known else "not_found")

    # --- capabilities -------------------------------------------------------------------------------------------

    def _token(self, request: Request) -> Reply | Refused:
        entitled = self._entitlement(request)
        if not isinstance(entitled, Entitled):
            return entitled
        jkt = self.authority.check_new_proof(request.asked(self._settings.base_url))
        if isinstance(jkt, Refused):
            return jkt
        if entitled.payment is not None and not self._payments.spend(entitled.payment):
            return refuse_token("the payment was used before")
        token, capability = self.authority.issue(jkt)
        return Reply(
            {
                "token": token,
                "expires_at_rfc3339": format_rfc3339(capability.exp * US_PER_S),
                "max_calls": capability.max_calls,
                "compatibility_profile": COMPATIBILITY_PROFILE,
            }
        )

    def _entitlement(self, request: Request) -> Entitled | Reply | Refused:
        """What allows a capability: a credential, an access token or a payment; nothing is used up yet."""
        credential = request.header(CREDENTIAL_HEADER)
        if credential is not None:
            return Entitled() if self._credentials.check(credential) else refuse_token("the credential is not good")
        scheme, credentials = split_credentials(request.headers.get("authorization", ()))
        if scheme == BEARER_SCHEME:
            is_good = self._oauth.check_access(credentials) is not None
            return Entitled() if is_good else refuse_token("the access token is not good")
        if not self._settings.takes_payments:
            return refuse_token("expected an access token or a credential")
        if scheme in {X402, L402}:
            payment = self._payments.find_paid(scheme, credentials)
            return Entitled(payment) if payment else refuse_token("the payment is not good")
        challenge = self._payments.challenge(request.header(RAIL_HEADER) or X402)
        told = ((ERROR_HEADER, "payment_required"), (CHALLENGE_HEADER, header_of(challenge)))
        return Reply(challenge, HTTPStatus.PAYMENT_REQUIRED, told)

    def _revoke(self, request: Request) -> Reply | Refused:
        found, expected = request.header(ADMIN_HEADER) or "", self._settings.admin_secret
        if not expected or not hmac.compare_digest(found.encode(), expected.encode()):
            return Refused(
                HTTPStatus.UNAUTHORIZED, "unauthorized", f"expected the administrator's secret in `{ADMIN_HEADER}`"
            )
        jti = self._revoked_jti(request)
        self.authority.revoke(jti)
        self._credentials.revoke(jti)
        return Reply({"revoked": True, "jti": jti})

    def _revoked_jti(self, request: Request) -> str:
        try:
            return request.json_text("jti")
        except CallerError:
            token = request.json_text("token")
        jti = self.authority.jti_of(token) or self._credentials.jti_of(token)
        if jti is None:
            raise CallerError("expected `jti`, or a `token` of this gateway that has not expired")
        return jti

    # --- OAuth --------------------------------------------------------------------------------------------------

    def _authorize(self, request: Request) -> Reply | Refused:
        answer = self._oauth.authorize(request.query)
        return (
            answer if isinstance(answer, Refused) else Reply({}, HTTPStatus.TEMPORARY_REDIRECT, (("location", answer),))
        )

    def _oauth_token(self, request: Request) -> Reply | Refused:
        answer = self._oauth.exchange(request.form())
        return answer if isinstance(answer, Refused) else Reply(answer)

    def _oauth_revoke(self, request: Request) -> Reply:
        self._oauth.revoke(request.form())
        return Reply({})

    # --- credentials and payments -------------------------------------------------------------------------------

    def _issue_credential(self, request: Request) -> Reply | Refused:
        scheme, token = split_credentials(request.headers.get("authorization", ()))
        if scheme != "bearer" or self._oauth.check_access(token) is None:
            return refuse_token("expected an access token")
        holder = request.query.get("holder_did", "")
        if not _DID.fullmatch(holder):
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_request", "expected the holder's DID in `holder_did`")
        credential, expires_s = self._credentials.issue(holder)
        return Reply({"vc_jwt": credential, "expires_at_rfc3339": format_rfc3339(expires_s * US_PER_S)})

    def _status_list(self, _: Request) -> Reply:
        return Reply(self._credentials.status_list(), content_type=f"application/{STATUS_TYP}")

    def _bitstring(self, _: Request) -> Reply:
        return Reply(self._credentials.bitstring(), content_type=f"application/{CREDENTIAL_TYP}")

    def _pay(self, request: Request) -> Reply | Refused:
        return self._paid("proof", self._payments.pay(request.json_text("payment_id")))

    def _pay_invoice(self, request: Request) -> Reply | Refused:
        return self._paid("preimage", self._payments.pay_invoice(request.json_text("invoice")))

    def _paid(self, name: str, value: str | None) -> Reply | Refused:
        if value is None or not self._settings.takes_payments:
            return Refused(HTTPStatus.BAD_REQUEST, "invalid_request", "the payment is unknown or has expired")
        return Reply({name: value})

    # --- the rest -----------------------------------------------------------------------------------------------

    def _health(self, _: Request) -> Reply:
        return Reply({"status": "ok", "ts": format_rfc3339(self._clock.now_us())})

    def _quote(self, request: Request) -> Reply | Refused:
        """A made-up price that stays the same for a symbol within a minute."""
        symbol = request.query.get("symbol", "")
        if not _SYMBOL.fullmatch(symbol):
            return Refused(
                HTTPStatus.BAD_REQUEST, "invalid_request", "expected `symbol` of 1 to 16 letters, digits, `.` and `-`"
            )
        now_us = self._clock.now_us()
        seed = zlib.crc32(f"{symbol.upper()} {now_us // (60 * US_PER_S)}".encode())
        quote: JsonObject = {"symbol": symbol.upper(), "price": 10 + seed % 99_000 / 100, "ts": format_rfc3339(now_us)}
        return Reply(quote)
