"""How much memory does the daemon hold: at rest, and does a million calls leave it where it was?"""

from __future__ import annotations

from pathlib import Path

from load import UNLIMITED, closed_loop, echo_calls, post

from support.daemons import RunningDaemon

CALLS = 1_000_000
WARM_CALLS = 50_000


def resident_mb(pid: int) -> float:
    """Private and shared pages of a process that are in memory, less those of mapped files, in MiB.

    The ledger's map is the page cache's to give back, so it is not counted (proc_pid_status(5), RssAnon).
    """
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def bench_memory_of_a_million_calls(benchmark, figure, tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(UNLIMITED)
    with RunningDaemon(data_dir) as running:
        at_rest_mb = resident_mb(running.process.pid)
        call = post("/v1/tools/call", running.operator_token, echo_calls())
        closed_loop(running.socket_path, call, connections=64, requests=WARM_CALLS)
        warm_mb = resident_mb(running.process.pid)

        def a_million():
            load = closed_loop(running.socket_path, call, connections=64, requests=CALLS)
            assert not load.failures

        benchmark.pedantic(a_million, rounds=1)
        after_mb = resident_mb(running.process.pid)
    figure("memory.rest_mb", at_rest_mb, "MiB")
    figure("memory.warm_mb", warm_mb, "MiB")
    figure("memory.growth_mb", after_mb - warm_mb, "MiB")
