"""The one fake of each port: mypy checks that each satisfies its protocol, a test that none is missing."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from briefcase.model import ports
from support.agents import FakeAgent, FakeAgents
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.outbound import AsgiOutbound
from support.policy import FakePolicy
from support.redaction import FakeRedactor
from support.secrets import FakeBindings, FakeSecrets
from support.tools import FakeSignallingTool, FakeTool, FakeTools
from support.turns import FakeTurns


class Fakes(NamedTuple):
    """A fake for each protocol of `model/ports.py`, by its name."""

    Clock: type[ports.Clock] = FakeClock
    Event: type[ports.Event] = asyncio.Event  # the loop's own: nothing to fake
    Entropy: type[ports.Entropy] = FakeEntropy
    AgentRecord: type[ports.AgentRecord] = FakeAgent
    AgentStore: type[ports.AgentStore] = FakeAgents
    Ledger: type[ports.Ledger] = MemoryLedger
    Policy: type[ports.Policy] = FakePolicy
    Tool: type[ports.Tool] = FakeTool
    SignallingTool: type[ports.SignallingTool] = FakeSignallingTool
    Tools: type[ports.Tools] = FakeTools
    Turns: type[ports.Turns] = FakeTurns
    Redactor: type[ports.Redactor] = FakeRedactor
    Secrets: type[ports.Secrets] = FakeSecrets
    BoundSecrets: type[ports.BoundSecrets] = FakeSecrets
    BindableSecrets: type[ports.BindableSecrets] = FakeBindings
    Outbound: type[ports.Outbound] = AsgiOutbound
