"""A typical receipt: the event of an allowed call, as the flow writes it."""

from __future__ import annotations

from briefcase.core.receipts.events import ALLOW, CallFacts, Decided, call_event
from briefcase.model.types import JsonObject, Principal, Role, ToolSpec, format_rfc3339

START_US = 1_767_225_600_000_000
SPEC = ToolSpec("echo", "echo", "", {}, {}, "read", digest_hex="cd" * 32)
TIMING_US = {"parse": 12, "resolve": 3, "validate": 5, "policy": 2, "limits": 3, "approval": 1}


def intent_event(number: int) -> JsonObject:
    """The event of the intent with this receipt id, with everything the ledger adds to it."""
    facts = CallFacts(
        call_id=f"00000000-0000-4000-8000-{number:012d}",
        request_id=f"10000000-0000-4000-8000-{number:012d}",
        principal=Principal("scout", Role.AGENT),
        tool_id="echo",
        args_digest_hex="ab" * 32,
        args_text='{"text":"hello world"}',
        policy_digest_hex="ef" * 32,
        spec=SPEC,
    )
    event = call_event("intent", facts, Decided(ALLOW, policy_ids=("permit-calls",)), TIMING_US)
    return {**event, "id": number, "ts": format_rfc3339(START_US + number), "boot": 1}
