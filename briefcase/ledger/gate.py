"""The gate: whether commits are served.

    open     -> low_disk | broken | closed
    low_disk -> open | broken | closed         recovers by itself
    broken   -> closed                         only a reopening, which verifies the tail, opens it again
    closed

INVARIANT (gate): after any error of a commit or a sync nothing is allowed. LMDB itself would go on: after an EIO of one
`fdatasync` its next commit succeeds, and what the kernel dropped is lost without a word.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from briefcase.errors import InternalError, StoreError


class GateState(StrEnum):
    """The states of `TRANSITIONS`."""

    OPEN = "open"
    LOW_DISK = "low_disk"
    BROKEN = "broken"
    CLOSED = "closed"


TRANSITIONS: Final[dict[GateState, frozenset[GateState]]] = {
    GateState.OPEN: frozenset({GateState.LOW_DISK, GateState.BROKEN, GateState.CLOSED}),
    GateState.LOW_DISK: frozenset({GateState.OPEN, GateState.BROKEN, GateState.CLOSED}),
    GateState.BROKEN: frozenset({GateState.CLOSED}),
    GateState.CLOSED: frozenset(),
}

_PROBLEMS: Final = {
    GateState.LOW_DISK: "the disk is full",
    GateState.BROKEN: "a receipt could not be made durable",
    GateState.CLOSED: "the ledger is closed",
}
_HINTS: Final = {
    GateState.LOW_DISK: "free some space; the daemon goes on by itself",
    GateState.BROKEN: "check the disk, then restart the daemon: it verifies the last receipts before it serves again",
    GateState.CLOSED: "the daemon is stopping",
}


class Gate:
    """One ledger's gate."""

    def __init__(self) -> None:
        self.state = GateState.OPEN
        self._detail = ""

    @property
    def problem(self) -> str | None:
        """Why commits are refused, or None when they are served."""
        return _PROBLEMS.get(self.state)

    def move(self, to: GateState, detail: str = "") -> None:
        """Change state.

        Raises:
            InternalError: `TRANSITIONS` has no such step.
        """
        if to is self.state:
            return
        if to not in TRANSITIONS[self.state]:
            raise InternalError(f"the gate can not go from {self.state} to {to}")
        self.state = to
        self._detail = detail

    def refusal(self) -> StoreError:
        """The error every commit gets while the gate is not open."""
        return StoreError(
            f"receipts can not be made durable: {_PROBLEMS[self.state]}", hint=_HINTS[self.state], detail=self._detail
        )
