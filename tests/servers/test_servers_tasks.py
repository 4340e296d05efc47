"""Calls that run as tasks, through the whole flow: whose they are, what decides of them, and servers that misbehave."""

import contextlib
import json
import sys
import uuid
from pathlib import Path

import msgspec
import pytest
from test_servers_calls import Desk

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.servers import tasks as tasks_of
from briefcase.adapters.servers.flows import STATE_TTL_US
from briefcase.core.mcp.call_options import CallOptions, ClientCapabilities, ElicitationModes, TaskWish
from briefcase.model.types import ApprovalKind, Deny, NeedsApproval
from support.principals import AGENT, OTHER_AGENT
from support.servers import Rig

TASKS = str(Path(__file__).parent / "task_server.py")
ERAS = ["handshake", "stateless"]
WISH = TaskWish(is_asked=True, ttl_ms=60_000)
ADA = {"action": "accept", "content": {"name": "ada"}}
PERSON = NeedsApproval(ApprovalKind.LOCAL, "approval_required", ("ask-first",))


class TaskDesk(Desk):
    """The flow over a server whose tools run as tasks."""

    async def call(self, tool_id, args, token=None, principal=AGENT, *, wish=WISH):
        request_id = str(uuid.uuid4())
        options = CallOptions(capabilities=ClientCapabilities(elicitation=ElicitationModes()), task=wish)
        exchange = self.rig.registry.exchanges.open(principal.name, request_id, options)
        call = {"tool_id": tool_id, "args": args, "context": {"request_id": request_id}, "approval_token": token}
        read = await self.calls.read(principal, json.dumps({"call": call}).encode())
        answer = await self.calls.call(principal, msgspec.structs.replace(read, channel=exchange))
        exchange.end()
        return answer.payload

    async def begun(self, name="work", principal=AGENT):
        """Begin a task; gives its id."""
        answer = await self.call(f"fx.{name}", {}, principal=principal)
        assert answer["status"] == "ok", answer
        told = answer["result"]["content"]
        assert (told["resultType"], told["status"]) == ("task", "working")
        return told["taskId"]

    async def of_task(self, verb, task_id, principal=AGENT, token=None, **more):
        return await self.call(f"fx:tasks.{verb}", {"task": task_id, **more}, token, principal)

    async def looked(self, task_id):
        """How a task stands."""
        answer = await self.of_task("get", task_id)
        assert answer["status"] == "ok", answer
        return answer["result"]["content"]

    def events(self):
        return [record.event for record in self.rig.ledger.chain]


@contextlib.asynccontextmanager
async def desk_of(era, misbehave=""):
    rig = Rig(GuardedOutbound([]))
    try:
        more = ["--misbehave", misbehave] if misbehave else []
        body = {"command": sys.executable, "args": [TASKS, era, *more], "timeout_ms": 20_000}
        await rig.registry.set_server("fx", body, "operator")
        await rig.ready()
        yield TaskDesk(rig)
    finally:
        await rig.registry.stop()
        await rig.outbound.close()


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_becomes_a_task_and_its_result_comes_when_it_is_asked_for(era):
    async with desk_of(era) as desk:
        task_id = await desk.begun()
        first = desk.events()[-2]
        assert (await desk.looked(task_id))["status"] == "working"
        told = await desk.looked(task_id)
        assert (told["status"], told["taskId"]) == ("completed", task_id)
        assert told["result"]["content"] == [{"type": "text", "text": "work: done"}]
        events = desk.events()
        intents = [event for event in events if event["kind"] == "intent"]
        closed = [event["intent_id"] for event in events if event["kind"] == "outcome"]
        assert [event["id"] for event in intents] == closed, "each receipt of an intent is closed"
        assert [event.get("continues") for event in intents[-2:]] == [first["id"]] * 2
        assert '"t1"' not in json.dumps([events, told]), "the server's own id stays here"


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_is_its_own_agents_and_nobody_elses(era):
    async with desk_of(era) as desk:
        task_id = await desk.begun("ask")
        await desk.looked(task_id)
        for verb, more in (("get", {}), ("cancel", {}), ("update", {"responses": {"name": ADA}})):
            answer = await desk.of_task(verb, task_id, OTHER_AGENT, **more)
            assert answer["status"] == "denied"
            assert answer["reason"].startswith("invalid_args: there is no such task of this agent")
        for unknown in ("t1", "fx.t1", "fx", "", task_id + "x", task_id.upper()):
            assert (await desk.of_task("get", unknown))["status"] == "denied"
        assert (await desk.looked(task_id))["status"] == "input_required"


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_that_asks_goes_on_with_the_answer_once(era):
    async with desk_of(era) as desk:
        task_id = await desk.begun("ask")
        told = await desk.looked(task_id)
        assert told["status"] == "input_required"
        ((key, question),) = told["inputRequests"].items()
        assert question["params"]["message"] == "who?"
        assert '"t1"' not in json.dumps(told), "the server's own id stays here"
        again = await desk.looked(task_id)
        assert again["inputRequests"] == told["inputRequests"], "looking again asks the server for nothing more"
        assert (await desk.of_task("update", task_id, responses={key: ADA}))["status"] == "ok"
        assert desk.events()[-2]["continues"] == desk.events()[-2]["id"] - 6
        repeated = await desk.of_task("update", task_id, responses={key: ADA})
        assert repeated["reason"].startswith("invalid_args: the server of the task asks nothing")
        await desk.looked(task_id)
        assert (await desk.looked(task_id))["result"]["content"][0]["text"] == "ask: ada"


@pytest.mark.parametrize("era", ERAS)
async def test_policy_is_asked_again_for_what_arrives_midway(era):
    async with desk_of(era) as desk:
        task_id = await desk.begun("ask")
        ((key, _),) = (await desk.looked(task_id))["inputRequests"].items()
        desk.policy.verdicts["fx.ask", "{}"] = PERSON
        waits = await desk.of_task("update", task_id, responses={key: ADA})
        assert waits["status"] == "approval_required", "what needs a person by now needs one for the answers"
        assert (await desk.looked(task_id))["status"] == "input_required", "looking needs nobody"
        token = await desk.approve(waits["approval"]["id"])
        assert (await desk.of_task("update", task_id, token=token, responses={key: ADA}))["status"] == "ok"
        desk.policy.verdicts["fx.ask", "{}"] = Deny("policy_denied", ("no-more",))
        for verb in ("get", "get"):
            denied = await desk.of_task(verb, task_id)
            assert (denied["status"], denied["reason"]) == ("denied", "policy_denied")
        assert (await desk.of_task("cancel", task_id))["status"] != "denied", "what ends it may always be asked"


async def test_an_approval_is_for_the_question_that_was_shown():
    async with desk_of("stateless", "swap") as desk:
        desk.policy.verdicts["fx.ask", "{}"] = PERSON
        begun = await desk.call("fx.ask", {})
        begun = await desk.call("fx.ask", {}, await desk.approve(begun["approval"]["id"]))
        task_id = begun["result"]["content"]["taskId"]
        await desk.looked(task_id)
        waits = await desk.of_task("update", task_id, responses={"name": ADA})
        token = await desk.approve(waits["approval"]["id"])
        await desk.looked(task_id)  # the server asks something else under the same key
        answer = await desk.of_task("update", task_id, token=token, responses={"name": ADA})
        assert (answer["status"], answer["reason"]) == ("denied", "invalid_or_expired_approval")


@pytest.mark.parametrize(("era", "misbehave"), [(era, word) for era in ERAS for word in ("", "late", "never")])
async def test_a_task_that_was_cancelled_has_no_result_whatever_its_server_says(era, misbehave):
    async with desk_of(era, misbehave) as desk:
        task_id = await desk.begun()
        answer = await desk.of_task("cancel", task_id)
        assert answer["result"]["content"]["status"] == "cancelled"
        for _ in range(3):
            told = await desk.looked(task_id)
            assert told["status"] == "cancelled"
            assert "result" not in told


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_that_has_ended_cannot_be_cancelled_and_keeps_its_result(era):
    async with desk_of(era) as desk:
        task_id = await desk.begun()
        await desk.looked(task_id)
        await desk.looked(task_id)
        refused = await desk.of_task("cancel", task_id)
        assert refused["status"] == "error"
        assert (await desk.looked(task_id))["status"] == "completed"


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_gives_two_tasks_one_id_has_the_second_refused(era):
    async with desk_of(era, "clash") as desk:
        task_id = await desk.begun()
        answer = await desk.call("fx.work", {}, principal=OTHER_AGENT)
        assert (answer["status"], "id of another" in answer["message"]) == ("error", True)
        assert (await desk.looked(task_id))["status"] == "working"


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_tells_of_another_task_is_not_believed(era):
    async with desk_of(era, "other") as desk:
        answer = await desk.of_task("get", await desk.begun())
        assert (answer["status"], "another task" in answer["message"]) == ("error", True)


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_whose_notifications_do_not_end_changes_no_task(era):
    async with desk_of(era, "flood") as desk:
        task_id = await desk.begun()
        assert (await desk.looked(task_id))["status"] == "working"
        assert (await desk.looked(task_id))["status"] == "completed"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("wish", [None, TaskWish()], ids=["no tasks", "server decides"])
async def test_a_server_begins_a_task_only_for_a_client_that_can_go_on_with_it(era, wish):
    async with desk_of(era, "unasked") as desk:
        answer = await desk.call("fx.plain", {}, wish=None)
        assert answer["status"] == "error"
        assert "task" in answer["message"]
    async with desk_of(era) as desk:
        answer = await desk.call("fx.work", {}, wish=wish)
        became = answer["result"]["content"].get("resultType")
        assert (became == "task") is (era == "stateless" and wish is not None)
        answer = await desk.call("fx.only", {}, wish=wish)
        if era == "handshake" and wish is None:
            assert (answer["status"], "as a task alone" in answer["message"]) == ("error", True)
        elif wish is not None:
            assert answer["result"]["content"]["resultType"] == "task"


async def test_an_agent_has_a_bounded_number_of_tasks_and_each_ends(monkeypatch):
    monkeypatch.setattr(tasks_of, "MAX_TASKS_PER_PRINCIPAL", 2)
    async with desk_of("handshake", "never") as desk:
        task_id = await desk.begun()
        await desk.begun()
        answer = await desk.call("fx.work", {})
        assert (answer["status"], "too many tasks" in answer["message"]) == ("error", True)
        await desk.begun(principal=OTHER_AGENT)
        desk.rig.registry._calls._tasks._open[task_id].ends_us = 0
        assert (await desk.of_task("get", task_id))["status"] == "denied"
        await desk.begun()


async def test_a_question_is_asked_anew_once_its_time_to_be_answered_is_over():
    async with desk_of("stateless") as desk:
        task_id = await desk.begun("ask")
        await desk.looked(task_id)
        tasks = desk.rig.registry._calls._tasks
        (kept,) = tasks._open.values()
        first = kept.nonce
        kept.asked_us -= STATE_TTL_US
        denied = await desk.of_task("update", task_id, responses={"name": ADA})
        assert denied["reason"].startswith("invalid_args: the server of the task asks nothing")
        await desk.looked(task_id)
        assert kept.nonce not in {"", first}
        assert (await desk.of_task("update", task_id, responses={"name": ADA}))["status"] == "ok"


async def test_a_tasks_own_failure_is_told_from_a_success():
    async with desk_of("stateless", "fails") as desk:
        task_id = await desk.begun()
        await desk.looked(task_id)
        assert (await desk.of_task("get", task_id))["result"]["is_error"] is True
        assert desk.events()[-1]["tool_error"] is True


async def test_a_task_is_looked_at_only_while_its_tool_is_what_it_was():
    async with desk_of("stateless") as desk:
        task_id = await desk.begun()
        body = {"command": sys.executable, "args": [TASKS, "stateless", "--misbehave", "never"]}
        await desk.rig.registry.set_server("fx", body, "operator")
        await desk.rig.ready()
        denied = await desk.of_task("get", task_id)
        assert denied["reason"].startswith("invalid_args: the tool of the task is another by now")
