"""Calls that wait for input: who gives way where there are too many."""

import asyncio
from types import SimpleNamespace

import pytest
from fakes import FakeClock, FakeEntropy, NoRedaction, spec

from briefcase.mcp.flows import MAX_SUSPENDED, MAX_SUSPENDED_PER_PRINCIPAL, MAX_SUSPENDED_PER_SERVER, Ask, Flows
from briefcase.mcp.sealing import Sealer
from briefcase.model.errors import UpstreamError

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

    def wait(self, peer, principal, name=""):
        running = SimpleNamespace(questions={}, name=name or principal)
        context = SimpleNamespace(principal=principal, first_intent_id=1, deadline_ns=1 << 62)
        return asyncio.run(self.flows.begin(peer, ASK, context, running))["resultType"]


def test_agents_that_fill_a_server_with_waiting_calls_keep_half_of_it_free_and_shut_nobody_out():
    desk, peer = Desk(), AskingPeer()
    for number in range(8):
        for _ in range(MAX_SUSPENDED_PER_PRINCIPAL - 1):
            desk.wait(peer, f"greedy-{number}")
    assert desk.wait(peer, "patient") == "input_required"
    for number in range(8):
        desk.wait(peer, f"greedy-{number}")
    assert "patient" in peer.waiting  # who has one keeps it while somebody has more
    assert len(peer.waiting) == MAX_SUSPENDED_PER_SERVER


def test_agents_that_fill_all_places_shut_nobody_out_either():
    desk, peers = Desk(), [AskingPeer() for _ in range(10)]
    for number, peer in enumerate(peers):
        for _ in range(MAX_SUSPENDED_PER_PRINCIPAL):
            desk.wait(peer, f"greedy-{number}")
    assert desk.wait(AskingPeer(), "patient") == "input_required"
    assert sum(len(peer.waiting) for peer in peers) == MAX_SUSPENDED - 1


def test_one_agent_has_no_more_than_its_part():
    desk, peers = Desk(), [AskingPeer(), AskingPeer()]
    for number in range(MAX_SUSPENDED_PER_PRINCIPAL):
        desk.wait(peers[number % 2], "greedy")
    with pytest.raises(UpstreamError, match="too many calls wait"):
        desk.wait(peers[0], "greedy", "one more")
    assert "one more" not in peers[0].waiting
