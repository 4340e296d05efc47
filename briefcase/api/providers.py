"""Providers: where paid tools are answered, the log-ins held for them, and how they behave. Operators only.

No answer holds a token or a key. `oauth/start` alone gives something secret away: the verifier of a log-in that has
only begun, to the operator whose browser finishes it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.api.routing import OPERATOR, READERS, Request, Route
from briefcase.api.services import Services
from briefcase.errors import CallerError
from briefcase.providers.client import Health
from briefcase.providers.oauth import Started
from briefcase.providers.registry import Provider
from briefcase.providers.service import Exchange, LoginRevoked, ProviderService, ProviderSummary
from briefcase.types import format_rfc3339


class ProviderList(msgspec.Struct):
    """All providers, sorted by id."""

    providers: list[ProviderSummary]


class ProviderBody(msgspec.Struct):
    """Where a provider is; `max_stale_s` lets a remembered answer to a read be served while the provider is down."""

    base_url: str
    max_stale_s: int | None = None


class ProviderNamed(msgspec.Struct):
    """It was done to this provider."""

    provider_id: str


class LoginBody(msgspec.Struct):
    """Who asks, and the loopback address where the answer is waited for."""

    client_id: str
    redirect_uri: str
    scope: str | None = None


class LoginStarted(msgspec.Struct):
    """Where to send the person, what to hold the answer against, and the verifier for the exchange."""

    provider_id: str
    authorization_url: str
    state: str
    code_verifier: str
    issuer: str
    requires_iss: bool


class CredentialFetched(msgspec.Struct):
    """A credential is kept; until when it entitles."""

    provider_id: str
    expires_at_rfc3339: str


class ProviderHealth(msgspec.Struct):
    """How a provider has behaved since the daemon started. `refusals` and `replays` are among the `failures`."""

    id: str
    is_enabled: bool
    calls: int
    failures: int
    refusals: int
    replays: int
    served_stale: int
    last_ok_at: str | None
    last_problem: str
    last_problem_at: str | None


class ProviderHealthList(msgspec.Struct):
    """Every provider; `token_waits` counts calls that had to wait for a capability."""

    providers: list[ProviderHealth]
    token_waits: int


async def list_providers(services: Services, _: Request) -> ProviderList:
    """`GET /v1/providers`."""
    return ProviderList(list(await _service(services).list()))


async def set_provider(services: Services, request: Request) -> ProviderSummary:
    """`POST /v1/providers/{id}`."""
    wanted = request.body_as(ProviderBody)
    return await _service(services).upsert(request.params["id"], wanted.base_url, wanted.max_stale_s)


async def delete_provider(services: Services, request: Request) -> ProviderNamed:
    """`POST /v1/providers/{id}/delete`."""
    await _service(services).delete(request.params["id"])
    return ProviderNamed(request.params["id"])


async def enable_provider(services: Services, request: Request) -> ProviderSummary:
    """`POST /v1/providers/{id}/enable`."""
    return await _service(services).set_enabled(request.params["id"], is_enabled=True)


async def disable_provider(services: Services, request: Request) -> ProviderSummary:
    """`POST /v1/providers/{id}/disable`."""
    return await _service(services).set_enabled(request.params["id"], is_enabled=False)


async def clear_capabilities(services: Services, request: Request) -> ProviderNamed:
    """`POST /v1/providers/{id}/clear-capabilities`."""
    _service(services).clear_capabilities(request.params["id"])
    return ProviderNamed(request.params["id"])


async def start_provider_login(services: Services, request: Request) -> LoginStarted:
    """`POST /v1/providers/{id}/oauth/start`."""
    provider_id, wanted = request.params["id"], request.body_as(LoginBody)
    started: Started = await _service(services).start_login(
        provider_id, wanted.client_id, wanted.redirect_uri, wanted.scope
    )
    return LoginStarted(provider_id, *msgspec.structs.astuple(started))


async def finish_provider_login(services: Services, request: Request) -> ProviderNamed:
    """`POST /v1/providers/{id}/oauth/exchange`."""
    await _service(services).exchange(request.params["id"], request.body_as(Exchange))
    return ProviderNamed(request.params["id"])


async def revoke_provider_login(services: Services, request: Request) -> LoginRevoked:
    """`POST /v1/providers/{id}/oauth/revoke`."""
    return await _service(services).revoke(request.params["id"])


async def fetch_provider_credential(services: Services, request: Request) -> CredentialFetched:
    """`POST /v1/providers/{id}/vc/fetch`."""
    provider_id = request.params["id"]
    return CredentialFetched(provider_id, await _service(services).fetch_credential(provider_id))


async def show_provider_health(services: Services, _: Request) -> ProviderHealthList:
    """`GET /v1/diagnostics/providers`."""
    service = _service(services)
    return ProviderHealthList([_health(*pair) for pair in service.health()], service.token_waits)


def _service(services: Services) -> ProviderService:
    if services.providers is None:
        raise CallerError("this daemon has no providers", code="not_found")
    return services.providers


def _health(provider: Provider, health: Health) -> ProviderHealth:
    return ProviderHealth(
        id=provider.id,
        is_enabled=provider.is_enabled,
        calls=health.calls,
        failures=health.failures,
        refusals=health.refusals,
        replays=health.replays,
        served_stale=health.served_stale,
        last_ok_at=None if health.last_ok_us is None else format_rfc3339(health.last_ok_us),
        last_problem=health.last_problem,
        last_problem_at=None if health.last_problem_us is None else format_rfc3339(health.last_problem_us),
    )


_ID: Final = "/v1/providers/{id}"
ROUTES: Final = (
    Route("GET", "/v1/providers", OPERATOR, list_providers, "All providers", ProviderList),
    Route("POST", _ID, OPERATOR, set_provider, "Add or move a provider", ProviderSummary, body=ProviderBody),
    Route("POST", f"{_ID}/delete", OPERATOR, delete_provider, "Remove a provider", ProviderNamed),
    Route("POST", f"{_ID}/enable", OPERATOR, enable_provider, "Let a provider be called", ProviderSummary),
    Route("POST", f"{_ID}/disable", OPERATOR, disable_provider, "Send a provider nothing", ProviderSummary),
    Route("POST", f"{_ID}/clear-capabilities", OPERATOR, clear_capabilities, "Drop its capability", ProviderNamed),
    Route("POST", f"{_ID}/oauth/start", OPERATOR, start_provider_login, "Begin a log-in", LoginStarted, body=LoginBody),
    Route(
        "POST",
        f"{_ID}/oauth/exchange",
        OPERATOR,
        finish_provider_login,
        "Finish a log-in",
        ProviderNamed,
        body=Exchange,
    ),
    Route("POST", f"{_ID}/oauth/revoke", OPERATOR, revoke_provider_login, "End a log-in", LoginRevoked),
    Route(
        "POST", f"{_ID}/vc/fetch", OPERATOR, fetch_provider_credential, "Have a credential issued", CredentialFetched
    ),
    Route(
        "GET", "/v1/diagnostics/providers", READERS, show_provider_health, "How providers behave", ProviderHealthList
    ),
)
