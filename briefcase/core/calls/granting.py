"""Step 8, where nobody said yes to this very call: a grant that lets it pass without asking.

A grant stands in for the answer of `CallWithoutApproval` and for nothing else. The call waits for a person all the same
where anything but that question asks: a signer device, a risk signal, a control, the budget, more people than said yes
to the grant, a policy that excludes who set it, an earlier call that this one goes on with, or a no to this very call
that still holds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core import risk
from briefcase.core.calls.admission import Checked
from briefcase.core.calls.rulings import Rulings
from briefcase.core.controls import Controls
from briefcase.core.grants.held import Grants
from briefcase.model.effects import ConsumeApproval, Refused, UseGrant
from briefcase.model.grants import Grant
from briefcase.model.ports import Ledger, payment_of
from briefcase.model.reasons import BUDGET_EXCEEDED, INVALID_OR_EXPIRED_APPROVAL
from briefcase.model.types import Allow, Approval, ApprovalKind, NeedsApproval, RiskSignals


class Yes(msgspec.Struct, frozen=True, gc=False):
    """The yes that lets a call pass: what uses it up, and what its receipt names.

    `passes_budget`: it was given for passing the limit.
    """

    effect: ConsumeApproval | UseGrant | None = None
    approval_id: str | None = None
    grant_id: str = ""
    passes_budget: bool = False

    def has_no_grant_left(self, refused: Refused) -> bool:
        """Whether an intent was refused because other calls had the last of its grant."""
        return bool(self.grant_id) and refused.reason == INVALID_OR_EXPIRED_APPROVAL


NOBODYS: Final = Yes()  # of a call that needs none


class Granting:
    """Finds the grant of a call, and says how it is used.

    Args:
        ledger: tells the time, and counts.
        grants: those in force.
        controls: what the operator tightened.
        rulings: what people said of this very call.
    """

    def __init__(self, ledger: Ledger, grants: Grants, controls: Controls, rulings: Rulings) -> None:
        self._ledger = ledger
        self._grants = grants
        self._controls = controls
        self._rulings = rulings

    def of(self, checked: Checked, verdict: NeedsApproval) -> Grant | None:
        """The grant that lets a call pass which otherwise waits for a person, or None."""
        facts, spec = checked.facts, checked.tool.spec
        if verdict.kind is not ApprovalKind.LOCAL or verdict.reason == BUDGET_EXCEEDED:
            return None
        if verdict.excludes_author:
            return None  # who said yes to the grant may be who set the policy
        if facts.continues is not None or checked.claim is not None or payment_of(checked.tool) is not None:
            return None
        without_question = risk.tighten(Allow(), RiskSignals(facts.risk))
        without_question = self._controls.apply(without_question, facts.principal, spec, checked.now_us)
        if not isinstance(without_question, Allow) or self._rulings.denial(checked, verdict) is not None:
            return None
        return self._grants.covering(
            facts.principal, spec, facts.args_digest_hex, checked.canonical_args, verdict.approvers
        )

    def used(self, by: Approval | Grant, checked: Checked) -> Yes:
        """How a call uses the yes that lets it pass, in the transaction of its intent."""
        now_us = self._ledger.now_us()
        if isinstance(by, Approval):
            consume = ConsumeApproval(by.id, checked.binding_hex, now_us)
            return Yes(consume, by.id, passes_budget=by.reason == BUDGET_EXCEEDED)
        owner, spec = checked.facts.principal.owner, checked.tool.spec
        use = UseGrant(by.id, owner, spec.id, spec.digest_hex, spec.cost_microusd, now_us)
        return Yes(use, grant_id=by.id)
