"""Step 8, what people ruled on this very call: the yes that it brings along or got, and the no that still holds."""

from __future__ import annotations

from briefcase.core.approvals import lifecycle as approvals
from briefcase.core.calls.admission import Checked
from briefcase.model.effects import Refused
from briefcase.model.ports import Ledger
from briefcase.model.types import Approval, Deny, NeedsApproval, Verdict


class Rulings:
    """The approvals of a call that a person has decided.

    Args:
        ledger: where they are, and the time they count by.
        denial_ttl_us: how long after a no the same call is refused without asking anybody again.
    """

    def __init__(self, ledger: Ledger, denial_ttl_us: int) -> None:
        self._ledger = ledger
        self._denial_ttl_us = denial_ttl_us

    def attach(
        self, token: str | None, checked: Checked, verdict: Verdict, *, for_hook: bool = False
    ) -> tuple[Approval | None, Verdict]:
        """The approval that a call brings along; one that is of no use denies the call.

        Args:
            token: what the call brings along; a call that is allowed and brings nothing needs nothing.
            checked: the call.
            verdict: what was decided of it so far.
            for_hook: whether it comes from a hook, which can bring nothing along.
        """
        if isinstance(verdict, Deny):
            return None, verdict
        if token is None:
            return self._own_yes(checked, for_hook=for_hook), verdict
        approval_id = approvals.parse_approval_token(self._ledger.approval_secret(), token)
        approval = self._ledger.approval(approval_id) if approval_id else None
        used = approvals.consume_approval(approval, checked.binding_hex, self._ledger.now_us())
        if isinstance(used, Refused):
            return None, Deny(approvals.why_of_no_use(used, approval, checked.binding_hex), verdict.policy_ids)
        return approval, verdict

    def denial(self, checked: Checked, verdict: NeedsApproval) -> Deny | None:
        """The denial of a call that a person said no to, within its time: nobody is asked for it again."""
        denied = self._ledger.denied_approval(checked.binding_hex)
        if denied is None or not approvals.is_denied(denied, self._ledger.now_us(), self._denial_ttl_us):
            return None
        return Deny(approvals.why_denied(denied), verdict.policy_ids, f"the approval `{denied.id}` was denied")

    def _own_yes(self, checked: Checked, *, for_hook: bool) -> Approval | None:
        """The yes that this very request got: a retry of it needs no token, nor does the same call of a hook."""
        approval = self._ledger.pending_approval(checked.binding_hex)
        if approval is None or (not for_hook and approval.request_id != checked.facts.request_id):
            return None
        used = approvals.consume_approval(approval, checked.binding_hex, self._ledger.now_us())
        return None if isinstance(used, Refused) else approval
