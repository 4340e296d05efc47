"""How long does the daemon take to be ready: with an empty ledger, and with a million receipts?"""

from __future__ import annotations

import time

import pytest
from load import UNLIMITED, closed_loop, echo_calls, post

from support.daemons import RunningDaemon


@pytest.mark.parametrize("receipts", [0, 1_000_000])
def bench_start(benchmark, figure, tmp_path, receipts):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(UNLIMITED)
    with RunningDaemon(data_dir) as running:
        if receipts:
            call = post("/v1/tools/call", running.operator_token, echo_calls())  # an intent and an outcome each
            closed_loop(running.socket_path, call, connections=64, requests=receipts // 2)
        running.stop()
        taken = []

        def one_start():
            started = time.perf_counter()
            running.start()
            taken.append(time.perf_counter() - started)
            running.stop()

        benchmark.pedantic(one_start, rounds=5)
    figure(f"start.{receipts}_receipts_s", sorted(taken)[len(taken) // 2], "s")
