"""The whole way, in processes: an agent on standard input, the gateway, the daemon, a server behind it, the CLI."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from support.commands import briefcase, command_of
from support.daemons import RunningDaemon
from support.waiting import BOUND_S, wait_until

FIXTURE = str(Path(__file__).parent.parent / "servers" / "fixture_server.py")


class Agent:
    """A client at the standard streams of a gateway of its own."""

    def __init__(self, daemon: RunningDaemon, token: str, *options: str, hold_secs: int = 0) -> None:
        env = {**daemon.env, "BRIEFCASE_AUTH_TOKEN": token, "BRIEFCASE_MCP_HOLD_SECS": str(hold_secs)}
        self.process = subprocess.Popen(
            command_of("gateway", *options), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.count = 0
        self.heard: list[dict] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        assert self.process.wait(timeout=BOUND_S) == 0
        self.process.stdout.close()

    def write(self, message: dict) -> None:
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def ask(self, method: str, params: dict | None = None) -> dict:
        self.count += 1
        self.write({"jsonrpc": "2.0", "id": self.count, "method": method, "params": params or {}})
        while True:
            message = self.read()
            if message.get("id") == self.count:
                return message
            self.heard.append(message)

    def initialize(self) -> dict:
        client = {"name": "agent", "version": "1"}
        answer = self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer["result"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    root = tmp_path_factory.mktemp("gateway")
    with RunningDaemon(root / "data") as running:
        body = {
            "command": sys.executable,
            "args": [FIXTURE, "stdio"],
            "env": {"FIXTURE_NOTES": str(root / "notes")},
        }
        running.notes = root / "notes"
        assert running.request("POST", "/v1/mcp/servers/fx", body)[0] == 200
        running.await_servers()
        running.agent = running.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        yield running
        assert running.request("POST", "/v1/receipts/verify")[1]["ok"] is True


def cli(daemon: RunningDaemon, *words: str) -> str:
    done = briefcase(daemon, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_agent_is_blocked_approved_at_the_command_line_and_goes_on(daemon):
    with Agent(daemon, daemon.agent) as agent:
        assert agent.initialize()["capabilities"]["briefcase"]["compatibility_profile"] == "aacp_v1"
        names = {tool["name"] for tool in agent.ask("tools/list")["result"]["tools"]}
        assert {"echo", "note_add", "fx__echo", "fx__write_note"} <= names
        echoed = agent.ask("tools/call", {"name": "fx__echo", "arguments": {"text": "hi"}})["result"]
        assert echoed["content"][0]["text"] == "hi"

        call = {"name": "fx__write_note", "arguments": {"text": "rotate the keys"}}
        blocked = agent.ask("tools/call", call)["result"]
        assert blocked["isError"] is True
        approval = blocked["_meta"]["approval"]
        assert not daemon.notes.exists()
        waiting = json.loads(cli(daemon, "approvals", "list", "--json"))["approvals"]
        assert [item["id"] for item in waiting] == [approval["id"]]
        assert waiting[0]["principal"] == "scout"
        token = json.loads(cli(daemon, "approvals", "approve", approval["id"], "--json"))["approval_token"]

        done = agent.ask("tools/call", {**call, "approvalToken": token})["result"]
        assert done["isError"] is not True
        assert daemon.notes.read_text() == "rotate the keys\n"
        receipt_id = done["_meta"]["provenance"]["receipt_id"]
        receipt = json.loads(cli(daemon, "receipts", "show", str(receipt_id), "--json"))
        assert "fx.write_note" in json.dumps(receipt)
        again = agent.ask("tools/call", {**call, "approvalToken": token})["result"]
        assert again["isError"] is True
        assert daemon.notes.read_text() == "rotate the keys\n"


def approved(daemon: RunningDaemon, agent: Agent, text: str) -> dict:
    """A call that was blocked, and a person approved since."""
    call = {"name": "fx.write_note", "arguments": {"text": text}}
    blocked = agent.ask("tools/call", call)["result"]
    cli(daemon, "approvals", "approve", blocked["_meta"]["approval"]["id"])
    return call


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_a_held_call_goes_on_by_itself_once_a_person_decided_at_the_command_line(daemon, decision):
    text = f"held until {decision}"
    with Agent(daemon, daemon.agent, hold_secs=600) as agent:
        agent.initialize()
        call = {"name": "fx.write_note", "arguments": {"text": text}, "_meta": {"progressToken": "p"}}
        agent.write({"jsonrpc": "2.0", "id": "held", "method": "tools/call", "params": call})
        told = agent.read()
        assert told["method"] == "notifications/progress"
        [waiting] = json.loads(cli(daemon, "approvals", "list", "--json"))["approvals"]
        assert waiting["id"] in told["params"]["message"]
        more = [] if decision == "approve" else ["--reason", "use the other book"]
        cli(daemon, "approvals", decision, waiting["id"], *more)
        while (answer := agent.read()).get("id") != "held":
            pass
    if decision == "approve":
        assert answer["result"]["isError"] is not True
        assert daemon.notes.read_text().count(f"{text}\n") == 1
    else:
        assert answer["result"]["content"][0]["text"].endswith("a person said no to this call: use the other book")
        assert not daemon.notes.exists() or text not in daemon.notes.read_text()


def test_after_a_wrong_token_the_same_call_goes_on_with_its_approval(daemon):
    with Agent(daemon, daemon.agent) as agent:
        agent.initialize()
        call = approved(daemon, agent, "after a wrong token")
        wrong = agent.ask("tools/call", {**call, "approvalToken": "3f2504e0-4f89-41d3-9a0c-0305e82c3301.x"})["result"]
        assert wrong["content"][0]["text"] == "invalid_or_expired_approval"
        done = agent.ask("tools/call", call)["result"]
        assert done["isError"] is not True
        assert agent.ask("tools/call", call)["result"]["isError"] is True  # once
    assert daemon.notes.read_text().count("after a wrong token\n") == 1


def test_a_gateway_that_was_started_again_goes_on_with_what_was_approved(daemon):
    with Agent(daemon, daemon.agent) as agent:
        agent.initialize()
        call = approved(daemon, agent, "after a restart")
    with Agent(daemon, daemon.agent) as agent:
        agent.initialize()
        done = agent.ask("tools/call", call)["result"]
        assert done["isError"] is not True
        assert agent.ask("tools/call", call)["result"]["isError"] is True  # once
    assert daemon.notes.read_text().count("after a restart\n") == 1


def test_one_servers_view_has_its_own_names_over_stdio(daemon):
    with Agent(daemon, daemon.agent, "--server", "fx") as agent:
        agent.initialize()
        names = {tool["name"] for tool in agent.ask("tools/list")["result"]["tools"]}
        assert "write_note" in names
        assert "note_add" not in names
        read = agent.ask("resources/read", {"uri": "test://static-text"})["result"]
        assert read["contents"][0]["uri"] == "test://static-text"
        assert agent.ask("resources/read", {"uri": "test://none"})["error"]["code"] == -32602


def test_progress_reaches_an_agent_on_standard_output_before_its_answer(daemon):
    with Agent(daemon, daemon.agent) as agent:
        agent.initialize()
        params = {"name": "fx.test_tool_with_progress", "arguments": {}, "_meta": {"progressToken": 5}}
        agent.ask("tools/call", params)
        told = [message["params"] for message in agent.heard if message["method"] == "notifications/progress"]
        assert [(item["progressToken"], item["progress"]) for item in told] == [(5, 0), (5, 50), (5, 100)]


def test_lines_that_are_no_messages_are_answered_and_nothing_runs(daemon):
    with Agent(daemon, daemon.agent) as agent:
        before = daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
        for line, code in (
            (b"{", -32700),
            (b"[]", -32600),
            (b'{"jsonrpc":"2.0","id":null,"method":"tools/call"}', -32600),
            (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}', -32600),
            (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"' + b"x" * (2 << 20) + b'"}}', -32700),
        ):
            agent.process.stdin.write(line + b"\n")
            agent.process.stdin.flush()
            assert agent.read()["error"]["code"] == code
        notification = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
        agent.write(notification)
        assert agent.ask("ping")["result"] == {}
        assert daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"] == before


def wait_for_receipt(daemon, filters, text):
    wait_until(lambda: text in json.dumps(daemon.request("GET", f"/v1/receipts?limit=1&{filters}")[1]))


def test_a_call_is_cancelled_by_its_id_and_never_answered(daemon):
    with Agent(daemon, daemon.agent) as agent:
        agent.initialize()
        params = {"name": "fx.hang", "arguments": {}}
        agent.write({"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": params})
        wait_for_receipt(daemon, "kind=intent&tool_id=fx.hang", "fx.hang")  # it is under way
        agent.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "slow"}})
        assert agent.ask("ping")["result"] == {}
        wait_for_receipt(daemon, "kind=outcome&tool_id=fx.hang", "cancelled")
        assert all(message.get("id") != "slow" for message in agent.heard)


def test_a_token_that_is_nobodys_opens_nothing(daemon):
    with Agent(daemon, "x" * 43) as agent:
        answer = agent.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}})
        assert answer["error"]["data"] == {"code": "unauthorized"}


def test_the_gateway_leaves_when_told_to(daemon):
    agent = Agent(daemon, daemon.agent)
    agent.initialize()
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(timeout=BOUND_S) == 0
    agent.process.stdin.close()
    agent.process.stdout.close()
    assert os.path.exists(daemon.socket_path)  # noqa: PTH110 - a socket, by name


def test_a_servers_secret_never_reaches_an_agent(tmp_path):
    secret = "canary-of-the-vault-0123456789"
    with RunningDaemon(tmp_path / "data") as daemon:
        stored = briefcase(daemon, "secrets", "set", "canary", stdin=secret)
        assert stored.returncode == 0, stored.stderr
        body = {"command": sys.executable, "args": [FIXTURE, "stdio"], "secret_env": {"FIXTURE_SECRET": "canary"}}
        assert daemon.request("POST", "/v1/mcp/servers/fx", body)[0] == 200
        daemon.await_servers()
        answer = daemon.call("fx.show_environment", {})
        text = json.dumps(answer)
        assert "FIXTURE_SECRET" in text
        assert secret not in text
        assert "[redacted]" in text
        assert secret not in json.dumps(daemon.request("GET", "/v1/receipts?limit=100")[1])
