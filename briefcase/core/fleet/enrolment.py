"""What a daemon keeps of its control plane: one setting of the ledger, changed only with its receipt.

The device's id stays for as long as the data directory does, so that enrolling again goes on with the same chain of
receipts. The floor of each signing key stays, too, and which key took the place of which: a control plane that was left
and joined again cannot go back.
What changes with every sync (the watermark of the upload, the time, the last error) is no matter of receipts and is
kept in `briefcase.sqlite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from briefcase.core.fleet.bundles import PolicyKey, Standing
from briefcase.core.fleet.keys import KeyWalk, NamedKey, walk_keys, with_successors
from briefcase.model.effects import PutSetting
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.ports import Ledger
from briefcase.model.types import JsonObject

SETTING: Final = "control_plane"
MAX_FLOORS: Final = 64


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """One enrolment.

    `policy_key_b64` is the pinned key, `next_key_b64` the one it named to sign after it, at `next_key_issued_us`.
    `bundle_id` and `bundle_digest_hex` are of the bundle that runs; `refused` is the last bundle that was not applied,
    as `id:reason`, so that its refusal is receipted once.
    """

    base_url: str
    device_id: str
    device_name: str
    policy_key_b64: PolicyKey
    enrolled_us: int
    next_key_b64: PolicyKey = ""
    next_key_issued_us: int = 0
    bundle_id: int = 0
    bundle_digest_hex: str = ""
    refused: str = ""
    expects_freshness: bool = False


class FleetState(msgspec.Struct, frozen=True, kw_only=True):
    """The setting: who this device is, and where it is enrolled now.

    `floors` says how far each key's bundles have come, `successors` which key took the place of which.
    """

    device_id: str = ""
    enrolment: Enrolment | None = None
    floors: dict[PolicyKey, int] = {}
    successors: dict[PolicyKey, PolicyKey] = {}


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


def announced_of(enrolment: Enrolment) -> NamedKey | None:
    """The key that the pinned one named, where it did."""
    return NamedKey(enrolment.next_key_b64, enrolment.next_key_issued_us) if enrolment.next_key_b64 else None


def with_pin(state: FleetState, enrolment: Enrolment, walk: KeyWalk, key_b64: PolicyKey) -> FleetState:
    """The setting once one of a walk's keys is pinned; bundle ids go on from where the keys before it were."""
    pinned = msgspec.structs.replace(with_announced(enrolment, walk.after(key_b64)), policy_key_b64=key_b64)
    return msgspec.structs.replace(_gone_on(state, walk, key_b64), enrolment=pinned)


def with_known_way(state: FleetState, words: Sequence[JsonObject], key_b64: PolicyKey) -> FleetState:
    """The setting before another enrolment pins a key that follows one which was pinned once, by its own words."""
    for known in state.floors:
        walk = walk_keys(words, known, None, state.successors)
        if key_b64 in walk.keys[1:]:
            return _gone_on(state, walk, key_b64)
    return state


def with_announced(enrolment: Enrolment, named: NamedKey | None) -> Enrolment:
    """An enrolment with the key that signs next, or with none."""
    key_b64, issued_us = ("", 0) if named is None else (named.key_b64, named.issued_us)
    return msgspec.structs.replace(enrolment, next_key_b64=key_b64, next_key_issued_us=issued_us)


def standing_of(enrolment: Enrolment, floor: int, *, needs_profile: bool) -> Standing:
    """What a bundle is judged by.

    Args:
        enrolment: the pinned key, and the bundle that runs.
        floor: the highest id of a key that may sign, in the ledger and where a restore does not take it back.
        needs_profile: whether a bundle for another profile is refused.
    """
    return Standing(
        key_b64=enrolment.policy_key_b64,
        floor=floor,
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


def _gone_on(state: FleetState, walk: KeyWalk, key_b64: PolicyKey) -> FleetState:
    """The setting with one of a walk's keys in the place of those before it."""
    way = walk.keys[: walk.keys.index(key_b64) + 1]
    floor = max(state.floors.get(passed, 0) for passed in way)
    return msgspec.structs.replace(
        state, floors=with_floor(state, key_b64, floor), successors=with_successors(state.successors, way)
    )
