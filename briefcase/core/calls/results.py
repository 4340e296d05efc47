"""Results, steps 11 to 13 of a call: what an execution came to, as its receipt keeps it and as its caller gets it."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import Final

import msgspec

from briefcase.core import budgets
from briefcase.core.calls.admission import Admitted
from briefcase.core.calls.answers import Answer, encode_answer
from briefcase.core.calls.firewall import Blocked, filtering_output
from briefcase.core.receipts.events import Called, Settled, outcome_event
from briefcase.model import reasons
from briefcase.model.effects import CloseIntent, Committed, Effect, Entry, SettleBudget
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import Redactor
from briefcase.model.types import MICROUSD_PER_USD, ToolResult, format_rfc3339

TOOL_ERROR: Final = "tool_error"
_DOUBTFUL: Final = frozenset({"upstream_failed", "upstream_timeout", "internal"})  # of a write that was sent: who knows


def settling(
    admitted: Admitted, outcome: ToolResult | UpstreamError, redactor: Redactor
) -> Generator[None, None, tuple[Settled, bytes | None]]:
    """Pass what a tool answered through the output firewall: work in pieces, of one where that is no large result.

    Args:
        admitted: the call.
        outcome: what became of it.
        redactor: knows the secrets.

    Returns:
        How the call ended, and the canonical bytes of what may be answered; None where that is an error.
    """
    spec, reserve = admitted.checked.tool.spec, admitted.settle
    reserved = 0 if reserve is None else reserve.reserved_microusd
    if isinstance(outcome, UpstreamError):
        is_doubtful = outcome.sent and spec.is_write and outcome.code in _DOUBTFUL
        code = reasons.OUTCOME_UNKNOWN if is_doubtful else outcome.code
        message = redactor.redact_text(reasons.with_detail(code, outcome.message))  # the caller and the receipt get it
        return Settled("error", reserved if outcome.sent else 0, spec.source, error=message), None
    source, reported, is_error, inexact = outcome.source, outcome.cost_microusd, outcome.is_error, outcome.inexact
    filtering = filtering_output(outcome.content, spec.output_firewall, redactor)
    del outcome  # what it holds is let go of as soon as its bytes are there
    passed = yield from filtering
    cost = reserved if reported is None else budgets.settled_cost(reserved, reported)
    if isinstance(passed, Blocked):
        return Settled("error", cost, source, error=passed.reason), None
    canonical = passed.canonical
    settled = Settled(
        status="ok",
        cost_microusd=cost,
        source=source,
        output_digest_hex=hashlib.sha256(canonical).hexdigest(),
        output_bytes=len(canonical),
        reported_cost_microusd=reported,
        cost_over_reserved=reported is not None and budgets.is_over_reserved(reserved, reported),
        redactions=passed.redactions,
        tool_error=is_error,
        inexact=inexact,
    )
    return settled, canonical


def outcome_entry(
    called: Called, intent_id: int, settle: SettleBudget | None, settled: Settled, timing_us: dict[str, int]
) -> Entry:
    """What closes an intent, and settles what was set aside for it.

    Args:
        called: the call, as its receipt names it.
        intent_id: the intent's receipt.
        settle: what was set aside for it, or None.
        settled: how it ended.
        timing_us: microseconds by phase, in order.
    """
    effects: tuple[Effect, ...] = (CloseIntent(intent_id),)
    if settle is not None:
        effects += (msgspec.structs.replace(settle, spent_microusd=settled.cost_microusd),)
    return Entry(outcome_event(called, intent_id, settled, timing_us), effects, is_filtered=True)


def encode_result(settled: Settled, content: bytes | None, closed: Committed, timing_us: dict[str, int]) -> Answer:
    """Encode what a call came to, with the fields that only the daemon writes.

    Args:
        settled: how it ended.
        content: canonical JSON; None where there is no result.
        closed: the outcome's receipt.
        timing_us: microseconds by phase, in order.
    """
    if content is None:
        return encode_answer({"status": "error", "message": settled.error}, timing_us, is_filtered=True)
    result: dict[str, object] = {
        "content": msgspec.Raw(content),
        "provenance": {
            "source": settled.source,
            "cost_usd": settled.cost_microusd / MICROUSD_PER_USD,
            "timestamp": format_rfc3339(closed.ts_us),
            "receipt_id": closed.receipt_id,
        },
    }
    if not settled.tool_error:
        return encode_answer({"status": "ok", "result": result}, timing_us, is_filtered=True)
    result["is_error"] = True
    answer = encode_answer({"status": "ok", "result": result}, timing_us, is_filtered=True)
    return msgspec.structs.replace(answer, status="error", reason=TOOL_ERROR)  # as what it is counted
