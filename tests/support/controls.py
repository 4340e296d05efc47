"""Controls as an operator changes them, over a test's ledger."""

from __future__ import annotations

from briefcase.core.controls import Controls
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.controls import ControlAdmin
from support.agents import FakeAgents
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.tools import FakeTool, FakeTools, spec


def admin_of(controls: Controls, ledger: MemoryLedger, clock: FakeClock) -> ControlAdmin:
    """Sets and lifts some controls, where one tool, `echo`, is registered."""
    tools = FakeTools(FakeTool(spec()))
    return ControlAdmin(Administration(ledger), controls, FakeAgents(), tools, clock, ENTROPY)


ENTROPY = FakeEntropy()
