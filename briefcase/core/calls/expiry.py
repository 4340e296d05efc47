"""Expiry: what nobody closed or decided in time ends with a receipt, a bounded group at once."""

from __future__ import annotations

from typing import Final

from briefcase.core.calls.decisions import OpenDecisions
from briefcase.core.receipts import events
from briefcase.model.effects import CloseIntent, Committed, Entry, ExpireApproval
from briefcase.model.ports import Clock, Ledger

EXPIRY_GROUP: Final = 64  # decisions closed in one commit: what others wait for meanwhile is a few milliseconds


class Expiry:
    """Ends open decisions and waiting approvals whose time is over.

    Args:
        ledger: where both end.
        clock: by which a decision is late; an approval is by the ledger's.
        open_decisions: what `decide` allowed and nobody closed yet.

    `expired_approvals` counts those that ended so since the daemon started.
    """

    def __init__(self, ledger: Ledger, clock: Clock, open_decisions: OpenDecisions) -> None:
        self._ledger = ledger
        self._clock = clock
        self._open_decisions = open_decisions
        self.expired_approvals = 0

    async def expire_decisions(self) -> int:
        """Close, as `outcome_unknown`, the oldest decisions that nobody closed in time: one group, durable together.

        Returns:
            How many; where it is `EXPIRY_GROUP`, more may be late.

        Raises:
            StoreError: it could not be made durable; those of the group are closed at the next start.
        """
        late = self._open_decisions.take_late(self._clock.monotonic_ns(), EXPIRY_GROUP)
        entries = []
        for intent_id, decision in late:
            known = {
                "call_id": decision.call_id,
                "principal": decision.principal.name,
                "tool_id": decision.tool_id,
            }
            event = events.outcome_unknown_event(intent_id, known, "no outcome before its deadline")
            settle = () if decision.settle is None else (decision.settle,)
            entries.append(Entry(event, (CloseIntent(intent_id), *settle)))
        if entries:
            await self._ledger.commit_all(entries)
        return len(late)

    async def expire_approvals(self) -> int:
        """End, with a receipt each, the approvals whose time is over: one group. Returns and raises as above."""
        late = self._ledger.expired_approvals(EXPIRY_GROUP)
        now_us = self._ledger.now_us()
        if late:
            ended = await self._ledger.commit_all(
                [
                    Entry(events.approval_expired_event(approval), (ExpireApproval(approval.id, now_us),))
                    for approval in late
                ]
            )
            self.expired_approvals += sum(isinstance(one, Committed) for one in ended)  # others were decided meanwhile
        return len(late)
