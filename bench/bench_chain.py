"""What does a receipt cost to write canonically, to hash and to verify, beside the alternatives?"""

from __future__ import annotations

import asyncio
import hashlib
import time
from statistics import median

import orjson
import pytest
import rfc8785
from receipts_made import intent_event

from briefcase._native.canonical import canonical_event
from briefcase._native.chain import chain_hash, is_canonical_event, verify_records
from briefcase.adapters.ledger import Ledger
from briefcase.adapters.system import SystemClock
from briefcase.core.receipts.chain import GENESIS_HASH_HEX, NO_TIME, encode_key, link_record
from briefcase.model.effects import Entry

RECORDS = 20_000


def each_us(function, argument, count: int) -> float:
    """The median time of one call, over runs of many."""
    taken = []
    for _ in range(7):
        started = time.perf_counter()
        for _ in range(count):
            function(argument)
        taken.append((time.perf_counter() - started) / count * 1e6)
    return median(taken)


def bench_canonical_bytes(benchmark, figure):
    event = intent_event(1)
    assert canonical_event(event) == rfc8785.dumps(event)
    benchmark(canonical_event, event)
    ours = each_us(canonical_event, event, 20_000)
    figure("canonical.us", ours, "µs")
    figure("canonical.speedup_over_rfc8785", each_us(rfc8785.dumps, event, 500) / ours, "×")
    sorted_keys = each_us(lambda value: orjson.dumps(value, option=orjson.OPT_SORT_KEYS), event, 20_000)
    figure("canonical.over_orjson_sorted", ours / sorted_keys, "×")


def bench_check_of_canonical_bytes(benchmark, figure):
    data = canonical_event(intent_event(1))
    benchmark(is_canonical_event, data)
    figure("canonical.check_us", each_us(is_canonical_event, data, 20_000), "µs")


def bench_chain_hash(benchmark, figure):
    data = canonical_event(intent_event(1))
    benchmark(chain_hash, GENESIS_HASH_HEX, data)
    figure("hash.us", each_us(lambda covered: hashlib.sha256(covered).hexdigest(), b"0" * 64 + data, 20_000), "µs")


@pytest.fixture(scope="module")
def records() -> list[tuple[bytes, bytes]]:
    """A chain of receipts as they are stored."""
    prev, made = GENESIS_HASH_HEX.encode(), []
    for number in range(1, RECORDS + 1):
        hash_hex, record = link_record(prev, intent_event(number))
        made.append((encode_key(number), record))
        prev = hash_hex.encode()
    return made


def bench_verify_on_one_core(benchmark, figure, records):
    def verify():
        good, problem, _, _ = verify_records(records, 1, GENESIS_HASH_HEX.encode(), NO_TIME.encode())
        assert (good, problem) == (RECORDS, None)

    benchmark.pedantic(verify, rounds=15, warmup_rounds=2)
    figure("verify.per_second", RECORDS / benchmark.stats.stats.median, "receipts/s")
    figure("verify.bytes_per_receipt", sum(len(record) for _, record in records) / RECORDS, "bytes")


def bench_verify_a_ledger_in_service(benchmark, figure, tmp_path):
    """From the disk, in slices, with an event loop beside it: how fast, and how long the loop is held at most."""

    async def prepare():
        ledger = Ledger.open(tmp_path / "ledger", SystemClock())
        entries = [Entry({**intent_event(number), "kind": "note"}) for number in range(100_000)]
        for at in range(0, len(entries), 1_000):
            await asyncio.gather(*map(ledger.commit, entries[at : at + 1_000]))
        return ledger

    async def verify(ledger):
        held_us, running = [], True

        async def watch():
            while running:
                started = time.perf_counter()
                await asyncio.sleep(0.001)
                held_us.append((time.perf_counter() - started - 0.001) * 1e6)

        watcher = asyncio.create_task(watch())
        started = time.perf_counter()
        found = await ledger.verify(ledger.head())
        taken = time.perf_counter() - started
        running = False
        await watcher
        assert found.ok
        return found.checked / taken, sorted(held_us)[int(len(held_us) * 0.99)]

    with asyncio.Runner() as runner:
        ledger = runner.run(prepare())
        results = []
        benchmark.pedantic(lambda: results.append(runner.run(verify(ledger))), rounds=5)
        runner.run(ledger.close())
    figure("verify.in_service_per_second", median(rate for rate, _ in results), "receipts/s")
    figure("verify.in_service_loop_held_p99_us", median(held for _, held in results), "µs")
