"""What the API answers from: the ports and services that the daemon composes, and the waits for approvals."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeAlias

import msgspec

from briefcase.adapters.backup.age import AgeSeal
from briefcase.adapters.backup.checkpoints import Checkpoints
from briefcase.adapters.backup.manifest import Manifest
from briefcase.adapters.backup.sealing import SealKey
from briefcase.adapters.fleet.syncing import FleetSync
from briefcase.adapters.providers.service import ProviderService
from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.logins import Logins
from briefcase.adapters.servers.registry import ServerRegistry
from briefcase.adapters.telemetry.meter import Meter
from briefcase.adapters.telemetry.metrics import Metrics
from briefcase.adapters.vault.bindings import SecretDestinations
from briefcase.adapters.witness.rounds import Witnessing
from briefcase.core.anomalies import Anomalies
from briefcase.core.calls.flow import Calls
from briefcase.core.calls.settings import HookSettings
from briefcase.core.controls import Controls
from briefcase.core.operator.operator import Operator
from briefcase.core.operator.policy import PolicyService
from briefcase.core.people import People
from briefcase.core.signers.signers import Signers
from briefcase.core.wire.page import PageLink
from briefcase.edges.diagnostics.host import Host
from briefcase.model.ports import AgentStore, Clock, Entropy, Ledger, Redactor, Tools
from briefcase.model.types import COMPATIBILITY_PROFILE, Principal

DaemonOperator: TypeAlias = Operator[ServerConfig, SealKey | AgeSeal, Manifest]


class Profile(msgspec.Struct, frozen=True):
    """Which daemon this is, and how strict. `did` is the did:key of its signing key."""

    did: str
    mode: str
    strict_enforcement: bool
    compatibility_profile: str = COMPATIBILITY_PROFILE


class ApprovalChanges:
    """Wakes those who wait for an approval to change. Waiting holds a future and no thread.

    A change that nobody announces (an expiry, one made elsewhere) is seen by who waits at the next `recheck`.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._is_stopped = False

    def announce(self, approval_id: str) -> None:
        """Wake everyone who waits for one approval."""
        for waiter in self._waiting.get(approval_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def stop(self) -> None:
        """Wake everyone, now and later: the server is going."""
        self._is_stopped = True
        for approval_id in self._waiting:
            self.announce(approval_id)

    @property
    def is_stopped(self) -> bool:
        """Whether waiting is over for good."""
        return self._is_stopped

    async def wait(self, approval_id: str, timeout_s: float) -> None:
        """Return when the approval is announced, or after `timeout_s`."""
        if self._is_stopped:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(approval_id, set()).add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            waiting = self._waiting[approval_id]
            waiting.discard(waiter)
            if not waiting:
                del self._waiting[approval_id]


class OperatorPage(Protocol):
    """The operator page, which is not open before somebody wants to see it."""

    async def new_link(self, services: Services, principal: Principal) -> PageLink:
        """A link that logs a browser in, once, as a person; opens the page.

        Raises:
            CallerError: its port is not to be had (`conflict`).
        """
        ...


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the API's nouns answer from, composed by the daemon."""

    calls: Calls
    ledger: Ledger
    tools: Tools
    policy: PolicyService
    controls: Controls
    people: People
    signers: Signers
    agents: AgentStore
    secrets: SecretDestinations
    redactor: Redactor
    clock: Clock
    entropy: Entropy
    profile: Profile
    changes: ApprovalChanges
    operator: DaemonOperator
    mcp: ServerRegistry
    mcp_logins: Logins
    providers: ProviderService
    fleet: FleetSync
    host: Host
    checkpoints: Checkpoints
    witnessing: Witnessing
    meter: Meter
    metrics: Metrics
    page: OperatorPage
    anomalies: Anomalies
    hooks: HookSettings = HookSettings()
    signers_only: bool = False
