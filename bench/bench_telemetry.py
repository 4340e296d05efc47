"""What does OpenTelemetry cost? Two daemons in one run, one with it off, one exporting a tenth of all requests.

Short rounds of the two take turns, so that whatever else the machine does falls on both, and the time of all of them is
compared: a batch of traces is sent only every few rounds. The receiver is a process of its own that throws away what it
gets; it shares the machine, and so its cost is in the figure.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import timeit

import pytest
from conftest import UNLIMITED
from load import closed_loop, echo_calls, post

from briefcase.adapters.telemetry.meter import Meter
from support.daemons import RunningDaemon

CONNECTIONS = 64
REQUESTS = 1_000
ROUNDS = 200
RECEIVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
TIMING_US = {"parse": 12, "resolve": 9, "validate": 3, "policy": 2, "limits": 3, "approval": 1, "intent": 400,
             "execute": 20, "firewall": 9, "outcome": 400}  # fmt: skip


@pytest.fixture
def receiver_url():
    process = subprocess.Popen([sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.wait()
    process.stdout.close()


def _data_dir(tmp_path, name):
    data_dir = tmp_path / name
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(UNLIMITED)
    return data_dir


def bench_telemetry_throughput(benchmark, figure, tmp_path, receiver_url):
    exporting = {
        "BRIEFCASE_OTEL": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver_url,
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
    }
    with RunningDaemon(_data_dir(tmp_path, "off")) as off, RunningDaemon(_data_dir(tmp_path, "on"), **exporting) as on:
        calls = {
            daemon: post(
                "/v1/tools/call", daemon.request("POST", "/v1/agents", {"name": "bench"})[1]["token"], echo_calls()
            )
            for daemon in (off, on)
        }
        taken_s = {off: [], on: []}
        for daemon, call in calls.items():
            closed_loop(daemon.socket_path, call, connections=8, requests=1_000)  # warm

        def one_round():
            order = (off, on) if len(taken_s[off]) % 2 else (on, off)
            for daemon in order:
                load = closed_loop(daemon.socket_path, calls[daemon], connections=CONNECTIONS, requests=REQUESTS)
                assert not load.failures
                taken_s[daemon].append(load.elapsed_s)

        benchmark.pedantic(one_round, rounds=ROUNDS)
        assert "telemetry is not sent" not in on.logged()

    for name, daemon in (("off", off), ("on", on)):
        figure(f"telemetry.{name}.per_second", REQUESTS / statistics.median(taken_s[daemon]), "/s")
    figure("telemetry.throughput_cost", 1 - sum(taken_s[off]) / sum(taken_s[on]), "share")


def bench_counting_one_call(benchmark, figure):
    count = Meter().count_answer

    benchmark(count, "ok", "", TIMING_US)

    taken = timeit.repeat(lambda: count("ok", "", TIMING_US), number=20_000, repeat=9)
    figure("telemetry.count_us", min(taken) / 20_000 * 1e6, "µs")
