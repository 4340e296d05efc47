"""How long does a durable decision take over the socket, beside the floor of the same run?

The floor of one connection is a bare echo plus one synced commit: no server that answers after its record is on disk
can be faster. Rounds of both are interleaved, so that what else the machine does falls on both.
"""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest
from load import closed_loop, echo_calls, open_loop, post

ROUNDS = 5
CONNECTIONS = (1, 8, 64, 256)
REQUESTS = {1: 1_500, 8: 6_000, 64: 15_000, 256: 20_000}


def bench_decision_closed_loop(benchmark, figure, daemon, agent_token, echo_socket, commit_us):
    decide = post("/v1/decide", agent_token, echo_calls())
    echo = post("/", "", echo_calls())
    closed_loop(daemon.socket_path, decide, connections=8, requests=2_000)  # warm
    decided = {count: [] for count in CONNECTIONS}
    echoed = {count: [] for count in CONNECTIONS}

    def one_round():
        for count in CONNECTIONS:
            requests = REQUESTS[count]
            echoed[count].append(closed_loop(echo_socket, echo, connections=count, requests=requests))
            decided[count].append(closed_loop(daemon.socket_path, decide, connections=count, requests=requests))

    benchmark.pedantic(one_round, rounds=ROUNDS)

    assert not any(load.failures for loads in decided.values() for load in loads)
    median = statistics.median
    for count in CONNECTIONS:
        figure(f"decision.{count}.per_second", median(load.per_second for load in decided[count]), "/s")
        for percent in (50, 95, 99):
            ours = median(load.percentile_us(percent) for load in decided[count])
            figure(f"decision.{count}.p{percent}_us", ours, "µs")
            bare = median(load.percentile_us(percent) for load in echoed[count])
            figure(f"floor.echo.{count}.p{percent}_us", bare, "µs")
        figure(f"floor.echo.{count}.per_second", median(load.per_second for load in echoed[count]), "/s")
    floor_us = median(load.percentile_us(50) for load in echoed[1]) + commit_us
    figure("floor.commit_us", commit_us, "µs")
    figure("decision.1.p50_over_floor", median(load.percentile_us(50) for load in decided[1]) / floor_us, "×")
    goodput = [median(load.per_second for load in decided[count]) for count in CONNECTIONS[1:]]
    steps = [later / earlier for earlier, later in pairwise(goodput)]
    figure("decision.goodput_worst_step", min(steps), "×")


@pytest.mark.parametrize("rate", [500, 5_000])
def bench_decision_open_loop(benchmark, figure, daemon, agent_token, rate):
    decide = post("/v1/decide", agent_token, echo_calls())
    loads = []

    def one_round():
        loads.append(open_loop(daemon.socket_path, decide, connections=64, rate=rate, seconds=3))

    benchmark.pedantic(one_round, rounds=3)

    assert not any(load.failures for load in loads)
    for percent in (50, 95, 99):
        value = statistics.median(load.percentile_us(percent) for load in loads)
        figure(f"decision.open{rate}.p{percent}_us", value, "µs")
