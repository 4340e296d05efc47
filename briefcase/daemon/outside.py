"""Step 4 of a start: everything outside, the tools and what runs them. Nothing is sent yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.classifier import HttpClassifier
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.fleet.client import ControlPlaneClient
from briefcase.adapters.fleet.custody import DeviceTokens, FloorFile
from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.prompting import PromptCommand
from briefcase.adapters.providers.composition import ProviderParts, compose_providers
from briefcase.adapters.providers.payment_helper import PaymentHelper
from briefcase.adapters.providers.payments import PaymentSettings
from briefcase.adapters.providers.service import ProviderService
from briefcase.adapters.servers.catalog import Catalog
from briefcase.adapters.servers.composition import LoginParts, compose_logins
from briefcase.adapters.servers.logins import Logins
from briefcase.adapters.servers.registry import ServerRegistry
from briefcase.adapters.servers.starts import STARTS_PER_PROCESSOR, Starts
from briefcase.adapters.servers.transports import TransportFactory, claims_of
from briefcase.adapters.store.notes import Notes
from briefcase.adapters.telemetry.tracing import TracedOutbound
from briefcase.adapters.tools.load import ToolBox
from briefcase.adapters.vault.bindings import SecretDestinations
from briefcase.adapters.witness.client import WitnessClient
from briefcase.core.controls import Controls
from briefcase.core.grants.held import Grants
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.payments.challenges import L402
from briefcase.core.payments.x402 import USDC, parse_asset
from briefcase.daemon.config_file import CONFIG_FILE
from briefcase.daemon.start import CLOCK, ENTROPY, Start
from briefcase.daemon.stores import Stores
from briefcase.model.errors import ConfigError
from briefcase.model.ports import Claim, Outbound

MANIFEST_DIR: Final = "tools"
PROVIDER_GROUP: Final = "providers"


class Outside(NamedTuple):
    """The tools, the servers and providers behind some of them, and what the operator said of each."""

    tools: Catalog
    toolbox: ToolBox
    registry: ServerRegistry
    logins: Logins
    providers: ProviderService
    confinement: Confinement
    secrets: SecretDestinations
    controls: Controls
    grants: Grants
    prompting: PromptCommand | None
    fleet: FleetParts
    witnesses: WitnessClient
    classifier: HttpClassifier | None


class FleetParts(NamedTuple):
    """The way to a control plane, and what is kept of an enrolment beside the ledger."""

    client: ControlPlaneClient
    tokens: DeviceTokens
    floors: FloorFile


def reach_outside(start: Start, stores: Stores) -> Outside:
    """Load the tools, and put together what reaches providers and MCP servers.

    Raises:
        ConfigError: a manifest is not as expected.
    """
    settings, stack, vault = start.settings, start.stack, stores.vault
    outbound = GuardedOutbound((*start.file.net.allow_private, *settings.local_provider))
    stack.push_async_callback(outbound.close)
    sent = outbound if start.exporting is None else TracedOutbound(outbound)
    controls, prompts = Controls(stores.ledger, CLOCK), start.file.policy.prompt_command
    secrets = SecretDestinations(vault, vault.compartment("hosts"), lambda: _claims(toolbox, registry))
    toolbox = ToolBox(
        manifest_dir=stores.data_dir / MANIFEST_DIR,
        notes=Notes(stores.database),
        file_prefixes=start.file.file_read.prefixes,
        max_file_bytes=start.file.file_read.max_bytes,
        own=OwnFiles(stores.data_dir),
        outbound=sent,
        secrets=secrets,
        redactor=stores.redactor,
        clock=CLOCK,
        keep_public=lambda digest_hex: vault.keep_public(digest_hex.encode()),
    )
    needs_all = settings.is_ga or settings.strict_host
    confinement = Confinement(stores.data_dir, settings.unix_sockets, needs_all=needs_all)
    providers = _providers(start, stores, controls, sent, confinement)
    stack.push_async_callback(providers.service.close)
    toolbox.registry.replace(PROVIDER_GROUP, (providers.quote,))
    for spec in toolbox.registry.specs():
        vault.keep_public(spec.digest_hex.encode())
    logins = _logins(stores, secrets, outbound)
    stack.push_async_callback(logins.accounts.close)
    registry = ServerRegistry(
        ledger=stores.ledger,
        clock=CLOCK,
        entropy=ENTROPY,
        redactor=stores.redactor,
        new_transport=TransportFactory(outbound, secrets, logins.accounts, confinement, start.environ).transport,
        starts=Starts(STARTS_PER_PROCESSOR * (os.cpu_count() or 1)),
        needs_profile=settings.is_ga,
    )
    stack.push_async_callback(registry.stop)
    tools = Catalog(toolbox.registry, registry)
    return Outside(
        tools=tools,
        toolbox=toolbox,
        registry=registry,
        logins=logins.logins,
        providers=providers.service,
        confinement=confinement,
        secrets=secrets,
        controls=controls,
        grants=Grants(stores.ledger),
        prompting=PromptCommand(prompts, confinement, start.environ) if prompts else None,
        fleet=_fleet(stores, sent),
        witnesses=WitnessClient(sent),
        classifier=_classifier(start),
    )


def _classifier(start: Start) -> HttpClassifier | None:
    """The risk classifier, behind a guard of its own: no tool reaches this machine because it may."""
    settings = start.settings
    if settings.risk_classifier_url is None:
        return None
    guarded = GuardedOutbound((*start.file.net.allow_private, *settings.local_classifier))
    start.stack.push_async_callback(guarded.close)
    return HttpClassifier(settings.risk_classifier_url, guarded)


def _providers(
    start: Start, stores: Stores, controls: Controls, outbound: Outbound, confinement: Confinement
) -> ProviderParts:
    opaque_from = frozenset(start.file.providers.opaque_credentials)
    if opaque_from and start.settings.is_ga:
        raise ConfigError(
            "`providers.opaque_credentials`: mode `ga` takes no credential that only its issuer can verify",
            hint=f"remove the key from `{CONFIG_FILE}`, or log in with `briefcase providers oauth-login`",
        )
    program, keys = start.settings.payment_helper, start.file.payments
    return compose_providers(
        database=stores.database,
        secrets=stores.vault.compartment("providers"),
        remember=stores.vault.remember,
        holder_did=stores.identity.did,
        outbound=outbound,
        ledger=stores.ledger,
        is_disabled=controls.is_disabled,
        clock=CLOCK,
        entropy=ENTROPY,
        is_ga=start.settings.is_ga,
        denies_unknown_status=start.settings.vc_unknown_mode == "deny",
        opaque_from=opaque_from,
        helper=None if program is None else PaymentHelper(program, confinement, start.environ),
        payment_settings=PaymentSettings((*USDC, *map(parse_asset, keys.assets)), prefers_l402=keys.rail == L402),
        keys=stores.places.proofs,
    )


def _logins(stores: Stores, secrets: SecretDestinations, outbound: Outbound) -> LoginParts:
    return compose_logins(
        secrets=stores.vault.compartment("mcp"),
        operator_secrets=secrets,
        remember=stores.vault.remember,
        outbound=outbound,
        clock=CLOCK,
        entropy=ENTROPY,
        keys=stores.places.proofs,
    )


def _fleet(stores: Stores, outbound: Outbound) -> FleetParts:
    identity, vault = stores.identity, stores.vault
    client = ControlPlaneClient(
        outbound,
        identity.proof_signer,
        device_pubkey_b64=encode_base64url(identity.public_key),
        clock=CLOCK,
        entropy=ENTROPY,
    )
    tokens = DeviceTokens(vault.compartment("fleet"), vault.remember)
    return FleetParts(client, tokens, FloorFile(stores.data_dir))


def _claims(toolbox: ToolBox, registry: ServerRegistry) -> Iterator[Claim]:
    """What all that is loaded and registered says of the operator's secrets."""
    yield from toolbox.claims
    for config in registry.configs():
        yield from claims_of(config)
