"""Open decisions: what `decide` allowed and its caller has not closed yet, bounded in all and for each principal.

One is kept as what its outcome needs and nothing of the call itself: some 500 bytes. The ledger knows each of them too,
as an open intent; a restart closes those.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import msgspec

from briefcase.model.effects import SettleBudget
from briefcase.model.types import Principal

MAX_OPEN_DECISIONS: Final = 131_072
MAX_OPEN_DECISIONS_PER_PRINCIPAL: Final = 32_768  # 30 s of the default rate limit, and nobody reports


class OpenDecision(msgspec.Struct, frozen=True, gc=False):
    """One decision that waits for its outcome; `deadline_ns` is monotonic."""

    call_id: str
    request_id: str
    principal: Principal
    tool_id: str
    source: str
    settle: SettleBudget | None
    deadline_ns: int

    @property
    def reserved_microusd(self) -> int:
        """What was set aside for it."""
        return self.settle.reserved_microusd if self.settle else 0


class OpenDecisions:
    """The open decisions by the receipt id of their intent.

    Args:
        most: how many may be open in all.
        most_per_principal: how many of one principal.
    """

    def __init__(self, most: int, most_per_principal: int) -> None:
        self._most = most
        self._most_per_principal = most_per_principal
        self._open: dict[int, OpenDecision] = {}
        self._count_of: dict[str, int] = {}

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def __contains__(self, intent_id: int) -> bool:
        """Whether the decision of this intent waits for its outcome."""
        return intent_id in self._open

    def is_full(self, principal: Principal, under_way: int) -> bool:
        """Whether one more would pass a bound.

        Args:
            principal: who asks for it.
            under_way: calls whose intent is being written, each of which may become one.
        """
        return (
            len(self._open) + under_way >= self._most
            or self._count_of.get(principal.owner, 0) >= self._most_per_principal
        )

    def add(self, intent_id: int, decision: OpenDecision) -> None:
        """Keep one that is durable: whoever asked was told yes, so this refuses nothing."""
        name = decision.principal.owner
        self._open[intent_id] = decision
        self._count_of[name] = self._count_of.get(name, 0) + 1

    def take(self, intent_id: int, principal: Principal) -> OpenDecision | None:
        """Take out the decision of this intent, where this very principal made it."""
        decision = self._open.get(intent_id)
        if decision is None or decision.principal.owner != principal.owner:
            return None
        self._drop(intent_id, decision)
        return decision

    def take_late(self, now_ns: int, most: int) -> list[tuple[int, OpenDecision]]:
        """Take out the oldest whose deadline has passed, at most so many; all have the same time to live."""
        late = [item for item in islice(self._open.items(), most) if item[1].deadline_ns <= now_ns]
        for intent_id, decision in late:
            self._drop(intent_id, decision)
        return late

    def _drop(self, intent_id: int, decision: OpenDecision) -> None:
        del self._open[intent_id]
        name = decision.principal.owner
        left = self._count_of[name] - 1
        if left:
            self._count_of[name] = left
        else:
            del self._count_of[name]
