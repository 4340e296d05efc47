"""Daily budgets, by category."""

from __future__ import annotations

from typing import Final

from briefcase.core.budgets import day_of
from briefcase.core.wire.budgets import BudgetChange, BudgetList, BudgetRecord
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import BudgetLine


async def list_budgets(services: Services, _: Request) -> BudgetList:
    """`GET /v1/budgets`."""
    return BudgetList([_record(line) for line in services.ledger.budgets(day_of(services.clock.now_us()))])


async def set_budget(services: Services, request: Request) -> BudgetRecord:
    """`POST /v1/budgets/{category}`: the limit and its receipt are durable when this answers."""
    limit = request.body_as(BudgetChange).daily_limit_microusd
    return _record(await services.operator.budgets.set(request.params["category"], limit, request.principal.name))


def _record(line: BudgetLine) -> BudgetRecord:
    return BudgetRecord(line.category, line.daily_limit_microusd, line.spent_microusd, line.reserved_microusd)


ROUTES: Final = (
    Route("GET", "/v1/budgets", OPERATOR, list_budgets, "Limits and today's use", BudgetList),
    Route("POST", "/v1/budgets/{category}", OPERATOR, set_budget, "Set a daily limit", BudgetRecord, body=BudgetChange),
)
