"""What do proofs of possession cost: made, checked at the provider, and added to an upstream call?"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from fakes import FakeClock, FakeEntropy, MemoryLedger
from provider_kit import BASE_URL, REDIRECT, Holder, open_gateway

from briefcase.capability.dpop import ProofSigner
from briefcase.capability.jws import generate_key
from briefcase.capability.replay import Claim, ReplayCache
from briefcase.net.outbound import GuardedOutbound
from briefcase.ports import HttpRequest
from briefcase.provider_gateway.authority import Asked, Refused
from briefcase.providers.composition import compose_providers
from briefcase.providers.service import Exchange
from briefcase.store.database import Database
from briefcase.system import SystemClock, SystemEntropy
from briefcase.vault.identity import Identity
from briefcase.vault.vault import MemoryBackend, Vault

URL = f"{BASE_URL}/api/quote"
SERVE = """
import asyncio, sys
from pathlib import Path
from briefcase.provider_gateway.serving import GatewayServer
from briefcase.provider_gateway.settings import GatewaySettings
from briefcase.system import SystemClock, SystemEntropy

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


@pytest.mark.parametrize("entries", [0, 1_000_000])
def bench_replay_claim(benchmark, figure, entries):
    cache = ReplayCache(60, max_entries=2_000_000)
    for number in range(entries):
        cache.claim(number.to_bytes(16), 1_000 + number % 60, 1_000)
    new = (os.urandom(16) for _ in itertools.count())
    rounds = 10_000

    def claim():
        for key in itertools.islice(new, rounds):
            assert cache.claim(key, 1_030, 1_000) is Claim.FRESH

    benchmark.pedantic(claim, rounds=10)
    figure(f"capability.replay.{entries}_us", benchmark.stats.stats.median / rounds * 1e6, "µs")


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
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    await service.exchange("demo", Exchange(code, REDIRECT, "briefcase", started.code_verifier))


async def added_us(base_url, data_dir: Path, *, rate: int, calls: int) -> list[float]:
    """What the daemon adds to each call at a steady rate, the upstream's own time left out, in microseconds."""
    clock, vault = SystemClock(), Vault(MemoryBackend(), "memory")
    database = Database(data_dir / "briefcase.sqlite")
    plain = GuardedOutbound([urlsplit(base_url).netloc])
    outbound = TimedOutbound(plain)
    parts = compose_providers(
        database=database, secrets=vault.compartment("providers"), remember=vault.remember,
        holder_did=Identity(b"\1" * 32).did, outbound=outbound, ledger=MemoryLedger(FakeClock()), clock=clock,
        entropy=SystemEntropy(), is_ga=True, denies_unknown_status=False,
    )  # fmt: skip
    client = parts.client
    await log_in(parts.service, plain, base_url)
    added = []
    await client.read("demo", "/api/quote", {"symbol": "WARM"}, timeout_ms=5_000)
    started_s = time.perf_counter()
    for number in range(calls):
        await asyncio.sleep(max(0.0, started_s + number / rate - time.perf_counter()))
        outbound.spent_ns = 0
        begun_ns = time.perf_counter_ns()
        await client.read("demo", "/api/quote", {"symbol": "ACME"}, timeout_ms=5_000)
        added.append((time.perf_counter_ns() - begun_ns - outbound.spent_ns) / 1_000)
    assert parts.service.token_waits <= 1
    await parts.service.close()
    await plain.close()
    database.close()
    return added


def bench_added_to_a_bound_call(benchmark, figure, tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    gateway = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "gateway")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with gateway:
        base_url = gateway.stdout.readline().strip()
        added = []
        benchmark.pedantic(
            lambda: added.extend(asyncio.run(added_us(base_url, tmp_path / "data", rate=200, calls=600))), rounds=3
        )
        gateway.stdin.close()
        assert gateway.wait() == 0
    added.sort()
    figure("capability.added200.p50_us", statistics.median(added), "µs")
    figure("capability.added200.p95_us", added[int(len(added) * 0.95)], "µs")
