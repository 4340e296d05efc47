"""Witnesses on the wire: who they are, how it goes with each, up to where a quorum vouches, and what was cosigned."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from briefcase.core.receipts.judgement import Judgement
from briefcase.core.wire.fields import HashHex, Natural
from briefcase.model.types import US_PER_S, format_rfc3339


class WitnessBody(msgspec.Struct, frozen=True):
    """A witness to add: its submission prefix, and its verifier key (C2SP signed-note)."""

    url: Annotated[str, msgspec.Meta(max_length=1_024)]
    key: Annotated[str, msgspec.Meta(max_length=4_096)]


class WitnessChoice(msgspec.Struct, frozen=True):
    """A witness by its key's name, or by name and id (`NAME+ID`) where several have the name."""

    witness: Annotated[str, msgspec.Meta(max_length=1_024)]


class WitnessRecord(msgspec.Struct, frozen=True):
    """One witness, and how it goes with it.

    `state`: `new` before it cosigned anything, `ok`, `failing` where the last round failed, `alarm` where what it says
    does not fit this chain, or it has failed for some rounds. `size` and `cosigned_at` are of the largest checkpoint
    that it cosigned. `problem` and `hint` say what is wrong.
    """

    name: str
    key_id: str
    algorithm: str
    url: str
    vkey: str
    added_at: str
    state: Literal["new", "ok", "failing", "alarm"] = "new"
    size: Natural = 0
    cosigned_at: str | None = None
    problem: str = ""
    hint: str = ""


class WitnessedRecord(msgspec.Struct, frozen=True):
    """What witnesses vouch for: every receipt up to `size` is as it was when `by` cosigned, the earliest of them then.

    `excludes` says it in words. Where no quorum is met, `size` is 0 and nothing is excluded. `problem` is why what was
    cosigned could not be read.
    """

    quorum_met: bool
    size: Natural = 0
    by: list[str] = []
    cosigned_at: str | None = None
    excludes: str = ""
    problem: str = ""


def witnessed_record(found: Judgement) -> WitnessedRecord:
    """What witnesses say of the chain, as a verification answers it."""
    quorum = found.quorum
    return WitnessedRecord(
        quorum_met=quorum.is_met,
        size=quorum.size,
        by=sorted(one.key.label for one in quorum.by),
        cosigned_at=format_rfc3339(quorum.time_s * US_PER_S) if quorum.time_s else None,
        excludes=f"another history of receipts 1 to {quorum.size}" if quorum.size else "",
        problem=found.problem,
    )


class WitnessList(msgspec.Struct, frozen=True):
    """All witnesses; `log_vkey` is the key of this log, which each has to be told. `quorum` says which are enough."""

    witnesses: list[WitnessRecord]
    log_vkey: str
    quorum: str


class CosignedRecord(msgspec.Struct, frozen=True):
    """A checkpoint as a signed note with its cosignatures; `quorum_met`: by itself it has a quorum."""

    note: str
    size: Natural
    root_hex: HashHex
    by: list[str]
    quorum_met: bool


class CosignedList(msgspec.Struct, frozen=True):
    """The cosigned checkpoints that are kept, newest first."""

    checkpoints: list[CosignedRecord]
