"""What a control plane answers (`aacp_v1`): administrators and auditors, as `briefcase fleet` reads it, and devices."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from briefcase.core.fleet.bundles import SignedBundle
from briefcase.core.fleet.envelopes import Envelope
from briefcase.core.fleet.rollouts import Evidence, Gates, ShutGate
from briefcase.core.wire.fields import Maybe, Natural


class FleetRefusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every answer of a control plane that is no success. `code` is a stable word; `request_id` finds it in the log.

    `last_receipt_id` goes with an upload that is refused: the last receipt that is stored, from which to go on.
    """

    code: str
    message: str
    request_id: str
    last_receipt_id: int | None = None


class ControlPlaneHealth(msgspec.Struct, frozen=True):
    """The process runs."""

    status: Literal["ok"]
    ts: str


class ControlPlaneReady(msgspec.Struct, frozen=True):
    """The database takes writes."""

    status: Literal["ready"]


class RemoteKey(msgspec.Struct, frozen=True):
    """The key that is kept for a device; `public_jwk` is of P-256 (RFC 7518 section 6.2)."""

    key_id: str
    algorithm: Literal["p256"]
    public_jwk: dict[str, str]


class RemoteSigner(msgspec.Struct, frozen=True):
    """What signs for a device."""

    signer: RemoteKey


class RemoteSignature(msgspec.Struct, frozen=True):
    """A signature over SHA-256 of a message: r and s of 32 bytes each, in base64url."""

    signature_b64: str


class DevicePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A device's bundle and its siblings, each signed by itself; `next_sync_ms` advises when to ask again."""

    policy_bundle: SignedBundle
    freshness: Maybe[Envelope] = msgspec.UNSET
    keys: Maybe[Envelope] = msgspec.UNSET
    key_chain: Maybe[list[Envelope]] = msgspec.UNSET
    mandatory: Maybe[Envelope] = msgspec.UNSET
    next_sync_ms: Maybe[Natural] = msgspec.UNSET


class DeviceEnrolled(DevicePolicy, frozen=True, kw_only=True):
    """What a device is given when it enrols: its token, shown this once, the key to pin, and its first policy."""

    device_id: str
    device_token: str
    policy_signing_pubkey_b64: str
    last_receipt_id: Maybe[Natural] = msgspec.UNSET
    remote_signer: Maybe[RemoteKey] = msgspec.UNSET


class ReceiptsStored(msgspec.Struct, frozen=True):
    """How many receipts of an upload are new, and the last one that is stored."""

    stored: Natural
    last_receipt_id: Maybe[Natural] = msgspec.UNSET


class StatusTaken(msgspec.Struct, frozen=True):
    """What a device said of itself is kept."""

    status: Literal["ok"]


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


class Convergence(msgspec.Struct, frozen=True):
    """How soon devices run the bundle that they were given, by their own word.

    `applied` of `devices` run it. Milliseconds from when it was given until half, and until 99%, of them did; null
    until so many do.
    """

    bundle_id: int
    given_at_rfc3339: str
    devices: int = 0
    applied: int = 0
    p50_ms: int | None = None
    p99_ms: int | None = None


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
    convergence: Convergence | None = None


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


class KeyRecord(msgspec.Struct, frozen=True):
    """A key of a control plane: `prepared`, `present`, `retired` or `discarded`, and since when."""

    policy_signing_pubkey_b64: str
    state: str
    changed_at_rfc3339: str


class KeyProcess(msgspec.Struct, frozen=True):
    """A process that runs, and the keys that it can sign with."""

    address: str
    held: list[str]


class KeyList(msgspec.Struct, frozen=True):
    """The keys of a control plane, the newest first, and its processes."""

    keys: list[KeyRecord]
    processes: list[KeyProcess]


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


class WitnessAnswer(msgspec.Struct, frozen=True):
    """The control plane as a witness: its submission prefix, and its verifier key."""

    url: str
    vkey: str


class WitnessAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """The first time a log did not fit what was cosigned of it, as two notes that its own key signed, and how often.

    `problem` is `fork` (two roots of one size), `inconsistent` (no proof leads from the one to the other) or `receipts`
    (those that were uploaded are others; the control plane computed their note, which has no signature).
    """

    problem: str
    seen_size: int
    seen_note: str
    sent_size: int
    sent_note: str
    times: int
    seen_at_rfc3339: str


class WitnessedLog(msgspec.Struct, frozen=True, kw_only=True):
    """A device's log: what was cosigned of it last, and what did not fit."""

    device_id: str
    origin: str
    size: int
    root_hex: str
    cosigned_at_rfc3339: str | None = None
    alarms: list[WitnessAlarm] = []


class WitnessedLogs(msgspec.Struct, frozen=True):
    """The logs of a tenant's devices, those with alarms first."""

    logs: list[WitnessedLog]
