"""Tasks the whole way, in processes: a client at the gateway, the daemon, and a server whose tools run as tasks."""

import sys
from pathlib import Path

import pytest
from test_gateway_process import Agent

from support.daemons import RunningDaemon

TASKS = str(Path(__file__).parent.parent / "servers" / "task_server.py")
META = "io.modelcontextprotocol/"
EXTENSION = META + "tasks"
STATELESS = "2026-07-28"
POLICY = """
permit(principal, action == Action::"Call", resource);
permit(principal, action == Action::"CallWithoutApproval", resource) unless { resource == Tool::"new.ask" };
permit(principal, action == Action::"CallWithoutSigner", resource);
"""


class Client(Agent):
    """A client that answers `ada` to whoever asks, in one era or the other."""

    def __init__(self, daemon: RunningDaemon, token: str, revision: str) -> None:
        super().__init__(daemon, token)
        self.revision = revision
        self.capabilities = {"elicitation": {}}
        if revision == STATELESS:
            self.capabilities["extensions"] = {EXTENSION: {}}
        else:
            client = {"name": "agent", "version": "1"}
            asked = {"protocolVersion": revision, "capabilities": self.capabilities, "clientInfo": client}
            self.offered = self.ask("initialize", asked)["result"]["capabilities"]
            self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask(self, method: str, params: dict | None = None) -> dict:
        params = dict(params or {})
        if getattr(self, "revision", "") == STATELESS:
            own = {"protocolVersion": self.revision, "clientCapabilities": self.capabilities}
            params["_meta"] = {META + name: value for name, value in own.items()}
            params["_meta"][META + "clientInfo"] = {"name": "agent", "version": "1"}
        self.count += 1
        self.write({"jsonrpc": "2.0", "id": self.count, "method": method, "params": params})
        while True:
            message = self.read()
            if message.get("method") == "elicitation/create":
                self.heard.append(message)
                answer = {"action": "accept", "content": {"name": "ada"}}
                self.write({"jsonrpc": "2.0", "id": message["id"], "result": answer})
            elif message.get("id") == self.count:
                return message

    def begin(self, name: str) -> dict:
        """Call a tool as a task; gives the task."""
        more = {} if self.revision == STATELESS else {"task": {"ttl": 60_000}}
        result = self.ask("tools/call", {"name": name, "arguments": {}, **more})["result"]
        return result if self.revision == STATELESS else result["task"]

    def look_until(self, task_id: str, *statuses: str) -> dict:
        while True:
            told = self.ask("tasks/get", {"taskId": task_id})["result"]
            if told["status"] in statuses:
                return told


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("tasks") / "data") as running:
        for server_id, era in (("old", "handshake"), ("new", "stateless")):
            body = {"command": sys.executable, "args": [TASKS, era]}
            assert running.request("POST", f"/v1/mcp/servers/{server_id}", body)[0] == 200
        running.await_servers()
        assert running.request("PUT", "/v1/policy", {"policy_text": POLICY})[0] == 200
        running.scout = running.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        running.ranger = running.request("POST", "/v1/agents", {"name": "ranger"})[1]["token"]
        yield running
        assert running.request("POST", "/v1/receipts/verify")[1]["ok"] is True
        opened, closed = set(), set()
        for record in running.request("GET", "/v1/receipts?limit=1000")[1]["receipts"]:
            if record["event"]["kind"] == "intent":
                opened.add(record["id"])
            elif record["event"]["kind"] == "outcome":
                closed.add(record["event"]["intent_id"])
        assert opened == closed, "a receipt of an intent is not closed"


def test_a_client_of_2025_11_25_begins_a_task_is_asked_midway_and_gets_its_result(daemon):
    with Client(daemon, daemon.scout, "2025-11-25") as client:
        assert client.offered["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
        tools = {tool["name"]: tool for tool in client.ask("tools/list")["result"]["tools"]}
        assert tools["old__only"]["execution"] == {"taskSupport": "required"}
        assert "execution" not in tools["new__only"], "its server decides by itself, which this client knows nothing of"
        task = client.begin("old__ask")
        assert task["status"] == "working"
        assert client.look_until(task["taskId"], "input_required")["ttl"] == 60_000
        result = client.ask("tasks/result", {"taskId": task["taskId"]})["result"]
        assert result["content"] == [{"type": "text", "text": "ask: ada"}]
        assert client.heard[-1]["params"]["_meta"][META + "related-task"] == {"taskId": task["taskId"]}
        assert result["_meta"][META + "related-task"] == {"taskId": task["taskId"]}
        assert result["_meta"]["provenance"]["receipt_id"] > 1, "what a server calls provenance is not it"


def test_a_client_of_2026_07_28_begins_a_task_and_answers_once_a_person_approved(daemon):
    with Client(daemon, daemon.scout, STATELESS) as client:
        discovered = client.ask("server/discover")["result"]
        assert discovered["capabilities"]["extensions"] == {EXTENSION: {}}
        waits = client.ask("tools/call", {"name": "new__ask", "arguments": {}})["result"]
        assert waits["resultType"] == "input_required"
        approve(daemon, waits["_meta"]["approval"]["id"])
        again = {"name": "new__ask", "arguments": {}, "requestState": waits["requestState"]}
        task = client.ask("tools/call", again)["result"]
        assert (task["resultType"], task["status"], task["ttlMs"]) == ("task", "working", 60_000)
        told = client.look_until(task["taskId"], "input_required")
        assert told["inputRequests"]["name"]["params"]["message"] == "who?"
        answer = {
            "taskId": task["taskId"],
            "inputResponses": {"name": {"action": "accept", "content": {"name": "ada"}}},
        }
        refused = client.ask("tasks/update", answer)["error"]
        assert refused["message"] == "approval_required"
        shown = daemon.request("GET", f"/v1/approvals/{refused['data']['approval']['id']}")[1]
        assert "who?" in shown["question_text"], "who approves the answers sees what was asked"
        approve(daemon, refused["data"]["approval"]["id"])
        assert client.ask("tasks/update", answer)["result"]["resultType"] == "complete"
        done = client.look_until(task["taskId"], "completed")
        assert done["result"]["content"] == [{"type": "text", "text": "ask: ada"}]


@pytest.mark.parametrize(("revision", "server"), [("2025-11-25", "old"), (STATELESS, "new"), (STATELESS, "old")])
def test_a_task_outlives_its_gateway_and_is_of_its_own_agent_alone(daemon, revision, server):
    with Client(daemon, daemon.scout, revision) as client:
        task_id = client.begin(f"{server}__only")["taskId"]
    with Client(daemon, daemon.ranger, revision) as other:
        for method in ("tasks/get", "tasks/cancel"):
            assert other.ask(method, {"taskId": task_id})["error"]["code"] == -32_602
    with Client(daemon, daemon.scout, revision) as client:
        client.look_until(task_id, "completed")
        error = client.ask("tasks/cancel", {"taskId": task_id})["error"]
        assert "ended" in error["message"]
        for unknown in ("", "old", "old.t1", "nobody.t1", 7, None):
            assert client.ask("tasks/get", {"taskId": unknown})["error"]["code"] == -32_602


@pytest.mark.parametrize(("revision", "server"), [("2025-11-25", "old"), (STATELESS, "new")])
def test_a_task_that_was_cancelled_has_no_result(daemon, revision, server):
    with Client(daemon, daemon.scout, revision) as client:
        task_id = client.begin(f"{server}__work")["taskId"]
        told = client.ask("tasks/cancel", {"taskId": task_id})["result"]
        assert told.get("status") == ("cancelled" if revision != STATELESS else None)
        assert client.ask("tasks/get", {"taskId": task_id})["result"]["status"] == "cancelled"
        if revision != STATELESS:
            assert "cancelled" in client.ask("tasks/result", {"taskId": task_id})["error"]["message"]


def test_methods_and_forms_of_the_other_era_are_refused(daemon):
    with Client(daemon, daemon.scout, STATELESS) as client:
        assert client.ask("tasks/result", {"taskId": "new.x"})["error"]["code"] == -32_601
        client.capabilities.pop("extensions")
        error = client.ask("tasks/get", {"taskId": "new.x"})["error"]
        assert error["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
        plain = client.ask("tools/call", {"name": "new__work", "arguments": {}})["result"]
        assert plain["content"][0]["text"].startswith("at once")
    with Client(daemon, daemon.scout, "2025-06-18") as client:
        assert "tasks" not in client.offered
        assert client.ask("tasks/get", {"taskId": "old.x"})["error"]["code"] == -32_601
    with Client(daemon, daemon.scout, "2025-11-25") as client:
        assert client.ask("tasks/update", {"taskId": "old.x"})["error"]["code"] == -32_601
        for task in (7, {"ttl": -1}, {"ttl": "x"}, {"ttl": True}):
            answer = client.ask("tools/call", {"name": "old__work", "arguments": {}, "task": task})
            assert answer["error"]["code"] == -32_602
        refused = client.ask("tools/call", {"name": "old__only", "arguments": {}})["result"]
        assert "as a task alone" in refused["content"][0]["text"]


def approve(daemon: RunningDaemon, approval_id: str) -> None:
    shown = daemon.request("GET", f"/v1/approvals/{approval_id}")[1]
    body = {"shown_digest_hex": shown["shown_digest_hex"]}
    assert daemon.request("POST", f"/v1/approvals/{approval_id}/approve", body)[0] == 200
