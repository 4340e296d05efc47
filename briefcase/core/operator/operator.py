"""All that an operator can change, composed once: a noun each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from briefcase.core.controls import Controls
from briefcase.core.grants.held import Grants
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.agents import AgentAdmin
from briefcase.core.operator.approvals import EITHER, Approvers, Means
from briefcase.core.operator.backups import BackupAdmin, BackupStore
from briefcase.core.operator.budgets import BudgetAdmin
from briefcase.core.operator.bundles import BundleAdmin
from briefcase.core.operator.controls import ControlAdmin
from briefcase.core.operator.fleet import FleetAdmin, FleetPorts
from briefcase.core.operator.grants import GrantAdmin
from briefcase.core.operator.logins import Connected, LoginAdmin, ServerLogins
from briefcase.core.operator.passkeys import PasskeyDesk
from briefcase.core.operator.people import PeopleAdmin
from briefcase.core.operator.policy import PolicyService
from briefcase.core.operator.proposals import Prompting, ProposalAdmin
from briefcase.core.operator.providers import ProviderAdmin, ProviderStore
from briefcase.core.operator.secrets import SecretAdmin
from briefcase.core.operator.servers import Described, ServerAdmin, ServerStore
from briefcase.core.operator.signers import SignerDesk, SignerParts
from briefcase.core.operator.tools import ToolAdmin, ToolFiles
from briefcase.core.operator.witnesses import WitnessAddresses, WitnessAdmin
from briefcase.core.people import People
from briefcase.core.signers.keys import Passkeys, SignerKeys
from briefcase.core.signers.signers import Signers
from briefcase.model.ports import AgentStore, BindableSecrets, Clock, Entropy, Ledger, Redactor, Tools
from briefcase.model.types import JsonObject

_Config = TypeVar("_Config")
_Seal = TypeVar("_Seal")
_Made = TypeVar("_Made")


class ServerPorts(msgspec.Struct, Generic[_Config], frozen=True):
    """The MCP servers: what is described, how each is connected to, and the log-ins. `describe` reads a description."""

    store: ServerStore
    connected: Connected[_Config]
    logins: ServerLogins[_Config]
    describe: Callable[[str, JsonObject], Described]


class SignerPorts(msgspec.Struct, frozen=True):
    """The signers: those paired, the cryptography, who this daemon is, and what it takes (`SignerParts`)."""

    signers: Signers
    keys: SignerKeys
    passkeys: Passkeys
    device_did: str
    needs_bound: bool
    signers_only: bool = False


class OperatorPorts(msgspec.Struct, Generic[_Config, _Seal, _Made], frozen=True, kw_only=True):
    """What the nouns work on.

    `ledger` takes the receipts, and what is in the transaction of its receipt. `redactor` cuts secrets out of what an
    approval shows. `policy` is the active policy, `controls` and `grants` are those in force, and `people` are those
    with a token of their own; `signers` are those whose signatures count. `agents`, `secrets`, `providers` and
    `servers` keep what their noun keeps; `backups` copies the data directory, and `fleet` is the way to a control
    plane. `tools` are the registered tools, and `manifests` are the files that declare some of them. `witnesses` says
    which witnesses can be sent to, and `prompting` is the operator's command that makes policies of prompts.
    """

    ledger: Ledger
    redactor: Redactor
    policy: PolicyService
    controls: Controls
    grants: Grants
    people: People
    signers: SignerPorts
    agents: AgentStore
    secrets: BindableSecrets
    providers: ProviderStore
    servers: ServerPorts[_Config]
    backups: BackupStore[_Seal, _Made]
    fleet: FleetPorts
    tools: Tools
    manifests: ToolFiles
    witnesses: WitnessAddresses
    prompting: Prompting | None = None
    clock: Clock
    entropy: Entropy


class Operator(msgspec.Struct, Generic[_Config, _Seal, _Made], frozen=True, kw_only=True):
    """What an operator does, by noun. `settle` comes before the first request."""

    administration: Administration
    agents: AgentAdmin
    people: PeopleAdmin
    signers: SignerDesk
    passkeys: PasskeyDesk
    approvals: Approvers
    grants: GrantAdmin
    budgets: BudgetAdmin
    controls: ControlAdmin
    policy: PolicyService
    proposals: ProposalAdmin
    secrets: SecretAdmin
    providers: ProviderAdmin
    logins: LoginAdmin[_Config]
    servers: ServerAdmin
    tools: ToolAdmin
    backups: BackupAdmin[_Seal, _Made]
    fleet: FleetAdmin
    bundles: BundleAdmin
    witnesses: WitnessAdmin

    async def settle(self) -> None:
        """Close each change that a crash left open, and make controls of what an older release disabled otherwise.

        Raises:
            StoreError: one could not be closed; the next start goes on.
        """
        nouns = (self.agents, self.secrets, self.providers, self.logins, self.tools, self.fleet)
        await self.administration.settle({kind: settler for noun in nouns for kind, settler in noun.settlers().items()})
        await self.providers.take_over_rows()
        await self.signers.settle(self.grants.end_all)
        await self.fleet.tidy()
        await self.bundles.tidy()


def compose_operator(ports: OperatorPorts[_Config, _Seal, _Made]) -> Operator[_Config, _Seal, _Made]:
    """Put the nouns together, for the composition root."""
    administration = Administration(ports.ledger)
    controls = ControlAdmin(administration, ports.controls, ports.agents, ports.tools, ports.clock, ports.entropy)
    grants = GrantAdmin(ports.ledger, ports.grants, ports.redactor)
    approvers = Approvers(
        ports.ledger,
        ports.redactor,
        grants,
        author=ports.policy.author,
        has_signer=lambda: ports.signers.signers.was_paired,
        yes_by=frozenset({Means.SIGNER}) if ports.signers.signers_only else EITHER,
    )
    parts = _signer_parts(ports, approvers)
    desk = SignerDesk(administration, parts)
    logins = LoginAdmin(administration, ports.servers.connected, ports.servers.logins)
    return Operator(
        administration=administration,
        agents=AgentAdmin(administration, ports.agents, ports.people, ports.clock, ports.entropy),
        people=PeopleAdmin(administration, ports.people, ports.agents, ports.clock, ports.entropy, desk.check_may_go),
        signers=desk,
        passkeys=PasskeyDesk(desk, parts, ports.signers.passkeys),
        approvals=approvers,
        grants=grants,
        budgets=BudgetAdmin(administration, ports.ledger, ports.clock),
        controls=controls,
        policy=ports.policy,
        proposals=ProposalAdmin(
            administration, ports.policy, ports.ledger, ports.prompting, ports.clock, ports.entropy
        ),
        secrets=SecretAdmin(administration, ports.secrets),
        providers=ProviderAdmin(administration, ports.providers, controls, ports.controls),
        logins=logins,
        servers=ServerAdmin(ports.servers.store, ports.servers.describe, ports.secrets, logins),
        tools=ToolAdmin(administration, ports.manifests, ports.secrets),
        backups=BackupAdmin(administration, ports.backups),
        fleet=FleetAdmin(
            administration, ports.policy, ports.ledger, ports=ports.fleet, clock=ports.clock, entropy=ports.entropy
        ),
        bundles=BundleAdmin(
            administration,
            ports.policy,
            ports.ledger,
            floors=ports.fleet.floors,
            clock=ports.clock,
            needs_profile=ports.fleet.needs_profile,
        ),
        witnesses=WitnessAdmin(administration, ports.ledger, ports.witnesses, ports.clock),
    )


def _signer_parts(ports: OperatorPorts[_Config, _Seal, _Made], approvers: Approvers) -> SignerParts:
    return SignerParts(
        ledger=ports.ledger,
        signers=ports.signers.signers,
        people=ports.people,
        keys=ports.signers.keys,
        approvers=approvers,
        entropy=ports.entropy,
        device_did=ports.signers.device_did,
        needs_bound=ports.signers.needs_bound,
        signers_only=ports.signers.signers_only,
    )
