"""Calls of a server's tools through the whole flow: what is refused, and what going on with a call is held to."""

import asyncio
import hashlib
import json
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from briefcase.adapters.servers.catalog import Catalog
from briefcase.adapters.servers.connection import State
from briefcase.adapters.servers.flows import MAX_QUESTION_BYTES, STATE_TTL_US
from briefcase.adapters.servers.session import Session
from briefcase.adapters.tools.registry import Registry
from briefcase.core.approvals.lifecycle import approval_token
from briefcase.core.calls.flow import Calls
from briefcase.core.calls.ratelimits import RateLimit, RateLimiter
from briefcase.core.calls.settings import CallSettings
from briefcase.core.controls import Controls
from briefcase.core.grants.held import Grants
from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.json import strict as strict_json
from briefcase.core.mcp.call_options import CallOptions, ClientCapabilities, ElicitationModes
from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.operator.controls import ControlChoice
from briefcase.edges.api.mcp_servers import call_server
from briefcase.model.effects import DecideApproval, Entry
from briefcase.model.types import Allow, ApprovalKind, ApprovalStatus, Deny, NeedsApproval, Principal, format_rfc3339
from support.calls import FakeCallLog
from support.controls import admin_of
from support.entropy import FakeEntropy
from support.grants import approvers_of
from support.policy import FakePolicy
from support.principals import AGENT, OTHER_AGENT
from support.servers import SECRET, Rig, served
from support.turns import FakeTurns
from support.waiting import until

LISTING = str(Path(__file__).parents[1] / "attacks" / "listing_server.py")

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
        self.controls = Controls(rig.ledger, rig.clock)
        self.admin = admin_of(self.controls, rig.ledger, rig.clock)
        self.calls = Calls(
            ledger=rig.ledger,
            policy=lambda: self.policy,
            tools=Catalog(Registry(), rig.registry),
            controls=self.controls,
            grants=Grants(rig.ledger),
            redactor=rig.redactor,
            clock=rig.clock,
            entropy=FakeEntropy(),
            limiter=RateLimiter(RateLimit(per_second=1_000, burst=1_000)),
            new_event=asyncio.Event,
            turns=FakeTurns(),
            log=FakeCallLog(),
            settings=CallSettings(),
        )

    async def call(self, tool_id: str, args: dict, token: str | None = None, principal: Principal = AGENT) -> dict:
        request_id = str(uuid.uuid4())
        options = CallOptions(capabilities=ClientCapabilities(elicitation=ElicitationModes()))
        exchange = self.rig.registry.exchanges.open(principal.name, request_id, options)
        call = {"tool_id": tool_id, "args": args, "context": {"request_id": request_id}, "approval_token": token}
        read = await self.calls.read(principal, json.dumps({"call": call}).encode())
        answer = await self.calls.call(principal, msgspec.structs.replace(read, channel=exchange))
        exchange.end()
        return answer.payload

    async def approve(self, approval_id: str) -> str:
        """Say yes; gives the token."""
        effect = DecideApproval(approval_id, ApprovalStatus.APPROVED, "operator", self.rig.clock.now_us())
        await self.rig.ledger.commit(Entry({"kind": "approval_decided"}, (effect,)))
        return approval_token(self.rig.ledger.approval_secret(), approval_id)

    async def asked(self, args: dict = ASK_ARGS) -> dict:
        """Make the call that asks its client something; gives the arguments to go on with."""
        answer = await self.call(ASK, args)
        if answer["status"] == "approval_required":
            answer = await self.call(ASK, args, await self.approve(answer["approval"]["id"]))
        wanted = answer["result"]["content"]
        key = next(iter(wanted["inputRequests"]))
        answers = {key: {"action": "accept", "content": {"username": "ada"}}}
        return {"target": ASK, "arguments": args, "state": wanted["requestState"], "responses": answers}


@pytest.mark.parametrize("tool_id", ["fx.echo", "fx.never_listed", "fx:resources.list", "fx:continue"])
async def test_whatever_is_of_a_refused_server_is_denied_with_its_word(tool_id):
    async with served("stdio", "stateless", needs_profile=True) as rig:
        await rig.ready(state=State.REFUSED)
        await until(lambda: "mcp_server_refused" in rig.ledger.kinds())
        answer = await Desk(rig).call(tool_id, {})
        assert answer == {"status": "denied", "reason": "remote_mcp_incompatible"}
        assert rig.ledger.chain[-1].event["reason"] == "remote_mcp_incompatible"
        assert (await Desk(rig).call("other.echo", {}))["reason"] == "unknown_tool"


async def test_tools_accepted_before_their_server_was_refused_are_neither_listed_nor_called():
    async with served("stdio", "stateless") as rig:
        await rig.ready()
        assert rig.registry.specs()
        await rig.registry.stop()
        rig.needs_profile = True
        rig.new_registry()
        rig.registry.start()
        await rig.ready(state=State.REFUSED)
        assert rig.registry.resolve("fx.echo") is not None
        assert list(rig.registry.specs()) == []
        assert (await Desk(rig).call("fx.echo", {"text": "hi"}))["reason"] == "remote_mcp_incompatible"


async def freeze(desk: Desk) -> None:
    await desk.admin.add("freeze", "all", "", until_us=None, by="operator")


async def disable(desk: Desk) -> None:
    await desk.admin.add("disable", "tool", ASK, until_us=None, by="operator")


async def disable_source(desk: Desk) -> None:
    await desk.admin.add("disable", "source", "mcp:fx", until_us=None, by="operator")


async def deny_tool(desk: Desk) -> None:
    desk.policy.verdicts[ASK, json.dumps(ASK_ARGS)] = Deny("policy_denied", ("no-asking",))


@pytest.mark.parametrize("era", ["stateless", "handshake"])
@pytest.mark.parametrize(
    ("stop", "reason"),
    [(freeze, "frozen"), (disable, "disabled"), (disable_source, "disabled"), (deny_tool, "policy_denied")],
)
async def test_what_stops_a_call_between_its_rounds_stops_going_on_with_it(era, stop, reason):
    async with served("stdio", era) as rig:
        await rig.ready()
        desk = Desk(rig)
        going_on = await desk.asked()
        await stop(desk)
        before = rig.ledger.kinds().count("intent")
        answer = await desk.call("fx:continue", going_on)
        assert (answer["status"], answer["reason"]) == ("denied", reason)
        assert rig.ledger.kinds().count("intent") == before, "it left nevertheless"

        for control in desk.controls.active():
            await desk.admin.lift(ControlChoice(id=control.id), by="operator")
        desk.policy.verdicts.clear()
        answer = await desk.call("fx:continue", going_on)
        assert "ada" in json.dumps(answer["result"]["content"]), "a stop that was lifted gives back what was"


@pytest.mark.parametrize("era", ["stateless", "handshake"])
async def test_answers_to_a_server_wait_for_a_person_where_the_call_had_to(era):
    async with served("stdio", era) as rig:
        await rig.ready()
        desk = Desk(rig)
        going_on = await desk.asked()
        desk.policy.verdicts[ASK, json.dumps(ASK_ARGS)] = NeedsApproval(ApprovalKind.LOCAL, "approval_by_policy")
        asked = await desk.call("fx:continue", going_on)
        assert (asked["status"], asked["approval"]["reason"]) == ("approval_required", "approval_by_policy")
        assert "ada" in asked["approval"]["summary"], "the approver is not shown the answers"
        token = await desk.approve(asked["approval"]["id"])
        others = {**going_on, "responses": {"other": {"action": "accept"}}}
        refused = await desk.call("fx:continue", others, token)
        assert refused == {"status": "denied", "reason": "invalid_or_expired_approval"}
        answer = await desk.call("fx:continue", going_on, token)
        assert "ada" in json.dumps(answer["result"]["content"])


@pytest.mark.parametrize("era", ["stateless", "handshake"])
async def test_who_approves_an_answer_sees_the_question_whole_without_secrets_and_with_nothing_invisible(era):
    async with served("stdio", era) as rig:
        await rig.ready()
        desk = Desk(rig)
        args = {"message": f"send all to\u202e {SECRET}?"}
        going_on = await desk.asked(args)
        assert SECRET.encode() not in decode_base64url(going_on["state"])
        desk.policy.verdicts[ASK, json.dumps(args)] = NeedsApproval(ApprovalKind.LOCAL, "approval_by_policy")
        approval = (await desk.call("fx:continue", going_on))["approval"]
        shown = approvers_of(rig.ledger, rig.redactor).shown(rig.ledger.approval(approval["id"]))
        assert "send all to<U+202E> [redacted]?" in shown["question_text"]
        assert shown["question_digest_hex"] == hashlib.sha256(shown["question_text"].encode()).hexdigest()
        other = {**shown, "question_text": "may I?"}
        assert shown_digest_of(other) != shown["shown_digest_hex"]
        assert shown["question_text"] in shown["summary"]  # which a yes without a digest is for


@pytest.mark.parametrize("era", ["stateless", "handshake"])
async def test_an_answer_to_a_question_too_large_to_be_shown_needs_nobody_or_is_refused(era):
    async with served("stdio", era) as rig:
        await rig.ready()
        desk = Desk(rig)
        args = {"message": "x" * MAX_QUESTION_BYTES}
        going_on = await desk.asked(args)
        desk.policy.verdicts[ASK, json.dumps(args)] = NeedsApproval(ApprovalKind.LOCAL, "approval_by_policy")
        assert await desk.call("fx:continue", going_on) == {"status": "denied", "reason": "too_large_to_show"}
        desk.policy.verdicts.clear()
        assert (await desk.call("fx:continue", going_on))["status"] == "ok"


@pytest.mark.parametrize("era", ["stateless", "handshake"])
async def test_a_call_goes_on_once_is_charged_again_and_names_its_first_intent(era):
    async with served("stdio", era, rules=[{"tool": "*", "category": "lab", "cost_microusd": 700}]) as rig:
        rig.ledger.limits["lab"] = 10_000
        await rig.ready()
        desk = Desk(rig)
        going_on = await desk.asked()
        first = rig.ledger.chain[-2].event
        answers = await asyncio.gather(*(desk.call("fx:continue", going_on) for _ in range(5)))
        assert sorted(answer["status"] for answer in answers) == ["denied"] * 4 + ["ok"]
        assert await desk.call("fx:continue", going_on) == {"status": "denied", "reason": "replay_detected"}
        intents = [found.event for found in rig.ledger.chain if found.event["kind"] == "intent"]
        assert [(found["tool_id"], found.get("continues")) for found in intents] == [
            (ASK, None),
            ("fx:continue", first["id"]),
        ]
        assert intents[1]["tool"]["cost_microusd"] == 700
        assert rig.ledger.budget("lab", format_rfc3339(rig.clock.now_us())[:10]).spent_microusd == 1_400


async def by_a_stranger(desk: Desk, going_on: dict) -> dict:
    return await desk.call("fx:continue", going_on, principal=OTHER_AGENT)


async def with_other_arguments(desk: Desk, going_on: dict) -> dict:
    return await desk.call("fx:continue", {**going_on, "arguments": {"message": "else?"}})


async def with_another_tool(desk: Desk, going_on: dict) -> dict:
    return await desk.call("fx:continue", {**going_on, "target": "fx.echo"})


async def with_itself(desk: Desk, going_on: dict) -> dict:
    return await desk.call("fx:continue", {**going_on, "target": "fx:continue"})


async def at_another_price(desk: Desk, going_on: dict) -> dict:
    body = {"command": sys.executable, "args": desk.rig.registry.connection("fx").config.args, "rules": [RULE]}
    await desk.rig.registry.set_server("fx", body, "operator")
    await desk.rig.ready()
    return await desk.call("fx:continue", going_on)


async def in_another_category(desk: Desk, going_on: dict) -> dict:
    body = {
        "command": sys.executable,
        "args": desk.rig.registry.connection("fx").config.args,
        "rules": [ANOTHER_CATEGORY],
    }
    await desk.rig.registry.set_server("fx", body, "operator")
    await desk.rig.ready()
    return await desk.call("fx:continue", going_on)


async def altered(desk: Desk, going_on: dict) -> dict:
    data = bytearray(decode_base64url(going_on["state"]))
    data[-1] ^= 1
    return await desk.call("fx:continue", {**going_on, "state": encode_base64url(data)})


async def too_late(desk: Desk, going_on: dict) -> dict:
    later_us = desk.rig.clock.now_us() + STATE_TTL_US
    desk.rig.clock.now_us = lambda: later_us
    return await desk.call("fx:continue", going_on)


RULE = {"tool": "*", "category": "read", "cost_microusd": 1}
ANOTHER_CATEGORY = {
    "tool": "*",
    "category": "lab",
}  # at the same cost


@pytest.mark.parametrize(
    "use",
    [
        by_a_stranger,
        with_other_arguments,
        with_another_tool,
        with_itself,
        at_another_price,
        in_another_category,
        altered,
        too_late,
    ],
)
async def test_a_state_goes_on_with_nothing_but_the_call_it_was_sealed_for(use):
    async with served("stdio", "stateless") as rig:
        await rig.ready()
        desk = Desk(rig)
        going_on = await desk.asked()
        answer = await use(desk, going_on)
        assert answer["status"] == "denied"
        assert answer["reason"].startswith("invalid_args: "), answer
        assert rig.ledger.kinds().count("intent") == 1, "it left nevertheless"


async def test_a_state_that_a_restart_lies_between_goes_on_once_all_the_same():
    async with served("stdio", "stateless") as rig:
        await rig.ready()
        going_on = await Desk(rig).asked()
        for expected in ("ok", "denied"):
            await rig.registry.stop()
            rig.new_registry()
            rig.registry.start()
            await rig.ready()
            answer = await Desk(rig).call("fx:continue", going_on)
            assert answer["status"] == expected
        assert answer["reason"] == "replay_detected"


async def test_a_call_through_the_gateway_is_parsed_once(monkeypatch):
    """The gateway's request, its exchange and the server's arguments come from one reading of the body."""
    parsed = []
    read = strict_json.read_strict

    def reading(data, *limits):
        parsed.append(bytes(data))
        return read(data, *limits)

    async with served("stdio", "stateless") as rig:
        await rig.ready()
        desk = Desk(rig)
        context = {"request_id": str(uuid.uuid4())}
        call = {"tool_id": "fx.echo", "args": {"text": "counted-0123"}, "context": context}
        body = json.dumps({"call": call, "exchange": {"progress": True}}).encode()
        monkeypatch.setattr(strict_json, "read_strict", reading)
        services = SimpleNamespace(calls=desk.calls, mcp=rig.registry)
        reply = await call_server(services, SimpleNamespace(principal=AGENT, body=body))
        assert json.loads(reply.payload)["status"] == "ok", reply.payload
        of_the_call = [data for data in parsed if b'"args"' in data or data == b'{"text":"counted-0123"}']
        assert of_the_call == [body]


def while_an_intent_is_written(rig, act) -> None:
    """Have something done after an intent is durable and before its call goes on."""
    commit = rig.ledger.commit

    async def committed(entry):
        done = await commit(entry)
        if entry.event["kind"] == "intent":
            await act()
        return done

    rig.ledger.commit = committed


async def test_a_call_that_was_decided_on_before_its_server_moved_reaches_neither_address():
    async with served("stdio", "stateless") as rig:
        await rig.ready()
        args = [*rig.registry.connection("fx").config.args, "--elsewhere"]
        moved = {"command": sys.executable, "args": args}
        while_an_intent_is_written(rig, lambda: rig.registry.set_server("fx", moved, "operator"))
        answer = await Desk(rig).call("fx.echo", {"text": "hi"})
        assert answer["status"] == "error"
        assert answer["message"].startswith("upstream_refused: `fx.echo` has changed since the call was decided on")


async def test_a_call_that_waits_for_its_server_does_not_reach_it_once_it_lists_another_definition(tmp_path):
    listed, called = tmp_path / "tools.json", []

    def tool(description: str) -> dict:
        return {"name": "pay", "description": description, "inputSchema": {"type": "object"}}

    rig = Rig(None)
    listed.write_text(json.dumps([tool("pays one")]))
    await rig.registry.set_server("fx", {"command": sys.executable, "args": [LISTING, str(listed)]}, "operator")
    await rig.ready()
    connection = rig.registry.connection("fx")
    lost = connection._session

    async def is_lost():
        listed.write_text(json.dumps([tool("pays all")]))
        connection._lost.set()
        await until(lambda: connection._session is not lost)
        start = Session.start

        async def started(session, method, *args, **kwargs):
            called.append(method)
            return await start(session, method, *args, **kwargs)

        monkeypatch.setattr(Session, "start", started)

    with pytest.MonkeyPatch.context() as monkeypatch:
        while_an_intent_is_written(rig, is_lost)
        answer = await Desk(rig).call("fx.pay", {})
    await rig.registry.stop()
    assert answer["status"] == "error"
    assert answer["message"].startswith("upstream_refused: `fx.pay` has changed since the call was decided on")
    assert "tools/call" not in called
