"""Daily budgets on the wire."""

from __future__ import annotations

import msgspec

from briefcase.core.wire.fields import Natural


class BudgetRecord(msgspec.Struct, frozen=True):
    """One category's limit and use today (UTC)."""

    category: str
    daily_limit_microusd: int
    spent_microusd: int = 0
    reserved_microusd: int = 0


class BudgetList(msgspec.Struct, frozen=True):
    """All of them, by category."""

    budgets: list[BudgetRecord]


class BudgetChange(msgspec.Struct, frozen=True):
    """A new limit, from now on."""

    daily_limit_microusd: Natural
