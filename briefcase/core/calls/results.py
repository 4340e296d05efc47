"""Results, step 11 of a call: what an execution came to, as its receipt keeps it and as its caller gets it."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from briefcase.core import budgets
from briefcase.core.calls.admission import Admitted
from briefcase.core.calls.answers import Answer, encode_answer
from briefcase.core.calls.firewall import Blocked, filter_output
from briefcase.core.receipts.events import Settled
from briefcase.model import reasons
from briefcase.model.effects import Committed
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import Redactor
from briefcase.model.types import MICROUSD_PER_USD, ToolResult, format_rfc3339

_DOUBTFUL: Final = frozenset({"upstream_failed", "upstream_timeout", "internal"})  # of a write that was sent: who knows


def settle(admitted: Admitted, outcome: ToolResult | UpstreamError, redactor: Redactor) -> tuple[Settled, bytes | None]:
    """Pass what a tool answered through the output firewall.

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
    passed = filter_output(outcome.content, spec.output_firewall, redactor)
    reported = outcome.cost_microusd
    cost = reserved if reported is None else budgets.settled_cost(reserved, reported)
    if isinstance(passed, Blocked):
        return Settled("error", cost, outcome.source, error=passed.reason), None
    canonical = passed.canonical
    settled = Settled(
        status="ok",
        cost_microusd=cost,
        source=outcome.source,
        output_digest_hex=hashlib.sha256(canonical).hexdigest(),
        output_bytes=len(canonical),
        reported_cost_microusd=reported,
        cost_over_reserved=reported is not None and budgets.is_over_reserved(reserved, reported),
        redactions=passed.redactions,
    )
    return settled, canonical


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
    result = {
        "content": msgspec.Raw(content),
        "provenance": {
            "source": settled.source,
            "cost_usd": settled.cost_microusd / MICROUSD_PER_USD,
            "timestamp": format_rfc3339(closed.ts_us),
            "receipt_id": closed.receipt_id,
        },
    }
    return encode_answer({"status": "ok", "result": result}, timing_us, is_filtered=True)
