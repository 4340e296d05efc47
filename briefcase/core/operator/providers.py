"""Providers: where paid tools are answered, the log-ins held for them, and whether anything is sent there.

| a crash after the intent of | leaves | the next start |
|---|---|---|
| `set` | the provider as it was, with or without its log-in, or as it is to be | sets it |
| `delete` | the provider, with or without its log-in, or none | removes it, with all that is held of it |
| `finish_login` | the old log-in, the new one or none | says so (`outcome_unknown`): log in again |
| `revoke_login` | the log-in, or none; revoked at its server, or not | ends it here; `at_server` is unknown |
| `fetch_credential` | the old credential or the new one | says so (`outcome_unknown`): fetch it again |
| `clear` | no capability: it was in memory | says that it is cleared |
| `note_verdict` | the old verdict or the new one | says so (`outcome_unknown`): run the harness again |

`disable` and `enable` set and lift a control of the provider's source, each in the transaction of its receipt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Protocol

import msgspec

from briefcase.core.controls import Controls
from briefcase.core.operator.administration import Administration, Settler
from briefcase.core.operator.controls import ControlAdmin, ControlChoice
from briefcase.core.receipts.events import change_finished_event, provider_event, provider_verdict_event
from briefcase.core.wire.providers import LoginRevoked, ProviderSummary
from briefcase.model.identifiers import CHECK_NAME, whole
from briefcase.model.types import MAX_SAFE_INTEGER, JsonObject

OLDER_RELEASE: Final = "an older release"


class Exchange(msgspec.Struct, frozen=True):
    """The parameters of a code exchange.

    A log-in that was begun here is finished with the `state`, and the `iss`, that its person came back with. Whoever
    began one themselves gives `redirect_uri`, `client_id` and `code_verifier` instead.
    """

    code: str
    redirect_uri: str = ""
    client_id: str = ""
    code_verifier: str = ""
    state: str = ""
    iss: str | None = None

    def __repr__(self) -> str:
        return f"Exchange(client_id={self.client_id!r}, iss={self.iss!r}, ...)"


MAX_FAILING: Final = 64

Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
CheckName = Annotated[str, msgspec.Meta(pattern=whole(CHECK_NAME))]


class Verdict(msgspec.Struct, frozen=True):
    """One run of the harness; `failing` names the checks that failed."""

    base_url: Annotated[str, msgspec.Meta(max_length=2_048)]
    ok: bool
    passed: Count
    failed: Count
    skipped: Count
    finished_us: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
    failing: Annotated[tuple[CheckName, ...], msgspec.Meta(max_length=MAX_FAILING)] = ()


class ProviderStore(Protocol):
    """The providers and what is held of each (`providers.service.ProviderService`).

    Durability: what is changed is on disk when it returns, but for capabilities, which are in memory.
    """

    def check_known(self, provider_id: str) -> None:
        """Raises `CallerError` (`not_found`) where there is no such provider."""
        ...

    def check_upsert(self, provider_id: str, base_url: str, max_stale_s: int | None) -> None:
        """Raises `CallerError` as `upsert`; changes nothing."""
        ...

    async def upsert(self, provider_id: str, base_url: str, max_stale_s: int | None = None) -> ProviderSummary:
        """Add a provider, or move it, which ends what is held of it.

        Raises:
            CallerError: the id, the URL or the age is not as expected.
        """
        ...

    async def delete(self, provider_id: str) -> None:
        """Remove a provider and everything held of it, where there is any."""
        ...

    async def summary(self, provider_id: str) -> ProviderSummary:
        """One provider as listed. Raises as `check_known`."""
        ...

    def clear_capabilities(self, provider_id: str) -> None:
        """Let go of the capability held."""
        ...

    async def exchange(self, provider_id: str, exchange: Exchange) -> None:
        """Finish a log-in: exchange the code and keep what it gives.

        Raises:
            CallerError: no such provider, a parameter out of bounds, or an answer to no log-in that was begun here.
            UpstreamError: the server refused or could not be reached.
        """
        ...

    async def revoke(self, provider_id: str) -> LoginRevoked:
        """End a log-in: here first, then at its server where that can be done."""
        ...

    async def end_login(self, provider_id: str) -> None:
        """End a log-in here, where there is one, and ask nobody."""
        ...

    async def fetch_credential(self, provider_id: str) -> str:
        """Have a credential issued and keep it; gives when it expires, RFC 3339. Raises as `exchange`."""
        ...

    async def note_verdict(self, verdict: Verdict) -> Sequence[str]:
        """Keep what the harness found, where it is of a provider's address; gives the providers it is of."""
        ...

    def disabled_rows(self) -> Sequence[str]:
        """The providers that an older release disabled in their rows, by id."""
        ...

    async def enable_row(self, provider_id: str) -> None:
        """Take a provider's row out of the way of controls."""
        ...


class ProviderAdmin:
    """Changes providers and what is held of them.

    Args:
        administration: takes the receipts.
        providers: where they are.
        controls: sets and lifts what keeps one from being called.
        in_force: the controls that hold now.
    """

    def __init__(
        self, administration: Administration, providers: ProviderStore, controls: ControlAdmin, in_force: Controls
    ) -> None:
        self._administration = administration
        self._providers = providers
        self._controls = controls
        self._in_force = in_force

    async def set(self, provider_id: str, base_url: str, max_stale_s: int | None, by: str) -> ProviderSummary:
        """Add a provider, or move it: moving ends its log-in.

        Args:
            provider_id: of `identifiers.PROVIDER_ID`.
            base_url: without a query.
            max_stale_s: how old a remembered answer to a read may be, seconds; None keeps what it is.
            by: who does it, for the receipt.

        Raises:
            CallerError: one of them is not as expected.
            StoreError: as `Administration.make`.
        """
        self._providers.check_upsert(provider_id, base_url, max_stale_s)
        event = provider_event("set", provider_id, by) | {"base_url": base_url.rstrip("/"), "max_stale_s": max_stale_s}
        return await self._administration.make(
            _subject(provider_id), event, lambda: self._providers.upsert(provider_id, base_url, max_stale_s)
        )

    async def delete(self, provider_id: str, by: str) -> None:
        """Remove a provider and all that is held of it. Raises as `clear`."""
        self._providers.check_known(provider_id)
        await self._administration.make(
            _subject(provider_id),
            provider_event("deleted", provider_id, by),
            lambda: self._providers.delete(provider_id),
        )

    async def disable(self, provider_id: str, by: str) -> ProviderSummary:
        """Send a provider nothing until it is enabled: a control of its source, in force at once.

        Raises:
            CallerError: there is no such provider (`not_found`), or too many controls.
            StoreError: the control could not be made durable; nothing changed.
        """
        self._providers.check_known(provider_id)
        choice = _choice(provider_id)
        if not any(choice.is_of(control) and control.until_us is None for control in self._in_force.active()):
            await self._controls.add("disable", "source", source_of(provider_id), until_us=None, by=by)
        self._providers.clear_capabilities(provider_id)
        return await self._providers.summary(provider_id)

    async def enable(self, provider_id: str, by: str) -> ProviderSummary:
        """Lift what keeps a provider from being called. Raises as `disable`; then it is still in force."""
        self._providers.check_known(provider_id)
        if self._in_force.is_disabled(source_of(provider_id)):
            await self._controls.lift(_choice(provider_id), by=by)
        return await self._providers.summary(provider_id)

    async def clear(self, provider_id: str, by: str) -> None:
        """Let go of the capability held of a provider.

        Raises:
            CallerError: there is no such provider (`not_found`).
            StoreError: as `Administration.make`.
        """
        self._providers.check_known(provider_id)

        async def clear() -> None:
            self._providers.clear_capabilities(provider_id)

        await self._administration.make(_subject(provider_id), provider_event("cleared", provider_id, by), clear)

    async def finish_login(self, provider_id: str, exchange: Exchange, by: str) -> None:
        """Finish a log-in with what the person came back with.

        Raises:
            CallerError: no such provider, a parameter out of bounds, or an answer to no log-in that was begun here.
            UpstreamError: the server refused or could not be reached.
            StoreError: the log-in could not be kept, or as `Administration.make`.
        """
        self._providers.check_known(provider_id)
        await self._administration.make(
            _subject(provider_id),
            provider_event("login", provider_id, by),
            lambda: self._providers.exchange(provider_id, exchange),
        )

    async def revoke_login(self, provider_id: str, by: str) -> LoginRevoked:
        """End a log-in, here and at its server. Raises as `clear`."""
        self._providers.check_known(provider_id)
        return await self._administration.make(
            _subject(provider_id),
            provider_event("revoked", provider_id, by),
            lambda: self._providers.revoke(provider_id),
        )

    async def fetch_credential(self, provider_id: str, by: str) -> str:
        """Have a credential issued and keep it; gives when it expires, RFC 3339. Raises as `finish_login`."""
        self._providers.check_known(provider_id)
        return await self._administration.make(
            _subject(provider_id),
            provider_event("credential", provider_id, by),
            lambda: self._providers.fetch_credential(provider_id),
        )

    async def note_verdict(self, verdict: Verdict, by: str) -> Sequence[str]:
        """Keep what the harness found at an address; gives the providers it is of. Raises as `Administration.make`."""
        return await self._administration.make(
            f"verdict:{verdict.base_url}",
            provider_verdict_event(verdict.base_url, by, ok=verdict.ok),
            lambda: self._providers.note_verdict(verdict),
        )

    async def take_over_rows(self) -> None:
        """Make a control of each provider that an older release disabled in its row; a crash leaves both in force.

        Raises:
            StoreError: one could not be made durable; the row still disables it.
        """
        for provider_id in self._providers.disabled_rows():
            await self.disable(provider_id, OLDER_RELEASE)
            # (a crash right here leaves the row and the control; the next start finds the control)
            await self._providers.enable_row(provider_id)

    def settlers(self) -> Mapping[str, Settler]:
        """What the next start does after a crash: see the module's table."""
        return {
            "provider_set": self._finish_set,
            "provider_deleted": self._finish_delete,
            "provider_revoked": self._finish_revoke,
            "provider_cleared": self._finish_clear,
        }

    async def _finish_set(self, event: JsonObject) -> JsonObject:
        max_stale_s = event.get("max_stale_s")
        stale_s = max_stale_s if isinstance(max_stale_s, int) else None
        await self._providers.upsert(str(event["provider"]), str(event["base_url"]), stale_s)
        return change_finished_event(event)

    async def _finish_delete(self, event: JsonObject) -> JsonObject:
        await self._providers.delete(str(event["provider"]))
        return change_finished_event(event)

    async def _finish_revoke(self, event: JsonObject) -> JsonObject:
        await self._providers.end_login(str(event["provider"]))
        return change_finished_event(event) | {"at_server": "unknown"}

    async def _finish_clear(self, event: JsonObject) -> JsonObject:
        self._providers.clear_capabilities(str(event["provider"]))
        return change_finished_event(event)


def source_of(provider_id: str) -> str:
    """The source of a provider's tools, which controls and policies name."""
    return f"provider:{provider_id}"


def _choice(provider_id: str) -> ControlChoice:
    return ControlChoice(action="disable", subject="source", name=source_of(provider_id))


def _subject(provider_id: str) -> str:
    return f"provider:{provider_id}"
