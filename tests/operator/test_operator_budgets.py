"""A limit and its receipt are one transaction."""

import pytest

from briefcase.core.operator.administration import Administration
from briefcase.core.operator.budgets import BudgetAdmin
from briefcase.model.errors import StoreError
from support.clock import FakeClock
from support.ledger import MemoryLedger

DAY = "2026-01-01"


async def test_a_limit_holds_with_its_receipt_or_not_at_all():
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    admin = BudgetAdmin(Administration(ledger), ledger, clock)
    line = await admin.set("payments", 5_000, "ann")
    assert (line.category, line.daily_limit_microusd) == ("payments", 5_000)
    assert ledger.kinds() == ["budget_set"]
    ledger.broken = "EIO"
    with pytest.raises(StoreError):
        await admin.set("payments", 9_000, "ann")
    ledger.broken = None
    assert ledger.budget("payments", DAY).daily_limit_microusd == 5_000
    assert ledger.kinds() == ["budget_set"]
