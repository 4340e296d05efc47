"""Budgets: the daily limit of a category of tools. What is spent and reserved is the calls' (`briefcase.core.budgets`).

A limit is in the ledger, so it changes in the transaction of its receipt: a crash leaves both or neither.
"""

from __future__ import annotations

from briefcase.core.budgets import day_of
from briefcase.core.operator.administration import Administration
from briefcase.core.receipts.events import budget_set_event
from briefcase.model.effects import Entry, SetBudgetLimit
from briefcase.model.ports import Clock, Ledger
from briefcase.model.types import BudgetLine


class BudgetAdmin:
    """Sets limits.

    Args:
        administration: takes the receipts.
        ledger: where limits are.
        clock: tells which day is today.
    """

    def __init__(self, administration: Administration, ledger: Ledger, clock: Clock) -> None:
        self._administration = administration
        self._ledger = ledger
        self._clock = clock

    async def set(self, category: str, daily_limit_microusd: int, by: str) -> BudgetLine:
        """Set a category's limit, from now on; it and its receipt are durable when this returns.

        Args:
            category: one of the tools', or one that is to come.
            daily_limit_microusd: 0 or more.
            by: who sets it, for the receipt.

        Raises:
            StoreError: it could not be made durable; the old limit holds.

        Returns:
            The category's line today.
        """
        event = budget_set_event(by, category, daily_limit_microusd)
        await self._administration.record(Entry(event, (SetBudgetLimit(category, daily_limit_microusd),)))
        line = self._ledger.budget(category, day_of(self._clock.now_us()))
        return line or BudgetLine(category, daily_limit_microusd)
