"""Why a call came to what it did, out of its receipt and those beside it: the first lines of `receipts show`.

| line | says |
|---|---|
| why | the decision, and its reason |
| rests on | the policies that determined it, by their names, and what they say of themselves |
| signals | what looked risky, a risk classifier's words among it |
| person | who said yes or no to its approval, when, and in which words |
| came of it | the outcome and its receipt |
| closes | of an outcome: the receipt of its call |

The other receipts are looked for among the newest `MAX_LOOKED_AT`; of one that is not there nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from briefcase.core.wire.receipts import ReceiptList, ReceiptRecord
from briefcase.edges.cli.client import Client, DaemonError
from briefcase.edges.cli.late import render
from briefcase.model.types import JsonObject

MAX_LOOKED_AT: Final = 1_000
DECIDED: Final = "approval_decided"
INTENT: Final = "intent"
CLOSING: Final = frozenset({"outcome", "outcome_unknown"})


def why_of(client: Client, receipt: ReceiptRecord) -> Iterator[tuple[str, str]]:
    """The lines of one receipt, name and text.

    Args:
        client: of the daemon whose receipt it is, for the receipts beside it.
        receipt: the one that is shown; of one that is about no call there are none.
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
    if isinstance(event.get("approval_id"), str):
        yield from _person(client, str(event["approval_id"]))
    if outcome := _outcome(client, receipt):
        yield "came of it", outcome


def _person(client: Client, approval_id: str) -> Iterator[tuple[str, str]]:
    for decided in _listed(client, approval_id=approval_id, kind=DECIDED, limit=1):
        event = decided.event
        if event.get("kind") != DECIDED or event.get("approval_id") != approval_id:
            continue  # a daemon of the bare contract may not filter
        said = f": {event['reason']}" if event.get("reason") else ""
        yield "person", f"{event.get('status', '')} by {event.get('by', '')} at {render.when(decided.ts)}{said}"


def _outcome(client: Client, receipt: ReceiptRecord) -> str:
    """What came of a call that was allowed; empty where no receipt says so, or it was not allowed."""
    event = receipt.event
    if event.get("kind") != INTENT:
        return str(event.get("outcome", "")).replace("_", " ")
    tool_id = str(event.get("tool_id", ""))
    later = _listed(client, after_id=receipt.id, tool_id=tool_id, limit=MAX_LOOKED_AT)
    closing = next((one for one in later if one.event.get("intent_id") == receipt.id), None)
    if closing is None:
        return ""
    status = closing.event.get("status") or closing.event.get("kind")
    error = f" ({closing.event['error']})" if closing.event.get("error") else ""
    return f"{status}{error}, receipt {closing.id}"


def _listed(client: Client, **wanted: str | int) -> list[ReceiptRecord]:
    """Receipts beside the one that is shown; none where the daemon does not list them for this token."""
    try:
        return client.get("/v1/receipts", ReceiptList, **wanted).answer.receipts
    except DaemonError:
        return []


def _texts(event: JsonObject, name: str) -> list[str]:
    found = event.get(name)
    return [str(one) for one in found] if isinstance(found, list) else []
