"""A policy that answers what it was told to."""

from __future__ import annotations

from briefcase.model.types import Allow, JsonObject, Principal, RiskSignals, ToolSpec, Verdict


class FakePolicy:
    """A policy that answers what it was told to."""

    digest_hex = "ab" * 32
    reads_arguments = False

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.verdict = verdict or Allow(("permit-all",))

    def decide(self, principal: Principal, tool: ToolSpec, args: JsonObject, risk: RiskSignals, now_us: int) -> Verdict:
        return self.verdict
