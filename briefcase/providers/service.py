"""The providers as the API and the CLI see them: one method for each operation, over the parts of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock
from briefcase.model.types import format_rfc3339
from briefcase.net.urls import parse_url
from briefcase.operator.providers import Exchange, LoginRevoked, ProviderSummary, Verdict
from briefcase.providers.capabilities import Capabilities
from briefcase.providers.client import Health, ProviderClient
from briefcase.providers.custody import Client, Custody, Login
from briefcase.providers.entitlement import EntitlementClient
from briefcase.providers.oauth import OAuthClient, Started
from briefcase.providers.quote import PROVIDER_ID
from briefcase.providers.registry import Provider, Providers, check_provider
from briefcase.providers.verdicts import Verdicts

MAX_TEXT_CHARS: Final = 2_048


class ProviderService:
    """The operations on providers."""

    def __init__(  # noqa: PLR0913 - its parts, each named once, here
        self,
        *,
        providers: Providers,
        verdicts: Verdicts,
        custody: Custody,
        oauth: OAuthClient,
        entitlements: EntitlementClient,
        capabilities: Capabilities,
        client: ProviderClient,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._verdicts = verdicts
        self._custody = custody
        self._oauth = oauth
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

    async def start_login(self, provider_id: str, client_id: str, redirect_uri: str, scope: str | None) -> Started:
        """Begin a log-in. Raises `UpstreamError` where the server's metadata is not to be had or not to be trusted."""
        provider = self._providers.get(provider_id)
        check_redirect_uri(redirect_uri)
        metadata = await self._oauth.discover(provider.base_url)
        return self._oauth.start(metadata, client_id, redirect_uri, scope)

    async def exchange(self, provider_id: str, exchange: Exchange) -> None:
        """Finish a log-in: exchange the code and keep what it gives.

        Raises:
            CallerError: no such provider, or a parameter out of bounds.
            UpstreamError: the server refused or could not be reached.
            StoreError: the log-in could not be kept.
        """
        provider = self._providers.get(provider_id)
        if any(not 0 < len(text) <= MAX_TEXT_CHARS for text in msgspec.structs.astuple(exchange)):
            raise CallerError(f"expected each parameter to have 1 to {MAX_TEXT_CHARS} characters")
        metadata = await self._oauth.discover(provider.base_url)
        login = await self._oauth.exchange(
            metadata,
            code=exchange.code,
            redirect_uri=exchange.redirect_uri,
            client=Client(exchange.client_id),
            code_verifier=exchange.code_verifier,
            signer=await self._capabilities.signer(provider),
        )
        async with self._capabilities.renewal(provider_id):
            await self._custody.put_login(provider_id, login)
        self._capabilities.discard(provider_id)
        await self._capabilities.warm(provider)

    async def revoke(self, provider_id: str) -> LoginRevoked:
        """End a log-in: here always, and at its server where that can be done.

        The log-in is removed here first, so that nothing is minted with it any more, whatever the server answers.
        """
        self._providers.get(provider_id)
        login = await self._take_out(provider_id)
        attempted, succeeded = (False, False) if login is None else await self._oauth.revoke(login)
        return LoginRevoked(
            provider_id=provider_id,
            had_refresh_token=login is not None and login.refresh_token is not None,
            remote_revocation_attempted=attempted,
            remote_revocation_succeeded=succeeded,
            has_vc=await self._custody.entitlement(provider_id) is not None,
        )

    async def end_login(self, provider_id: str) -> None:
        """End a log-in here, where there is one, and ask nobody."""
        await self._take_out(provider_id)

    async def _take_out(self, provider_id: str) -> Login | None:
        async with self._capabilities.renewal(provider_id):
            login = await self._custody.login(provider_id)
            await self._custody.delete_login(provider_id)
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
                hint=f"run `briefcase providers oauth-login --id {provider_id}`",
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
        )

    async def _forget(self, provider_id: str) -> None:
        await self._capabilities.forget(provider_id)
        await self._custody.forget(provider_id)
        self._client.forget(provider_id)


def check_redirect_uri(redirect_uri: str) -> None:
    """Check where a log-in's answer is to go: a loopback address over plain HTTP (RFC 8252 section 7.3).

    Raises:
        CallerError: it is anything else.
    """
    try:
        url = parse_url(redirect_uri)
    except ValueError as error:
        raise CallerError(str(error)) from None
    address = url.address
    if url.scheme != "http" or address is None or not address.is_loopback:
        raise CallerError("expected a redirect address on loopback, as `http://127.0.0.1:PORT/callback`")


def _has_refresh(login: Login | None) -> bool:
    return login is not None and login.refresh_token is not None and not login.has_ended
