"""What a call would come to: steps 3 to 6 of the flow, with no receipt and no effect."""

from __future__ import annotations

from briefcase.core import risk
from briefcase.core.controls import Controls
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model import reasons
from briefcase.model.ports import Policy, Tools
from briefcase.model.types import Deny, JsonObject, Principal, Verdict


class Foresight:
    """Says what would be decided now.

    Args:
        tools: the registry.
        controls: what the operator tightened.
    """

    def __init__(self, tools: Tools, controls: Controls) -> None:
        self._tools = tools
        self._controls = controls

    def verdict(
        self, policy: Policy, principal: Principal, tool_id: str, args: JsonObject | None, now_us: int
    ) -> Verdict:
        """The verdict on a call; rates, budgets and approvals are not looked at.

        Args:
            policy: which one decides.
            principal: who would call.
            tool_id: which tool.
            args: the arguments; None where nobody says, and then a policy that reads them errs, which denies.
            now_us: when, microseconds.
        """
        tool = self._tools.resolve(tool_id)
        refused_as = self._tools.refusal(tool_id)
        if tool is None or refused_as is not None:
            return Deny(refused_as or reasons.UNKNOWN_TOOL)
        problem = None if args is None else tool.check_args(args)
        if problem is not None:
            return Deny(reasons.with_detail(reasons.INVALID_ARGS, problem))
        given = args or {}
        signals = risk.assess_risk(canonical_bytes(given), tool)
        verdict = policy.decide(principal, tool.spec, given, signals, now_us)
        if signals.words:
            verdict = risk.tighten(verdict, signals)
        return self._controls.apply(verdict, principal, tool.spec, now_us)
