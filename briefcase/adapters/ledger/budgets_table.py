"""Budgets as they are stored.

| table | key | value |
|---|---|---|
| spend | `YYYY-MM-DD` and category | spent and reserved micro-USD, 8 bytes each |
| limits | category | daily limit in micro-USD, 8 bytes |
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import lmdb

from briefcase.adapters.ledger.change import Change, Table
from briefcase.adapters.ledger.tables import Tables
from briefcase.core import budgets
from briefcase.model.effects import Refused, ReserveBudget, SetBudgetLimit, SettleBudget
from briefcase.model.errors import InternalError
from briefcase.model.types import BudgetLine

_LINE: Final = struct.Struct(">qq")
_LIMIT: Final = struct.Struct(">q")
_NO_LINE: Final = _LINE.pack(0, 0)


# --- for readers ------------------------------------------------------------------------------------------------------


def getter(transaction: lmdb.Transaction[bytes]) -> Callable[[Table, bytes], bytes | None]:
    """How a transaction that only reads looks a key up."""
    return lambda table, key: transaction.get(key, db=table)


def read_line(get: Callable[[Table, bytes], bytes | None], tables: Tables, category: str, day: str) -> BudgetLine:
    """A category's line on a day; without a limit, a line with no money."""
    spent, reserved = _LINE.unpack(get(tables.spend, _line_key(category, day)) or _NO_LINE)
    return BudgetLine(category, read_limit(get, tables, category) or 0, spent, reserved)


def read_limit(get: Callable[[Table, bytes], bytes | None], tables: Tables, category: str) -> int | None:
    """A category's daily limit, or None where none is set."""
    stored = get(tables.limits, category.encode())
    return None if stored is None else int(_LIMIT.unpack(stored)[0])


def encode_limit(daily_limit_microusd: int) -> bytes:
    """A daily limit as it is stored."""
    return _LIMIT.pack(daily_limit_microusd)


# --- inside a change --------------------------------------------------------------------------------------------------


def reserve(change: Change, effect: ReserveBudget) -> Refused | None:
    """Plan to reserve money on a day's line. Returns the refusal where the limit does not allow it."""
    _check_amount(effect.amount_microusd)
    line = read_line(change.get, change.tables, effect.category, effect.day)
    changed = budgets.reserve_budget(line, effect.amount_microusd, approved=effect.approved)
    if isinstance(changed, Refused):
        return changed
    put_line(change, effect.day, changed)
    return None


def settle(change: Change, effect: SettleBudget) -> None:
    """Plan to turn what was reserved into what was spent."""
    _check_amount(effect.reserved_microusd)
    _check_amount(effect.spent_microusd)
    line = read_line(change.get, change.tables, effect.category, effect.day)
    if effect.reserved_microusd > line.reserved_microusd:
        raise InternalError(f"`{effect.category}` has less reserved on {effect.day} than is settled")
    changed = budgets.settle_budget(line, effect.reserved_microusd, effect.spent_microusd)
    put_line(change, effect.day, changed)


def put_line(change: Change, day: str, line: BudgetLine) -> None:
    """Plan a day's line."""
    value = _LINE.pack(line.spent_microusd, line.reserved_microusd)
    change.put(change.tables.spend, _line_key(line.category, day), value)


def set_limit(change: Change, effect: SetBudgetLimit) -> None:
    """Plan a category's daily limit."""
    _check_amount(effect.daily_limit_microusd)
    change.put(change.tables.limits, effect.category.encode(), encode_limit(effect.daily_limit_microusd))


def _check_amount(amount_microusd: int) -> None:
    if not 0 <= amount_microusd < 1 << 62:
        raise InternalError(f"expected an amount of money from 0 up, got {amount_microusd}")


def _line_key(category: str, day: str) -> bytes:
    return f"{day}{category}".encode()
