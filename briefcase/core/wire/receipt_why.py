"""Why a call came to what it did, out of its receipt and those beside it.

| line | says |
|---|---|
| why | the decision, and its reason |
| rests on | the policies that determined it, by their names, and what they say of themselves |
| signals | what looked risky, a risk classifier's words among it |
| person | who said yes or no to its approval, when, and in which words |
| came of it | the outcome and its receipt |
| closes | of an outcome: the receipt of its call |

Of a receipt that is not beside it nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from briefcase.core.wire.receipts import ReceiptRecord
from briefcase.model.types import JsonObject

MAX_LOOKED_AT: Final = 1_000
DECIDED: Final = "approval_decided"
INTENT: Final = "intent"
CLOSING: Final = frozenset({"outcome", "outcome_unknown"})


def looked_for(receipt: ReceiptRecord) -> Iterator[Mapping[str, str | int]]:
    """The queries of `GET /v1/receipts` that find the receipts beside one."""
    event = receipt.event
    if event.get("kind") in CLOSING or not isinstance(event.get("decision"), str):
        return
    if isinstance(event.get("approval_id"), str):
        yield {"approval_id": str(event["approval_id"]), "kind": DECIDED, "limit": 1}
    if event.get("kind") == INTENT:
        yield {"after_id": receipt.id, "tool_id": str(event.get("tool_id", "")), "limit": MAX_LOOKED_AT}


def why_of(
    receipt: ReceiptRecord, beside: Iterable[ReceiptRecord], when: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    """The lines of one receipt, name and text; of one that is about no call there are none.

    Args:
        receipt: the one that is shown.
        beside: what the queries of `looked_for` found.
        when: a wire time as people read it.
    """
    event = receipt.event
    if event.get("kind") in CLOSING and isinstance(event.get("intent_id"), int):
        yield "closes", f"receipt {event['intent_id']}, which says why the call was allowed"
        return
    decision = event.get("decision")
    if not isinstance(decision, str):
        return
    reason = event.get("reason")
    yield "why", f"{decision}: {reason}" if reason else decision
    if policies := _texts(event, "policy_ids"):
        named = ", ".join(f"`{name}`" for name in policies)
        yield "rests on", f"{named}: {event['detail']}" if event.get("detail") else named
    if signals := _texts(event, "risk"):
        yield "signals", ", ".join(signals)
    beside = tuple(beside)
    if isinstance(event.get("approval_id"), str):
        yield from _person(str(event["approval_id"]), beside, when)
    if outcome := _outcome(receipt, beside):
        yield "came of it", outcome


def _person(approval_id: str, beside: Iterable[ReceiptRecord], when: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    for decided in beside:
        event = decided.event
        if event.get("kind") == DECIDED and event.get("approval_id") == approval_id:  # not every daemon filters
            said = f": {event['reason']}" if event.get("reason") else ""
            yield "person", f"{event.get('status', '')} by {event.get('by', '')} at {when(decided.ts)}{said}"
            return


def _outcome(receipt: ReceiptRecord, beside: Iterable[ReceiptRecord]) -> str:
    """What came of a call that was allowed; empty where no receipt says so, or it was not allowed."""
    event = receipt.event
    if event.get("kind") != INTENT:
        return str(event.get("outcome", "")).replace("_", " ")
    closing = next((one for one in beside if one.event.get("intent_id") == receipt.id), None)
    if closing is None:
        return ""
    status = closing.event.get("status") or closing.event.get("kind")
    error = f" ({closing.event['error']})" if closing.event.get("error") else ""
    return f"{status}{error}, receipt {closing.id}"


def _texts(event: JsonObject, name: str) -> list[str]:
    found = event.get(name)
    return [str(one) for one in found] if isinstance(found, list) else []
