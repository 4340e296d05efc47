"""A control plane as it is run, for benchmarks: its processes on a PostgreSQL of its own, and what each of them used.

Devices are put into the tables as an enrolment leaves them; 100,000 enrolments one by one would take minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import asyncpg
from fleet_devices import Device, Wire

from briefcase.core.jose.base64url import decode_base64url
from briefcase.edges.control_plane.embedded import DATABASE, SUPERUSER, EmbeddedPostgres
from support.addresses import free_port

ADMIN_TOKEN = "admin-token-of-the-benchmarks-0123456789"
POLICY = 'permit(principal, action == Action::"Call", resource);'
READY_S = 60.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """Processor seconds of the control plane's processes, of PostgreSQL's, and of everything on this machine."""

    server_s: float
    database_s: float
    machine_s: float

    def since(self, before: Used) -> Used:
        """What was used after another reading."""
        return Used(*(now - then for now, then in zip(self, before, strict=True)))

    @property
    def all_s(self) -> float:
        """Of the control plane with its PostgreSQL."""
        return self.server_s + self.database_s


class Fleet:
    """A PostgreSQL and some processes of the control plane over it.

    Args:
        directory: for its data.
        processes: how many serve.
        certificate: the certificate's file and the key's, where it speaks TLS.
    """

    def __init__(self, directory: Path, processes: int, certificate: tuple[Path, Path] | None = None) -> None:
        self.base_url = "https://fleet.example" if certificate else "http://fleet.example"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._postgres = EmbeddedPostgres(directory / "postgresql")
        self._run(self._postgres.start())
        self.ports = [free_port() for _ in range(processes)]
        self._processes = [self._serve(directory, number, certificate) for number in range(processes)]
        self._wait_until_ready("https" if certificate else "http")

    @property
    def database_url(self) -> str:
        """Where PostgreSQL's superuser connects to the control plane's database."""
        return self._postgres.superuser_url.replace(f"/{SUPERUSER}?", f"/{DATABASE}?")

    def new_devices(self, count: int) -> list[Device]:
        """Devices that are enrolled."""
        devices = [Device(self.base_url) for _ in range(count)]
        self._run(self._store(devices))
        return devices

    def used(self) -> Used:
        """What was used until now, by `/proc/*/schedstat`; of PostgreSQL's ended children by their parent's ticks."""
        postmaster = self._postgres.pid
        ended = sum(map(int, Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[13:15]))
        return Used(
            sum(_used_s(process.pid) for process in self._processes),
            sum(map(_used_s, (postmaster, *_children(postmaster)))) + ended / TICKS_A_SECOND,
            _busy_s(),
        )

    def private_kb(self) -> int:
        """Memory that the control plane's processes alone have, in kB."""
        return sum(_private_kb(process.pid) for process in self._processes)

    def sql(self, statement: str) -> list[asyncpg.Record]:
        """Rows of a statement of PostgreSQL's superuser."""
        return self._run(self._fetch(statement))

    def publish(self, number: int) -> bytes:
        """A request that publishes another policy."""
        body = json.dumps({"policy_text": f"{POLICY} // {number}", "budgets": {}})
        return _admin_request("POST", "/v1/admin/policy", body)

    async def waiting(self) -> int:
        """How many devices wait, in all processes."""
        counts = []
        for port in self.ports:
            said = await Wire([port]).one(_admin_request("GET", "/metrics"))
            (line,) = (line for line in said.splitlines() if line.startswith(b"briefcase_fleet_devices_waiting "))
            counts.append(int(float(line.split()[1])))
        return sum(counts)

    def close(self) -> None:
        """Stop everything."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        self._run(self._postgres.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _serve(self, directory: Path, number: int, certificate: tuple[Path, Path] | None) -> subprocess.Popen[bytes]:
        environ = {
            "PATH": os.environ["PATH"],
            "BRIEFCASE_DATA_DIR": str(directory / f"process{number}"),
            "BRIEFCASE_CONTROL_PLANE_DATABASE_URL": self._postgres.url,
            "BRIEFCASE_CONTROL_PLANE_SIGNING_KEY_FILE": str(directory / "signing_key"),
            "BRIEFCASE_CONTROL_PLANE_PUBLIC_BASE_URL": self.base_url,
            "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": ADMIN_TOKEN,
        }
        listen = ["--listen", f"127.0.0.1:{self.ports[number]}"]
        tls = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])] if certificate else []
        command = [sys.executable, "-m", "briefcase", "control-plane", "serve", *listen, *tls]
        with (directory / f"process{number}.log").open("wb") as log:
            return subprocess.Popen(command, env=environ, stdout=log, stderr=log)

    def _wait_until_ready(self, scheme: str) -> None:
        deadline = time.monotonic() + READY_S
        for port in self.ports:
            while True:
                try:
                    urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/ready", timeout=5, context=trusting()).read()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    async def _store(self, devices: list[Device]) -> None:
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = [
                ("default", one.id, "simulated", decode_base64url(one.public_key), one.jkt, one.token_hash)
                for one in devices
            ]
            columns = ["tenant", "device", "name", "public_key", "jkt", "token_hash"]
            await connection.copy_records_to_table("devices", records=rows, columns=columns)
            heads = [("default", one.id) for one in devices]
            await connection.copy_records_to_table("device_heads", records=heads, columns=["tenant", "device"])
            await connection.execute("analyze devices; analyze device_heads")
        finally:
            await connection.close()

    async def _fetch(self, statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def trusting() -> ssl.SSLContext:
    """A client's side of TLS that takes any certificate, whose check is not what is measured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _admin_request(method: str, path: str, body: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: fleet\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _used_s(pid: int) -> float:
    used_ns = 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            used_ns += int((task / "schedstat").read_text().split()[0])
        except OSError:  # it ended meanwhile
            continue
    return used_ns / 1e9


def _busy_s() -> float:
    ticks = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return (sum(ticks) - ticks[3] - ticks[4]) / TICKS_A_SECOND  # without idle and waiting for a disk


def _children(parent: int) -> list[int]:
    children = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == parent:
            children.append(int(directory.name))
    return children


def _private_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
