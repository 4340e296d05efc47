"""What does a proxy's question cost: beside `/v1/decide`, and through a real Envoy beside Envoy that asks nobody?

The second needs an Envoy: `make envoy`, then BRIEFCASE_ENVOY_DIR=build/envoy. Rounds are interleaved.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from load import UNLIMITED, closed_loop, echo_calls, post

from support.daemons import RunningDaemon
from support.envoy import DIRECTORY, WHY_NOT, free_port
from support.waiting import wait_until

ROOT = Path(__file__).parent.parent
FIXTURE = str(ROOT / "tests" / "servers" / "fixture_server.py")
ROUNDS = 5
REQUESTS = {1: 1_000, 64: 8_000}
LISTENER = "{socket_address: {address: 127.0.0.1, port_value: 10000}}"
SERVER = "{socket_address: {address: 127.0.0.1, port_value: 9000}}"


def mcp_calls():
    """Bodies of `tools/call`, each with an id of its own."""
    for number in itertools.count(1):
        call = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'
        yield call % number


@pytest.fixture
def gate(tmp_path_factory):
    """A daemon with the server `files`, that answers over HTTP and gRPC."""
    data_dir = tmp_path_factory.mktemp("bench-ext-authz") / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(UNLIMITED)
    port = free_port()
    with RunningDaemon(data_dir, BRIEFCASE_EXT_AUTHZ_ADDR=f"127.0.0.1:{port}") as daemon:
        body = {"command": sys.executable, "args": [FIXTURE, "stdio"]}
        assert daemon.request("POST", "/v1/mcp/servers/files", body)[0] == 200
        daemon.await_tools("files.echo")
        yield daemon, daemon.request("POST", "/v1/agents", {"name": "bench"})[1]["token"], port


def measured(benchmark, figure, ways, base):
    """Run the ways against each other, and record each one's figures, and beside the base's."""
    loads = {(name, count): [] for name in ways for count in REQUESTS}

    def one_round():
        for count, requests in REQUESTS.items():
            for name, (socket_path, make) in ways.items():
                loads[name, count].append(closed_loop(socket_path, make, connections=count, requests=requests))

    for socket_path, make in ways.values():
        closed_loop(socket_path, make, connections=8, requests=800)  # warm
    benchmark.pedantic(one_round, rounds=ROUNDS)
    assert not any(load.failures for runs in loads.values() for load in runs)
    median = statistics.median
    for (name, count), runs in loads.items():
        figure(f"ext_authz.{name}.{count}.per_second", median(load.per_second for load in runs), "/s")
        for percent in (50, 95):
            value = median(load.percentile_us(percent) for load in runs)
            figure(f"ext_authz.{name}.{count}.p{percent}_us", value, "µs")
            if name != base:
                ratios = [
                    load.percentile_us(percent) / other.percentile_us(percent)
                    for load, other in zip(runs, loads[base, count], strict=True)
                ]
                figure(f"ext_authz.{name}.{count}.p{percent}_over_{base}", median(ratios), "×")
                figure(f"ext_authz.{name}.{count}.p{percent}_over_{base}.most", max(ratios), "×")


def bench_ext_authz_beside_decide(benchmark, figure, gate, echo_socket, commit_us):
    daemon, token, _ = gate
    ways = {
        "echo": (echo_socket, post("/", "", echo_calls())),
        "decide": (daemon.socket_path, post("/v1/decide", token, echo_calls("files.echo"))),
        "check": (daemon.socket_path, post("/ext_authz/files/mcp", token, mcp_calls())),
    }
    measured(benchmark, figure, ways, "decide")
    figure("floor.commit_us", commit_us, "µs")


@contextmanager
def envoy(config, directory, name):
    """An Envoy that listens on a socket, in front of a bare echo; gives the socket."""
    socket_path, path = directory / f"{name}.sock", directory / f"{name}.yaml"
    path.write_text(config.replace(LISTENER, f"{{pipe: {{path: {socket_path}}}}}"))
    command = [f"{DIRECTORY}/bin/envoy", "-c", str(path), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]
    with subprocess.Popen([*command, "--drain-time-s", "1"]) as process:
        wait_until(lambda: socket_path.exists() or process.poll() is not None, lambda: name)
        yield str(socket_path)
        process.terminate()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def bench_ext_authz_through_envoy(benchmark, figure, gate, echo_socket, tmp_path_factory):
    daemon, token, port = gate
    directory = tmp_path_factory.mktemp("e")
    over = {name: (ROOT / "docs" / "deploy" / f"envoy-{name}.yaml").read_text() for name in ("http", "grpc")}
    whole = over["http"]
    begins, ends = (
        whole.index(f"                  - name: envoy.filters.http.{one}") for one in ("ext_authz", "router")
    )
    configs = {"envoy": whole[:begins] + whole[ends:], "envoy_http": over["http"], "envoy_grpc": over["grpc"]}
    with ExitStack() as stack:
        ways = {}
        for name, config in configs.items():
            placed = config.replace(SERVER, f"{{pipe: {{path: {echo_socket}}}}}")
            placed = placed.replace("/run/briefcase/agents.sock", daemon.socket_path)
            placed = placed.replace("port_value: 9191", f"port_value: {port}")
            ways[name] = (stack.enter_context(envoy(placed, directory, name)), post("/mcp", token, mcp_calls()))
        measured(benchmark, figure, ways, "envoy")
