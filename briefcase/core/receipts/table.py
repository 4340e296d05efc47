"""Receipts as CSV: one line each, RFC 4180, UTF-8, with what most questions ask for in columns of their own.

`event` is the whole event in canonical form. What an agent chose may reach a spreadsheet, which runs a cell that begins
with `=`, `+`, `-` or `@` (OWASP, CSV injection): such a cell, and one that begins with a tab, a line feed or a carriage
return, gets an apostrophe before it. Pure.
"""

from __future__ import annotations

import csv
import io
from typing import Final

from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.types import JsonValue, Receipt

OF_THE_EVENT: Final = (
    "kind",
    "decision",
    "principal",
    "by",
    "tool_id",
    "status",
    "reason",
    "error",
    "policy_ids",
    "approval_id",
    "cost_microusd",
    "call_id",
    "request_id",
    "args_digest",
)
COLUMNS: Final = ("id", "ts", *OF_THE_EVENT, "prev_hash_hex", "hash_hex", "event")
_RUN_BY_SPREADSHEETS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def header_line() -> bytes:
    """The names of the columns."""
    return _line(COLUMNS)


def receipt_line(receipt: Receipt) -> bytes:
    """One receipt; what its event does not say is empty."""
    event = receipt.event
    said = [_cell(event.get(name)) for name in OF_THE_EVENT]
    whole = canonical_bytes(event).decode()
    return _line((str(receipt.id), receipt.ts, *said, receipt.prev_hash_hex, receipt.hash_hex, whole))


def _cell(value: JsonValue) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)


def _line(cells: tuple[str, ...]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerow(f"'{cell}" if cell.startswith(_RUN_BY_SPREADSHEETS) else cell for cell in cells)
    return written.getvalue().encode()
