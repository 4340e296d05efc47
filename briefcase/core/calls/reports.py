"""What a coding agent's hook tells of a call that it ran: one receipt that names the call's, once for each call."""

from __future__ import annotations

import hashlib
from typing import Final

from briefcase.core.characters.marks import visible_text
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.events import Observed, observed_event
from briefcase.model.effects import ClaimRequest, Entry
from briefcase.model.ports import Ledger, Redactor
from briefcase.model.types import JsonValue, Principal

MAX_ERROR_CHARS: Final = 512


class Reports:
    """Records what was observed of calls whose outcome the daemon does not see itself.

    Args:
        ledger: where the call took its request id, and where the report goes.
        redactor: knows the secrets.
    """

    def __init__(self, ledger: Ledger, redactor: Redactor) -> None:
        self._ledger = ledger
        self._redactor = redactor

    def is_told(self, principal: Principal, report_id: str) -> bool:
        """Whether the outcome of a call was told: it has run, and does not again."""
        return self._ledger.claimed_request(principal.name, report_id) is not None

    async def record(
        self,
        principal: Principal,
        tool_id: str,
        request_id: str,
        *,
        report_id: str,
        output: JsonValue,
        error: str | None,
    ) -> bool:
        """Record what came of a call; durable when this returns. A call that was told of is not told of again.

        Args:
            principal: who made the call, and tells of it.
            tool_id: what its hook says it called.
            request_id: of the call.
            report_id: of the report: one for each call.
            output: what the tool put out; its digest is kept.
            error: why it failed; None where it did not.

        Raises:
            StoreError: the receipt could not be made durable.

        Returns:
            False where no call of this principal took this request id.
        """
        call_receipt_id = self._ledger.claimed_request(principal.name, request_id)
        if call_receipt_id is None:
            return False
        canonical = canonical_bytes({"output": output})
        observed = Observed(
            status="ok" if error is None else "error",
            output_digest_hex=hashlib.sha256(canonical).hexdigest(),
            output_bytes=len(canonical),
            error="" if error is None else visible_text(self._redactor.redact_text(error)[:MAX_ERROR_CHARS]),
        )
        told_of = self._redactor.redact_text(tool_id)
        event = observed_event(
            principal, told_of, request_id, report_id=report_id, call_receipt_id=call_receipt_id, observed=observed
        )
        await self._ledger.commit(Entry(event, (ClaimRequest(principal.name, report_id),)))  # refused: told before
        return True
