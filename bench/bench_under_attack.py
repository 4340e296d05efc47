"""How much longer does an honest call wait while one agent, or one server, does its worst?

A round is one run of probe echoes at 200 a second with nothing beside them, and then one beside each attack in turn, so
that all of a round have the same machine. The figure is by how much the attack raises p99.9, the median of the rounds.
The attacker is a process of its own. A run of 1,000 probes takes 5 s:

| `BRIEFCASE_BENCH_FULL` | rounds | probes of a run | all attacks take |
|---|---|---|---|
| unset | 1 | 2,000 | 2 minutes |
| 1 | 3 | 6,667, so 20,000 beside each attack | 16 minutes |

`BRIEFCASE_BENCH_ROUNDS` and `BRIEFCASE_BENCH_PROBES` set either by itself (three rounds of 20,000 take 47 minutes), and
pytest's `-k` chooses the attacks. Only the worst of 1,000 probes counts, and whatever else the machine does moves it:
compare figures of one run.
"""

from __future__ import annotations

import http.client
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest
from load import UNLIMITED, echo_calls, open_loop, post

from support.daemons import RunningDaemon

IS_FULL = os.environ.get("BRIEFCASE_BENCH_FULL") == "1"
ROUNDS = int(os.environ.get("BRIEFCASE_BENCH_ROUNDS", "3" if IS_FULL else "1"))
PROBES = int(os.environ.get("BRIEFCASE_BENCH_PROBES", "6667" if IS_FULL else "2000"))
RATE = 200
ATTACKERS = 16  # connections
SETTLE_S = 1.0  # what an attack left in sockets is not the next one's
MEGABYTE = 1 << 20

CONSTANTS = ", ".join(f"{{ const = {number} }}" for number in range(4_000))
COSTLY_TOOL = f"""
[[tools]]
id = "costly"
name = "costly"
description = "a schema of 4,000 constants"
category = "read"
method = "POST"
url = "https://desk.example.com/api"
allowed_hosts = ["desk.example.com"]
[tools.arguments]
list = "body"
[tools.input_schema]
type = "object"
properties = {{ list = {{ type = "array", items = {{ oneOf = [{CONSTANTS}] }} }} }}
"""
LISTING_SERVER = """
import itertools, json, sys
round_of = itertools.count()
def out(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
    sys.stdout.flush()
def listing():
    now = next(round_of)
    properties = {f"p{n}": {"type": "string", "pattern": f"^{now}-[a-z]{{1,30}}{n}$"} for n in range(100)}
    schema = {"type": "object", "properties": properties}
    return [{"name": f"t{n}", "inputSchema": schema} for n in range(200)]
for line in sys.stdin:
    asked = json.loads(line)
    method, number = asked.get("method"), asked.get("id")
    if number is None:
        continue
    if method == "initialize":
        out({"id": number, "result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}},
                                      "serverInfo": {"name": "listing", "version": "1"}}})
    elif method == "tools/list":
        out({"id": number, "result": {"tools": listing()}})
        out({"method": "notifications/tools/list_changed"})
    else:
        out({"id": number, "error": {"code": -32601, "message": "no"}})
"""

TEXTS = {
    "pattern": ("nope", {"text": "-eyJ" * (128 << 10)}),
    "numbers": ("echo", {"text": "", "more": [5] * 400_000}),
    "text": ("echo", {"text": "x" * (MEGABYTE - 512)}),
    "schema": ("costly", {"list": [5] * 170_000}),
    "unknown_tool": ("nope", {}),
    "invalid_args": ("echo", {}),
}
ATTACKS = (*TEXTS, "no_call", "listing")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


def attack(socket_path: str, token: str, kind: str) -> None:
    """Send one kind of request on many connections, as fast as they are answered, until the process is ended."""
    numbers = itertools.count()
    tool_id, args = TEXTS.get(kind, ("", {}))
    end = json.dumps(args)

    def one() -> bytes:
        if kind == "no_call":
            return b'{"call":{}}'
        request_id = f"{next(numbers):08x}-0000-4000-8000-{time.time_ns() & 0xFFFFFFFFFFFF:012x}"
        return f'{{"call":{{"tool_id":"{tool_id}","context":{{"request_id":"{request_id}"}},"args":{end}}}}}'.encode()

    def send() -> None:
        connection = UnixConnection(socket_path)
        while True:
            connection.request("POST", "/v1/tools/call", one(), headers={"Authorization": f"Bearer {token}"})
            connection.getresponse().read()

    threads = [threading.Thread(target=send, daemon=True) for _ in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """A daemon with the default bounds of a principal, a probing agent and a hostile one."""
    data_dir = tmp_path_factory.mktemp("attacked") / "data"
    (data_dir / "tools").mkdir(parents=True, mode=0o700)
    data_dir.chmod(0o700)
    (data_dir / "briefcase.toml").write_text(UNLIMITED)
    (data_dir / "tools" / "costly.toml").write_text(COSTLY_TOOL)
    (data_dir / "tools" / "costly.toml").chmod(0o600)
    with RunningDaemon(data_dir) as daemon:
        tokens = [daemon.request("POST", "/v1/agents", {"name": name})[1]["token"] for name in ("probe", "hostile")]
        yield daemon, *tokens


@pytest.fixture(scope="module")
def measured(request, attacked, tmp_path_factory) -> dict[str, list[float]]:
    """The p99.9 of each round in milliseconds: `quiet`, and beside each attack that was chosen."""
    daemon, probe_token, hostile_token = attacked
    chosen = [item.callspec.params["kind"] for item in request.session.items if item.module is request.module]
    probe = post("/v1/tools/call", probe_token, echo_calls())
    p999_ms = defaultdict(list)

    def run(kind):
        load = open_loop(daemon.socket_path, probe, connections=32, rate=RATE, seconds=PROBES / RATE)
        assert not load.failures
        p999_ms[kind].append(load.percentile_us(99.9) / 1_000)

    for _ in range(ROUNDS):
        run("quiet")
        for kind in chosen:
            end = begin(daemon, hostile_token, kind, tmp_path_factory.mktemp(kind))
            try:
                time.sleep(SETTLE_S)
                run(kind)
            finally:
                end()
            time.sleep(SETTLE_S)
    return p999_ms


@pytest.mark.timeout(0)  # the first waits for all
@pytest.mark.parametrize("kind", ATTACKS)
def bench_under_attack(benchmark, figure, measured, kind):
    benchmark.pedantic(lambda: None)  # what was measured is measured already

    quiet, beside = measured["quiet"], measured[kind]
    added = [attacked_ms - quiet_ms for attacked_ms, quiet_ms in zip(beside, quiet, strict=True)]
    figure(f"attack.{kind}.p999_quiet_ms", statistics.median(quiet), "ms")
    figure(f"attack.{kind}.p999_added_ms", statistics.median(added), "ms")


def begin(daemon: RunningDaemon, token: str, kind: str, tmp_path: Path):
    """Start an attack; gives what ends it."""
    if kind != "listing":
        process = multiprocessing.get_context("spawn").Process(target=attack, args=(daemon.socket_path, token, kind))
        process.start()

        def end() -> None:
            process.kill()
            process.join()

        return end
    script = tmp_path / "listing.py"
    script.write_text(LISTING_SERVER)
    described = {"command": sys.executable, "args": [str(script)]}
    status, answer = daemon.request("POST", "/v1/mcp/servers/listing", described)
    assert status == 200, answer
    return lambda: daemon.request("POST", "/v1/mcp/servers/listing/delete")
