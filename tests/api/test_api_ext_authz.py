"""External authorization over HTTP, asked as Envoy asks: only the status 200 lets a request through."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.daemons import RunningDaemon, UnixConnection

FIXTURE = str(Path(__file__).parent.parent / "servers" / "fixture_server.py")
POLICY = """
permit (principal, action == Action::"Call", resource);
permit (principal, action == Action::"CallWithoutApproval", resource);
forbid (principal, action == Action::"CallWithoutApproval", resource == Tool::"files.write_note");
permit (principal, action == Action::"CallWithoutSigner", resource);
@id("no-forging") @advice("ask alice") forbid (principal, action == Action::"Call", resource == Tool::"files.forge");
@id("no-prompts") forbid (principal, action == Action::"Call", resource == Tool::"files:prompts.get");
"""
HERE = "/ext_authz/files/mcp"


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """A daemon with the server `files` behind it; agents alice and bob, `desk` decides for `a*`."""
    data_dir = tmp_path_factory.mktemp("ext-authz") / "data"
    data_dir.mkdir(mode=0o700)
    with RunningDaemon(data_dir) as daemon:
        body = {"command": sys.executable, "args": [FIXTURE, "stdio"]}
        assert daemon.request("POST", "/v1/mcp/servers/files", body)[0] == 200
        daemon.await_tools("files.echo")
        tokens = {"operator": daemon.operator_token}
        for name, pattern in (("alice", ""), ("bob", ""), ("desk", "a*")):
            tokens[name] = daemon.request("POST", "/v1/agents", {"name": name, "decides_for": pattern})[1]["token"]
        status, told = daemon.request("PUT", "/v1/policy", {"policy_text": POLICY})
        assert status == 200, told
        yield SimpleNamespace(daemon=daemon, tokens=tokens)


def message(method="tools/call", params=None, request_id=1):
    params = {"name": "echo", "arguments": {"text": "hi"}} if params is None else params
    return {"jsonrpc": "2.0", **({} if request_id is None else {"id": request_id}), "method": method, "params": params}


def call(name="echo", **arguments):
    return message(params={"name": name, "arguments": arguments})


def ask(gate, body=None, *headers, path=HERE, by="alice", method="POST", media="application/json"):
    """One question, with headers as they are; gives status, answer and the headers of the answer."""
    connection = UnixConnection(gate.daemon.socket_path)
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    sent = [("host", "tools.example"), ("content-length", str(len(data)))]
    sent += [] if by is None else [("authorization", f"Bearer {gate.tokens[by]}")]
    sent += [] if media is None else [("content-type", media)]
    for name, value in (*sent, *headers):
        connection.putheader(name, value)
    connection.endheaders(data)
    response = connection.getresponse()
    answer = json.loads(response.read() or b"{}")
    connection.close()
    return response.status, answer, dict(response.getheaders())


def receipt(gate, receipt_id):
    found = gate.daemon.request("GET", f"/v1/receipts?limit=1&after_id={receipt_id - 1}")[1]
    return found["receipts"][-1]["event"]


def newest(gate):
    return gate.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]


# --- one request ------------------------------------------------------------------------------------------------------


def test_a_call_that_is_allowed_is_decided_receipted_and_closed_before_it_is_forwarded(gate):
    status, answer, headers = ask(gate, call(text="hi"))
    assert status == 200
    event = receipt(gate, answer["receipt_id"])
    assert (event["kind"], event["decision"], event["outcome"]) == ("delegated", "allow", "not_observed")
    assert (event["principal"], event["tool_id"], event["args"]) == ("alice", "files.echo", '{"text":"hi"}')
    assert headers["x-envoy-auth-headers-to-remove"] == "x-briefcase-agent,authorization"
    assert gate.daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True


def test_a_call_that_is_denied_is_a_403_that_says_why_and_names_its_receipt(gate):
    status, answer, headers = ask(gate, call("forge"))
    assert (status, answer["reason"], answer["policy_ids"], answer["advice"]) == (
        403, "policy_denied", ["no-forging"], "ask alice",
    )  # fmt: skip
    assert receipt(gate, answer["receipt_id"])["kind"] == "denied"
    assert "x-envoy-auth-headers-to-remove" not in headers


def test_what_else_a_server_answers_is_decided_by_policy_too(gate):
    status, answer, _ = ask(gate, message("resources/read", {"uri": "test://static-text"}))
    assert status == 200
    event = receipt(gate, answer["receipt_id"])
    assert (event["tool_id"], event["args"]) == ("files:resources.read", '{"uri":"test://static-text"}')
    status, answer, _ = ask(gate, message("prompts/get", {"name": "p"}))
    assert (status, answer["policy_ids"]) == (403, ["no-prompts"])


def test_a_call_that_waits_says_so_and_the_same_call_passes_once_after_the_yes(gate):
    status, waiting, _ = ask(gate, call("write_note", text="once"))
    assert (status, waiting["reason"]) == (403, "approval_required")
    approval_id = waiting["access_request"]["approval_id"]
    again = ask(gate, call("write_note", text="once"))
    assert (again[0], again[1]["access_request"]["approval_id"]) == (403, approval_id)

    assert gate.daemon.request("POST", f"/v1/approvals/{approval_id}/approve", {})[0] == 200
    assert ask(gate, call("write_note", text="other"))[0] == 403  # another call
    assert ask(gate, call("write_note", text="once"), by="bob")[0] == 403  # another agent
    status, answer, _ = ask(gate, call("write_note", text="once"))
    assert status == 200
    event = receipt(gate, answer["receipt_id"])
    assert (event["kind"], event["approval_id"]) == ("delegated", approval_id)
    status, spent, _ = ask(gate, call("write_note", text="once"))
    assert (status, spent["reason"]) == (403, "approval_required")
    assert spent["access_request"]["approval_id"] != approval_id


def test_the_yes_for_a_call_that_waits_elsewhere_is_not_taken_by_a_proxied_one(gate):
    waiting = gate.daemon.call("files.write_note", {"text": "mine"}, token=gate.tokens["alice"])
    approval_id = waiting["approval"]["id"]
    assert gate.daemon.request("POST", f"/v1/approvals/{approval_id}/approve", {})[0] == 200
    assert ask(gate, call("write_note", text="mine"))[0] == 403
    shown = gate.daemon.request("GET", f"/v1/approvals/{approval_id}")[1]
    assert shown["status"] == "approved"


@pytest.mark.parametrize("method", ["initialize", "tools/list", "ping"])
def test_what_opens_or_lists_is_forwarded_unasked_and_leaves_no_receipt(gate, method):
    before = newest(gate)
    assert ask(gate, message(method, {}))[:2] == (200, {})
    assert newest(gate) == before


def test_a_stream_and_the_end_of_a_session_are_forwarded_for_an_agent_alone(gate):
    for method in ("GET", "DELETE"):
        assert ask(gate, method=method, media=None)[0] == 200
        assert ask(gate, method=method, media=None, by=None)[0] == 401
        assert ask(gate, b"{}", method=method, media=None)[0] == 403


# --- for whom ---------------------------------------------------------------------------------------------------------


def test_a_token_that_decides_for_others_names_the_agent_and_its_own_headers_stay(gate):
    status, answer, headers = ask(gate, call(text="hi"), ("x-briefcase-agent", "alice"), by="desk")
    assert (status, headers["x-envoy-auth-headers-to-remove"]) == (200, "x-briefcase-agent")
    event = receipt(gate, answer["receipt_id"])
    assert (event["principal"], event["asked_by"]) == ("alice", "desk")


@pytest.mark.parametrize(
    ("by", "headers"),
    [
        ("desk", []),  # by silence it would act as itself
        ("desk", [("x-briefcase-agent", "bob")]),
        ("desk", [("x-briefcase-agent", "alice"), ("x-briefcase-agent", "alice")]),
        ("desk", [("x-briefcase-agent", "alice,bob")]),
        ("desk", [("x-briefcase-agent", "Alice")]),
        ("desk", [("x-briefcase-agent", "")]),
        ("desk", [("X_Briefcase_Agent", "alice")]),
        ("alice", [("x-briefcase-agent", "bob")]),
        ("alice", [("x-briefcase-agent", "operator")]),
    ],
)
def test_nobody_is_asked_for_by_silence_twice_or_beyond_what_the_token_was_made_for(gate, by, headers):
    status, answer, _ = ask(gate, call(text="hi"), *headers, by=by)
    assert (status, answer["reason"]) == (403, "unknown_subject")


@pytest.mark.parametrize(
    ("by", "headers", "status"),
    [
        (None, [], 401),
        (None, [("authorization", "Bearer nobody")], 401),
        (None, [("authorization", "Basic YWxpY2U6")], 401),
        ("alice", [("authorization", "Bearer nobody")], 400),
    ],
)
def test_without_one_known_token_nothing_is_forwarded(gate, by, headers, status):
    assert ask(gate, call(text="hi"), *headers, by=by)[0] == status


# --- what is none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ext_authz/files/mcp/", 404), ("/ext_authz/files/mcp/admin", 404), ("/ext_authz/files", 404),
        ("/ext_authz/files/", 404), ("/ext_authz/", 404), ("/ext_authz", 404), ("/ext_authz//mcp", 404),
        ("/ext_authz/files//mcp", 404), ("/ext_authz/files/../files/mcp", 404), ("/ext_authz/./files/mcp", 404),
        ("/ext_authz/../v1/tools", 404), ("/ext_authz/files/MCP", 404), ("/EXT_AUTHZ/files/mcp", 404),
        ("/ext_authz/files%2fmcp", 404), ("/ext_authz/%2e%2e/mcp", 404), ("/ext_authz/..%2ffiles/mcp", 404),
        ("/ext_authz/files/mcp;x", 404), ("/ext_authz/files\\mcp", 404), ("/ext_authz/files/mcp%00", 404),
        ("/ext_authz/fil%65s/mcp", 403), ("/ext_authz/files/mc%70", 403), ("/ext%5fauthz/files/mcp", 403),
        ("/ext_authz/files/mcp?", 200), ("/ext_authz/files/mcp?x=1", 403), ("/ext_authz/files/mcp?/admin", 403),
        ("/ext_authz/Files/mcp", 403), ("/ext_authz/files./mcp", 403), ("/ext_authz/nothing/mcp", 403),
        ("/ext_authz/files@x/mcp", 403), ("/ext_authz/builtin/mcp", 403),
    ],
)  # fmt: skip
def test_one_spelling_of_a_servers_path_alone_is_forwarded(gate, path, status):
    assert ask(gate, message("ping", {}), path=path)[0] == status


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_another_method_is_not_forwarded(gate, method):
    connection = UnixConnection(gate.daemon.socket_path)
    headers = {"authorization": f"Bearer {gate.tokens['alice']}", "content-type": "application/json"}
    connection.request(method, HERE, json.dumps(message("ping", {})), headers)
    assert connection.getresponse().status == 405
    connection.close()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", []), (b"{", []), ([message()], []),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', []),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}', []),
        (message(), [("x-envoy-auth-partial-body", "true")]),
        (message(), [("content-type", "application/json")]),
        (message(), [("mcp-name", "forge")]),
        (message("tasks/get", {"taskId": "t"}), []),
    ],
)  # fmt: skip
def test_what_is_no_message_that_is_decided_about_is_a_403_with_its_receipt(gate, body, headers):
    status, answer, _ = ask(gate, body, *headers)
    assert (status, answer["reason"].partition(":")[0]) == (403, "invalid_args")
    assert receipt(gate, answer["receipt_id"])["decision"] == "deny"


def test_an_unknown_tool_and_arguments_of_another_type_are_denied(gate):
    assert ask(gate, call("nothing"))[1]["reason"] == "unknown_tool"
    assert ask(gate, call("files.echo"))[1]["reason"] == "unknown_tool"
    assert ask(gate, call("echo", text=7))[1]["reason"].partition(":")[0] == "invalid_args"


def test_a_body_past_the_bound_an_encoded_one_and_a_hidden_one_are_not_forwarded(gate):
    assert ask(gate, call(text="x" * (1 << 20)))[0] == 413
    assert ask(gate, call(text="hi"), ("content-encoding", "gzip"))[0] == 415
    chunked = (
        f"GET {HERE} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gate.tokens['alice']}\r\n"
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(gate.daemon.socket_path)
        sock.sendall(chunked.encode())
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 403 ")


def test_over_tcp_the_name_that_the_client_asked_for_is_not_this_daemons(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    with (
        RunningDaemon(data_dir, BRIEFCASE_TCP_ADDR=f"127.0.0.1:{port}"),
        socket.create_connection(("127.0.0.1", port)) as sock,
    ):
        sock.sendall(f"GET {HERE} HTTP/1.1\r\nhost: tools.example\r\n\r\n".encode())
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 403 ")


def test_a_flood_and_a_daemon_that_cannot_write_are_never_an_allow(tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text("[principal]\nper_second = 1\nburst = 3\n")
    with RunningDaemon(data_dir) as daemon:
        token = daemon.request("POST", "/v1/agents", {"name": "alice"})[1]["token"]
        flooded = SimpleNamespace(daemon=daemon, tokens={"alice": token})
        statuses = {ask(flooded, call(text="hi"))[0] for _ in range(8)}
        assert statuses == {403, 429}  # `files` is no server here
