"""Budgets: what may be spent in a day, by category."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.budgets import BudgetList, BudgetRecord
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Moved, Shown, View, parse_dollars

HOME: Final = "/budgets"


async def list_budgets(asked: Asked) -> Shown:
    """`GET /budgets`."""
    return Shown("budgets", "Budgets", {"budgets": (await asked.get("/v1/budgets", BudgetList)).budgets})


async def set_budget(asked: Asked) -> Moved:
    """`POST /budgets/set`: from now on."""
    limit = parse_dollars(asked.form.get("dollars", ""))
    path = path_of("v1", "budgets", asked.form.get("category", ""))
    await asked.post(path, BudgetRecord, daily_limit_microusd=limit)
    return Moved(HOME)


VIEWS: Final = (View("GET", HOME, list_budgets), View("POST", "/budgets/set", set_budget))
