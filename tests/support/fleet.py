"""The daemon's half of a fleet in memory: an enrolment, its sync, and a control plane to sync with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from briefcase.adapters.fleet.client import ControlPlaneClient
from briefcase.adapters.fleet.custody import DeviceTokens, FloorFile
from briefcase.adapters.fleet.syncing import FleetSync, SyncParts, SyncStatus
from briefcase.adapters.store.database import Database
from briefcase.adapters.store.sync_progress import SyncProgressStore
from briefcase.adapters.vault.identity import Identity
from briefcase.core.fleet.enrolment import Enrolment
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.bundles import BundleAdmin
from briefcase.core.operator.fleet import FleetAdmin, FleetPorts, Wanted
from briefcase.core.operator.policy import PolicyService
from briefcase.model.effects import Entry
from briefcase.model.ports import Entropy, Outbound, Policy
from support.clock import FakeClock
from support.control_plane import ADMIN_TOKEN, ControlPlaneOutbound, FakeControlPlane
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.secrets import FakeSecrets
from support.simulated_loop import SimulatedClock
from support.tools import FakeTools

BASE_URL = "https://fleet.example"
INTERVAL_MS = 60_000


async def run_here(function: Callable[[], Policy]) -> Policy:
    """Run at once what a daemon runs on a thread."""
    return function()


class FleetDesk:
    """A device and its control plane; `restart` loads everything again from what is durable.

    Args:
        directory: where the metadata and the floors are.
        needs_profile: as in `ga`.
        outbound: the way to another control plane than `plane`.
        base_url: where the control plane is.
        admin_token: its administrator's.
        clock: its time; by default it stands still.
        entropy: makes its ids.
        identity: its key.
        interval_ms: between two syncs.
    """

    def __init__(
        self,
        directory: Path,
        *,
        needs_profile: bool = False,
        outbound: Outbound | None = None,
        base_url: str = BASE_URL,
        admin_token: str = ADMIN_TOKEN,
        clock: FakeClock | SimulatedClock | None = None,
        entropy: Entropy | None = None,
        identity: Identity | None = None,
        interval_ms: int = INTERVAL_MS,
    ) -> None:
        self.base_url, self.admin_token, self.way_out = base_url, admin_token, outbound
        self.directory = directory
        self.needs_profile = needs_profile
        self.plane = FakeControlPlane()
        self.outbound = ControlPlaneOutbound(self.plane)
        self.clock = clock or FakeClock()
        self.entropy = entropy or FakeEntropy()
        self.ledger = MemoryLedger(self.clock)
        self.secrets = FakeSecrets()
        self.remembered: list[bytes] = []
        self.identity = identity or Identity(b"\5" * 32)
        self.interval_ms = interval_ms
        self.database = Database(directory / "briefcase.sqlite")

    async def start(self) -> None:
        """Put together what a daemon does at a start."""
        self.policy = PolicyService(ledger=self.ledger, clock=self.clock, tools=FakeTools(), run_blocking=run_here)
        await self.policy.open()
        client = ControlPlaneClient(
            self.way_out or self.outbound,
            self.identity.proof_signer,
            device_pubkey_b64=encode_base64url(self.identity.public_key),
            clock=self.clock,
            entropy=self.entropy,
        )
        tokens = DeviceTokens(self.secrets, lambda value, _owner: self.remembered.append(value))
        self.floors = FloorFile(self.directory)
        ports = FleetPorts(client, tokens, self.floors, needs_profile=self.needs_profile)
        self.administration = Administration(self.ledger)
        self.admin = FleetAdmin(
            self.administration, self.policy, self.ledger, ports=ports, clock=self.clock, entropy=self.entropy
        )
        self.bundles = BundleAdmin(
            self.administration,
            self.policy,
            self.ledger,
            floors=self.floors,
            clock=self.clock,
            needs_profile=self.needs_profile,
        )
        self.sync = FleetSync(
            self.admin,
            self.bundles,
            SyncParts(
                client=client,
                tokens=tokens,
                store=SyncProgressStore(self.database),
                ledger=self.ledger,
                clock=self.clock,
                seed=lambda: 0.5,
                interval_ms=self.interval_ms,
            ),
        )
        await self.administration.settle(self.admin.settlers())
        await self.admin.tidy()
        await self.bundles.tidy()

    restart = start

    async def enrol(self) -> None:
        """Enrol as an operator does."""
        await self.sync.enrol(Wanted(self.base_url, self.admin_token, "laptop"), "ann")

    async def receipt(self) -> None:
        """Append a receipt of something."""
        await self.ledger.commit(Entry({"kind": "boot"}))

    async def status(self) -> SyncStatus:
        """The status of one that is enrolled."""
        found = await self.sync.status()
        assert found is not None
        return found

    @property
    def enrolment(self) -> Enrolment:
        """The enrolment that the ledger has."""
        enrolment = self.admin.state().enrolment
        assert enrolment is not None
        return enrolment

    @property
    def uploaded(self) -> list[int]:
        """The ids of the receipts that the control plane has of this device."""
        return [receipt["id"] for receipt in self.plane.receipts.get(self.enrolment.device_id, [])]
