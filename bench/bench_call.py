"""How long does a whole `echo` call take, with two durable receipts, counted from the scheduled arrival?"""

from __future__ import annotations

import json
import statistics
import time

import pytest
from load import closed_loop, echo_calls, open_loop, post

from support.daemons import UnixConnection


def bench_call_open_loop(benchmark, figure, daemon, agent_token):
    call = post("/v1/tools/call", agent_token, echo_calls())
    closed_loop(daemon.socket_path, call, connections=8, requests=1_000)  # warm
    loads = []

    def one_round():
        loads.append(open_loop(daemon.socket_path, call, connections=64, rate=500, seconds=4))

    benchmark.pedantic(one_round, rounds=5)

    assert not any(load.failures for load in loads)
    for percent in (50, 95, 99):
        figure(f"call.open500.p{percent}_us", statistics.median(x.percentile_us(percent) for x in loads), "µs")


@pytest.mark.parametrize("connections", [1, 64])
def bench_call_closed_loop(benchmark, figure, daemon, agent_token, connections):
    call = post("/v1/tools/call", agent_token, echo_calls())
    loads = []

    def one_round():
        loads.append(
            closed_loop(daemon.socket_path, call, connections=connections, requests=1_500 * connections // 8 + 500)
        )

    benchmark.pedantic(one_round, rounds=5)

    assert not any(load.failures for load in loads)
    figure(f"call.{connections}.per_second", statistics.median(load.per_second for load in loads), "/s")
    for percent in (50, 95, 99):
        value = statistics.median(load.percentile_us(percent) for load in loads)
        figure(f"call.{connections}.p{percent}_us", value, "µs")


def bench_overhead_of_policy_and_approval(benchmark, figure, daemon, agent_token):
    """The product's SLO: what the daemon adds, upstream excluded, as its own `Server-Timing` says."""
    overheads_us = []
    calls = echo_calls()

    def one_round():
        connection = UnixConnection(daemon.socket_path)
        for _ in range(500):
            started_ns = time.perf_counter_ns()
            headers = {"Authorization": f"Bearer {agent_token}"}
            connection.request("POST", "/v1/tools/call", next(calls), headers)
            response = connection.getresponse()
            assert json.loads(response.read())["status"] == "ok"
            whole_us = (time.perf_counter_ns() - started_ns) / 1_000
            overheads_us.append(whole_us - phase_us(response.headers["Server-Timing"], "execute"))
        connection.close()

    benchmark.pedantic(one_round, rounds=4)

    overheads_us.sort()
    figure("overhead.p95_ms", overheads_us[len(overheads_us) * 95 // 100] / 1_000, "ms")


def phase_us(server_timing: str, phase: str) -> float:
    """One phase of a `Server-Timing` header, in microseconds (the header counts milliseconds)."""
    for part in server_timing.split(","):
        name, _, duration = part.strip().partition(";dur=")
        if name == phase:
            return float(duration) * 1_000
    return 0.0
