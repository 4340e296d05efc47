"""The providers as the API and the CLI see them: one method for each operation, over the parts of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from briefcase.adapters.oauth.client import Begun, OAuthClient
from briefcase.adapters.oauth.custody import Client, Custody, Login
from briefcase.adapters.oauth.flow import AuthorizationCode, LoginFlow, LoginRequest, check_redirect_uri, check_texts
from briefcase.adapters.oauth.renewal import Renewals
from briefcase.adapters.providers.capabilities import Capabilities
from briefcase.adapters.providers.client import Health, ProviderClient
from briefcase.adapters.providers.entitlement import EntitlementClient
from briefcase.adapters.providers.quote import PROVIDER_ID
from briefcase.adapters.providers.registry import Provider, Providers, check_provider
from briefcase.adapters.providers.verdicts import Verdicts
from briefcase.core.operator.providers import Exchange, Verdict
from briefcase.core.wire.providers import LoginRevoked, ProviderSummary
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock
from briefcase.model.types import format_rfc3339

LOGIN_COMMAND: Final = "briefcase providers oauth-login --id"


class ProviderService:
    """The operations on providers."""

    def __init__(  # noqa: PLR0913 - its parts, each named once, here
        self,
        *,
        providers: Providers,
        verdicts: Verdicts,
        custody: Custody,
        oauth: OAuthClient,
        flow: LoginFlow,
        renewals: Renewals,
        entitlements: EntitlementClient,
        capabilities: Capabilities,
        client: ProviderClient,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._verdicts = verdicts
        self._custody = custody
        self._oauth = oauth
        self._flow = flow
        self._renewals = renewals
        self._entitlements = entitlements
        self._capabilities = capabilities
        self._client = client
        self._clock = clock

    async def start(self, demo_base_url: str | None = None) -> None:
        """Have a capability fetched for each provider that something entitles to one.

        Args:
            demo_base_url: `BRIEFCASE_PROVIDER_BASE_URL`: where the provider `demo` is, if the operator says so there.
        """
        if demo_base_url is not None:
            await self.upsert(PROVIDER_ID, demo_base_url)
        for provider in self._providers.list():
            if self._providers.is_enabled(provider.id) and await self._is_entitled(provider.id):
                await self._capabilities.warm(provider)

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self._capabilities.close()

    async def list(self) -> Sequence[ProviderSummary]:
        """All providers by id."""
        return [await self._summary(provider) for provider in self._providers.list()]

    async def upsert(self, provider_id: str, base_url: str, max_stale_s: int | None = None) -> ProviderSummary:
        """Add a provider, or move it. A log-in and a key are for one address: moving ends them.

        Raises:
            CallerError: the id or the URL is not as expected.
            StoreError: it could not be stored.
        """
        old, provider = self._wanted(provider_id, base_url, max_stale_s)
        if old is not None and old.base_url != provider.base_url:
            await self._forget(provider_id)
        await self._providers.put(provider)
        return await self._summary(provider)

    def check_upsert(self, provider_id: str, base_url: str, max_stale_s: int | None) -> None:
        """Raises as `upsert` where the id, the URL or the age is not as expected; changes nothing."""
        check_provider(self._wanted(provider_id, base_url, max_stale_s)[1])

    def _wanted(self, provider_id: str, base_url: str, max_stale_s: int | None) -> tuple[Provider | None, Provider]:
        """A provider as it is, and as it is to be."""
        old = self._providers.find(provider_id)
        stale_s = max_stale_s if max_stale_s is not None else (old.max_stale_s if old else 0)
        return old, Provider(provider_id, base_url.rstrip("/"), stale_s, self._clock.now_us())

    async def delete(self, provider_id: str) -> None:
        """Remove a provider and everything held of it, where there is any; it is not revoked at its server."""
        await self._forget(provider_id)
        # (a crash right here leaves a provider to log in to, never a log-in that a later provider of the id is sent)
        await self._providers.delete(provider_id)

    def check_known(self, provider_id: str) -> None:
        """Raises `CallerError` (`not_found`) where there is no such provider."""
        self._providers.get(provider_id)

    async def summary(self, provider_id: str) -> ProviderSummary:
        """One provider as listed. Raises as `check_known`."""
        return await self._summary(self._providers.get(provider_id))

    def is_enabled(self, provider_id: str) -> bool:
        """Whether anything may be sent to a provider."""
        return self._providers.is_enabled(provider_id)

    def disabled_rows(self) -> Sequence[str]:
        """The providers that an older release disabled in their rows."""
        return self._providers.disabled_rows()

    async def enable_row(self, provider_id: str) -> None:
        """Take a provider's row out of the way of controls."""
        await self._providers.enable_row(provider_id)

    def clear_capabilities(self, provider_id: str) -> None:
        """Let go of the capability held; the next call has a new one minted."""
        self._capabilities.discard(provider_id)

    async def start_login(self, provider_id: str, client_id: str, redirect_uri: str, scope: str | None) -> Begun:
        """Begin a log-in. Raises `UpstreamError` where the server's metadata is not to be had or not to be trusted."""
        provider = self._providers.get(provider_id)
        check_redirect_uri(redirect_uri)
        return self._flow.begin(await self._request(provider, client_id, redirect_uri, scope or ""))

    async def exchange(self, provider_id: str, exchange: Exchange) -> None:
        """Finish a log-in: exchange the code and keep what it gives.

        Raises:
            CallerError: no such provider, a parameter out of bounds, or an answer that is of no log-in begun here.
            UpstreamError: the server refused or could not be reached.
            StoreError: the log-in could not be kept.
        """
        provider = self._providers.get(provider_id)
        await self._renewals.replace(provider_id, await self._exchanged(provider, exchange))
        self._capabilities.discard(provider_id)
        await self._capabilities.warm(provider)

    async def _exchanged(self, provider: Provider, given: Exchange) -> Login:
        if given.state:
            if given.code_verifier:
                raise CallerError("expected either `state`, for a log-in that was begun here, or `code_verifier`")
            answer = AuthorizationCode(given.code, given.state, given.iss)
            signer = await self._capabilities.signer(provider)
            return await self._flow.finish(provider.id, provider.base_url, answer, signer)
        check_texts(given.code, given.redirect_uri, given.client_id, given.code_verifier)
        request = await self._request(provider, given.client_id, given.redirect_uri, "")
        signer = await self._capabilities.signer(provider)
        return await self._flow.exchange(request, given.code, given.code_verifier, signer)

    async def _request(self, provider: Provider, client_id: str, redirect_uri: str, scope: str) -> LoginRequest:
        metadata = await self._oauth.discover(provider.base_url)
        return LoginRequest(provider.id, provider.base_url, metadata, Client(client_id), redirect_uri, scope=scope)

    async def revoke(self, provider_id: str) -> LoginRevoked:
        """End a log-in: here always, and at its server where that can be done.

        The log-in is removed here first, so that nothing is minted with it any more, whatever the server answers.
        """
        self._providers.get(provider_id)
        ended = await self._flow.revoke(await self._take_out(provider_id))
        return LoginRevoked(
            provider_id=provider_id,
            had_refresh_token=ended.had_refresh_token,
            remote_revocation_attempted=ended.remote_revocation_attempted,
            remote_revocation_succeeded=ended.remote_revocation_succeeded,
            has_vc=await self._custody.entitlement(provider_id) is not None,
        )

    async def end_login(self, provider_id: str) -> None:
        """End a log-in here, where there is one, and ask nobody."""
        await self._take_out(provider_id)

    async def _take_out(self, provider_id: str) -> Login | None:
        self._flow.forget(provider_id)
        login = await self._renewals.remove(provider_id)
        self._capabilities.discard(provider_id)
        self._client.forget_answers(provider_id)
        return login

    async def fetch_credential(self, provider_id: str) -> str:
        """Have a credential issued and keep it.

        Raises:
            UpstreamError: there is no log-in, or the provider refused.

        Returns:
            When it expires, RFC 3339.
        """
        provider = self._providers.get(provider_id)
        login = await self._capabilities.fresh_login(provider)
        if login is None:
            raise UpstreamError(
                f"there is no log-in at the provider `{provider_id}`",
                code="upstream_refused",
                hint=f"run `{LOGIN_COMMAND} {provider_id}`",
                sent=False,
            )
        entitlement = await self._entitlements.fetch(provider, login.access_token)
        await self._custody.put_entitlement(provider_id, entitlement)
        self._capabilities.discard(provider_id)
        return format_rfc3339(entitlement.expires_us)

    def health(self) -> Sequence[tuple[Provider, Health]]:
        """Every provider with its counters, for diagnostics."""
        return [(provider, self._client.health(provider.id)) for provider in self._providers.list()]

    def verdict(self, provider: Provider) -> Verdict | None:
        """What the harness last found at a provider's address."""
        return self._verdicts.of(provider.base_url)

    async def note_verdict(self, verdict: Verdict) -> Sequence[str]:
        """Keep what the harness found, where it is of a provider's address; gives the providers it is of.

        Raises:
            StoreError: it could not be stored.
        """
        providers = self._providers.list()
        named = [provider.id for provider in providers if provider.base_url == verdict.base_url]
        if named:
            await self._verdicts.put(verdict, {provider.base_url for provider in providers})
        return named

    @property
    def token_waits(self) -> int:
        """How many calls had to wait for a capability since the start."""
        return self._capabilities.waits

    async def _is_entitled(self, provider_id: str) -> bool:
        login = await self._custody.login(provider_id)
        entitlement = await self._custody.entitlement(provider_id)  # read either way: the redactor learns both
        return (login is not None and not login.has_ended) or entitlement is not None

    async def _summary(self, provider: Provider) -> ProviderSummary:
        login = await self._custody.login(provider.id)
        entitlement = await self._custody.entitlement(provider.id)
        return ProviderSummary(
            id=provider.id,
            base_url=provider.base_url,
            has_oauth_refresh=_has_refresh(login),
            has_vc=entitlement is not None,
            vc_expires_at_rfc3339=None if entitlement is None else format_rfc3339(entitlement.expires_us),
            is_enabled=self._providers.is_enabled(provider.id),
            max_stale_s=provider.max_stale_s,
            needs_login=login is None or login.has_ended,
            problem=self._renewals.problem(provider.id),
        )

    async def _forget(self, provider_id: str) -> None:
        self._flow.forget(provider_id)
        await self._capabilities.forget(provider_id)
        await self._renewals.forget(provider_id)
        self._client.forget(provider_id)


def _has_refresh(login: Login | None) -> bool:
    return login is not None and login.refresh_token is not None and not login.has_ended
