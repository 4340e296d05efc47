"""What do proofs of possession cost: made, checked at the provider, and added to an upstream call?"""

from __future__ import annotations

import asyncio
import gc
import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from load import UNLIMITED, closed_loop, open_loop, post

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.providers.composition import compose_providers
from briefcase.adapters.store.database import Database
from briefcase.adapters.system import SystemClock, SystemEntropy
from briefcase.adapters.vault.identity import Identity
from briefcase.adapters.vault.vault import MemoryBackend, Vault
from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import generate_key
from briefcase.core.jose.replay import Claim, ReplayCache
from briefcase.core.operator.providers import Exchange
from briefcase.edges.provider_gateway.authority import Asked, Refused
from briefcase.model.ports import HttpRequest
from support.clock import FakeClock
from support.daemons import RunningDaemon
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.providers import BASE_URL, REDIRECT, Holder, open_gateway

URL = f"{BASE_URL}/api/quote"
SERVE = """
import asyncio, sys
from pathlib import Path
from briefcase.edges.provider_gateway.serving import GatewayServer
from briefcase.edges.provider_gateway.settings import GatewaySettings
from briefcase.adapters.system import SystemClock, SystemEntropy

async def main():
    settings = GatewaySettings("", Path(sys.argv[1]), max_calls=100_000)
    server = GatewayServer(settings, "127.0.0.1", 0, SystemClock(), SystemEntropy())
    await server.start()
    print(server.base_url, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()

asyncio.run(main())
"""


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def bench_sign(benchmark, figure, algorithm):
    signer, token, ids = ProofSigner(generate_key(algorithm)), "t" * 400, map(str, itertools.count())
    benchmark(lambda: signer.sign("GET", URL, next(ids), 1_767_225_600_000_000, access_token=token))
    figure(f"capability.sign.{algorithm}_us", benchmark.stats.stats.median * 1e6, "µs")


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def bench_check_call(benchmark, figure, tmp_path, algorithm):
    """All seven steps of the provider's authority: token, proof, replay, count, and both facts in the log."""
    clock = FakeClock()
    gateway = open_gateway(tmp_path, clock, FakeEntropy(), max_calls=10**9)
    holder = Holder(gateway, clock, algorithm)
    token = holder.mint()
    rounds = 2_000
    asked = [Asked("GET", URL, (f"DPoP {token}",), (holder.proof(token=token),)) for _ in range(rounds * 5)]
    remaining, cpu_s = iter(asked), []

    def check():
        started_s = time.process_time()
        for _ in range(rounds):
            assert not isinstance(gateway.authority.check_call(next(remaining), "quote"), Refused)
        cpu_s.append(time.process_time() - started_s)

    benchmark.pedantic(check, rounds=5)
    gateway.facts.close()
    figure(f"capability.check.{algorithm}.per_second_a_core", rounds / statistics.median(cpu_s), "/s")


def claim_us(entries: int) -> float:
    """The median of a claim, in microseconds, with so many entries held."""
    cache = ReplayCache(60, max_entries=2_000_000)
    for number in range(entries):
        cache.claim(number.to_bytes(16), 1_000 + number % 60, 1_000)
    times_ns = []
    for _ in range(10):
        keys = [os.urandom(16) for _ in range(10_000)]
        started_ns = time.perf_counter_ns()
        for key in keys:
            assert cache.claim(key, 1_030, 1_000) is Claim.FRESH
        times_ns.append((time.perf_counter_ns() - started_ns) / len(keys))
    return statistics.median(times_ns) / 1_000


def bench_replay_claim(benchmark, figure):
    """A hundred thousand entries, then a million, in one run: neither fits a processor's cache."""
    found = []
    benchmark.pedantic(lambda: found.append((claim_us(100_000), claim_us(1_000_000))), rounds=3)
    for entries, times_us in zip((100_000, 1_000_000), zip(*found, strict=True), strict=True):
        figure(f"capability.replay.{entries}_us", statistics.median(times_us), "µs")
    figure("capability.replay.flatness", statistics.median(full / some for some, full in found), "x")


class TimedOutbound:
    """Counts the time that is the upstream's and the wire's, not the daemon's."""

    def __init__(self, inner):
        self.inner = inner
        self.spent_ns = 0

    async def request(self, request):
        started_ns = time.perf_counter_ns()
        try:
            return await self.inner.request(request)
        finally:
            self.spent_ns += time.perf_counter_ns() - started_ns


async def log_in(service, outbound, base_url):
    await service.upsert("demo", base_url)
    started = await service.start_login("demo", "briefcase", REDIRECT, None)
    answer = await outbound.request(HttpRequest("GET", started.authorization_url))
    fields = parse_qs(urlsplit(answer.headers["location"]).query)
    await service.exchange("demo", Exchange(fields["code"][0], state=started.state, iss=fields["iss"][0]))


async def added_us(base_url, data_dir: Path, *, rate: int, calls: int) -> tuple[list[float], list[float]]:
    """What the daemon adds to each call at a steady rate, and the upstream's own time, both in microseconds."""
    clock, vault = SystemClock(), Vault(MemoryBackend(), "memory")
    database = Database(data_dir / "briefcase.sqlite")
    plain = GuardedOutbound([urlsplit(base_url).netloc])
    outbound = TimedOutbound(plain)
    parts = compose_providers(
        database=database, secrets=vault.compartment("providers"), remember=vault.remember,
        holder_did=Identity(b"\1" * 32).did, outbound=outbound, ledger=MemoryLedger(FakeClock()), clock=clock,
        entropy=SystemEntropy(), is_disabled=frozenset().__contains__, is_ga=True, denies_unknown_status=False,
    )  # fmt: skip
    client = parts.client
    await log_in(parts.service, plain, base_url)
    added, upstream = [], []
    await client.read("demo", "/api/quote", {"symbol": "WARM"}, timeout_ms=5_000)
    started_s = time.perf_counter()
    for number in range(calls):
        await asyncio.sleep(max(0.0, started_s + number / rate - time.perf_counter()))
        outbound.spent_ns = 0
        begun_ns = time.perf_counter_ns()
        await client.read("demo", "/api/quote", {"symbol": "ACME"}, timeout_ms=5_000)
        added.append((time.perf_counter_ns() - begun_ns - outbound.spent_ns) / 1_000)
        upstream.append(outbound.spent_ns / 1_000)
    assert parts.service.token_waits <= 1
    await parts.service.close()
    await plain.close()
    database.close()
    return added, upstream


@contextmanager
def serving(state_dir: Path):
    """The reference provider as a process; gives its address."""
    command = [sys.executable, "-c", SERVE, str(state_dir)]
    gateway = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with gateway:
        yield gateway.stdout.readline().strip()
        gateway.stdin.close()
        assert gateway.wait() == 0


def bench_added_to_a_bound_call(benchmark, figure, tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    with serving(tmp_path / "gateway") as base_url:
        added = []
        benchmark.pedantic(
            lambda: added.extend(asyncio.run(added_us(base_url, tmp_path / "data", rate=200, calls=600))[0]), rounds=3
        )
    added.sort()
    figure("capability.added200.p50_us", statistics.median(added), "µs")
    figure("capability.added200.p95_us", added[int(len(added) * 0.95)], "µs")


def log_in_at(daemon) -> None:
    """What the CLI and a browser do together, at a daemon."""
    body = {"client_id": "briefcase", "redirect_uri": REDIRECT}
    started = daemon.request("POST", "/v1/providers/demo/oauth/start", body)[1]
    parts = urlsplit(started["authorization_url"])
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", f"{parts.path}?{parts.query}")
    fields = parse_qs(urlsplit(connection.getresponse().headers["location"]).query)
    connection.close()
    exchange = {"code": fields["code"][0], "state": started["state"], "iss": fields["iss"][0]}
    assert daemon.request("POST", "/v1/providers/demo/oauth/exchange", exchange)[0] == 200


def quote_calls():
    """Bodies of `quote` calls, each with a request id of its own."""
    run = time.time_ns() & 0xFFFFFFFFFFFF
    for number in itertools.count():
        request_id = f"{number:08x}-0000-4000-8000-{run:012x}"
        call = {"tool_id": "quote", "args": {"symbol": "ACME"}, "context": {"request_id": request_id}}
        yield json.dumps({"call": call}).encode()


def bench_whole_bound_call(benchmark, figure, tmp_path):
    """A `quote` through a daemon of its own at 200/s: policy, two durable receipts and the answer beside the proof.

    What is added is counted against the median of the upstream alone, asked at the same rate just before.
    """
    for name in ("data", "bare"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "data" / "briefcase.toml").write_text(UNLIMITED)
    with (
        serving(tmp_path / "gateway") as base_url,
        RunningDaemon(tmp_path / "data", BRIEFCASE_PROVIDER_BASE_URL=base_url) as daemon,
    ):
        log_in_at(daemon)
        daemon.request("POST", "/v1/budgets/read", {"daily_limit_microusd": 10**12})
        _, upstream = asyncio.run(added_us(base_url, tmp_path / "bare", rate=200, calls=600))
        gc.collect()
        gc.freeze()  # what earlier benchmarks left is not looked through while calls are timed
        call = post("/v1/tools/call", daemon.operator_token, quote_calls())
        closed_loop(daemon.socket_path, call, connections=1, requests=100)  # warm
        loads = []
        benchmark.pedantic(
            lambda: loads.append(open_loop(daemon.socket_path, call, connections=16, rate=200, seconds=4)), rounds=3
        )
        assert daemon.request("GET", "/v1/diagnostics/providers")[1]["providers"][0]["failures"] == 0
    assert not any(load.failures for load in loads)
    figure("capability.upstream200.p50_us", statistics.median(upstream), "µs")
    for percent in (50, 95):
        whole_us = statistics.median(load.percentile_us(percent) for load in loads)
        figure(f"capability.whole200.p{percent}_us", whole_us, "µs")
        figure(f"capability.whole200.added_p{percent}_us", whole_us - statistics.median(upstream), "µs")
