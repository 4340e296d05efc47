"""A real Envoy, configured as docs/deploy says, in front of a server made with the official MCP SDK: `make envoy`."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.daemons import RunningDaemon
from support.envoy import PYTHON, WHY_NOT, Envoy, McpServer, free_port
from support.waiting import BOUND_S

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
POLICY = """
permit (principal, action == Action::"Call", resource);
permit (principal, action == Action::"CallWithoutApproval", resource);
forbid (principal, action == Action::"CallWithoutApproval", resource == Tool::"files.write_note");
permit (principal, action == Action::"CallWithoutSigner", resource);
@id("no-forging") forbid (principal, action == Action::"Call", resource == Tool::"files.forge");
"""


@pytest.fixture(scope="module", params=["http", "grpc"])
def front(request, tmp_path_factory):
    """Envoy, its daemon, and the server behind both."""
    top = tmp_path_factory.mktemp("envoy")
    data_dir = top / "data"
    data_dir.mkdir(mode=0o700)
    with McpServer(top) as server:
        (data_dir / "briefcase.toml").write_text(f'[net]\nallow_private = ["127.0.0.1:{server.port}"]\n')
        address = f"127.0.0.1:{free_port()}"
        with RunningDaemon(data_dir, BRIEFCASE_EXT_AUTHZ_ADDR=address) as daemon:
            body = {"endpoint_url": f"http://127.0.0.1:{server.port}/mcp"}
            assert daemon.request("POST", "/v1/mcp/servers/files", body)[0] == 200
            daemon.await_tools("files.echo")
            assert daemon.request("PUT", "/v1/policy", {"policy_text": POLICY})[0] == 200
            token = daemon.request("POST", "/v1/agents", {"name": "alice"})[1]["token"]
            config = (DEPLOY / f"envoy-{request.param}.yaml").read_text()
            config = config.replace("/run/briefcase/agents.sock", daemon.socket_path)
            config = config.replace("port_value: 9191", f"port_value: {address.rpartition(':')[2]}")
            config = config.replace("port_value: 9000", f"port_value: {server.port}")
            with Envoy(config, top) as envoy:
                yield SimpleNamespace(envoy=envoy, daemon=daemon, server=server, token=token)


def message(method="tools/call", params=None, request_id=1):
    return {"jsonrpc": "2.0", **({} if request_id is None else {"id": request_id}), "method": method, "params": params}


def call(name, **arguments):
    return message(params={"name": name, "arguments": arguments})


class Client:
    """An agent's HTTP, one session."""

    def __init__(self, front, token=None) -> None:
        self.front, self.session = front, None
        self.token = front.token if token is None else token
        opening = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        status, _, headers = self.ask(message("initialize", opening))
        assert status == 200
        self.session = headers["mcp-session-id"]
        assert self.ask(message("notifications/initialized", {}, request_id=None))[0] == 202

    def ask(self, body, *, path="/mcp", method="POST", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.front.envoy.port, timeout=BOUND_S)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
            **({"Mcp-Session-Id": self.session} if self.session else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        read = response.read().decode()
        connection.close()
        return response.status, read, {name.lower(): value for name, value in response.getheaders()}


@pytest.fixture
def client(front):
    return Client(front)


def test_the_official_client_works_through_it_and_the_server_never_sees_the_token(front):
    script = Path(__file__).with_name("mcp_client.py")
    command = [str(PYTHON), str(script), f"http://127.0.0.1:{front.envoy.port}/mcp", front.token]
    told = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert (found["server"], found["echoed"], found["counted"]) == ("files", "through envoy", "counted to 5")
    assert found["progress"] == [1, 2, 3, 4, 5]
    assert found["seen"] == ""


def test_a_call_that_is_allowed_reaches_the_server_with_its_receipt_on_disk(front, client):
    status, read, _ = client.ask(call("echo", text="hi"))
    assert status == 200
    assert "hi" in read
    newest = front.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["event"]
    assert (newest["kind"], newest["tool_id"], newest["outcome"]) == ("delegated", "files.echo", "not_observed")


def test_a_call_that_is_denied_never_reaches_the_server(front, client):
    status, read, _ = client.ask(call("forge", text="forged"))
    answer = json.loads(read)
    assert (status, answer["reason"], answer["policy_ids"]) == (403, "policy_denied", ["no-forging"])
    assert answer["receipt_id"] > 0
    assert "forged" not in front.server.notes


def test_a_call_that_waits_reaches_the_server_once_after_the_yes(front, client):
    status, read, _ = client.ask(call("write_note", text="approved"))
    waiting = json.loads(read)
    assert (status, waiting["reason"]) == (403, "approval_required")
    approval_id = waiting["access_request"]["approval_id"]
    assert "approved" not in front.server.notes
    assert front.daemon.request("POST", f"/v1/approvals/{approval_id}/approve", {})[0] == 200

    assert client.ask(call("write_note", text="approved"))[0] == 200
    assert client.ask(call("write_note", text="approved"))[0] == 403
    assert front.server.notes.count("approved") == 1
    assert front.daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"forge"}}', {}),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}', {}),
        ([call("forge", text="forged")], {}),
        (call("forge", text="forged"), {"Content_Type": "text/plain"}),
        (call("echo", text="hi"), {"Content_Encoding": "gzip"}),
        (call("echo", text="hi"), {"Authorization": "Bearer nobody"}),
        (call("echo", text="hi"), {"Mcp_Name": "forge"}),
        (b"", {}),
        (b"\xff\xfe{}", {}),
    ],
)
def test_what_cannot_be_decided_about_never_reaches_the_server(front, client, body, headers):
    assert client.ask(body, **headers)[0] in {400, 401, 403, 415}
    assert "forged" not in front.server.notes


@pytest.mark.parametrize(
    "path",
    ["/mcp/", "/MCP", "/mcp/../admin", "/%6dcp", "/mcp%2f", "/mcp;x", "/mcp?x=1", "/mcp/%2e%2e/mcp", "/v1/decide", "/"],
)
def test_another_spelling_of_the_path_never_reaches_the_server(front, client, path):
    status, read, _ = client.ask(call("forge", text="forged"), path=path)
    assert status >= 400, read
    assert "forged" not in front.server.notes


def test_a_body_past_the_bound_never_reaches_the_server(front, client):
    assert client.ask(call("write_note", text="x" * (2 << 20)))[0] == 413
    assert not any(note.startswith("xxx") for note in front.server.notes)


def test_a_stream_of_the_server_stays_open_and_a_session_ends(front, client):
    connection = http.client.HTTPConnection("127.0.0.1", front.envoy.port, timeout=BOUND_S)
    sent = {
        "Accept": "text/event-stream", "Authorization": f"Bearer {front.token}", "Mcp-Session-Id": client.session,
    }  # fmt: skip
    connection.request("GET", "/mcp", headers=sent)
    response = connection.getresponse()
    assert (response.status, response.getheader("content-type")) == (200, "text/event-stream")
    assert client.ask(b"", method="DELETE")[0] == 200
    response.read()  # the server ends the stream of a session that is over
    connection.close()


def test_without_the_daemon_nothing_is_forwarded(front, client):
    front.daemon.kill()
    try:
        for _ in range(3):
            assert client.ask(call("write_note", text="unasked"))[0] == 403
        assert client.ask(message("tools/list", {}))[0] == 403
    finally:
        front.daemon.start()
        front.daemon.await_tools("files.echo")
    assert "unasked" not in front.server.notes
    assert client.ask(call("echo", text="back"))[0] == 200
