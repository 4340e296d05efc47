"""What do calls feel while an operator sets a large policy? A constant rate of decisions while two are set in turn."""

from __future__ import annotations

import statistics
import threading

from load import closed_loop, echo_calls, open_loop, post

POLICIES = 5_500  # 0.9 MB of text
RATE = 300
SECONDS = 5
ROUNDS = 3


def _policy(version: int) -> str:
    forbids = (
        f'@id("r{version}-{number}") forbid (principal == Agent::"a{number}", action == Action::"Call", '
        f'resource == Tool::"echo") when {{ context.args.text like "*{number} of {POLICIES}" }};'
        for number in range(POLICIES)
    )
    return "\n".join([*forbids, '@id("all") permit (principal, action, resource);'])


def bench_decisions_while_a_policy_is_set(benchmark, figure, daemon, agent_token):
    decide = post("/v1/decide", agent_token, echo_calls())
    texts = [_policy(version) for version in range(2)]
    closed_loop(daemon.socket_path, decide, connections=8, requests=1_000)  # warm
    loads, statuses = [], []

    def set_both():
        statuses.extend(daemon.request("PUT", "/v1/policy", {"policy_text": text})[0] for text in texts)

    def one_round():
        setter = threading.Thread(target=set_both)
        setter.start()
        loads.append(open_loop(daemon.socket_path, decide, connections=16, rate=RATE, seconds=SECONDS))
        setter.join()

    benchmark.pedantic(one_round, rounds=ROUNDS)

    assert statuses == [200] * 2 * ROUNDS
    assert not any(load.failures for load in loads)
    for percent in (50, 95, 99):
        value = statistics.median(load.percentile_us(percent) for load in loads)
        figure(f"swap.open{RATE}.p{percent}_us", value, "µs")
    figure("swap.worst_ms", statistics.median(load.latencies_ns[-1] for load in loads) / 1e6, "ms")
