"""Calls of a server's tools through the whole flow: what is refused, and what going on with a call is held to."""

import asyncio
import json
import uuid

import pytest
from fakes import AGENT, FakeCallLog, FakeEntropy, FakePolicy
from mcp_rig import run, served, until

from briefcase.calls import Calls, CallSettings
from briefcase.controls import Controls
from briefcase.mcp.exchanges import ExchangeWish
from briefcase.mcp.link import State
from briefcase.mcp.reach import AllTools
from briefcase.ratelimits import RateLimit, RateLimiter
from briefcase.tools.registry import Registry
from briefcase.types import Allow, ApprovalKind, Deny, NeedsApproval

ASK = "fx.test_elicitation"
ASK_ARGS = {"message": "who?"}


class PolicyByTool(FakePolicy):
    """A policy that says of some tools what it was told to, and allows the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.verdicts = {}

    def decide(self, principal, tool, args, risk, now_us):
        return self.verdicts.get((tool.id, json.dumps(args)), Allow(("permit-all",)))


class Desk:
    """The flow over a rig's servers."""

    def __init__(self, rig) -> None:
        self.rig = rig
        self.policy = PolicyByTool()
        self.controls = Controls(rig.ledger, rig.clock, FakeEntropy())
        self.calls = Calls(
            ledger=rig.ledger,
            policy=lambda: self.policy,
            tools=AllTools(Registry(), rig.hub),
            controls=self.controls,
            redactor=rig.redactor,
            clock=rig.clock,
            entropy=FakeEntropy(),
            limiter=RateLimiter(RateLimit(per_second=1_000, burst=1_000)),
            new_event=asyncio.Event,
            log=FakeCallLog(),
            settings=CallSettings(),
        )

    async def call(self, tool_id: str, args: dict) -> dict:
        request_id = str(uuid.uuid4())
        exchange = self.rig.hub.exchanges.open(AGENT.name, request_id, ExchangeWish(capabilities={"elicitation": {}}))
        call = {"tool_id": tool_id, "args": args, "context": {"request_id": request_id}}
        answer = await self.calls.call(AGENT, json.dumps({"call": call}).encode())
        exchange.end()
        return answer.payload

    async def asked(self) -> dict:
        """Make the call that asks its client something; gives the arguments to go on with."""
        wanted = (await self.call(ASK, ASK_ARGS))["result"]["content"]
        key = next(iter(wanted["inputRequests"]))
        answers = {key: {"action": "accept", "content": {"username": "ada"}}}
        return {"target": ASK, "arguments": ASK_ARGS, "state": wanted["requestState"], "responses": answers}


@pytest.mark.parametrize("tool_id", ["fx.echo", "fx.never_listed", "fx:resources.list", "fx:continue"])
def test_whatever_is_of_a_refused_server_is_denied_with_its_word(tool_id):
    async def test():
        async with served("stdio", "stateless", needs_profile=True) as rig:
            await rig.ready(state=State.REFUSED)
            await until(lambda: "mcp_server_refused" in rig.ledger.kinds())
            answer = await Desk(rig).call(tool_id, {})
            assert answer == {"status": "denied", "reason": "remote_mcp_incompatible"}
            assert rig.ledger.chain[-1].event["reason"] == "remote_mcp_incompatible"
            assert (await Desk(rig).call("other.echo", {}))["reason"] == "unknown_tool"

    run(test)


def test_tools_accepted_before_their_server_was_refused_are_neither_listed_nor_called():
    async def test():
        async with served("stdio", "stateless") as rig:
            await rig.ready()
            assert rig.hub.specs()
            await rig.hub.stop()
            rig.needs_profile = True
            rig.new_hub()
            rig.hub.start()
            await rig.ready(state=State.REFUSED)
            assert rig.hub.resolve("fx.echo") is not None
            assert list(rig.hub.specs()) == []
            assert (await Desk(rig).call("fx.echo", {"text": "hi"}))["reason"] == "remote_mcp_incompatible"

    run(test)


async def freeze(desk: Desk) -> None:
    await desk.controls.add("freeze", "all", "", until_us=None, by="operator")


async def disable(desk: Desk) -> None:
    await desk.controls.add("disable", "tool", ASK, until_us=None, by="operator")


async def disable_source(desk: Desk) -> None:
    await desk.controls.add("disable", "source", "mcp:fx", until_us=None, by="operator")


async def deny_tool(desk: Desk) -> None:
    desk.policy.verdicts[ASK, json.dumps(ASK_ARGS)] = Deny("policy_denied", ("no-asking",))


@pytest.mark.parametrize("era", ["stateless", "handshake"])
@pytest.mark.parametrize(
    ("stop", "reason"),
    [(freeze, "frozen"), (disable, "disabled"), (disable_source, "disabled"), (deny_tool, "policy_denied")],
)
def test_what_stops_a_call_between_its_rounds_stops_going_on_with_it(era, stop, reason):
    async def test():
        async with served("stdio", era) as rig:
            await rig.ready()
            desk = Desk(rig)
            going_on = await desk.asked()
            await stop(desk)
            before = rig.ledger.kinds().count("intent")
            assert await desk.call("fx:continue", going_on) == {"status": "denied", "reason": reason}
            assert rig.ledger.kinds().count("intent") == before, "it left nevertheless"

            await desk.controls.lift(lambda _: True, by="operator")
            desk.policy.verdicts.clear()
            answer = await desk.call("fx:continue", going_on)
            assert "ada" in json.dumps(answer["result"]["content"]), "a stop that was lifted gives back what was"

    run(test)


def test_going_on_with_a_call_a_person_approved_asks_for_no_second_approval():
    async def test():
        async with served("stdio", "stateless") as rig:
            await rig.ready()
            desk = Desk(rig)
            going_on = await desk.asked()
            desk.policy.verdicts[ASK, json.dumps(ASK_ARGS)] = NeedsApproval(ApprovalKind.LOCAL, "approval_by_policy")
            assert (await desk.call("fx:continue", going_on))["status"] == "ok"

    run(test)
