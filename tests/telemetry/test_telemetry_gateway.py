"""One trace from an agent through the gateway and the daemon to what is upstream, against a real OTLP receiver."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.commands import await_address
from support.daemons import RunningDaemon
from support.hostile_servers import RawServer, answering, http_answer
from support.otlp_receiver import OtlpReceiver, attributes_of

FIXTURE = str(Path(__file__).parent.parent / "servers" / "fixture_server.py")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"  # of the examples in W3C Trace Context
SPAN_ID = "00f067aa0ba902b7"
CONTEXT = f"00-{TRACE_ID}-{SPAN_ID}-01"
TOKEN_TEXT = "a text that only arguments hold"


class Gateway:
    """A gateway in a process of its own, and its client over HTTP and over the standard streams."""

    def __init__(self, daemon: RunningDaemon, environment: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        agent = daemon.request("POST", "/v1/agents", {"name": f"scout{time.monotonic_ns()}"})[1]["token"]
        self.token = agent
        self.asked = 0
        env = {
            **daemon.env,
            **environment,
            "BRIEFCASE_AUTH_TOKEN": agent,
            "BRIEFCASE_MCP_HTTP_ADDR": self.address,
        }
        command = [sys.executable, "-m", "briefcase", "gateway"]
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert await_address(self.process)

    def ask(self, name: str, args: dict, **meta: str) -> dict:
        """A `tools/call` of 2026-07-28 at the standard streams; gives the result."""
        params = {"name": name, "arguments": args, "_meta": {**stateless_meta(), **meta}}
        self.asked += 1  # an id of its own: one that is answered may still be in use for a moment
        message = {"jsonrpc": "2.0", "id": self.asked, "method": "tools/call", "params": params}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == self.asked, answer
        return answer.get("result", {})

    def ask_over_http(self, name: str, args: dict, **headers: str) -> dict:
        """The same over Streamable HTTP."""
        params = {"name": name, "arguments": args, "_meta": stateless_meta()}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        request = urllib.request.Request(
            f"http://{self.address}/mcp",
            json.dumps(message).encode(),
            {
                "Content-Type": "application/json",
                "Accept": "application/json, text/event-stream",
                "Authorization": f"Bearer {self.token}",
                "MCP-Protocol-Version": "2026-07-28",
                "Mcp-Method": "tools/call",
                "Mcp-Name": name,
                **headers,
            },
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read())["result"]

    def stop(self) -> bytes:
        """Stop it; gives what it logged."""
        self.process.send_signal(signal.SIGTERM)
        _, logged = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, logged
        return logged


def stateless_meta() -> dict:
    prefix = "io.modelcontextprotocol/"
    return {
        f"{prefix}protocolVersion": "2026-07-28",
        f"{prefix}clientInfo": {"name": "rig", "version": "1"},
        f"{prefix}clientCapabilities": {},
    }


@contextmanager
def running(data_dir, receiver, upstream, **environment):
    """A daemon with an HTTP tool and an MCP server, and a gateway before it, all sending to the receiver."""
    (data_dir / "tools").mkdir(parents=True, mode=0o700)
    data_dir.chmod(0o700)
    (data_dir / "briefcase.toml").write_text(f'[net]\nallow_private = ["{upstream.address}"]\n')
    tool = {"id": "desk", "method": "GET", "url": f"{upstream.url}/x", "category": "read"}
    (data_dir / "tools" / "desk.json").write_text(json.dumps({"tools": [tool]}))
    (data_dir / "tools" / "desk.json").chmod(0o600)
    environment = {**receiver.environment, **environment}
    with RunningDaemon(data_dir, **environment) as daemon:
        body = {"command": sys.executable, "args": [FIXTURE, "stdio"]}
        assert daemon.request("POST", "/v1/mcp/servers/fx", body)[0] == 200
        daemon.await_servers()
        gateway = Gateway(daemon, environment)
        try:
            yield daemon, gateway
        finally:
            if gateway.process.poll() is None:
                gateway.process.kill()
                gateway.process.communicate()


def by_name(spans) -> dict:
    return {span.name: span for span in spans}


def mine(receiver) -> list:
    """The trace of the call, without the gateway's first question: whose token it is."""
    ours = [span for span in receiver.spans if span.trace_id.hex() == TRACE_ID]
    return [span for span in ours if attributes_of(span).get("http.route") != "/v1/identity"]


def check_tree(spans, root_parent: str) -> None:
    """One trace, one root under the agent's own span, and every other span's parent is there."""
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans)
    roots = [span for span in spans if span.parent_span_id not in ids]
    assert [(span.name, span.parent_span_id.hex()) for span in roots] == [("gateway.call_tool", root_parent)]


def test_an_agents_trace_goes_through_the_gateway_and_the_daemon_to_an_http_upstream(tmp_path):
    with (
        RawServer(answering(http_answer(b'{"a": 1}'))) as upstream,
        OtlpReceiver() as receiver,
        running(tmp_path / "data", receiver, upstream) as (daemon, gateway),
    ):
        result = gateway.ask("desk", {}, traceparent=CONTEXT, tracestate="a=b")
        assert not result.get("isError"), result
        receiver.wait_for(lambda: len(mine(receiver)) >= 7)
        gateway.stop()
        daemon.stop()
    spans = mine(receiver)
    assert Counter(span.name for span in spans) == {
        "gateway.call_tool": 1, "http.request": 1, "policy.decide": 1, "ledger.commit": 2, "tool.execute": 1,
        "http.upstream": 1,
    }  # fmt: skip
    check_tree(spans, SPAN_ID)
    named = by_name(spans)
    assert named["http.request"].parent_span_id == named["gateway.call_tool"].span_id
    assert attributes_of(named["gateway.call_tool"]) == {
        "mcp.method.name": "tools/call", "briefcase.tool_id": "desk", "briefcase.status": "ok",
    }  # fmt: skip
    [head] = upstream.heads
    assert f"traceparent: 00-{TRACE_ID}-{named['http.upstream'].span_id.hex()}-01\r\n".encode() in head
    services = {
        attributes_of(resource.resource)["service.name"]
        for request in receiver.requests
        if hasattr(request, "resource_spans")
        for resource in request.resource_spans
    }
    assert services == {"briefcase", "briefcase-gateway"}


def test_an_mcp_server_gets_the_context_of_the_span_that_asks_it(tmp_path):
    with (
        RawServer(answering(http_answer(b"{}"))) as upstream,
        OtlpReceiver() as receiver,
        running(tmp_path / "data", receiver, upstream) as (daemon, gateway),
    ):
        result = gateway.ask_over_http("fx.trace", {}, traceparent=CONTEXT)
        receiver.wait_for(lambda: "gateway.call_tool" in by_name(mine(receiver)) and len(mine(receiver)) >= 7)
        gateway.stop()
        daemon.stop()
    spans = mine(receiver)
    check_tree(spans, SPAN_ID)
    asked = by_name(spans)["mcp.request"]
    assert asked.parent_span_id == by_name(spans)["tool.execute"].span_id
    assert attributes_of(asked) == {"briefcase.server": "fx"}
    assert result["content"][0]["text"] == f"00-{TRACE_ID}-{asked.span_id.hex()}-01"


def test_what_the_gateway_does_not_sample_a_parent_based_daemon_does_not_either(tmp_path):
    with (
        RawServer(answering(http_answer(b"{}"))) as upstream,
        OtlpReceiver() as receiver,
        running(tmp_path / "data", receiver, upstream, OTEL_TRACES_SAMPLER="parentbased_always_on") as (
            daemon,
            gateway,
        ),
    ):
        for _ in range(3):
            assert not gateway.ask("fx.trace", {}, traceparent=CONTEXT[:-2] + "00").get("isError")
        result = gateway.ask("fx.trace", {}, traceparent=CONTEXT[:-2] + "00")
        receiver.wait_for(lambda: receiver.metrics)
        gateway.stop()
        daemon.stop()
    assert mine(receiver) == []
    assert result["content"][0]["text"].startswith(f"00-{TRACE_ID}-")  # it is carried on all the same
    assert result["content"][0]["text"].endswith("-00")


def test_nothing_a_client_wrote_is_in_a_span_but_the_id_of_a_tool_that_exists(tmp_path):
    with (
        RawServer(answering(http_answer(b"{}"))) as upstream,
        OtlpReceiver() as receiver,
        running(tmp_path / "data", receiver, upstream) as (daemon, gateway),
    ):
        gateway.ask(
            "echo", {"text": TOKEN_TEXT}, traceparent=CONTEXT, tracestate="secretstate=1", baggage="bag=secretbag"
        )
        gateway.ask("no_such_tool_of_anybody", {}, traceparent=CONTEXT)
        gateway.ask("echo", {"text": "x"}, traceparent="00-" + "z" * 40)
        receiver.wait_for(lambda: len([span for span in receiver.spans if span.name == "gateway.call_tool"]) >= 3)
        logged = gateway.stop()
        token = gateway.token
        daemon.stop()
    for text in (TOKEN_TEXT, "no_such_tool_of_anybody", "secretstate", "secretbag", "zzzz", token):
        assert text.encode() not in receiver.raw, text
        assert text.encode() not in logged
    shown = [attributes_of(span) for span in mine(receiver) if span.name == "gateway.call_tool"]
    assert {attributes.get("briefcase.tool_id") for attributes in shown} == {"echo", None}


def test_off_the_gateway_loads_nothing_of_it():
    code = (
        "import sys, briefcase.edges.gateway.serve as s; "
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')], 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("value", ["yes", "2"])
def test_a_gateway_with_a_wrong_setting_does_not_start(tmp_path, value):
    env = {**os.environ, "BRIEFCASE_OTEL": value, "BRIEFCASE_AUTH_TOKEN": "x" * 43, "BRIEFCASE_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "briefcase", "gateway"], env=env, capture_output=True, check=False, timeout=120
    )
    assert (done.returncode, b"`BRIEFCASE_OTEL`" in done.stderr) == (9, True), done.stderr
