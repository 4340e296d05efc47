"""Budgets: what may be spent on a category of tools in one UTC day.

A call reserves its expected cost before anything leaves and settles it after; on doubt the reservation is spent.
INVARIANT (spend): spent + reserved passes the daily limit only by what a person approved for that very call.
Nothing here does I/O: the ledger applies these functions inside its transaction.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from briefcase.model.effects import Refused
from briefcase.model.reasons import BUDGET_EXCEEDED
from briefcase.model.types import US_PER_S, BudgetLine

DEFAULT_DAILY_LIMITS_MICROUSD: Final = {"read": 3_000_000, "write": 0, "admin": 0}
MAX_COST_MICROUSD: Final = 1_000_000 * 1_000_000  # a million dollars a call: beyond it an upstream's figure is noise


def day_of(ts_us: int) -> str:
    """The UTC day (`YYYY-MM-DD`) a call is charged to: where it was reserved, it is settled."""
    return datetime.fromtimestamp(ts_us // US_PER_S, UTC).strftime("%Y-%m-%d")


def is_over(line: BudgetLine | None, amount_microusd: int) -> bool:
    """Whether an amount would pass the limit. Free calls never do; a category without a line has no money."""
    if amount_microusd == 0:
        return False
    if line is None:
        return True
    return line.spent_microusd + line.reserved_microusd + amount_microusd > line.daily_limit_microusd


def reserve_budget(line: BudgetLine, amount_microusd: int, *, approved: bool) -> BudgetLine | Refused:
    """Set an amount aside. Refused (`budget_exceeded`) past the limit, unless a person approved this call."""
    if not approved and is_over(line, amount_microusd):
        return Refused(BUDGET_EXCEEDED)
    return msgspec.structs.replace(line, reserved_microusd=line.reserved_microusd + amount_microusd)


def settle_budget(line: BudgetLine, reserved_microusd: int, spent_microusd: int) -> BudgetLine:
    """Turn a reservation into spend."""
    return msgspec.structs.replace(
        line,
        reserved_microusd=line.reserved_microusd - reserved_microusd,
        spent_microusd=line.spent_microusd + spent_microusd,
    )


def settled_cost(reserved_microusd: int, reported_microusd: int | None) -> int:
    """What a finished call cost: the upstream's figure where it is sane and within what was reserved.

    A negative figure refunds nothing; a larger one than reserved is capped, because more was never set aside: the
    receipt records the reported figure beside it.
    """
    if reported_microusd is None:
        return reserved_microusd
    return min(max(reported_microusd, 0), reserved_microusd)


def is_over_reserved(reserved_microusd: int, reported_microusd: int | None) -> bool:
    """Whether more was reported than was set aside: the receipt says so, and the reservation is what is spent."""
    return reported_microusd is not None and reported_microusd > reserved_microusd
