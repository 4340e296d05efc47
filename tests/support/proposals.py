"""A policy and the proposals over it, in memory."""

from __future__ import annotations

from collections.abc import Callable

from briefcase.core.operator.administration import Administration
from briefcase.core.operator.policy import PolicyService
from briefcase.core.operator.proposals import NotApplied, Prompting, Proposal, ProposalAdmin
from briefcase.model.effects import Committed
from briefcase.model.ports import Policy
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.tools import FakeTool, FakeTools, spec


async def at_once(function: Callable[[], Policy]) -> Policy:
    return function()


class ProposalDesk:
    """Opened with the shipped policy."""

    def __init__(self, prompting: Prompting | None = None) -> None:
        self.clock = FakeClock()
        self.ledger = MemoryLedger(self.clock)
        tools = FakeTools(FakeTool(spec("note_add", category="write")))
        self.policy = PolicyService(ledger=self.ledger, clock=self.clock, tools=tools, run_blocking=at_once)
        self.proposals = ProposalAdmin(
            Administration(self.ledger), self.policy, self.ledger, prompting, self.clock, FakeEntropy()
        )

    @classmethod
    async def open(cls, prompting: Prompting | None = None) -> ProposalDesk:
        desk = cls(prompting)
        await desk.policy.open()
        return desk

    @property
    def text(self) -> str:
        return self.policy.current()[0]

    async def apply(self, made: Proposal, digest: str | None = None) -> Committed | NotApplied:
        digest = str(self.proposals.shown(made)["shown_digest_hex"]) if digest is None else digest
        return await self.proposals.apply(made.id, digest, "bo")
