"""Admission: what the steps before the intent learnt of a call, and a call that passed all of them."""

from __future__ import annotations

import msgspec

from briefcase.core.approvals import lifecycle as approvals
from briefcase.core.receipts.events import CallFacts
from briefcase.model.effects import ClaimNonce, Committed, SettleBudget
from briefcase.model.ports import Tool


class Checked(msgspec.Struct, frozen=True, gc=False):
    """What steps 2 to 4 learnt of a call; `question` is what it answers, where it goes on with another (`claim`)."""

    facts: CallFacts
    tool: Tool
    canonical_args: bytes
    now_us: int
    claim: ClaimNonce | None = None
    question: str = ""

    @property
    def binding_hex(self) -> str:
        """What an approval of this very call is bound to."""
        facts = self.facts
        return approvals.binding_hex(
            facts.principal.owner, facts.tool_id, self.tool.spec.digest_hex, facts.args_digest_hex
        )


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """A call that passed step 9: it may leave, and its intent is on disk.

    `asked_for` is why the client's own prompt must ask first; empty where nobody is asked.
    """

    checked: Checked
    intent: Committed
    settle: SettleBudget | None
    is_approved: bool
    asked_for: str = ""

    @property
    def reserved_microusd(self) -> int:
        """What step 9 set aside for it."""
        return self.settle.reserved_microusd if self.settle else 0
