"""All that an operator can change, composed once: a noun each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from briefcase.core.controls import Controls
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.agents import AgentAdmin
from briefcase.core.operator.approvals import Approvers
from briefcase.core.operator.backups import BackupAdmin, BackupStore
from briefcase.core.operator.budgets import BudgetAdmin
from briefcase.core.operator.controls import ControlAdmin
from briefcase.core.operator.logins import Connected, LoginAdmin, ServerLogins
from briefcase.core.operator.policy import PolicyService
from briefcase.core.operator.providers import ProviderAdmin, ProviderStore
from briefcase.core.operator.secrets import SecretAdmin
from briefcase.core.operator.servers import Described, ServerAdmin, ServerStore
from briefcase.model.ports import AgentStore, BindableSecrets, Clock, Entropy, Ledger, Redactor, Tools
from briefcase.model.types import JsonObject

_Config = TypeVar("_Config")


class ServerPorts(msgspec.Struct, Generic[_Config], frozen=True):
    """The MCP servers: what is described, how each is connected to, and the log-ins. `describe` reads a description."""

    store: ServerStore
    connected: Connected[_Config]
    logins: ServerLogins[_Config]
    describe: Callable[[str, JsonObject], Described]


class Operator(msgspec.Struct, frozen=True):
    """What an operator does, by noun. `settle` comes before the first request."""

    administration: Administration
    agents: AgentAdmin
    approvals: Approvers
    budgets: BudgetAdmin
    controls: ControlAdmin
    policy: PolicyService
    secrets: SecretAdmin
    providers: ProviderAdmin | None = None
    logins: LoginAdmin[Any] | None = None
    servers: ServerAdmin | None = None
    backups: BackupAdmin[Any, Any] | None = None

    async def settle(self) -> None:
        """Close each change that a crash left open, and make controls of what an older release disabled otherwise.

        Raises:
            StoreError: one could not be closed; the next start goes on.
        """
        settlers = {**self.agents.settlers(), **self.secrets.settlers()}
        if self.providers is not None:
            settlers |= self.providers.settlers()
        if self.logins is not None:
            settlers |= self.logins.settlers()
        await self.administration.settle(settlers)
        if self.providers is not None:
            await self.providers.take_over_rows()


def compose_operator(  # noqa: PLR0913 - the ports of the nouns, each named once, here
    *,
    ledger: Ledger,
    redactor: Redactor,
    policy: PolicyService,
    controls: Controls,
    agents: AgentStore,
    secrets: BindableSecrets,
    providers: ProviderStore | None,
    servers: ServerPorts[Any] | None,
    backups: BackupStore[Any, Any] | None,
    tools: Tools,
    clock: Clock,
    entropy: Entropy,
) -> Operator:
    """Put the nouns together, for the composition root.

    Args:
        ledger: takes the receipts, and what is in the transaction of its receipt.
        redactor: cuts secrets out of what whoever decides an approval is shown.
        policy: the active one.
        controls: those in force.
        agents: where agents are kept.
        secrets: where secrets are kept.
        providers: the providers and what is held of them, where there are any.
        servers: the MCP servers and the log-ins at them, where there are any.
        backups: copies the data directory, where there is one.
        tools: the registered ones.
        clock: the time.
        entropy: makes tokens and ids.
    """
    administration = Administration(ledger)
    control_admin = ControlAdmin(administration, controls, agents, tools, clock, entropy)
    logins = server_admin = None
    if servers is not None:
        logins = LoginAdmin(administration, servers.connected, servers.logins)
        server_admin = ServerAdmin(servers.store, servers.describe, secrets, logins)
    return Operator(
        administration=administration,
        agents=AgentAdmin(administration, agents, clock, entropy),
        approvals=Approvers(ledger, redactor),
        budgets=BudgetAdmin(administration, ledger, clock),
        controls=control_admin,
        policy=policy,
        secrets=SecretAdmin(administration, secrets),
        providers=None if providers is None else ProviderAdmin(administration, providers, control_admin, controls),
        logins=logins,
        servers=server_admin,
        backups=None if backups is None else BackupAdmin(administration, backups),
    )
