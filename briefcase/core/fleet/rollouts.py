"""A rollout: a bundle goes to some devices first, and to all once what these show lets it through.

| state | then | what it says |
|---|---|---|
| `canary` | `active`, `rolled_back` | devices whose fraction is below the share get it, the others what they had |
| `active` | `done`, `rolled_back` | the gates were open: all devices get it |
| `done` | | the gates were open again, for all devices: they run it |
| `rolled_back` | | a further bundle, with the old text under a new id, went to all: an id never falls |

A device's fraction is a hash of the rollout's id and its own: nothing is assigned, each process computes the same, and
another rollout begins with other devices.

Pure: what the devices show is handed in (`Evidence`); a gate that nobody set is not looked at.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

import msgspec

from briefcase.model.lifecycle import Lifecycle

WHOLE_PERMILLE: Final = 1_000
_FRACTION_BYTES: Final = 8

_Permille = Annotated[int, msgspec.Meta(ge=1, le=WHOLE_PERMILLE)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class RolloutState(StrEnum):
    """Where a rollout is."""

    CANARY = "canary"
    ACTIVE = "active"
    DONE = "done"
    ROLLED_BACK = "rolled_back"


ROLLOUT: Final = Lifecycle(
    "a rollout",
    {
        RolloutState.CANARY: frozenset({RolloutState.ACTIVE, RolloutState.ROLLED_BACK}),
        RolloutState.ACTIVE: frozenset({RolloutState.DONE, RolloutState.ROLLED_BACK}),
        RolloutState.DONE: frozenset(),
        RolloutState.ROLLED_BACK: frozenset(),
    },
)


class Gates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must hold before all devices get the bundle.

    `min_applied_permille` of the canary devices run it, `max_apply_failures` of them could not apply it, and of their
    recorded calls it decides at most `max_flips` otherwise than they were decided.
    """

    min_applied_permille: _Permille = WHOLE_PERMILLE
    max_apply_failures: _Count = 0
    max_flips: _Count | None = None


class Evidence(msgspec.Struct, frozen=True):
    """What the canary devices show: how many there are, how many run it, how many could not apply it, and the replay.

    `replayed` is the recorded calls of theirs that were decided again, `flips` those that came out otherwise.
    """

    devices: int = 0
    applied: int = 0
    apply_failures: int = 0
    replayed: int = 0
    flips: int = 0


class ShutGate(msgspec.Struct, frozen=True):
    """A gate that is shut: its name, and what it saw."""

    gate: str
    problem: str


def is_canary(rollout_id: int, device: UUID, share_permille: int) -> bool:
    """Whether a device gets the bundle of a rollout first.

    Args:
        rollout_id: of the rollout, which chooses anew.
        device: its id.
        share_permille: how many of a thousand devices do.
    """
    digest = hashlib.sha256(b"%d\n%b" % (rollout_id, device.bytes)).digest()
    fraction = int.from_bytes(digest[:_FRACTION_BYTES], "big")
    return fraction * WHOLE_PERMILLE < share_permille << (8 * _FRACTION_BYTES)


def shut_gates(gates: Gates, evidence: Evidence) -> list[ShutGate]:
    """The gates that what was seen does not open, none where the rollout may go on.

    A rollout that reached no device has shown nothing, whatever its gates are.
    """
    if not evidence.devices:
        return [ShutGate("devices", "no enrolled device is among those that get it first: give it a larger share")]
    shut = []
    if evidence.applied * WHOLE_PERMILLE < gates.min_applied_permille * evidence.devices:
        shut.append(ShutGate("min-applied", f"{evidence.applied} of {evidence.devices} canary devices run it"))
    if evidence.apply_failures > gates.max_apply_failures:
        shut.append(ShutGate("max-apply-failures", f"{evidence.apply_failures} canary devices could not apply it"))
    if gates.max_flips is not None and evidence.flips > gates.max_flips:
        shut.append(
            ShutGate("max-flips", f"{evidence.flips} of {evidence.replayed} recorded calls would be decided otherwise")
        )
    return shut
