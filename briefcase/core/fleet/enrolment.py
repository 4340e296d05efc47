"""What a daemon keeps of its control plane: one setting of the ledger, changed only with its receipt.

The device's id stays for as long as the data directory does, so that enrolling again goes on with the same chain of
receipts. The floor of each signing key stays, too: a control plane that was left and joined again cannot go back.
What changes with every sync (the watermark of the upload, the time, the last error) is no matter of receipts and is
kept in `briefcase.sqlite`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core.fleet.bundles import PolicyKey, Standing
from briefcase.model.effects import PutSetting
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.ports import Ledger

SETTING: Final = "control_plane"
MAX_FLOORS: Final = 64


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """One enrolment.

    `policy_key_b64` is the pinned key, `next_key_b64` the one it named to sign after it. `bundle_id` and
    `bundle_digest_hex` are of the bundle that runs; `refused` is the last bundle that was not applied, as
    `id:reason`, so that its refusal is receipted once.
    """

    base_url: str
    device_id: str
    device_name: str
    policy_key_b64: PolicyKey
    enrolled_us: int
    next_key_b64: PolicyKey = ""
    bundle_id: int = 0
    bundle_digest_hex: str = ""
    refused: str = ""
    expects_freshness: bool = False


class FleetState(msgspec.Struct, frozen=True, kw_only=True):
    """The setting: who this device is, where it is enrolled now, and how far each key's bundles have come."""

    device_id: str = ""
    enrolment: Enrolment | None = None
    floors: dict[PolicyKey, int] = {}


def read_fleet_state(ledger: Ledger) -> FleetState:
    """What the ledger has, from memory or its own pages, at once.

    Raises:
        StoreError: the setting is unreadable.
    """
    kept = ledger.setting(SETTING)
    if kept is None:
        return FleetState()
    try:
        return msgspec.json.decode(kept, type=FleetState)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError("the stored enrolment is unreadable", detail=str(error)) from error


def put_state(state: FleetState) -> PutSetting:
    """The effect that keeps the setting."""
    return PutSetting(SETTING, msgspec.json.encode(state))


def put_enrolment(state: FleetState, enrolment: Enrolment) -> PutSetting:
    """The effect that keeps the setting with another enrolment."""
    return put_state(msgspec.structs.replace(state, enrolment=enrolment))


def enrolled(state: FleetState) -> Enrolment:
    """The enrolment.

    Raises:
        CallerError: there is none (`conflict`).
    """
    if state.enrolment is None:
        hint = "`briefcase control-plane enroll URL NAME`"
        raise CallerError("this daemon is not enrolled", code="conflict", hint=hint)
    return state.enrolment


def keys_of(enrolment: Enrolment) -> list[PolicyKey]:
    """The keys that may sign, the pinned one first."""
    return [key_b64 for key_b64 in (enrolment.policy_key_b64, enrolment.next_key_b64) if key_b64]


def standing_of(state: FleetState, enrolment: Enrolment, floor: int, *, needs_profile: bool) -> Standing:
    """What a bundle is judged by.

    Args:
        state: the setting.
        enrolment: the one in it.
        floor: the highest id that is noted outside of the ledger, which a restore does not take back.
        needs_profile: whether a bundle for another profile is refused.
    """
    return Standing(
        key_b64=enrolment.policy_key_b64,
        floor=max(floor, state.floors.get(enrolment.policy_key_b64, 0)),
        running_id=enrolment.bundle_id,
        running_digest_hex=enrolment.bundle_digest_hex,
        needs_profile=needs_profile,
        expects_freshness=enrolment.expects_freshness,
    )


def with_floor(state: FleetState, key_b64: PolicyKey, bundle_id: int) -> dict[PolicyKey, int]:
    """The floors once a bundle of a key is applied; the key used last stands last, and the oldest are forgotten."""
    floors = {key: floor for key, floor in state.floors.items() if key != key_b64}
    floors[key_b64] = max(bundle_id, state.floors.get(key_b64, 0))
    return dict(list(floors.items())[-MAX_FLOORS:])
