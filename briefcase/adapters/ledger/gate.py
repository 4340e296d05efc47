"""The gate: whether commits are served.

    open     -> low_disk | broken | replaced | closed
    low_disk -> open | broken | replaced | closed    recovers by itself
    broken   -> closed                               only a reopening, which verifies the tail, opens it again
    replaced -> closed                               likewise: what is written goes to files that nobody will find
    closed

INVARIANT (gate): after any error of a commit or a sync nothing is allowed. LMDB itself would go on: after an EIO of one
`fdatasync` its next commit succeeds, and what the kernel dropped is lost without a word.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from briefcase.model.errors import StoreError
from briefcase.model.lifecycle import Lifecycle


class GateState(StrEnum):
    """The states of `LIFECYCLE`."""

    OPEN = "open"
    LOW_DISK = "low_disk"
    BROKEN = "broken"
    REPLACED = "replaced"
    CLOSED = "closed"


LIFECYCLE: Final = Lifecycle(
    "the gate",
    {
        GateState.OPEN: frozenset({GateState.LOW_DISK, GateState.BROKEN, GateState.REPLACED, GateState.CLOSED}),
        GateState.LOW_DISK: frozenset({GateState.OPEN, GateState.BROKEN, GateState.REPLACED, GateState.CLOSED}),
        GateState.BROKEN: frozenset({GateState.CLOSED}),
        GateState.REPLACED: frozenset({GateState.CLOSED}),
        GateState.CLOSED: frozenset(),
    },
)

SHUT: Final = frozenset({GateState.BROKEN, GateState.REPLACED, GateState.CLOSED})  # for good: nothing even queues

_PROBLEMS: Final = {
    GateState.LOW_DISK: "the disk is full",
    GateState.BROKEN: "a receipt could not be made durable",
    GateState.REPLACED: "the store is not the one that was opened",
    GateState.CLOSED: "the ledger is closed",
}
_HINTS: Final = {
    GateState.LOW_DISK: "free some space; the daemon goes on by itself",
    GateState.BROKEN: "check the disk, then restart the daemon: it verifies the last receipts before it serves again",
    GateState.REPLACED: "put the files back as they were, or restore a verified backup; then restart the daemon",
    GateState.CLOSED: "the daemon is stopping",
}


class Gate:
    """One ledger's gate."""

    def __init__(self) -> None:
        self.state = GateState.OPEN
        self._detail = ""
        self.found = ""

    @property
    def problem(self) -> str | None:
        """Why commits are refused, or None when they are served."""
        problem = _PROBLEMS.get(self.state)
        return f"{problem}: {self.found}" if self.found else problem

    def move(self, to: GateState, detail: str = "", found: str = "") -> None:
        """Change state.

        Args:
            to: the new state.
            detail: why, for the log only.
            found: why, for everyone.

        Raises:
            InternalError: `LIFECYCLE` has no such step.
        """
        if to is self.state:
            return
        LIFECYCLE.check_step(self.state, to)
        self.state = to
        self._detail = detail
        self.found = found

    def refusal(self) -> StoreError:
        """The error every commit gets while the gate is not open."""
        return StoreError(
            f"receipts cannot be made durable: {self.problem}", hint=_HINTS[self.state], detail=self._detail
        )
