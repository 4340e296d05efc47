"""What does the gateway add to a call that a daemon answers directly, with both receipts durable?

Both sides are asked in turn in the same run, each over one kept connection: the daemon over its Unix socket, the
gateway over Streamable HTTP with a stateless `tools/call` of the same tool.

And what does an MCP server's call cost through us, beside a public proxy? One client calls the same `echo` server in
turn over Streamable HTTP (2025-11-25, a session each): directly; through the gateway and the daemon, with policy and
two durable receipts; and through `mcp-proxy` from PyPI, which does neither. Both start the server over stdio. Called in
turn, each of them finds its code and data gone from the processor's caches, the more of it the worse; `in_a_row` is the
same call when it was called just before.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import await_address

ROOT = Path(__file__).parent.parent
ECHO_SERVER = [sys.executable, str(ROOT / "tests" / "servers" / "fixture_server.py")]
PROXY_VENV = ROOT / "build" / "bench-proxy"
PROXY_PACKAGE = "mcp-proxy==0.13.0"
START_TIMEOUT_S = 30
BESIDE_CALLS = 200
IN_A_ROW = 500
ROUNDS = 5
CALLS = 300
AGENTS = 64
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture(scope="module")
def gateway(daemon, agent_token):
    """A gateway in front of the daemon; gives its address."""
    env = {
        **daemon.env,
        "BRIEFCASE_AUTH_TOKEN": agent_token,
        "BRIEFCASE_MCP_HTTP_ADDR": "127.0.0.1:0",
        "BRIEFCASE_MCP_NO_STDIO": "1",
    }
    command = [sys.executable, "-m", "briefcase", "gateway"]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
    try:
        url = await_address(process)
        host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
        yield host, int(port)
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stderr.close()


def direct_request(token: str) -> bytes:
    call = {"tool_id": "echo", "args": {"text": "hello"}, "context": {"request_id": str(uuid.uuid4())}}
    return http_request("/v1/tools/call", token, json.dumps({"call": call}).encode(), "Host: briefcase\r\n")


def gateway_request(token: str, port: int, number: int) -> bytes:
    params = {"name": "echo", "arguments": {"text": "hello"}, "_meta": META}
    body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    headers = (
        f"Host: 127.0.0.1:{port}\r\nAccept: application/json, text/event-stream\r\n"
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n"
    )
    return http_request("/mcp", token, json.dumps(body).encode(), headers)


def http_request(path: str, token: str, body: bytes, headers: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send one request and read its whole answer, whose length is declared."""
    connection.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    while len(body) < length:
        body += connection.recv(65_536)
    assert head.startswith(b"HTTP/1.1 200"), head
    assert b"hello" in body, body
    return body


def percentile(values: list[int], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] / 1_000


def bench_what_the_gateway_adds(benchmark, figure, daemon, agent_token, gateway):
    direct, through = socket.socket(socket.AF_UNIX), socket.create_connection(gateway)
    direct.connect(daemon.socket_path)
    through.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    numbers = itertools.count()
    took: dict[str, list[int]] = {"direct": [], "gateway": []}

    def timed(name: str, connection: socket.socket, request: bytes) -> None:
        started_ns = time.perf_counter_ns()
        exchange(connection, request)
        took[name].append(time.perf_counter_ns() - started_ns)

    def one_round():
        for _ in range(CALLS):
            timed("direct", direct, direct_request(agent_token))
            timed("gateway", through, gateway_request(agent_token, gateway[1], next(numbers)))

    one_round()  # warm
    took["direct"].clear()
    took["gateway"].clear()
    benchmark.pedantic(one_round, rounds=ROUNDS)
    direct.close()
    through.close()

    for percent in (50, 99):
        added_us = percentile(took["gateway"], percent) - percentile(took["direct"], percent)
        figure(f"gateway.added_p{percent}_us", added_us, "µs")
    figure("gateway.p50_us", percentile(took["gateway"], 50), "µs")
    figure("gateway.daemon.p50_us", percentile(took["direct"], 50), "µs")


def bench_many_agents_at_once(benchmark, figure, agent_token, gateway):
    host, port = gateway
    rates, latencies = [], []

    async def agent(number: int, calls: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for call in range(calls):
            started_ns = time.perf_counter_ns()
            writer.write(gateway_request(agent_token, port, call))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
            assert json.loads(body)["id"] == call, "an answer crossed"
            latencies.append(time.perf_counter_ns() - started_ns)
        writer.close()
        await writer.wait_closed()

    async def all_agents() -> None:
        await asyncio.gather(*(agent(number, 30) for number in range(AGENTS)))

    def one_round():
        started_s = time.perf_counter()
        asyncio.run(all_agents())
        rates.append(AGENTS * 30 / (time.perf_counter() - started_s))

    benchmark.pedantic(one_round, rounds=3)

    figure("gateway.64.per_second", statistics.median(rates), "/s")
    figure("gateway.64.p95_us", percentile(latencies, 95), "µs")


class McpClient:
    """The one client: a session over Streamable HTTP on one kept connection."""

    def __init__(self, host: str, port: int, path: str, token: str = "") -> None:
        self.connection = http.client.HTTPConnection(host, port, timeout=START_TIMEOUT_S)
        self.path = path
        self.headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        client = {"name": "bench", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        self.post({"id": 0, "method": "initialize", "params": params})
        self.headers["MCP-Protocol-Version"] = "2025-11-25"
        self.post({"method": "notifications/initialized"})

    def post(self, message: dict) -> bytes:
        body = json.dumps({"jsonrpc": "2.0", **message})
        self.connection.request("POST", self.path, body, self.headers)
        response = self.connection.getresponse()
        session = response.getheader("Mcp-Session-Id")
        if session:
            self.headers["Mcp-Session-Id"] = session
        data = response.read()
        assert response.status in {200, 202}, (response.status, data)
        return data

    def echo(self, number: int) -> int:
        """One call of `echo`; gives the nanoseconds it took."""
        words = f"hello {number}"
        started_ns = time.perf_counter_ns()
        data = self.post(
            {"id": number, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": words}}}
        )
        took_ns = time.perf_counter_ns() - started_ns
        assert words.encode() in data, data
        return took_ns


@contextlib.contextmanager
def started(command: list[str], **options) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=10)
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


@pytest.fixture(scope="module")
def direct_server():
    """The echo server over HTTP; gives host, port and path."""
    with started([*ECHO_SERVER, "http", "--era", "handshake"], stdout=subprocess.PIPE) as process:
        host, _, rest = process.stdout.readline().strip().removeprefix("http://").partition(":")
        port, _, path = rest.partition("/")
        yield host, int(port), f"/{path}"


@pytest.fixture(scope="module")
def server_behind_us(daemon, gateway):
    """The echo server behind the daemon; gives where the gateway shows it."""
    rules = [{"tool": "*", "category": "read"}]
    body = {"command": ECHO_SERVER[0], "args": [ECHO_SERVER[1], "stdio", "--era", "handshake"], "rules": rules}
    assert daemon.request("POST", "/v1/mcp/servers/fx", body)[0] == 200
    deadline = time.monotonic() + START_TIMEOUT_S
    while daemon.request("GET", "/v1/mcp/servers")[1]["servers"][0]["state"] != "ready":
        assert time.monotonic() < deadline, "the echo server did not become ready"
        time.sleep(0.02)
    return *gateway, "/mcp/fx"


@pytest.fixture(scope="module")
def public_proxy():
    """The public proxy, installed into an environment of its own, in front of the echo server; gives where it is."""
    command = PROXY_VENV / "bin" / "mcp-proxy"
    if not command.exists():
        install = [PROXY_VENV / "bin" / "python", "-m", "pip", "install", "-q", PROXY_PACKAGE]
        subprocess.run([sys.executable, "-m", "venv", PROXY_VENV], check=True)
        installed = subprocess.run(install, capture_output=True, text=True, check=False)
        if installed.returncode:
            pytest.skip(f"`{PROXY_PACKAGE}` cannot be had from the package index: {installed.stderr[-200:]}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = [*ECHO_SERVER, "stdio", "--era", "handshake"]
    options = ["--port", str(port), "--log-level", "ERROR"]
    with started([str(command), *options, "--", *server], stderr=subprocess.DEVNULL):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < deadline, "the public proxy did not start"
            time.sleep(0.05)
        yield "127.0.0.1", port, "/mcp"


def bench_beside_a_public_proxy(
    benchmark, figure, agent_token, commit_us, direct_server, server_behind_us, public_proxy
):
    clients = {
        "direct": McpClient(*direct_server),
        "ours": McpClient(*server_behind_us, agent_token),
        "public_proxy": McpClient(*public_proxy),
    }
    numbers = itertools.count(1)
    took: dict[str, list[int]] = {name: [] for name in clients}

    def one_round():
        for _ in range(BESIDE_CALLS):
            for name, client in clients.items():
                took[name].append(client.echo(next(numbers)))

    one_round()  # warm
    for values in took.values():
        values.clear()
    benchmark.pedantic(one_round, rounds=ROUNDS)
    in_a_row = {name: [client.echo(next(numbers)) for _ in range(IN_A_ROW)] for name, client in clients.items()}
    for client in clients.values():
        client.connection.close()

    for name, values in took.items():
        for percent in (50, 99):
            figure(f"gateway.{name}.p{percent}_us", percentile(values, percent), "µs")
        figure(f"gateway.{name}.in_a_row.p50_us", percentile(in_a_row[name], 50), "µs")
    figure("gateway.ours.commit_us", commit_us, "µs")  # one synced commit just before; a call of ours waits for two
