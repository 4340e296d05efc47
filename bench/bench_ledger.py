"""What does a durable receipt cost by group size, beside the same bytes in bare LMDB and in SQLite?

All three sync each transaction. They take turns within one run, so that the ratios hold on a noisy machine.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from statistics import median

import lmdb
import pytest
import uvloop
from receipts_made import intent_event

from briefcase._native.canonical import canonical_event
from briefcase.adapters.ledger import Ledger
from briefcase.adapters.system import SystemClock
from briefcase.core.receipts.chain import encode_key
from briefcase.model.effects import ClaimRequest, Committed, Entry, OpenIntent

ROUNDS = 150
RECORD = b"0" * 128 + canonical_event(intent_event(1))


class BareLmdb:
    """The same bytes, one transaction a group."""

    def __init__(self, path) -> None:
        self.environment = lmdb.open(str(path), map_size=1 << 32, max_dbs=1)
        self.table = self.environment.open_db(b"records")
        self.last = 0

    def append(self, count: int) -> None:
        with self.environment.begin(write=True, db=self.table) as transaction:
            for _ in range(count):
                self.last += 1
                transaction.put(encode_key(self.last), RECORD, append=True)

    def close(self) -> None:
        self.environment.close()


class Sqlite:
    """The same bytes, one transaction a group, write-ahead log with full synchronisation."""

    def __init__(self, path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, record BLOB)")

    def append(self, count: int) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany("INSERT INTO records (record) VALUES (?)", [(RECORD,)] * count)
        self.connection.execute("COMMIT")

    def close(self) -> None:
        self.connection.close()


def groups_of(count: int):
    """Groups of intents with all they do: request id, open intent, link, hash."""
    number = 0
    while True:
        group = []
        for _ in range(count):
            number += 1
            event = intent_event(number)
            del event["id"], event["ts"], event["boot"]
            group.append(Entry(event, (ClaimRequest("scout", event["request_id"]), OpenIntent())))
        yield group


async def timed_commit(ledger: Ledger, group: list[Entry]) -> float:
    started = time.perf_counter()
    results = await asyncio.gather(*map(ledger.commit, group))
    taken = time.perf_counter() - started
    assert all(isinstance(result, Committed) for result in results)
    return taken


def timed(function, argument) -> float:
    started = time.perf_counter()
    function(argument)
    return time.perf_counter() - started


@pytest.mark.parametrize("count", [1, 8, 64, 256])
def bench_append(benchmark, figure, tmp_path, count):
    bare, rows = BareLmdb(tmp_path / "lmdb"), Sqlite(tmp_path / "rows.sqlite")
    groups = groups_of(count)
    taken = {"ledger": [], "lmdb": [], "sqlite": []}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def opened():
            return Ledger.open(tmp_path / "ledger", SystemClock())

        ledger = runner.run(opened())

        def one_round():
            group = next(groups)
            taken["ledger"].append(runner.run(timed_commit(ledger, group)))
            taken["lmdb"].append(timed(bare.append, count))
            taken["sqlite"].append(timed(rows.append, count))

        benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=5)
        runner.run(ledger.close())
    bare.close()
    rows.close()
    middle = {name: median(times) for name, times in taken.items()}
    figure(f"append.{count}.us_per_receipt", middle["ledger"] / count * 1e6, "µs")
    figure(f"append.{count}.over_lmdb", middle["ledger"] / middle["lmdb"], "×")
    figure(f"append.{count}.over_sqlite", middle["ledger"] / middle["sqlite"], "×")
