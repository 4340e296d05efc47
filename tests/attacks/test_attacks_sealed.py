"""Against a real daemon: what is sealed or remembered is used once, by whom and for what it was given."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.daemons import RunningDaemon
from support.waiting import wait_until

SERVER = str(Path(__file__).parent / "recording_server.py")
ARGS = {"amount": 10, "to": "alice"}
DOLLAR = 1_000_000
META = "io.modelcontextprotocol/"
CAN_BE_ASKED = {"capabilities": {"elicitation": {"form": {}}}}


class Bank:
    """A daemon with the recording server `bank` behind it, whose `pay` writes and costs a dollar."""

    def __init__(self, daemon: RunningDaemon, tmp_path: Path, *options: str) -> None:
        self.daemon = daemon
        self.record = tmp_path / "record"
        self.record.touch()
        self.move_to(self.record, *options)
        self.agent = self.new_agent("scout")

    def move_to(self, record: Path, *options: str) -> None:
        """Say that the server is the one with this record; it lists what it always listed."""
        record.touch()
        command = [SERVER, "stdio", str(record), *options]
        rules = [{"tool": "pay", "category": "write", "cost_microusd": DOLLAR}]
        body = {"command": sys.executable, "args": command, "rules": rules}
        status, answer = self.daemon.request("POST", "/v1/mcp/servers/bank", body)
        assert status == 200, answer

    def new_agent(self, name: str) -> str:
        status, answer = self.daemon.request("POST", "/v1/agents", {"name": name})
        assert status == 200, answer
        return answer["token"]

    def tools(self) -> list[str]:
        listed = self.daemon.request("GET", "/v1/tools", token=self.agent)[1]["tools"]
        return [tool["id"] for tool in listed if tool["id"].startswith("bank.")]

    def call(self, tool_id: str, args: dict, *, approval: str | None = None, token: str | None = None) -> dict:
        call = {"tool_id": tool_id, "args": args, "context": {"request_id": str(uuid.uuid4())}}
        if approval is not None:
            call["approval_token"] = approval
        body = {"call": call, "exchange": CAN_BE_ASKED}
        status, answer = self.daemon.request("POST", "/v1/mcp/call", body, token=token or self.agent)
        assert status == 200, answer
        return answer

    def approve(self, answer: dict) -> str:
        assert answer["status"] == "approval_required", answer
        shown = self.daemon.request("GET", f"/v1/approvals/{answer['approval']['id']}")[1]
        body = {"shown_digest_hex": shown["shown_digest_hex"]} if "shown_digest_hex" in shown else {}
        status, given = self.daemon.request("POST", f"/v1/approvals/{answer['approval']['id']}/approve", body)
        assert status == 200, given
        return given["approval_token"]

    def asked(self) -> dict:
        """Have the first call approved and made; gives what goes on with it."""
        token = self.approve(self.call("bank.pay", ARGS))
        wanted = self.call("bank.pay", ARGS, approval=token)["result"]["content"]
        assert wanted["resultType"] == "input_required"
        answers = {"q": {"action": "accept", "content": {"account": "main"}}}
        return {"target": "bank.pay", "arguments": ARGS, "state": wanted["requestState"], "responses": answers}

    def executed(self) -> list[dict]:
        """The calls that reached the server with everything it wants."""
        messages = [json.loads(b64decode(json.loads(line)["data"])) for line in self.record.read_text().splitlines()]
        return [
            message["params"]
            for message in messages
            if message.get("method") == "tools/call" and "inputResponses" in message["params"]
        ]

    def receipts(self, kind: str) -> list[dict]:
        found = self.daemon.request("GET", f"/v1/receipts?kind={kind}&limit=1000")[1]["receipts"]
        return [receipt["event"] for receipt in reversed(found)]

    def spent(self) -> int:
        budgets = self.daemon.request("GET", "/v1/budgets")[1]["budgets"]
        return next(line["spent_microusd"] for line in budgets if line["category"] == "write")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    (tmp_path / "data").mkdir(mode=0o700)
    with RunningDaemon(tmp_path / "data") as running:
        yield running


def test_one_approval_of_a_stateless_servers_call_is_one_execution_by_however_many_continuations(daemon, tmp_path):
    bank = Bank(daemon, tmp_path, "--asks")
    daemon.request("POST", "/v1/budgets/write", {"daily_limit_microusd": 2 * DOLLAR})
    wait_until(bank.tools)
    going_on = bank.asked()

    # the first approval was for the call; the answers were in none
    asked = bank.call("bank:continue", going_on)
    assert "main" in asked["approval"]["summary"]
    shown = daemon.request("GET", f"/v1/approvals/{asked['approval']['id']}")[1]
    assert json.loads(shown["question_text"])["q"]["params"]["message"] == "which account?"
    assert bank.executed() == []
    token = bank.approve(asked)

    # twenty-five at once with the one approval, and as many with none after
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: bank.call("bank:continue", going_on, approval=token), range(25)))
    assert [answer["status"] for answer in answers].count("ok") == 1
    assert {answer.get("reason") for answer in answers} <= {None, "replay_detected", "invalid_or_expired_approval"}
    others = {**going_on, "responses": {"q": {"action": "accept", "content": {"account": "another"}}}}
    for again in (going_on, others):
        assert bank.call("bank:continue", again) == {"status": "denied", "reason": "replay_detected"}
    assert len(bank.executed()) == 1
    assert bank.executed()[0]["inputResponses"] == going_on["responses"]

    # each round cost what the tool costs, and the second names the first
    first, second = bank.receipts("intent")
    assert (second["tool_id"], second["continues"]) == ("bank:continue", first["id"])
    assert second["tool"]["cost_microusd"] == DOLLAR
    assert bank.spent() == 2 * DOLLAR


def test_a_state_is_used_once_whatever_restarts_lie_between_and_by_nobody_else(daemon, tmp_path):
    bank = Bank(daemon, tmp_path, "--asks")
    daemon.request("POST", "/v1/budgets/write", {"daily_limit_microusd": 10 * DOLLAR})
    wait_until(bank.tools)
    going_on = bank.asked()
    stranger = bank.call("bank:continue", going_on, token=bank.new_agent("ranger"))
    assert stranger["status"] == "denied"
    assert stranger["reason"].startswith("invalid_args: the `state` belongs to no call of this agent")

    token = bank.approve(bank.call("bank:continue", going_on))
    daemon.kill()
    daemon.start()
    wait_until(bank.tools)
    assert bank.call("bank:continue", going_on, approval=token)["status"] == "ok"
    daemon.kill()
    daemon.start()
    wait_until(bank.tools)
    for approval in (None, token):
        again = bank.call("bank:continue", going_on, approval=approval)
        assert again == {"status": "denied", "reason": "replay_detected"}
    assert len(bank.executed()) == 1


def test_what_was_approved_or_asked_for_one_server_reaches_no_other_of_its_name_and_definitions(daemon, tmp_path):
    bank = Bank(daemon, tmp_path, "--asks")
    daemon.request("POST", "/v1/budgets/write", {"daily_limit_microusd": 10 * DOLLAR})
    wait_until(bank.tools)
    going_on = bank.asked()
    other = {**ARGS, "to": "bob"}
    waiting = bank.call("bank.pay", other)
    shown = daemon.request("GET", f"/v1/approvals/{waiting['approval']['id']}")[1]
    assert f"stdio {bank.record} --asks" in shown["destination"]  # the arguments say what the command runs
    token = bank.approve(waiting)

    bank.move_to(tmp_path / "elsewhere", "--asks")
    wait_until(bank.tools)
    assert bank.call("bank.pay", other, approval=token) == {"status": "denied", "reason": "invalid_or_expired_approval"}
    assert bank.call("bank:continue", going_on)["reason"].startswith("invalid_args: the `state` belongs to no call")

    again = bank.call("bank.pay", other)
    shown = daemon.request("GET", f"/v1/approvals/{again['approval']['id']}")[1]
    assert f"stdio {tmp_path / 'elsewhere'} --asks" in shown["destination"]
    assert shown["last_approved"]["is_same_call"] is False  # that yes was for who was there before


def test_a_continuation_past_the_budget_waits_for_a_person_as_its_call_would(daemon, tmp_path):
    bank = Bank(daemon, tmp_path, "--asks")
    daemon.request("POST", "/v1/budgets/write", {"daily_limit_microusd": DOLLAR})  # room for one round only
    wait_until(bank.tools)
    asked = bank.call("bank:continue", bank.asked())
    assert (asked["status"], asked["approval"]["reason"]) == ("approval_required", "budget_exceeded")
    assert bank.spent() == DOLLAR


def test_a_client_of_the_gateway_has_its_call_and_its_answers_approved_and_uses_each_state_once(daemon, tmp_path):
    bank = Bank(daemon, tmp_path, "--asks")
    daemon.request("POST", "/v1/budgets/write", {"daily_limit_microusd": 2 * DOLLAR})
    wait_until(bank.tools)
    meta = {
        f"{META}protocolVersion": "2026-07-28",
        f"{META}clientInfo": {"name": "client", "version": "1"},
        f"{META}clientCapabilities": {"elicitation": {"form": {}}, "roots": {"listChanged": True}},
    }

    def call(**more: object) -> dict:
        params = {"name": "bank.pay", "arguments": ARGS, **more, "_meta": meta}
        gateway.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}) + "\n")
        gateway.stdin.flush()
        answer = json.loads(gateway.stdout.readline())
        return answer.get("result") or answer["error"]

    def approve(waiting: dict, shown: str) -> dict:
        approval = waiting["_meta"]["approval"]
        assert approval["summary"].startswith(shown)
        bank.approve({"status": "approval_required", "approval": approval})
        return {"requestState": waiting["requestState"]}

    command = [sys.executable, "-m", "briefcase", "gateway"]
    environment = {**daemon.env, "BRIEFCASE_AUTH_TOKEN": bank.agent, "BRIEFCASE_MCP_HOLD_SECS": "0"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as gateway:
        asked = call(**approve(call(), "bank.pay {"))
        answers = {"q": {"action": "accept", "content": {"account": "main"}}}
        waiting = call(requestState=asked["requestState"], inputResponses=answers)
        retry = approve(waiting, 'bank:continue with bank.pay {"arguments":')
        assert call(**retry)["content"] == [{"type": "text", "text": "done"}]
        for used in (retry, {"requestState": asked["requestState"], "inputResponses": answers}):
            assert "was used before" in call(**used)["message"]
        gateway.stdin.close()
    assert [params["inputResponses"] for params in bank.executed()] == [answers]


def test_the_first_tools_of_a_server_that_listed_nothing_wait_for_an_operator(daemon, tmp_path):
    go = tmp_path / "go"
    bank = Bank(daemon, tmp_path, "--era", "handshake", "--late", str(go))

    def server() -> dict:
        return daemon.request("GET", "/v1/mcp/servers/bank")[1]["summary"]

    wait_until(lambda: server()["state"] == "ready")
    go.touch()
    wait_until(lambda: server()["held"] == 1)
    assert bank.tools() == []
    assert bank.call("bank.pay", ARGS)["reason"] == "unknown_tool"

    daemon.stop()  # an empty listing stays the first one after a restart, too
    daemon.start()
    wait_until(lambda: server()["state"] == "ready")
    assert (server()["held"], bank.tools()) == (1, [])

    digest = daemon.request("GET", "/v1/mcp/servers/bank/diff")[1]["digest"]
    assert daemon.request("POST", "/v1/mcp/servers/bank/accept", {"digest": digest})[1]["tools"] == 1
    assert bank.tools() == ["bank.pay"]


def test_an_agent_hears_of_no_resource_but_those_it_follows_itself(daemon, tmp_path):
    bank = Bank(daemon, tmp_path, "--era", "handshake")
    wait_until(bank.tools)
    ranger = bank.new_agent("ranger")
    for token, uri in ((bank.agent, "file:///secret"), (ranger, "file:///plain")):
        assert bank.call("bank:resources.subscribe", {"uri": uri}, token=token)["status"] == "ok"
    Path(f"{bank.record}.changed").write_text("file:///secret\nfile:///plain\nfile:///plain/below\nfile:///nobody's\n")

    def heard(token: str | None) -> list[str]:
        changes = daemon.request("GET", "/v1/mcp/events?after=0", token=token)[1]["changes"]
        return [change["uri"] for change in changes if change["kind"] == "resource"]

    wait_until(lambda: len(heard(ranger)) == 2)
    assert heard(ranger) == ["file:///plain", "file:///plain/below"]
    assert heard(bank.agent) == ["file:///secret"]
    assert heard(bank.new_agent("third")) == []
    assert bank.call("bank:resources.unsubscribe", {"uri": "file:///plain"}, token=ranger)["status"] == "ok"
    assert heard(ranger) == []


def test_an_agent_that_stops_following_ends_nobody_elses(daemon, tmp_path):
    bank = Bank(daemon, tmp_path, "--era", "handshake")
    wait_until(bank.tools)
    ranger = bank.new_agent("ranger")
    uri = {"uri": "file:///shared"}
    for token in (bank.agent, ranger):
        assert bank.call("bank:resources.subscribe", uri, token=token)["status"] == "ok"

    def unsubscribed() -> int:
        return bank.record.read_text().count(b64decode("eA==").decode()) and sum(
            b"resources/unsubscribe" in b64decode(json.loads(line)["data"])
            for line in bank.record.read_text().splitlines()
        )

    assert bank.call("bank:resources.unsubscribe", uri, token=ranger)["status"] == "ok"
    assert unsubscribed() == 0
    assert bank.call("bank:resources.unsubscribe", uri)["status"] == "ok"
    assert unsubscribed() == 1
