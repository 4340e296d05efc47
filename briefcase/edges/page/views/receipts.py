"""Receipts: a list with filters, and one receipt with why, and whether its hash is that of what it says."""

from __future__ import annotations

from typing import Final

from briefcase.core.json.members import members_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.chain import link_record
from briefcase.core.receipts.kinds import KINDS
from briefcase.core.wire import receipt_why
from briefcase.core.wire.receipts import ReceiptList, ReceiptRecord
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Shown, View
from briefcase.edges.page.rendering import when
from briefcase.model.types import US_PER_S, format_rfc3339

A_PAGE: Final = 50
DECISIONS: Final = ("allow", "deny", "approval_required")
PERIODS_S: Final = {"hour": 3_600, "day": 86_400, "week": 7 * 86_400}
FILTERS: Final = ("kind", "principal", "tool_id", "decision", "approval_id", "since", "until")


async def list_receipts(asked: Asked) -> Shown:
    """`GET /receipts`: the newest first, a page at a time."""
    wanted = {name: asked.query[name] for name in FILTERS if asked.query.get(name)}
    period = asked.query.get("period", "")
    query: dict[str, str | int] = {**wanted, "limit": A_PAGE + 1}
    if period in PERIODS_S:
        query["since"] = format_rfc3339(asked.now_us - PERIODS_S[period] * US_PER_S)
    if to_id := asked.query.get("to_id", ""):
        query["to_id"] = to_id
    found = (await asked.get("/v1/receipts", ReceiptList, **query)).receipts
    shown, more = found[:A_PAGE], found[A_PAGE:]
    kept = {**wanted, **({"period": period} if period else {})}
    older = {**kept, "to_id": more[0].id} if more else None
    values = {
        "receipts": shown,
        "wanted": {**dict.fromkeys(FILTERS, ""), **wanted, "period": period},
        "kinds": sorted(KINDS),
        "decisions": DECISIONS,
        "periods": tuple(PERIODS_S),
        "older": older,
        "newest": kept if to_id else None,
    }
    return Shown("receipts", "Receipts", values)


async def show_receipt(asked: Asked) -> Shown:
    """`GET /receipts/{id}`: what it says, why, and its place in the chain."""
    receipt = await asked.get(path_of("v1", "receipts", asked.params["id"]), ReceiptRecord)
    beside = [
        one
        for query in receipt_why.looked_for(receipt)
        for one in (await asked.get("/v1/receipts", ReceiptList, **query)).receipts
    ]
    earlier = await asked.get("/v1/receipts", ReceiptList, to_id=receipt.id - 1, limit=1) if receipt.id > 1 else None
    before = earlier.receipts[0] if earlier is not None and earlier.receipts else None
    values = {
        "receipt": receipt,
        "why": list(receipt_why.why_of(receipt, beside, when)),
        "members_shown": members_of(canonical_bytes(receipt.event).decode()),
        "is_whole": link_record(receipt.prev_hash_hex.encode(), receipt.event)[0] == receipt.hash_hex,
        "before": before,
        "approval_id": receipt.event.get("approval_id"),
        "follows": before is not None and before.hash_hex == receipt.prev_hash_hex,
    }
    return Shown("receipt", f"Receipt {receipt.id}", values)


VIEWS: Final = (
    View("GET", "/receipts", list_receipts),
    View("GET", "/receipts/{id}", show_receipt),
)
