"""Budgets: what may be spent in a day, by category."""

from __future__ import annotations

import re
from typing import Final

from briefcase.core.wire.budgets import BudgetList, BudgetRecord
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Moved, Shown, View
from briefcase.model.errors import CallerError
from briefcase.model.types import MICROUSD_PER_USD

HOME: Final = "/budgets"
_DOLLARS: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?")


async def list_budgets(asked: Asked) -> Shown:
    """`GET /budgets`."""
    return Shown("budgets", "Budgets", {"budgets": (await asked.get("/v1/budgets", BudgetList)).budgets})


async def set_budget(asked: Asked) -> Moved:
    """`POST /budgets/set`: from now on."""
    found = _DOLLARS.fullmatch(asked.form.get("dollars", "").strip())
    if found is None:
        raise CallerError("expected dollars as a plain number, for example `2.50`")
    limit = int(found[1]) * MICROUSD_PER_USD + int((found[2] or "").ljust(6, "0"))
    path = path_of("v1", "budgets", asked.form.get("category", ""))
    await asked.post(path, BudgetRecord, daily_limit_microusd=limit)
    return Moved(HOME)


VIEWS: Final = (View("GET", HOME, list_budgets), View("POST", "/budgets/set", set_budget))
