"""Against a real daemon: a server gets the canonical arguments, what the daemon makes of a closed set, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rfc8785

from briefcase import __version__
from support.daemons import RunningDaemon

SERVER = str(Path(__file__).parent / "recording_server.py")
ALLOW_ALL = "".join(
    f'@id("{action}") permit (principal, action == Action::"{action}", resource);\n'
    for action in ("Call", "CallWithoutApproval", "CallWithoutSigner")
)
META = "io.modelcontextprotocol/"
REVISIONS = {"stateless": "2026-07-28", "handshake": "2025-11-25"}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CAPABILITIES = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
EXCHANGE = {
    "capabilities": CAPABILITIES,
    "log_level": "debug",
    "progress": True,
    "trace": {"traceparent": TRACEPARENT},
}
# every member, in an order and with numbers and characters that have other spellings
PAY = b'{"to": "al\\u0069ce \xe2\x82\xac\\n", "amount": 1.50e1, "deep": {"z": [1E21, -0.0, 0.1e-6], "a": null}}'

# what is called, its arguments as the agent writes them, and the method and parameters a server may get of it
CALLS = [
    ("bank.pay", PAY, "tools/call", {"name": "pay", "arguments": json.loads(PAY)}),
    ("bank:resources.read", b'{"uri": "file:///\xc3\xa9"}', "resources/read", {"uri": "file:///é"}),
    ("bank:resources.subscribe", b'{"uri": "file:///\xc3\xa9"}', "resources/subscribe", {"uri": "file:///é"}),
    ("bank:resources.unsubscribe", b'{"uri": "file:///\xc3\xa9"}', "resources/unsubscribe", {"uri": "file:///é"}),
    ("bank:resources.list", b'{"cursor": "c"}', "resources/list", {"cursor": "c"}),
    ("bank:resources.templates", b"{}", "resources/templates/list", {}),
    ("bank:prompts.list", b'{"cursor": "c"}', "prompts/list", {"cursor": "c"}),
    (
        "bank:prompts.get",
        b'{"name": "p", "arguments": {"b": "2", "a": "1"}}',
        "prompts/get",
        {"name": "p", "arguments": {"a": "1", "b": "2"}},
    ),
    (
        "bank:complete",
        b'{"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "v"}}',
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "v"}},
    ),
]
NAMES = {"tools/call": "pay", "prompts/get": "p", "resources/read": "=?base64?ZmlsZTovLy/DqQ==?="}


class Recorded:
    """A daemon with a recording server behind it, and an agent that may call everything."""

    def __init__(self, daemon: RunningDaemon, record: Path, server: dict) -> None:
        self.daemon = daemon
        self.record = record
        assert daemon.request("POST", "/v1/mcp/servers/bank", server)[0] == 200
        assert daemon.request("PUT", "/v1/policy", {"policy_text": ALLOW_ALL})[0] == 200
        self.agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        daemon.await_tools("bank.pay")

    def call(self, tool_id: str, args: bytes, exchange: dict) -> tuple[int, dict]:
        call = {"tool_id": tool_id, "args": "ARGS", "context": {"request_id": str(uuid.uuid4()), "agent_id": "a-id"}}
        body = json.dumps({"call": call, "exchange": exchange}).encode().replace(b'"ARGS"', args)
        return self.daemon.request("POST", "/v1/mcp/call", body, token=self.agent)

    def got(self, *methods: str) -> list[tuple[bytes, list[list[str]]]]:
        """The messages of those methods, with their headers; of none named, of all."""
        lines = [json.loads(line) for line in self.record.read_text().splitlines()]
        found = [(b64decode(line["data"]), line["headers"]) for line in lines]
        return [one for one in found if not methods or (one[0] and json.loads(one[0]).get("method") in methods)]


@contextmanager
def recorded(tmp_path: Path, transport: str, era: str, *options: str) -> Iterator[Recorded]:
    record = tmp_path / "record"
    record.touch()
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    command = [SERVER, transport, str(record), "--era", era, *options]
    rules = [{"tool": "pay", "category": "write"}]
    if transport == "stdio":
        with RunningDaemon(data) as daemon:
            yield Recorded(daemon, record, {"command": sys.executable, "args": command, "rules": rules})
        return
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            (data / "briefcase.toml").write_text(f'[net]\nallow_private = ["127.0.0.1:{port}"]\n')
            (data / "briefcase.toml").chmod(0o600)
            with RunningDaemon(data) as daemon:
                yield Recorded(daemon, record, {"endpoint_url": f"http://127.0.0.1:{port}/mcp", "rules": rules})
        finally:
            server.kill()


def expected_meta(era: str, message_id: int) -> dict:
    meta = {"traceparent": TRACEPARENT, "progressToken": message_id}
    if era == "stateless":
        meta |= {
            f"{META}protocolVersion": REVISIONS[era],
            f"{META}clientInfo": {"name": "briefcase", "version": __version__},
            f"{META}clientCapabilities": CAPABILITIES,
            f"{META}logLevel": "debug",
        }
    return meta


def expected_headers(era: str, method: str, size: int, host: str) -> dict[str, str]:
    headers = {
        "host": host,
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "user-agent": "briefcase",
        "content-length": str(size),
        "mcp-protocol-version": REVISIONS[era],
    }
    if era == "stateless":
        headers["mcp-method"] = method
        if method in NAMES:
            headers["mcp-name"] = NAMES[method]
    if method == "tools/call":
        headers["mcp-param-to"] = "=?base64?YWxpY2Ug4oKsCg==?="
    return headers


@pytest.mark.parametrize("era", ["stateless", "handshake"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_server_gets_the_canonical_arguments_and_what_the_daemon_makes_and_no_byte_more(tmp_path, transport, era):
    with recorded(tmp_path, transport, era) as bank:
        for tool_id, args, method, params in CALLS:
            status, answer = bank.call(tool_id, args, EXCHANGE)
            assert (status, answer["status"]) == (200, "ok"), (tool_id, answer)
            ((data, headers),) = bank.got(method)
            message_id = json.loads(data)["id"]
            assert type(message_id) is int
            body = rfc8785.dumps({**params, "_meta": expected_meta(era, message_id)})
            assert data == b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}' % (message_id, method.encode(), body)
            if transport == "http":
                found = {name.lower(): value for name, value in headers}
                assert len(found) == len(headers), "a header came twice"
                assert found == expected_headers(era, method, len(data), found["host"])


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_what_goes_on_with_a_call_brings_its_answers_and_the_servers_own_state(tmp_path, transport):
    with recorded(tmp_path, transport, "stateless", "--asks") as bank:
        wanted = bank.call("bank.pay", PAY, EXCHANGE)[1]["result"]["content"]
        answers = {"q": {"action": "accept", "content": {"z": 1, "a": "\u00e9"}}}
        args = {"target": "bank.pay", "state": wanted["requestState"], "responses": answers}
        going_on = json.dumps({**args, "arguments": "PAY"}).encode().replace(b'"PAY"', PAY)
        assert bank.call("bank:continue", going_on, EXCHANGE)[1]["status"] == "ok"
        data = bank.got("tools/call")[1][0]
        message_id = json.loads(data)["id"]
        params = {
            "name": "pay",
            "arguments": json.loads(PAY),
            "inputResponses": answers,
            "requestState": "the-server's",
            "_meta": expected_meta("stateless", message_id),
        }
        expected = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":%b}' % (message_id, rfc8785.dumps(params))
        assert data == expected


def test_a_server_that_asked_back_gets_the_answer_that_was_decided_on(tmp_path):
    with recorded(tmp_path, "stdio", "handshake", "--asks") as bank:
        wanted = bank.call("bank.pay", PAY, EXCHANGE)[1]["result"]["content"]
        (key,) = wanted["inputRequests"]
        answer = {"content": {"z": 1.50, "a": "\u00e9"}, "action": "accept"}
        args = {"target": "bank.pay", "state": wanted["requestState"], "responses": {key: answer, "other": answer}}
        going_on = json.dumps({**args, "arguments": "PAY"}).encode().replace(b'"PAY"', PAY)
        assert bank.call("bank:continue", going_on, EXCHANGE)[1]["status"] == "ok"
        data = bank.got()[-1][0]
        assert data == b'{"jsonrpc":"2.0","id":"q-1","result":%b}' % rfc8785.dumps(answer)


HOSTILE = [
    {"trace": {"com.bank/tenant": "mallory"}},
    {"trace": {"override_to": "x" * 100_000}},
    {"trace": {"progressToken": "1"}},
    {"trace": {"tracestate": "k=v"}},
    {"trace": {"baggage": "k=v"}},
    {"trace": {"traceparent": "mallory"}},
    {"trace": {"traceparent": TRACEPARENT + "-mallory"}},
    {"trace": {"traceparent": TRACEPARENT + "\n"}},
    {"trace": {"traceparent": TRACEPARENT.upper()}},
    {"trace": {"traceparent": TRACEPARENT.replace("00-", "01-", 1)}},
    {"trace": {"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}},
    {"trace": {"traceparent": ["x"]}},
    {"capabilities": {"experimental": {"mallory": {}}}},
    {"capabilities": {"elicitation": {"form": {"mallory": 1}}}},
    {"capabilities": {"elicitation": {"mallory": {}}}},
    {"capabilities": {"sampling": {"mallory": {}}}},
    {"capabilities": {"roots": {"listChanged": "mallory"}}},
    {"capabilities": {"roots": "mallory"}},
    {"log_level": "mallory"},
    {"task": {"ttl_ms": 61_234}},
    {"task": {"is_asked": True, "note": "mallory"}},
    {"progress": "mallory"},
    {"progress": 7},
    {"_meta": {"mallory": 1}},
    {"headers": {"x-mallory": "1"}},
    {"request_id": "mallory"},
]


def test_whatever_else_rides_beside_a_call_is_refused_with_a_receipt_and_reaches_nobody(tmp_path):
    with recorded(tmp_path, "stdio", "stateless") as bank:
        before = bank.got()
        for exchange in HOSTILE:
            status, answer = bank.call("bank.pay", PAY, exchange)
            assert status == 400, (exchange, answer)
            assert "expected in `exchange` only what a server may be told beside the arguments" in answer["message"]
            assert len(answer["message"]) < 1_000
        for tool_id, args in (
            ("bank:resources.read", b'{"uri": "u", "_meta": {"mallory": 1}}'),
            ("bank:prompts.get", b'{"name": "p", "_meta": {"mallory": 1}}'),
            ("bank:complete", b'{"ref": {}, "argument": {}, "_meta": {"mallory": 1}}'),
            ("bank:resources.list", b'{"progressToken": 1}'),
        ):
            answer = bank.call(tool_id, args, {})[1]
            assert answer["status"] == "denied", answer
            assert answer["reason"].startswith("invalid_args: ")
        assert bank.got() == before
        receipts = bank.daemon.request("GET", "/v1/receipts?limit=100")[1]["receipts"]
        assert any(receipt["event"]["kind"] == "refused" for receipt in receipts)
