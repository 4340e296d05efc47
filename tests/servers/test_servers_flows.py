"""Calls that wait for input: who gives way where there are too many."""

from types import SimpleNamespace

import pytest

from briefcase.adapters.servers.flows import (
    MAX_SUSPENDED,
    MAX_SUSPENDED_PER_PRINCIPAL,
    MAX_SUSPENDED_PER_SERVER,
    Ask,
    Flows,
)
from briefcase.core.mcp.sealing import Sealer
from briefcase.model.errors import UpstreamError
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.redaction import NoRedaction
from support.tools import spec

ASK = Ask(spec("s.t"), "tools/call", {}, {})


class AskingPeer:
    """A server that always asks something first."""

    def __init__(self):
        self.waiting = []

    async def advance(self, running, _timeout_ms):
        self.waiting.append(running.name)

    async def abandon(self, running):
        self.waiting.remove(running.name)


class Desk:
    def __init__(self):
        clock = FakeClock()
        self.flows = Flows(Sealer(b"k" * 32), clock, clock.now_us, FakeEntropy(), NoRedaction())

    async def wait(self, session, principal, name=""):
        running = SimpleNamespace(questions={}, name=name or principal)
        context = SimpleNamespace(principal=principal, first_intent_id=1, deadline_ns=1 << 62)
        return (await self.flows.begin(session, ASK, context, running)).result["resultType"]


async def test_agents_that_fill_a_server_with_waiting_calls_keep_half_of_it_free_and_shut_nobody_out():
    desk, session = Desk(), AskingPeer()
    for number in range(8):
        for _ in range(MAX_SUSPENDED_PER_PRINCIPAL - 1):
            await desk.wait(session, f"greedy-{number}")
    assert await desk.wait(session, "patient") == "input_required"
    for number in range(8):
        await desk.wait(session, f"greedy-{number}")
    assert "patient" in session.waiting  # who has one keeps it while somebody has more
    assert len(session.waiting) == MAX_SUSPENDED_PER_SERVER


async def test_agents_that_fill_all_places_shut_nobody_out_either():
    desk, sessions = Desk(), [AskingPeer() for _ in range(10)]
    for number, session in enumerate(sessions):
        for _ in range(MAX_SUSPENDED_PER_PRINCIPAL):
            await desk.wait(session, f"greedy-{number}")
    assert await desk.wait(AskingPeer(), "patient") == "input_required"
    assert sum(len(session.waiting) for session in sessions) == MAX_SUSPENDED - 1


async def test_one_agent_has_no_more_than_its_part():
    desk, sessions = Desk(), [AskingPeer(), AskingPeer()]
    for number in range(MAX_SUSPENDED_PER_PRINCIPAL):
        await desk.wait(sessions[number % 2], "greedy")
    with pytest.raises(UpstreamError, match="too many calls wait"):
        await desk.wait(sessions[0], "greedy", "one more")
    assert "one more" not in sessions[0].waiting
