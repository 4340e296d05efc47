"""A verification of the chain together with what witnesses say of it.

What a quorum excludes is no longer named as not checked; what it leaves open is named more closely:

| without witnesses | with a quorum up to receipt N, whose words are of time T |
|---|---|
| `tail_truncation` | `tail_truncation_after_witnessed`: receipts after N may be cut off |
| `rollback` | `rollback_after_witnessed`: the whole directory, cosignatures too, may be a copy as old as T |
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core.receipts.witnessed import ChainDifference, Quorum
from briefcase.model.ports import StateDifference, Verification

WITNESSED_ROW: Final = "witnessed:"
_LEFT_OPEN: Final = {
    "tail_truncation": "tail_truncation_after_witnessed",
    "rollback": "rollback_after_witnessed",
}
_WHOLE: Final = {closer: word for word, closer in _LEFT_OPEN.items()}


class Judgement(msgspec.Struct, frozen=True):
    """What the cosigned checkpoints say of the chain: how far a quorum vouches, and where the chain is another.

    `problem` is why what was cosigned could not be read.
    """

    quorum: Quorum
    difference: ChainDifference | None = None
    problem: str = ""


def with_judgement(found: Verification, judged: Judgement | None) -> Verification:
    """A verification with what witnesses say; a chain that is not the one they cosigned does not verify.

    What an earlier judgement, by other keys, had taken for excluded is named again first.
    """
    if judged is None:
        return found
    found = msgspec.structs.replace(found, not_checked=tuple(_WHOLE.get(word, word) for word in found.not_checked))
    if judged.difference is not None:
        other = judged.difference
        row = StateDifference(f"{WITNESSED_ROW}{other.size}", other.expected, other.found)
        return msgspec.structs.replace(found, ok=False, difference=found.difference or row)
    if not judged.quorum.is_met or not judged.quorum.size:
        return found
    return msgspec.structs.replace(found, not_checked=tuple(_LEFT_OPEN.get(word, word) for word in found.not_checked))
