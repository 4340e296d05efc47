"""The parts of this package put together, for the composition root."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from briefcase.adapters.keys.places import ProofKeys
from briefcase.adapters.oauth.client import OAuthClient
from briefcase.adapters.oauth.custody import Custody
from briefcase.adapters.oauth.flow import LoginFlow
from briefcase.adapters.oauth.renewal import Renewals
from briefcase.adapters.providers.capabilities import Capabilities, CapabilitySettings
from briefcase.adapters.providers.client import ProviderClient
from briefcase.adapters.providers.entitlement import EntitlementClient
from briefcase.adapters.providers.payments import Helper, PaymentClient, PaymentSettings
from briefcase.adapters.providers.quote import QuoteTool
from briefcase.adapters.providers.registry import Providers
from briefcase.adapters.providers.service import LOGIN_COMMAND, ProviderService
from briefcase.adapters.providers.verdicts import Verdicts
from briefcase.adapters.store.database import Database
from briefcase.model.ports import Clock, Entropy, Ledger, Outbound, Secrets


class ProviderParts(msgspec.Struct, frozen=True):
    """What the daemon uses: the service for its API, the client for calls, and the tool for its registry."""

    service: ProviderService
    client: ProviderClient
    quote: QuoteTool


def compose_providers(  # noqa: PLR0913 - the ports of this package, each named once, here
    *,
    database: Database,
    secrets: Secrets,
    remember: Callable[[bytes, str], object],
    holder_did: str,
    outbound: Outbound,
    ledger: Ledger,
    is_disabled: Callable[[str], bool],
    clock: Clock,
    entropy: Entropy,
    is_ga: bool,
    denies_unknown_status: bool,
    opaque_from: frozenset[str] = frozenset(),
    helper: Helper | None = None,
    payment_settings: PaymentSettings = PaymentSettings(),  # noqa: B008 - frozen
    keys: ProofKeys | None = None,
) -> ProviderParts:
    """Put the parts together; `ProviderService.start` and `close` bracket their use.

    Args:
        database: holds the registry.
        secrets: the vault's `providers` compartment.
        remember: `Vault.remember`, so that the redactor knows tokens that are never kept.
        keys: where proof keys are; by default in the vault.
        holder_did: the daemon's own DID.
        outbound: the guarded way out.
        ledger: receipts and budgets of payments.
        is_disabled: whether a control disables a source.
        clock: the time.
        entropy: ids of proofs, states and verifiers.
        is_ga: whether payments are off without a helper, and the profile's mark is demanded.
        denies_unknown_status: `BRIEFCASE_VC_STATUS_UNKNOWN_MODE=deny`.
        opaque_from: the providers whose credentials are kept though only they can verify them.
        helper: the program that holds the wallet (`BRIEFCASE_PAYMENT_HELPER`).
        payment_settings: what is paid in, and on which rail.
    """
    providers, custody = Providers(database, is_disabled), Custody(secrets, remember, keys=keys)
    oauth = OAuthClient(outbound, clock, entropy)
    renewals = Renewals(custody, oauth, clock)
    entitlements = EntitlementClient(outbound, clock, holder_did, opaque_from)
    payer = PaymentClient(outbound, ledger, clock, helper, payment_settings)
    capabilities = Capabilities(
        outbound=outbound,
        custody=custody,
        renewals=renewals,
        entitlements=entitlements,
        payer=None if is_ga and helper is None else payer,
        remember=remember,
        clock=clock,
        entropy=entropy,
        settings=CapabilitySettings(denies_unknown_status=denies_unknown_status, demands_profile=is_ga),
    )
    client = ProviderClient(outbound, providers, capabilities, clock, entropy)
    service = ProviderService(
        providers=providers,
        verdicts=Verdicts(database),
        custody=custody,
        oauth=oauth,
        flow=LoginFlow(oauth, clock, LOGIN_COMMAND),
        renewals=renewals,
        entitlements=entitlements,
        capabilities=capabilities,
        client=client,
        clock=clock,
    )
    return ProviderParts(service, client, QuoteTool(client, clock))
