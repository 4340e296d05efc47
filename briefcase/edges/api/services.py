"""What the API answers from: the ports and services it is given, and the wake-up call of approvals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Protocol

import msgspec

from briefcase.adapters.backup.checkpoints import Checkpoints
from briefcase.adapters.providers.service import ProviderService
from briefcase.adapters.servers.logins import Logins
from briefcase.adapters.servers.registry import ServerRegistry
from briefcase.adapters.telemetry.meter import Meter
from briefcase.adapters.telemetry.metrics import Metrics
from briefcase.adapters.vault.bindings import SecretDestinations
from briefcase.core.controls import Controls
from briefcase.core.operator.operator import Operator
from briefcase.edges.diagnostics.host import Host
from briefcase.model.errors import CallerError
from briefcase.model.ports import AgentStore, Clock, Entropy, Ledger, Policy, Redactor, Tools
from briefcase.model.types import COMPATIBILITY_PROFILE, JsonObject, Principal, ToolCall


class Answered(Protocol):
    """What a call came to (`answers.Answer`): the body, and the microseconds each phase took, in order."""

    @property
    def body(self) -> bytes:
        """The JSON of the answer, encoded once."""
        ...

    @property
    def status(self) -> str:
        """Its `status`."""
        ...

    @property
    def reason(self) -> str:
        """The words behind a status that is not `ok`."""
        ...

    @property
    def payload(self) -> JsonObject:
        """Its fields, decoded again."""
        ...

    @property
    def timing_us(self) -> Mapping[str, int]:
        """Phase to microseconds."""
        ...

    @property
    def is_filtered(self) -> bool:
        """Whether no secret can be in it."""
        ...


class CallFlow(Protocol):
    """The flow of a call (`calls.Calls`). What it raises is a `BriefcaseError`."""

    @property
    def open_decisions(self) -> int:
        """How many decisions wait to be closed."""
        ...

    def read(self, principal: Principal, body: bytes) -> Awaitable[ToolCall]:
        """Step 2: the value that the other steps take."""
        ...

    def call(self, principal: Principal, call: ToolCall) -> Awaitable[Answered]:
        """Steps 3 to 13."""
        ...

    def decide(self, principal: Principal, call: ToolCall) -> Awaitable[Answered]:
        """Steps 3 to 9."""
        ...

    def close(self, principal: Principal, body: bytes) -> Awaitable[Answered]:
        """Step 12 of a decided call."""
        ...

    def refuse(self, principal: Principal, error: CallerError, body: bytes) -> Awaitable[CallerError]:
        """Leave a receipt of a fault that an edge found beside a call. Returns what to raise."""
        ...

    def turn_away(self, principal: Principal, declared_bytes: int) -> Awaitable[CallerError]:
        """Record that a request stood before an empty bucket; gives the fault that its sender is told."""
        ...


class PolicyStore(Protocol):
    """The active policy, as text."""

    def active(self) -> Policy:
        """The policy that decides now."""
        ...

    def problem(self) -> str | None:
        """Why every call is denied, or None."""
        ...

    def current(self) -> tuple[str, str, int]:
        """The text, its SHA-256 in hex, and when it was set (microseconds)."""
        ...


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


class Services(msgspec.Struct, frozen=True):
    """Everything the API's nouns answer from, composed by the daemon."""

    calls: CallFlow
    ledger: Ledger
    tools: Tools
    policy: PolicyStore
    controls: Controls
    agents: AgentStore
    secrets: SecretDestinations
    redactor: Redactor
    clock: Clock
    entropy: Entropy
    profile: Profile
    changes: ApprovalChanges
    operator: Operator
    mcp: ServerRegistry | None = None
    mcp_logins: Logins | None = None
    providers: ProviderService | None = None
    host: Host | None = None
    checkpoints: Checkpoints | None = None
    meter: Meter = msgspec.field(default_factory=Meter)
    metrics: Metrics = msgspec.field(default_factory=Metrics)
