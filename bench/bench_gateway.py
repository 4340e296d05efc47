"""What does the gateway add to a call that a daemon answers directly, with both receipts durable?

Both sides are asked in turn in the same run, each over one kept connection: the daemon over its Unix socket, the
gateway over Streamable HTTP with a stateless `tools/call` of the same tool.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import statistics
import subprocess
import sys
import time
import uuid

import pytest

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
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        url = process.stderr.readline().strip().rpartition(" ")[2]
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
        figure(f"gateway.added.p{percent}_us", added_us, "µs")
    figure("gateway.p50_us", percentile(took["gateway"], 50), "µs")
    figure("gateway.direct.p50_us", percentile(took["direct"], 50), "µs")


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
