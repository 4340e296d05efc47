"""How long do a hook and an AuthZEN evaluation take, beside the floor and beside `/v1/decide` of the same run?

The floor of one connection is a bare echo plus one synced commit, as for a decision. Rounds of all are interleaved.
The command that a client starts before each call is timed as a whole process, in pairs with an interpreter that does
nothing.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from load import closed_loop, echo_calls, post

from support.daemons import UnixConnection

ROUNDS = 5
CONNECTIONS = (1, 64)
REQUESTS = {1: 1_500, 64: 15_000}
STARTS = 40


def hook_events() -> Iterator[bytes]:
    """Events of Claude Code before a read, each of a tool use of its own."""
    run = time.time_ns()
    event = json.dumps({
        "session_id": "00893aaf-19fa-41d2-8238-13269b9b3ca0", "transcript_path": "/home/u/t.jsonl", "cwd": "/p",
        "permission_mode": "default", "hook_event_name": "PreToolUse", "tool_name": "Read",
        "tool_input": {"file_path": "/home/u/a.py"}, "tool_use_id": "toolu_%d_%d",
    }).encode()  # fmt: skip
    for number in itertools.count():
        yield event % (run, number)


def evaluations() -> Iterator[bytes]:
    """AuthZEN evaluations of `echo` calls."""
    body = json.dumps({
        "subject": {"type": "agent", "id": "bench"}, "action": {"name": "tools/call"},
        "resource": {"type": "tool", "id": "echo", "properties": {"arguments": {"text": "hello"}}},
    }).encode()  # fmt: skip
    return itertools.repeat(body)


def answer_of(daemon, path: str, token: str, body: bytes) -> bytes:
    """One answer, to see that what is timed is allowed."""
    connection = UnixConnection(daemon.socket_path)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", path, body=body, headers=headers)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def bench_decision_points(benchmark, figure, daemon, agent_token, echo_socket, commit_us):
    asked = {
        "decide": post("/v1/decide", agent_token, echo_calls()),
        "hook": post("/v1/hooks/claude-code", agent_token, hook_events()),
        "authzen": post("/access/v1/evaluation", agent_token, evaluations()),
    }
    for path, body, allowed in (
        ("/v1/hooks/claude-code", next(hook_events()), b'"permissionDecision":"allow"'),
        ("/access/v1/evaluation", next(evaluations()), b'"decision":true'),
    ):
        assert allowed in answer_of(daemon, path, agent_token, body)
    echo = post("/", "", echo_calls())
    for make in asked.values():
        closed_loop(daemon.socket_path, make, connections=8, requests=1_000)  # warm
    loads = {(name, count): [] for name in (*asked, "echo") for count in CONNECTIONS}

    def one_round():
        for count in CONNECTIONS:
            loads["echo", count].append(closed_loop(echo_socket, echo, connections=count, requests=REQUESTS[count]))
            for name, make in asked.items():
                done = closed_loop(daemon.socket_path, make, connections=count, requests=REQUESTS[count])
                loads[name, count].append(done)

    benchmark.pedantic(one_round, rounds=ROUNDS)

    assert not any(load.failures for found in loads.values() for load in found)
    p95 = {key: statistics.median(load.percentile_us(95) for load in found) for key, found in loads.items()}
    p50 = {key: statistics.median(load.percentile_us(50) for load in found) for key, found in loads.items()}
    floor_us = p95["echo", 1] + commit_us
    figure("points.floor.p95_us", floor_us, "µs")
    for name in asked:
        for count in CONNECTIONS:
            figure(f"points.{name}.{count}.p50_us", p50[name, count], "µs")
            figure(f"points.{name}.{count}.p95_us", p95[name, count], "µs")
    for name in ("hook", "authzen"):
        figure(f"points.{name}.1.p95_above_floor_us", p95[name, 1] - floor_us, "µs")
        pairs = zip(loads[name, 64], loads["decide", 64], strict=True)
        beside = statistics.median(ours.percentile_us(95) / theirs.percentile_us(95) for ours, theirs in pairs)
        figure(f"points.{name}.64.p95_over_decide", beside, "×")


def bench_hook_command(benchmark, figure, daemon, agent_token):
    environment = {
        "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "BRIEFCASE_AUTH_TOKEN": agent_token,
        "BRIEFCASE_DATA_DIR": str(daemon.data_dir), "BRIEFCASE_DAEMON_UNIX_SOCKET": str(daemon.socket_path),
    }  # fmt: skip
    events, taken = hook_events(), {"hook": [], "nothing": []}
    commands = {
        "hook": [str(Path(sys.executable).with_name("briefcase")), "hook", "claude-code"],
        "nothing": [sys.executable, "-I", "-c", "pass"],
    }

    def one_pair():
        for name, command in commands.items():
            event = next(events)
            began = time.perf_counter()
            found = subprocess.run(command, input=event, env=environment, capture_output=True, check=True)
            taken[name].append((time.perf_counter() - began) * 1_000)
            assert (name == "nothing") == (found.stdout == b"")

    benchmark.pedantic(one_pair, rounds=STARTS, warmup_rounds=3)

    kept = {name: found[3:] for name, found in taken.items()}
    figure("hook_command.p50_ms", statistics.median(kept["hook"]), "ms")
    figure("hook_command.p95_ms", sorted(kept["hook"])[int(len(kept["hook"]) * 0.95)], "ms")
    figure("hook_command.interpreter_p50_ms", statistics.median(kept["nothing"]), "ms")
    pairs = zip(kept["hook"], kept["nothing"], strict=True)
    figure("hook_command.p50_over_interpreter", statistics.median(ours / theirs for ours, theirs in pairs), "×")
