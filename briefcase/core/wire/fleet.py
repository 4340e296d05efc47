"""What a control plane answers administrators and auditors, and `briefcase fleet` reads (`aacp_v1`)."""

from __future__ import annotations

from typing import Any

import msgspec

from briefcase.core.fleet.bundles import SignedBundle
from briefcase.core.fleet.rollouts import Evidence, Gates, ShutGate


class FleetDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device: how it was enrolled, how far its receipts are stored, and what it last said of itself."""

    device_id: str
    device_name: str
    status: str
    enrolled_at_rfc3339: str
    revoked_at_rfc3339: str | None = None
    last_receipt_id: int = 0
    running_bundle_id: int | None = None
    tried_bundle_id: int | None = None
    last_error: str | None = None
    version: str | None = None
    seen_at_rfc3339: str | None = None


class FleetDevices(msgspec.Struct, frozen=True):
    """A page of devices, by id."""

    devices: list[FleetDevice]


class DeviceRevoked(msgspec.Struct, frozen=True):
    """A device whose token was ended."""

    device_id: str
    status: str


class DeviceToken(msgspec.Struct, frozen=True):
    """A device's new token, shown this once."""

    device_id: str
    device_token: str


class FleetPolicy(msgspec.Struct, frozen=True):
    """The bundle of a tenant's devices that are in no rollout."""

    policy_bundle: SignedBundle


class RolloutRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout; what its devices show, and the gates that are shut, are looked up where one is asked for."""

    rollout_id: int
    before_id: int
    state: str
    canary_permille: int
    gates: Gates
    begun_at_rfc3339: str
    changed_at_rfc3339: str
    evidence: Evidence | None = None
    shut_gates: list[ShutGate] = []


class RolloutList(msgspec.Struct, frozen=True):
    """The rollouts of a tenant, the newest first."""

    rollouts: list[RolloutRecord]


class FleetReceipt(msgspec.Struct, frozen=True):
    """A receipt as it was uploaded; `event` is the bytes that its hash is over."""

    device_id: str
    id: int
    ts: str
    prev_hash_hex: str
    hash_hex: str
    event: msgspec.Raw


class FleetReceipts(msgspec.Struct, frozen=True):
    """A page of receipts."""

    receipts: list[FleetReceipt]


class ActRecord(msgspec.Struct, frozen=True):
    """An administrator's act, linked to the one before."""

    id: int
    prev_hash_hex: str
    hash_hex: str
    event: msgspec.Raw


class ActList(msgspec.Struct, frozen=True):
    """The acts of a tenant's administrators, the newest first."""

    acts: list[ActRecord]


class ActEvent(msgspec.Struct, frozen=True):
    """The members that every act has."""

    id: int
    ts: str
    by: str
    act: str


class AdminToken(msgspec.Struct, frozen=True):
    """A named token, shown this once."""

    tenant: str
    name: str
    role: str
    token: str


class AdminTokenRevoked(msgspec.Struct, frozen=True):
    """A named token that was ended."""

    tenant: str
    name: str
    status: str


def about_act(event: dict[str, Any]) -> dict[str, Any]:
    """What an act's event says beside the members that every act has."""
    return {name: value for name, value in event.items() if name not in ActEvent.__struct_fields__}
