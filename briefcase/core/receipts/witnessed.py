"""What cosigned checkpoints say of a chain: which quorum is met, by whom, up to which receipt, and what that excludes.

A witness that cosigned a state of N receipts vouches for every state before it: the tree of the first M receipts is
part of the tree of N, and the chain here is held against the very root that was cosigned. So a quorum is met up to the
largest size that enough witnesses have each reached, though they cosigned different ones:

 1. each kept checkpoint is signed by the log, and its cosignatures are good         (`read_witnessed`)
 2. the chain's tree at each of those sizes has the root that was cosigned           (`ChainJudge`)
 3. the quorum is met up to the largest size that a quorum of witnesses has reached  (`quorum_of`)

What is excluded then is a history of the receipts up to that size other than the one here. What is not: that those
after it were cut off, and that the whole directory, cosignatures and all, is a copy as old as the newest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from briefcase.core.receipts.cosignatures import Cosignature, read_cosignatures
from briefcase.core.receipts.note_keys import LOG_ED25519, NoteKey, Verify
from briefcase.core.receipts.notes import Checkpoint, read_checkpoint_text, split_note
from briefcase.core.receipts.quorums import NONE, WitnessPolicy
from briefcase.core.receipts.tree import Frontier
from briefcase.model.errors import CallerError

MAX_KEPT: Final = 32


class Witnessed(msgspec.Struct, frozen=True):
    """A checkpoint with its good cosignatures; `text` is what was signed."""

    checkpoint: Checkpoint
    text: str
    log_line: str
    cosignatures: tuple[Cosignature, ...] = ()

    @property
    def note(self) -> str:
        """The signed note, cosignatures and all."""
        return f"{self.text}\n{self.log_line}" + "".join(one.line.text for one in self.cosignatures)

    @property
    def keys(self) -> frozenset[NoteKey]:
        """Whose cosignatures it has."""
        return frozenset(one.key for one in self.cosignatures)

    def joined(self, more: Sequence[Cosignature]) -> Witnessed:
        """The same with further cosignatures; of one key the newest stays."""
        newest = {one.key: one for one in self.cosignatures}
        for one in more:
            if one.key not in newest or newest[one.key].time_s <= one.time_s:
                newest[one.key] = one
        return msgspec.structs.replace(self, cosignatures=tuple(newest.values()))


def read_witnessed(note: str, log: NoteKey, keys: Sequence[NoteKey], now_s: int, verify: Verify) -> Witnessed:
    """Read a cosigned checkpoint of one log.

    Args:
        note: the signed note, with cosignatures or without.
        log: the log's key, named after its origin.
        keys: the witnesses'; cosignatures by others are left out.
        now_s: the time, seconds since the Unix epoch.
        verify: tells whether a signature is good.

    Raises:
        CallerError: it is not signed by the log, or a cosignature of a known witness is not good.
    """
    text, lines = split_note(note)
    checkpoint = read_checkpoint_text(text)
    by_log = next((line for line in lines if line.is_of(log)), None)
    if log.type != LOG_ED25519 or checkpoint.origin != log.name or by_log is None:
        raise CallerError(f"expected a checkpoint signed by the key of `{log.name}`")
    if not verify(log, text.encode(), by_log.signature):
        raise CallerError(f"the signature of `{log.name}` is not good: the checkpoint was changed")
    return Witnessed(checkpoint, text, by_log.text, tuple(read_cosignatures(lines, keys, text, now_s, verify)))


def pruned(kept: Sequence[Witnessed], policy: WitnessPolicy) -> list[Witnessed]:
    """Those that still say something, newest first, at most `MAX_KEPT`.

    That is: for each witness the largest it cosigned, and the largest that a quorum cosigned all by itself, from which
    a proof for others is made.
    """
    by_size = sorted((one for one in kept if one.cosignatures), key=lambda one: one.checkpoint.size, reverse=True)
    said: set[NoteKey] = set()
    chosen: list[Witnessed] = []
    has_quorum = False
    for one in by_size:
        is_quorum = not has_quorum and policy.is_met(one.keys)
        if is_quorum or not one.keys <= said:
            chosen.append(one)
            said |= one.keys
            has_quorum = has_quorum or is_quorum
    return chosen[:MAX_KEPT]


class ChainDifference(msgspec.Struct, frozen=True):
    """A chain that is not the one that was cosigned: at which size, the root that was, and what is here instead."""

    size: int
    expected: str
    found: str


class ChainJudge:
    """Holds a chain, hash by hash, against the checkpoints that were cosigned.

    Args:
        kept: as `read_witnessed` gave them, of this chain's log.
    """

    def __init__(self, kept: Sequence[Witnessed]) -> None:
        self._wanted = {one.checkpoint.size: one.checkpoint.root for one in kept}
        self._frontier = Frontier()
        self.last_size = max(self._wanted, default=0)
        self._difference: ChainDifference | None = None

    def append(self, data: bytes) -> None:
        """Take the next receipt's hash, 32 bytes."""
        self._frontier.append(data)
        root = self._wanted.get(self._frontier.size)
        if root is not None and self._difference is None and root != (found := self._frontier.root()):
            self._difference = ChainDifference(self._frontier.size, f"root {root.hex()}", f"root {found.hex()}")

    def difference(self) -> ChainDifference | None:
        """The first cosigned size at which the chain is another, or that it does not reach."""
        if self._difference is None and self._frontier.size < self.last_size:
            return ChainDifference(
                self.last_size, f"{self.last_size} receipts at least", f"{self._frontier.size} receipts"
            )
        return self._difference


class Quorum(msgspec.Struct, frozen=True):
    """Up to which receipt a quorum vouches (0 where none does), who, and when the earliest of its words was given."""

    is_met: bool
    size: int = 0
    by: tuple[Cosignature, ...] = ()
    time_s: int = 0


def newest_of(kept: Sequence[Witnessed]) -> dict[NoteKey, tuple[int, Cosignature]]:
    """For each witness, the largest size it cosigned, and how."""
    newest: dict[NoteKey, tuple[int, Cosignature]] = {}
    for one in sorted(kept, key=lambda one: one.checkpoint.size):
        for cosignature in one.cosignatures:
            newest[cosignature.key] = (one.checkpoint.size, cosignature)
    return newest


def quorum_of(kept: Sequence[Witnessed], policy: WitnessPolicy) -> Quorum:
    """Up to which receipt a quorum vouches.

    Args:
        kept: checkpoints that the chain was held against.
        policy: which cosignatures are enough.
    """
    if policy.quorum == NONE:
        return Quorum(is_met=True)
    newest = newest_of(kept)
    for size in sorted({size for size, _ in newest.values()}, reverse=True):
        reached = {key: one for key, (at, one) in newest.items() if at >= size}
        if policy.is_met(reached.keys()):
            counted = tuple(one for key, one in reached.items() if key in policy.keys)
            return Quorum(is_met=True, size=size, by=counted, time_s=min((one.time_s for one in counted), default=0))
    return Quorum(is_met=False)
