"""External authorization over gRPC: the published messages, what is none, and who asks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from briefcase.daemon.proxies import serve_proxies
from briefcase.edges.ext_authz import messages
from briefcase.edges.ext_authz.messages import Question, UnreadableError, encode_denied, encode_ok, read_check
from briefcase.model.errors import ConfigError
from support.daemons import RunningDaemon
from support.envoy import free_port
from support.waiting import BOUND_S

FIXTURE = str(Path(__file__).parent.parent / "servers" / "fixture_server.py")
METHOD = "/envoy.service.auth.v3.Authorization/Check"
# made with the classes that `xds-protos` 1.85.0 generates of Envoy's own files
QUESTION = bytes.fromhex(
    "0ab9010a1b0a0d0a0b12093132372e302e302e31220a7370696666653a2f2f7822780a02080112720a0231371204504f53541a190a0d61757468"
    "6f72697a6174696f6e120842656172657220741a200a0c636f6e74656e742d7479706512106170706c69636174696f6e2f6a736f6e22042f6d63"
    "702a0d746f6f6c732e6578616d706c6532046874747048025208485454502f312e3162027b7d520f0a06736572766572120566696c6573620f0a"
    "0d746f6f6c732e6578616d706c65"
)
OK = bytes.fromhex("0a001a222a11782d6272696566636173652d6167656e742a0d617574686f72697a6174696f6e")
DENIED = bytes.fromhex(
    "0a02080712450a0308930312220a200a0c636f6e74656e742d7479706512106170706c69636174696f6e2f6a736f6e1a1a7b22726561736f6e22"
    "3a22706f6c6963795f64656e696564227d"
)


# --- the messages -----------------------------------------------------------------------------------------------------


def test_a_question_and_the_answers_are_the_published_messages():
    headers = {"authorization": "Bearer t", "content-type": "application/json"}
    assert read_check(QUESTION) == Question("files", "POST", "/mcp", headers, b"{}", has_other_forms=False)
    assert encode_ok(("x-briefcase-agent", "authorization")) == OK
    assert encode_denied(403, b'{"reason":"policy_denied"}') == DENIED


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff" * 64, b"{}", QUESTION[:-1], QUESTION[:40], b"\x0a\x00", b"\x0a\x02\x22\x00"]
)
def test_garbage_half_a_question_and_one_about_nothing_are_unreadable(data):
    with pytest.raises(UnreadableError):
        read_check(data)


# --- at a daemon ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """A daemon that answers over gRPC, with the server `files`; alice, and `desk`, which decides for `a*`."""
    data_dir = tmp_path_factory.mktemp("ext-authz-grpc") / "data"
    data_dir.mkdir(mode=0o700)
    address = f"127.0.0.1:{free_port()}"
    with RunningDaemon(data_dir, BRIEFCASE_EXT_AUTHZ_ADDR=address) as daemon, grpc.insecure_channel(address) as channel:
        body = {"command": sys.executable, "args": [FIXTURE, "stdio"]}
        assert daemon.request("POST", "/v1/mcp/servers/files", body)[0] == 200
        daemon.await_tools("files.echo")
        tokens = {
            name: daemon.request("POST", "/v1/agents", {"name": name, "decides_for": pattern})[1]["token"]
            for name, pattern in (("alice", ""), ("desk", "a*"))
        }
        yield SimpleNamespace(daemon=daemon, tokens=tokens, ask=channel.unary_unary(METHOD), channel=channel)


def question(gate, *, by="alice", path="/mcp", server="files", method="POST", body=None, **fields):
    """A question as Envoy puts it; `headers` are added."""
    told = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hi"}}}
    made = messages.CLASSES["CheckRequest"]()
    held = made.attributes.request.http
    held.method, held.path = method, path
    held.headers["content-type"] = "application/json"
    if by is not None:
        held.headers["authorization"] = f"Bearer {gate.tokens[by]}"
    held.headers.update(fields.pop("headers", {}))
    held.raw_body = json.dumps(told).encode() if body is None else body
    if server is not None:
        made.attributes.context_extensions["server"] = server
    for name, value in fields.items():
        setattr(held, name, value)
    return made.SerializeToString()


def answer(gate, data, **metadata):
    """What is answered: the status of HTTP, and the body or the headers to take out."""
    found = messages.CLASSES["CheckResponse"]()
    found.ParseFromString(gate.ask(data, metadata=list(metadata.items()), timeout=20))
    if found.HasField("ok_response"):
        assert (found.status.code, found.HasField("denied_response")) == (0, False)
        return 200, list(found.ok_response.headers_to_remove)
    assert found.status.code == 7
    return found.denied_response.status.code, json.loads(found.denied_response.body)


def test_a_call_is_decided_receipted_and_closed_before_it_is_forwarded(gate):
    assert answer(gate, question(gate)) == (200, ["x-briefcase-agent", "authorization"])
    newest = gate.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["event"]
    assert (newest["kind"], newest["tool_id"], newest["principal"]) == ("delegated", "files.echo", "alice")


def test_what_may_not_pass_is_a_denial_that_says_why(gate):
    status, told = answer(gate, question(gate, body=b"[]"))
    assert (status, told["reason"].partition(":")[0]) == (403, "invalid_args")
    assert told["receipt_id"] > 0
    assert answer(gate, question(gate, by=None))[0] == 401
    assert answer(gate, question(gate, headers={"authorization": "Bearer nobody"}))[0] == 401


def test_the_server_is_named_by_the_route_or_by_the_path_in_one_spelling(gate):
    assert answer(gate, question(gate, server=None, path="/files/mcp"))[0] == 200
    for server, path in (
        (None, "/mcp"), (None, "/files/mcp/"), (None, "//files/mcp"), (None, "/files/mcp?x=1"), (None, "files/mcp"),
        (None, "/a/files/mcp"), (None, "/fil%65s/mcp"), ("files", "/files/mcp"), ("files", "/mcp/"), ("files", ""),
        ("files", "/MCP"), ("files", "/mcp?x"), ("nothing", "/mcp"), ("Files", "/mcp"), ("files ", "/mcp"),
    ):  # fmt: skip
        assert answer(gate, question(gate, server=server, path=path))[0] == 403, (server, path)


def test_envoys_own_token_names_the_agent_and_the_clients_headers_stay(gate):
    token = f"Bearer {gate.tokens['desk']}"
    named = question(gate, by=None, headers={"x-briefcase-agent": "alice", "authorization": "Bearer of-the-server"})
    assert answer(gate, named, authorization=token) == (200, ["x-briefcase-agent"])
    assert answer(gate, question(gate, by=None), authorization=token)[1]["reason"] == "unknown_subject"
    assert answer(gate, question(gate), authorization="Bearer nobody")[0] == 401


def code_of(gate, data, *metadata, method=METHOD):
    with pytest.raises(grpc.RpcError) as failed:
        gate.channel.unary_unary(method)(data, metadata=metadata, timeout=20)
    return failed.value.code()


def test_garbage_and_forms_that_are_not_read_are_errors_of_grpc_which_envoy_closes_on(gate):
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    for data in (b"", b"\xff" * 64, question(gate)[:-1], b"\x0a\x00"):
        assert code_of(gate, data) is invalid
    assert code_of(gate, _with_text_body(gate)) is invalid
    assert code_of(gate, question(gate, header_map=b"\x0a\x00")) is invalid
    twice = ("authorization", f"Bearer {gate.tokens['alice']}")
    assert code_of(gate, question(gate), twice, twice) is invalid
    assert code_of(gate, question(gate), method=METHOD.replace("Check", "check")) is grpc.StatusCode.UNIMPLEMENTED
    assert code_of(gate, question(gate, body=b" " * (2 << 20))) is grpc.StatusCode.RESOURCE_EXHAUSTED


def _with_text_body(gate):
    made = messages.CLASSES["CheckRequest"]()
    made.ParseFromString(question(gate))
    made.attributes.request.http.body = "{}"
    return made.SerializeToString()


def test_fields_that_a_newer_envoy_adds_change_nothing(gate):
    newer = question(gate) + b"\x9a\x06\x03new"  # field 99
    assert answer(gate, newer)[0] == 200


def test_a_flood_is_a_denial(tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text("[principal]\nper_second = 1\nburst = 2\n")
    address = f"127.0.0.1:{free_port()}"
    with RunningDaemon(data_dir, BRIEFCASE_EXT_AUTHZ_ADDR=address) as daemon, grpc.insecure_channel(address) as channel:
        token = daemon.request("POST", "/v1/agents", {"name": "alice"})[1]["token"]
        flooded = SimpleNamespace(tokens={"alice": token}, ask=channel.unary_unary(METHOD))
        assert {answer(flooded, question(flooded))[0] for _ in range(8)} == {403, 429}


def test_a_port_that_is_taken_stops_the_start_by_name(tmp_path):
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        address = f"127.0.0.1:{taker.getsockname()[1]}"
        data_dir = tmp_path / "data"
        data_dir.mkdir(mode=0o700)
        ours = {"BRIEFCASE_DATA_DIR": str(data_dir), "BRIEFCASE_SECRET_BACKEND": "file"}
        ended = subprocess.run(
            [sys.executable, "-m", "briefcase", "daemon"],
            env={**os.environ, **ours, "BRIEFCASE_EXT_AUTHZ_ADDR": address},
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
    assert ended.returncode == 9
    assert f"`BRIEFCASE_EXT_AUTHZ_ADDR`: cannot listen on `{address}`" in ended.stderr


def test_a_missing_extra_stops_the_start_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "briefcase.edges.ext_authz.server", None)
    start = SimpleNamespace(settings=SimpleNamespace(ext_authz_addr=("127.0.0.1", 1)))
    with pytest.raises(ConfigError, match="modules that are not installed"):
        serve_proxies(start, None, None, None).send(None)
