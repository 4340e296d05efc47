"""Providers on the wire: where paid tools are answered, the log-ins held for them, and how they behave."""

from __future__ import annotations

import msgspec


class ProviderSummary(msgspec.Struct, frozen=True):
    """One provider as listed; `problem` is why its log-in could not be renewed."""

    id: str
    base_url: str
    has_oauth_refresh: bool
    has_vc: bool
    vc_expires_at_rfc3339: str | None
    is_enabled: bool = True
    max_stale_s: int = 0
    needs_login: bool = False
    problem: str = ""


class LoginRevoked(msgspec.Struct, frozen=True):
    """What came of ending a log-in. `has_vc`: a credential is held that still entitles, log-in or not."""

    provider_id: str
    had_refresh_token: bool
    remote_revocation_attempted: bool
    remote_revocation_succeeded: bool
    has_vc: bool = False


class ProviderList(msgspec.Struct, frozen=True):
    """All providers, sorted by id."""

    providers: list[ProviderSummary]


class ProviderBody(msgspec.Struct, frozen=True):
    """Where a provider is; `max_stale_s` lets a remembered answer to a read be served while the provider is down."""

    base_url: str
    max_stale_s: int | None = None


class ProviderNamed(msgspec.Struct, frozen=True):
    """It was done to this provider."""

    provider_id: str


class LoginBody(msgspec.Struct, frozen=True):
    """Who asks, and the loopback address where the answer is waited for."""

    client_id: str
    redirect_uri: str
    scope: str | None = None


class LoginStarted(msgspec.Struct, frozen=True):
    """Where to send the person, and what to hold the answer against."""

    provider_id: str
    authorization_url: str
    state: str
    issuer: str
    requires_iss: bool


class CredentialFetched(msgspec.Struct, frozen=True):
    """A credential is kept; until when it entitles."""

    provider_id: str
    expires_at_rfc3339: str


class VerdictKept(msgspec.Struct, frozen=True):
    """The providers the verdict is of; where there are none, it was not kept."""

    providers: list[str]


class ProviderVerdict(msgspec.Struct, frozen=True):
    """What the harness last found at a provider's address."""

    ok: bool = False
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    finished_at: str = ""
    failing: list[str] = []


class ProviderHealth(msgspec.Struct, frozen=True):
    """How a provider has behaved since the daemon started. `refusals` and `replays` are among the `failures`.

    `verdict` is the harness's last, null where it was never run against this address.
    """

    id: str
    is_enabled: bool = True
    calls: int = 0
    failures: int = 0
    refusals: int = 0
    replays: int = 0
    served_stale: int = 0
    last_ok_at: str | None = None
    last_problem: str = ""
    last_problem_at: str | None = None
    verdict: ProviderVerdict | None = None


class ProviderHealthList(msgspec.Struct, frozen=True):
    """Every provider; `token_waits` counts calls that had to wait for a capability."""

    providers: list[ProviderHealth]
    token_waits: int = 0
