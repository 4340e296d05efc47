"""What a control plane carries on this machine: syncs, uploads, both at once, and devices that wait for a policy.

Two processes of `briefcase control-plane serve` on a PostgreSQL of their own; every device has a key and a chain of its
own. Processor time is that of the control plane's and of PostgreSQL's processes (`/proc/*/schedstat`); the driver's own
is taken apart, and so is what other work and the kernel's threads took (`others_cores`): where that is over a tenth
of a core, rates and times are not ours. `BRIEFCASE_BENCH_FULL=1` takes the long form:

| | short | full |
|---|---|---|
| devices that sync, 1,667 a second | 20 s | 60 s: 100,000, each once |
| syncs with a connection each, in clear text and by TLS | 10 s | 30 s |
| receipts in batches of 50, and one by one | 200,000 and 10,000 | 800,000 and 40,000 |
| 20,000 receipts and 1,667 syncs a second | 10 s | two minutes |
| half of both | - | ten minutes |
| devices that wait | 1,000 | 1,000 and 10,000 |

A sync is a GET of the policy whose answer is that nothing is new (304). The floors are a bare echo behind the same
driver, and the same rows put into PostgreSQL by statements that check nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple
from uuid import uuid4

import asyncpg
import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet_devices import EVENT, NOT_MODIFIED, OK, Device, Run, Stream, Wire, closed_loop, open_loop
from fleet_devices import open_loop_of_new_connections as open_loop_anew
from fleet_rig import Fleet, Used, trusting

from briefcase.edges.control_plane.database import POOL_SIZE
from support.certificates import new_certificate

IS_FULL = os.environ.get("BRIEFCASE_BENCH_FULL") == "1"
DEVICES = 100_000 if IS_FULL else 34_000
SYNCS_A_SECOND = 100_000 / 60
SYNC_S = 60 if IS_FULL else 20
NEW_CONNECTION_S = 30 if IS_FULL else 10
UPLOADING = 2_000  # devices that upload
BATCH = 50
UPLOADS = ((16_000, BATCH), (40_000, 1)) if IS_FULL else ((4_000, BATCH), (10_000, 1))  # how many, of how many receipts
UPLOADS_A_SECOND = 400  # of 50 receipts
WAITERS = (1_000, 10_000) if IS_FULL else (1_000,)
WAIT_MS = 55_000
MIXES = [("both", 1.0, 120 if IS_FULL else 10), *([("half", 0.5, 600)] if IS_FULL else [])]
BARE_CONNECTIONS = 2 * POOL_SIZE
BARE_INSERT = """
insert into bare (tenant, device, id, ts, prev_hash, hash, event, received_at)
select 'default', $1, sent.*, now() from unnest($2::bigint[], $3::text[], $4::bytea[], $5::bytea[], $6::text[]) as sent
"""
RECEIPT_SIZE = """
select sum(pg_total_relation_size(inhrelid))::float8 as size, (select count(*) from receipts) as count
from pg_inherits where inhparent = 'receipts'::regclass
"""
PARKED_A_SECOND = 1_500
PUBLICATIONS = 3

pytestmark = pytest.mark.timeout(0)


@pytest.fixture(scope="module", autouse=True)
def sockets():
    """Room for a socket a waiting device."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, sockets) -> Iterator[Fleet]:
    """A control plane."""
    running = Fleet(tmp_path_factory.mktemp("fleet"), processes=2)
    yield running
    running.close()


@pytest.fixture(scope="module")
def rates() -> dict[int, float]:
    """Receipts a second by the size of batches, as they were measured."""
    return {}


@pytest.fixture(scope="module")
def devices(fleet) -> list[Device]:
    """All devices."""
    return fleet.new_devices(DEVICES)


@pytest.fixture(scope="module")
def etag(fleet, devices) -> str:
    """What the policy that all of them have is called."""
    return uvloop.run(present_etag(fleet, devices[0]))


async def present_etag(fleet: Fleet, device: Device) -> str:
    said = await Wire(fleet.ports).one(device.sync('"none"'))
    return next(line[6:].decode() for line in said.split(b"\r\n") if line.lower().startswith(b"etag: "))


def measured(fleet: Fleet, work) -> tuple[Run, Used]:
    """A run and what it used."""

    async def run() -> tuple[Run, Used]:
        before = fleet.used()
        done = await work
        return done, fleet.used().since(before)

    done, used = uvloop.run(run())
    assert not done.load.failures, done.first_problem
    return done, used


def tell(figure, name: str, run: Run, used: Used, count: int | None = None) -> None:
    """The figures of a run of `count` operations; of as many as there were answers where it is not said."""
    count = count or len(run.load.latencies_ns)
    figure(f"fleet.{name}.per_second", count / run.load.elapsed_s, "/s")
    figure(f"fleet.{name}.cores", used.all_s / run.load.elapsed_s, "cores")
    figure(f"fleet.{name}.server_us", used.server_s / count * 1e6, "us")
    figure(f"fleet.{name}.database_us", used.database_s / count * 1e6, "us")
    figure(f"fleet.{name}.driver_cores", run.client_s / run.load.elapsed_s, "cores")
    others_s = used.machine_s - used.all_s - run.client_s
    figure(f"fleet.{name}.others_cores", others_s / run.load.elapsed_s, "cores")
    figure(f"fleet.{name}.p50_ms", run.load.percentile_us(50) / 1_000, "ms")
    figure(f"fleet.{name}.p95_ms", run.load.percentile_us(95) / 1_000, "ms")


def bench_echo(benchmark, figure, echo_socket):
    """The floor: what the driver and a bare echo do."""
    request = b"GET / HTTP/1.1\r\nHost: fleet\r\n\r\n"
    wire = Wire(socket_path=echo_socket)
    run = benchmark.pedantic(
        lambda: uvloop.run(closed_loop(wire, itertools.repeat(request, 50_000), connections=64)), rounds=1
    )
    figure("fleet.echo.per_second", run.load.per_second, "/s")


def verification_us() -> float:
    """The floor of a sync: processor time of one Ed25519 signature verified by the library alone."""
    key, said = Ed25519PrivateKey.generate(), b"x" * 500
    public, signature = key.public_key(), key.sign(said)
    began_ns = time.process_time_ns()
    for _ in range(5_000):
        public.verify(signature, said)
    return (time.process_time_ns() - began_ns) / 5_000 / 1_000


def bench_verification(benchmark, figure):
    figure("fleet.verification_us", benchmark.pedantic(verification_us, rounds=1), "us")


def bench_sync(benchmark, figure, fleet, devices, etag):
    """100,000 devices a minute, by one process."""
    ready = (device.sync(etag) for device in devices)
    stream = Stream(SYNCS_A_SECOND, ready, NOT_MODIFIED)
    work = open_loop(Wire(fleet.ports[:1]), stream, SYNC_S, connections=256)
    run, used = benchmark.pedantic(measured, (fleet, work), rounds=1)
    tell(figure, "sync", run, used)
    figure("fleet.sync.over_verification", used.all_s * 1e6 / len(run.load.latencies_ns) / verification_us(), "times")


def bench_sync_flat_out(benchmark, figure, fleet, devices, etag):
    """Every device once, as fast as two processes answer."""
    ready = [device.sync(etag) for device in devices]
    work = closed_loop(Wire(fleet.ports), ready, connections=256, good=NOT_MODIFIED)
    tell(figure, "sync_flat_out", *benchmark.pedantic(measured, (fleet, work), rounds=1))


def bench_sync_by_new_connections(benchmark, figure, fleet, devices, etag):
    """100,000 devices a minute, each by a connection of its own."""
    stream = Stream(SYNCS_A_SECOND, (device.sync(etag) for device in devices), NOT_MODIFIED)
    work = open_loop_anew(Wire(fleet.ports), stream, NEW_CONNECTION_S)
    tell(figure, "sync_connecting", *benchmark.pedantic(measured, (fleet, work), rounds=1))


def bench_sync_by_new_tls_connections(benchmark, figure, tmp_path):
    """As many, each by a TLS 1.3 handshake of its own (P-256), without resumption."""
    fleet = Fleet(tmp_path, processes=2, certificate=new_certificate(tmp_path))
    try:
        devices = fleet.new_devices(DEVICES if IS_FULL else 20_000)
        wire = Wire(fleet.ports, trusting())

        async def etag_now() -> str:
            said = await wire.one(devices[0].sync('"none"'))
            return next(line[6:].decode() for line in said.split(b"\r\n") if line.lower().startswith(b"etag: "))

        etag = uvloop.run(etag_now())
        stream = Stream(SYNCS_A_SECOND / 2, (device.sync(etag) for device in devices), NOT_MODIFIED)
        work = open_loop_anew(wire, stream, NEW_CONNECTION_S)
        tell(figure, "sync_by_tls", *benchmark.pedantic(measured, (fleet, work), rounds=1))
    finally:
        fleet.close()


@pytest.mark.parametrize(("count", "batch"), UPLOADS)
def bench_upload(benchmark, figure, fleet, devices, rates, count, batch):
    """Receipts as fast as two processes verify and store them."""
    uploading = itertools.cycle(devices[:UPLOADING] if batch > 1 else devices[UPLOADING : 3 * UPLOADING])
    ready = [device.upload(batch) for device in itertools.islice(uploading, count)]
    work = closed_loop(Wire(fleet.ports), ready, connections=16 if batch > 1 else 256)
    run, used = benchmark.pedantic(measured, (fleet, work), rounds=1)
    tell(figure, f"receipts_by_{batch}", run, used, count * batch)
    rates[batch] = count * batch / run.load.elapsed_s


def bench_bare_postgresql(benchmark, figure, fleet, rates):
    """The floor of uploads: as many rows of the same size, 50 a statement, and nothing checked."""
    rows, seconds = benchmark.pedantic(lambda: uvloop.run(bare_inserts(fleet, UPLOADS[0][0])), rounds=1)
    figure("fleet.bare_postgresql.per_second", rows / seconds, "/s")
    if BATCH in rates:
        figure("fleet.receipts_by_50.over_bare", rates[BATCH] * seconds / rows, "times")
    stored = fleet.sql(RECEIPT_SIZE)[0]
    figure("fleet.receipt_bytes", stored["size"] / stored["count"], "bytes")


async def bare_inserts(fleet: Fleet, statements: int) -> tuple[int, float]:
    """Rows, and how long they took, on the connections of two processes."""
    row = ("2026-11-29T12:00:00.000000Z", bytes(32), bytes(32), EVENT)
    columns = [[value] * BATCH for value in row]
    left, device = itertools.count(1), uuid4()
    pool = await asyncpg.create_pool(fleet.database_url, min_size=BARE_CONNECTIONS, max_size=BARE_CONNECTIONS)
    await pool.execute("create table bare (like receipts including indexes)")

    async def insert() -> None:
        async with pool.acquire() as connection:
            while (number := next(left)) <= statements:
                ids = list(range(number * BATCH, (number + 1) * BATCH))
                await connection.execute(BARE_INSERT, device, ids, *columns)

    began_s = time.perf_counter()
    await asyncio.gather(*(insert() for _ in range(BARE_CONNECTIONS)))
    taken_s = time.perf_counter() - began_s
    await pool.execute("drop table bare")
    await pool.close()
    return statements * BATCH, taken_s


@pytest.mark.parametrize(("name", "share", "seconds"), MIXES)
def bench_both(benchmark, figure, fleet, devices, etag, name, share, seconds):
    """Uploads of 50 receipts and syncs, on their schedules."""
    syncing, uploading = itertools.cycle(devices[UPLOADING:]), itertools.cycle(devices[:UPLOADING])
    syncs = Stream(share * SYNCS_A_SECOND, (device.sync(etag) for device in syncing), NOT_MODIFIED)
    uploads = Stream(share * UPLOADS_A_SECOND, (device.upload(BATCH) for device in uploading), OK)
    wire, uploaded = Wire(fleet.ports), []

    async def both() -> Run:
        synced, sent = await asyncio.gather(
            open_loop(wire, syncs, seconds, connections=256), open_loop(wire, uploads, seconds, connections=32)
        )
        uploaded.append(sent)
        return synced

    run, used = benchmark.pedantic(measured, (fleet, both()), rounds=1)
    tell(figure, name, run, used)
    (sent,) = uploaded
    assert not sent.load.failures, sent.first_problem
    figure(f"fleet.{name}.receipts_per_second", sent.load.per_second * BATCH, "/s")
    figure(f"fleet.{name}.upload_p95_ms", sent.load.percentile_us(95) / 1_000, "ms")


@pytest.mark.parametrize("count", WAITERS)
def bench_waiting(benchmark, figure, fleet, devices, count):
    """From a publication until the devices that wait for it have their answers."""
    rounds = benchmark.pedantic(
        lambda: [uvloop.run(wake(fleet, devices[:count])) for _ in range(PUBLICATIONS)], rounds=1
    )
    figure(f"fleet.woken_{count}.p99_ms", statistics.median(woken.p99_ms for woken in rounds), "ms")
    figure(f"fleet.woken_{count}.last_ms", max(woken.last_ms for woken in rounds), "ms")
    figure(f"fleet.woken_{count}.us", statistics.median(woken.used.all_s for woken in rounds) / count * 1e6, "us")
    figure(f"fleet.woken_{count}.waiter_kb", rounds[0].added_kb / count, "kB")


class Woken(NamedTuple):
    """One publication: when answers came after it was sent, and what waiting and waking took."""

    p99_ms: float
    last_ms: float
    added_kb: int
    used: Used


async def wake(fleet: Fleet, devices: list[Device]) -> Woken:
    """Let devices wait, publish, and wait for all answers."""
    wire, etag = Wire(fleet.ports), await present_etag(fleet, devices[0])
    came_ns: list[int] = []
    problems: list[bytes] = []
    done = asyncio.Event()

    def on_answer(connection, data: bytes) -> None:
        came_ns.append(time.perf_counter_ns())
        if not data.startswith(b"HTTP/1.1 200"):
            problems.append(data)
        if len(came_ns) == len(devices):
            done.set()

    before_kb = fleet.private_kb()
    connections = []
    for number, device in enumerate(devices):
        connection = await wire.connect(number, on_answer)
        connection.send(device.sync(etag, WAIT_MS), 0)
        connections.append(connection)
        if number % 64 == 0:
            await asyncio.sleep(64 / PARKED_A_SECOND)
    while await fleet.waiting() < len(devices):
        assert not problems, problems[0]
        await asyncio.sleep(0.1)
    added_kb, before = fleet.private_kb() - before_kb, fleet.used()
    published_ns = time.perf_counter_ns()
    said = await wire.one(fleet.publish(published_ns))
    assert said.startswith(b"HTTP/1.1 200"), said
    await done.wait()
    assert not problems, problems[0]
    for connection in connections:
        connection.transport.close()
    taken_ms = sorted((at_ns - published_ns) / 1e6 for at_ns in came_ns)
    return Woken(taken_ms[len(taken_ms) * 99 // 100 - 1], taken_ms[-1], added_kb, fleet.used().since(before))
