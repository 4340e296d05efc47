"""How fast is a decision beside one of Open Policy Agent with its console decision log, in the same run?

OPA answers from a policy of the same rule and logs each decision to its standard error, a file here, which nobody
syncs; a decision of ours is on disk before its answer. Rounds are interleaved. It needs OPA's program: `make opa`, or
BRIEFCASE_OPA names it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from load import closed_loop, echo_calls, post

from support.waiting import wait_until

OPA = Path(os.environ.get("BRIEFCASE_OPA", Path(__file__).parent.parent / "build" / "opa" / "opa"))
ROUNDS = 5
REQUESTS = {1: 1_500, 64: 15_000}
POLICY = """
package briefcase

default allow := false

allow if {
    tool := data.tools[input.call.tool_id]
    tool.category == "read"
    tool.cost_microusd <= 10000
}
"""
DATA = {"tools": {"echo": {"category": "read", "cost_microusd": 0}}}


@pytest.fixture
def opa():
    """OPA on a Unix socket, with its decision log; the socket's path and the log's."""
    if not OPA.exists():
        pytest.skip(f"no `{OPA}`: `make opa` installs it")
    with tempfile.TemporaryDirectory(prefix="opa-") as directory:
        here = Path(directory)
        (here / "policy.rego").write_text(POLICY)
        (here / "data.json").write_text(json.dumps(DATA))
        socket, log = here / "opa.sock", here / "decisions.log"
        command = [str(OPA), "run", "--server", "--addr", f"unix://{socket}", "--set", "decision_logs.console=true"]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [*command, "policy.rego", "data.json"], cwd=here, stdout=subprocess.DEVNULL, stderr=stderr
            )
            try:
                wait_until(socket.exists)
                yield str(socket), log
            finally:
                process.terminate()
                process.wait()


def inputs() -> Iterator[bytes]:
    """The calls that the daemon is asked about, as OPA's input."""
    return (b'{"input":%s}' % call for call in echo_calls())


def bench_beside_opa(benchmark, figure, daemon, agent_token, opa):
    socket, log = opa
    ways = {
        "decide": (daemon.socket_path, post("/v1/decide", agent_token, echo_calls())),
        "opa": (socket, post("/v1/data/briefcase/allow", "", inputs())),
    }
    for path, make in ways.values():
        closed_loop(path, make, connections=8, requests=1_000)  # warm
    loads = {(name, count): [] for name in ways for count in REQUESTS}

    def one_round():
        for count, requests in REQUESTS.items():
            for name, (path, make) in ways.items():
                loads[name, count].append(closed_loop(path, make, connections=count, requests=requests))

    benchmark.pedantic(one_round, rounds=ROUNDS)

    assert not any(load.failures for found in loads.values() for load in found)
    logged = log.read_bytes()
    assert logged.count(b'"result":true') >= sum(len(load.latencies_ns) for load in loads["opa", 64])
    for (name, count), found in loads.items():
        figure(f"opa.{name}.{count}.per_second", statistics.median(load.per_second for load in found), "/s")
        for percent in (50, 95, 99):
            value = statistics.median(load.percentile_us(percent) for load in found)
            figure(f"opa.{name}.{count}.p{percent}_us", value, "µs")
    for count in REQUESTS:
        pairs = list(zip(loads["decide", count], loads["opa", count], strict=True))
        rate = statistics.median(ours.per_second / theirs.per_second for ours, theirs in pairs)
        figure(f"opa.{count}.per_second_over_opa", rate, "×")
        tail = statistics.median(ours.percentile_us(99) / theirs.percentile_us(99) for ours, theirs in pairs)
        figure(f"opa.{count}.p99_over_opa", tail, "×")
