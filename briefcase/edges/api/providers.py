"""Providers: where paid tools are answered, the log-ins held for them, and how they behave. Operators only.

No answer holds a token, a key or a verifier: whoever finishes a log-in needs the code and the `state` that its person
came back with, and an `iss` where there was one.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from briefcase.adapters.oauth.client import Begun
from briefcase.adapters.providers.client import Health
from briefcase.adapters.providers.registry import Provider
from briefcase.adapters.providers.service import ProviderService
from briefcase.core.operator.providers import (
    MAX_FAILING,
    CheckName,
    Count,
    Exchange,
    Verdict,
)
from briefcase.core.wire.providers import (
    CredentialFetched,
    LoginBody,
    LoginRevoked,
    LoginStarted,
    ProviderBody,
    ProviderHealth,
    ProviderHealthList,
    ProviderList,
    ProviderNamed,
    ProviderSummary,
    ProviderVerdict,
    VerdictKept,
)
from briefcase.edges.api.routing import OPERATOR, READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import format_rfc3339, parse_rfc3339


class VerdictBody(msgspec.Struct):
    """What `briefcase conformance provider` found; `failing` names the checks that failed."""

    base_url: Annotated[str, msgspec.Meta(max_length=2_048)]
    ok: bool
    passed: Count
    failed: Count
    skipped: Count
    finished_at: str
    failing: Annotated[list[CheckName], msgspec.Meta(max_length=MAX_FAILING)] = []


async def list_providers(services: Services, _: Request) -> ProviderList:
    """`GET /v1/providers`."""
    return ProviderList(list(await services.providers.list()))


async def set_provider(services: Services, request: Request) -> ProviderSummary:
    """`POST /v1/providers/{id}`."""
    wanted = request.body_as(ProviderBody)
    return await services.operator.providers.set(
        request.params["id"], wanted.base_url, wanted.max_stale_s, request.principal.name
    )


async def delete_provider(services: Services, request: Request) -> ProviderNamed:
    """`POST /v1/providers/{id}/delete`."""
    await services.operator.providers.delete(request.params["id"], request.principal.name)
    return ProviderNamed(request.params["id"])


async def enable_provider(services: Services, request: Request) -> ProviderSummary:
    """`POST /v1/providers/{id}/enable`: lifts the controls that disable it, `tighten disable`'s too."""
    return await services.operator.providers.enable(request.params["id"], request.principal.name)


async def disable_provider(services: Services, request: Request) -> ProviderSummary:
    """`POST /v1/providers/{id}/disable`: a control like any other."""
    return await services.operator.providers.disable(request.params["id"], request.principal.name)


async def clear_capabilities(services: Services, request: Request) -> ProviderNamed:
    """`POST /v1/providers/{id}/clear-capabilities`."""
    await services.operator.providers.clear(request.params["id"], request.principal.name)
    return ProviderNamed(request.params["id"])


async def start_provider_login(services: Services, request: Request) -> LoginStarted:
    """`POST /v1/providers/{id}/oauth/start`."""
    provider_id, wanted = request.params["id"], request.body_as(LoginBody)
    begun: Begun = await services.providers.start_login(
        provider_id, wanted.client_id, wanted.redirect_uri, wanted.scope
    )
    return LoginStarted(provider_id, *msgspec.structs.astuple(begun))


async def finish_provider_login(services: Services, request: Request) -> ProviderNamed:
    """`POST /v1/providers/{id}/oauth/exchange`."""
    await services.operator.providers.finish_login(
        request.params["id"], request.body_as(Exchange), request.principal.name
    )
    return ProviderNamed(request.params["id"])


async def revoke_provider_login(services: Services, request: Request) -> LoginRevoked:
    """`POST /v1/providers/{id}/oauth/revoke`."""
    return await services.operator.providers.revoke_login(request.params["id"], request.principal.name)


async def fetch_provider_credential(services: Services, request: Request) -> CredentialFetched:
    """`POST /v1/providers/{id}/vc/fetch`."""
    expires_at = await services.operator.providers.fetch_credential(request.params["id"], request.principal.name)
    return CredentialFetched(request.params["id"], expires_at)


async def show_provider_health(services: Services, _: Request) -> ProviderHealthList:
    """`GET /v1/diagnostics/providers`."""
    service = services.providers
    records = [_health(service, provider, health) for provider, health in service.health()]
    return ProviderHealthList(records, service.token_waits)


async def note_provider_verdict(services: Services, request: Request) -> VerdictKept:
    """`POST /v1/diagnostics/providers/verdict`."""
    body = request.body_as(VerdictBody)
    try:
        finished_us = parse_rfc3339(body.finished_at)
    except ValueError as error:
        raise CallerError(f"`finished_at`: {error}") from None
    verdict = Verdict(
        base_url=body.base_url.rstrip("/"),
        ok=body.ok,
        passed=body.passed,
        failed=body.failed,
        skipped=body.skipped,
        finished_us=finished_us,
        failing=tuple(body.failing),
    )
    return VerdictKept(list(await services.operator.providers.note_verdict(verdict, request.principal.name)))


def _health(service: ProviderService, provider: Provider, health: Health) -> ProviderHealth:
    verdict = service.verdict(provider)
    return ProviderHealth(
        id=provider.id,
        is_enabled=service.is_enabled(provider.id),
        calls=health.calls,
        failures=health.failures,
        refusals=health.refusals,
        replays=health.replays,
        served_stale=health.served_stale,
        last_ok_at=None if health.last_ok_us is None else format_rfc3339(health.last_ok_us),
        last_problem=health.last_problem,
        last_problem_at=None if health.last_problem_us is None else format_rfc3339(health.last_problem_us),
        verdict=None if verdict is None else _verdict(verdict),
    )


def _verdict(verdict: Verdict) -> ProviderVerdict:
    return ProviderVerdict(
        ok=verdict.ok,
        passed=verdict.passed,
        failed=verdict.failed,
        skipped=verdict.skipped,
        finished_at=format_rfc3339(verdict.finished_us),
        failing=list(verdict.failing),
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
    Route(
        "POST",
        "/v1/diagnostics/providers/verdict",
        OPERATOR,
        note_provider_verdict,
        "Keep what the harness found",
        VerdictKept,
        body=VerdictBody,
    ),
)
