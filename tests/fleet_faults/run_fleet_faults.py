"""A fleet's control plane under faults: `make fleet-faults`. One table; exit code 1 where something was violated.

    run_fleet_faults.py [--only NAME]... [--times N] [--postgresql DIRECTORY] [--devices N]

Three PostgreSQL under Patroni and etcd, two processes of the control plane, a proxy and a load of devices, each on a
machine of its own (a network namespace). One fault after the other; between two of them everything is well again. Needs
root on Linux and Debian's packages `patroni`, `etcd-server`, `haproxy` and `faketime`; it takes about nine minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
from cluster import Cluster, binaries_problem, missing
from history import StoredReceipt, longest_gap_s, not_complete, not_linear
from load import Load, end
from machines import connect_all, go_inside, inside, until
from plane import Plane, Planes
from rich.console import Console
from rich.table import Table

POSTGRESQL: Final = Path("/usr/lib/postgresql/15/bin")
DEVICES: Final = 12
SETTLED_S: Final = 1.5  # of load between two faults
RECOVERY_S: Final = 60.0


class Stage(NamedTuple):
    """What a fault acts on."""

    cluster: Cluster
    planes: Planes
    load: Load
    number: int


class Fault(NamedTuple):
    """One kind of fault: what is done, how often, and for how long acknowledgements may stay away, at the median."""

    name: str
    what: str
    times: int
    cause: Callable[[Stage], Awaitable[None]]
    most_p50_s: float


# --- the faults -------------------------------------------------------------------------------------------------------


async def _kill_primary(stage: Stage) -> None:
    stage.cluster.kill(await stage.cluster.primary())


async def _kill_standby(stage: Stage) -> None:
    stage.cluster.kill(await stage.cluster.standby())


async def _freeze_primary(stage: Stage) -> None:
    with (await stage.cluster.primary()).frozen():
        await asyncio.sleep(26)


async def _freeze_standby(stage: Stage) -> None:
    with (await stage.cluster.standby()).frozen():
        await asyncio.sleep(
            13
        )  # past the time that a statement is given: its commit is local then, and not acknowledged


async def _cut_primary_off(stage: Stage) -> None:
    with (await stage.cluster.primary()).cut_off():
        await asyncio.sleep(26)


async def _cut_standby_off(stage: Stage) -> None:
    with (await stage.cluster.standby()).cut_off():
        await asyncio.sleep(6)


async def _fill_primary(stage: Stage) -> None:
    with (await stage.cluster.primary()).full_disk():
        await asyncio.sleep(15)


async def _kill_plane(stage: Stage) -> None:
    _plane(stage).kill()


async def _freeze_plane(stage: Stage) -> None:
    with _plane(stage).machine.frozen():
        await asyncio.sleep(4)


async def _cut_plane_off(stage: Stage) -> None:
    with _plane(stage).machine.cut_off():
        await asyncio.sleep(4)


async def _deafen_plane(stage: Stage) -> None:
    with _plane(stage).machine.deaf_to(stage.cluster.nodes):
        await asyncio.sleep(6)


async def _step_clock(stage: Stage) -> None:
    plane = _plane(stage)
    plane.step_clock(("-3h", "+3h", "-3652d", "+3652d")[stage.number % 4])
    await asyncio.sleep(3)
    plane.step_clock("+0")


def _plane(stage: Stage) -> Plane:
    return stage.planes.planes[stage.number % len(stage.planes.planes)]


FAULTS: Final = (
    Fault("kill-primary", "kill -9 of the primary", 20, _kill_primary, 5),
    Fault("kill-standby", "kill -9 of the synchronous standby", 3, _kill_standby, 5),
    Fault("freeze-primary", "the primary's machine is frozen", 1, _freeze_primary, 40),
    Fault("freeze-standby", "the standby's machine is frozen", 1, _freeze_standby, 20),
    Fault("cut-primary", "the primary is cut off", 1, _cut_primary_off, 40),
    Fault("cut-standby", "the standby is cut off", 1, _cut_standby_off, 20),
    Fault("disk-full", "the primary's disk is full", 1, _fill_primary, 40),
    Fault("kill-plane", "kill -9 of a control-plane process", 4, _kill_plane, 5),
    Fault("freeze-plane", "a control-plane process is frozen", 2, _freeze_plane, 5),
    Fault("cut-plane", "a control-plane process is cut off", 2, _cut_plane_off, 5),
    Fault("deaf-plane", "a control-plane process reaches no database", 1, _deafen_plane, 5),
    Fault("clock", "a control-plane process's clock steps", 2, _step_clock, 5),
)


# --- one run ----------------------------------------------------------------------------------------------------------


async def _run(console: Console, directory: Path, asked: argparse.Namespace) -> int:
    connect_all()
    cluster = Cluster(directory, asked.postgresql)
    planes = Planes(directory, cluster.url)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await _break(console, asked, session, cluster, planes)
    finally:
        for machine in (*cluster.nodes, cluster.etcd, planes.proxy, *(plane.machine for plane in planes.planes)):
            machine.stop()


async def _break(
    console: Console, asked: argparse.Namespace, session: aiohttp.ClientSession, cluster: Cluster, planes: Planes
) -> int:
    began_s = time.monotonic()
    await cluster.start(session)
    keeping = await planes.start(session)
    load = Load(session, planes.base_url, asked.devices)
    working = await load.start()
    console.print(f"three servers, two processes, {asked.devices} devices after {time.monotonic() - began_s:.0f} s")
    rows = []
    try:
        for fault in FAULTS:
            if not asked.only or fault.name in asked.only:
                gaps_s = await _try(
                    console, fault, asked.times or fault.times, Stage(cluster, planes, load, 0), session
                )
                rows.append((fault, gaps_s))
        load.fault = "the end"
        await asyncio.sleep(SETTLED_S)
    finally:
        await end([*working, *keeping])
    return _report(console, rows, load, await _stored(cluster, load))


async def _try(console: Console, fault: Fault, times: int, stage: Stage, session: aiohttp.ClientSession) -> list[float]:
    """Cause one fault so many times, each in a fleet that is well; gives the gaps."""
    gaps_s = []
    for number in range(times):
        await stage.cluster.healthy()
        await stage.planes.ready(session)
        await asyncio.sleep(SETTLED_S)
        stage.load.fault = fault.name
        began_s = time.monotonic()
        await fault.cause(stage._replace(number=number))
        await _recovered(stage, session)
        gaps_s.append(longest_gap_s(stage.load.acknowledged_s, began_s, time.monotonic()))
        console.print(f"{fault.what}, {number + 1} of {times}: {gaps_s[-1]:.1f} s without an acknowledgement")
    return gaps_s


async def _recovered(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Wait until every device has had something acknowledged again."""
    last = {device.id: device.acknowledged for device in stage.load.devices}

    async def have_gone_on() -> bool:
        return all(device.acknowledged > last[device.id] for device in stage.load.devices)

    await until(have_gone_on, RECOVERY_S)
    await stage.planes.ready(session)


async def _stored(cluster: Cluster, load: Load) -> dict[str, list[StoredReceipt]]:
    await cluster.healthy()
    connection = await cluster.connect("postgres", "briefcase")
    stored: dict[str, list[StoredReceipt]] = {device.id: [] for device in load.devices}
    for row in await connection.fetch("select device, id, hash from receipts order by device, id"):
        if str(row["device"]) in stored:
            stored[str(row["device"])].append(StoredReceipt(row["id"], row["hash"].hex()))
    await connection.close()
    return stored


def _report(
    console: Console, rows: list[tuple[Fault, list[float]]], load: Load, stored: dict[str, list[StoredReceipt]]
) -> int:
    linear = not_linear(load.answers)
    complete = not_complete(
        {device.id: device.acknowledged for device in load.devices},
        {device.id: device.hashes for device in load.devices},
        stored,
    )
    table = Table("fault", "times", "answers", "violations", "gap p50", "longest", "target p50")
    wrong = [*linear, *load.problems, *complete]
    for fault, gaps_s in rows:
        p50_s = statistics.median(gaps_s)
        of_it = [line for line in (*linear, *load.problems) if line.startswith(f"{fault.name}:")]
        if p50_s > fault.most_p50_s:
            wrong.append(f"{fault.name}: the gap's median is {p50_s:.1f} s, expected at most {fault.most_p50_s:.0f} s")
        answers = sum(answer.fault == fault.name for answer in load.answers)
        gaps = (f"{p50_s:.1f} s", f"{max(gaps_s):.1f} s", f"{fault.most_p50_s:.0f} s")
        table.add_row(fault.what, str(len(gaps_s)), f"{answers:,}", str(len(of_it)), *gaps)
    for line in wrong:
        console.print(f"violation: {line}", style="red", markup=False, highlight=False)
    console.print(table)
    acknowledged = sum(device.acknowledged for device in load.devices)
    console.print(
        f"{acknowledged:,} receipts acknowledged, {len(complete)} devices with one lost, doubled or changed;"
        f" {len(load.answers):,} answers looked at, {len(linear)} not linear; {load.publications:,} publications;"
        f" {load.revoked} devices revoked"
    )
    console.print(f"answers by status: {dict(sorted(load.statuses.items()))}", highlight=False)
    return 1 if wrong else 0


def main() -> int:
    """Run what was asked for; gives the exit code."""
    parser = argparse.ArgumentParser(description="Break a fleet's control plane, and look at what clients saw.")
    parser.add_argument("--only", choices=[fault.name for fault in FAULTS], action="append", help="one fault; again")
    parser.add_argument("--times", type=int, help="how often each")
    parser.add_argument("--postgresql", type=Path, default=POSTGRESQL, help="where PostgreSQL's binaries are")
    parser.add_argument("--devices", type=int, default=DEVICES, help="how many devices upload")
    parser.add_argument("--keep-logs", type=Path, help="copy the machines' logs there")
    asked = parser.parse_args()
    problem = _problem(asked.postgresql)
    if problem:
        sys.stderr.write(f"fleet-faults: {problem}\n")
        return 2
    if not inside():
        return go_inside(sys.argv)
    console = Console(width=None if sys.stdout.isatty() else 130)
    with tempfile.TemporaryDirectory(prefix="fleet-faults-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        try:
            return asyncio.run(_run(console, directory, asked))
        finally:
            if asked.keep_logs is not None:
                asked.keep_logs.mkdir(exist_ok=True)
                for log in directory.glob("*.log"):
                    (asked.keep_logs / log.name).write_bytes(log.read_bytes())


def _problem(binaries: Path) -> str:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, for namespaces of its own"
    packages = missing()
    if packages:
        return f"not installed: {', '.join(packages)} (Debian: apt-get install {' '.join(packages)})"
    return binaries_problem(binaries)


if __name__ == "__main__":
    sys.exit(main())
