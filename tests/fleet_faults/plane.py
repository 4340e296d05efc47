"""Two processes of the control plane on two machines, and a proxy in front of them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
from machines import NETWORK, Machine, until

PORT: Final = 8790
ADMIN_TOKEN: Final = "admin-token-of-the-fault-suite-0123456789"
RESTART_S: Final = 0.3
READY_S: Final = 60.0
FAKETIME: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

_PROXY: Final = """
global
    maxconn 4000
defaults
    mode http
    timeout connect 1s
    timeout client 70s
    timeout server 70s
    option redispatch
    retries 2
frontend fleet
    bind {proxy}:{port}
    default_backend planes
backend planes
    balance roundrobin
    option httpchk GET /ready
    default-server inter 500ms fall 2 rise 1 check on-marked-down shutdown-sessions
{servers}
"""


class Plane:
    """One process, started again whenever it ends.

    Args:
        machine: where it runs.
        base_url: what devices call.
        database_url: of the cluster.
        key: the signing key, which the processes share.
    """

    def __init__(self, machine: Machine, base_url: str, database_url: str, key: Path) -> None:
        self.machine = machine
        self.starts = 0
        self._clock = machine.directory / "clock"
        self._clock.write_text("+0")
        self._environ = {
            "BRIEFCASE_DATA_DIR": str(machine.directory / "data"),
            "BRIEFCASE_CONTROL_PLANE_DATABASE_URL": database_url,
            "BRIEFCASE_CONTROL_PLANE_SIGNING_KEY_FILE": str(key),
            "BRIEFCASE_CONTROL_PLANE_PUBLIC_BASE_URL": base_url,
            "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": ADMIN_TOKEN,
            "LD_PRELOAD": str(FAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    async def keep(self) -> None:
        """Keep it running until cancelled."""
        while True:
            self._process = self._start()
            self.starts += 1
            await asyncio.to_thread(self._process.wait)
            await asyncio.sleep(RESTART_S)

    def kill(self) -> None:
        """Kill it."""
        self.machine.signal_all(signal.SIGKILL)

    def step_clock(self, by: str) -> None:
        """Set its wall clock off by so much, as libfaketime takes it; `+0` is right."""
        self._clock.write_text(by)

    def _start(self) -> subprocess.Popen[bytes]:
        listen = ("--listen", f"{self.machine.address}:{PORT}", "--behind-proxy", f"{NETWORK}.0/24")
        command = [sys.executable, "-m", "briefcase", "--debug", "control-plane", "serve", *listen]
        return self.machine.start(command, environ=self._environ)


class Planes:
    """The processes and the proxy."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.proxy = Machine("proxy", 20, directory)
        self.base_url = f"http://{self.proxy.address}:{PORT}"
        key = directory / "signing_key"
        self.planes = [
            Plane(Machine(f"cp{number}", 20 + number, directory), self.base_url, database_url, key) for number in (1, 2)
        ]

    async def start(self, session: aiohttp.ClientSession) -> list[asyncio.Task[None]]:
        """Start everything; gives the tasks that keep it running."""
        tasks = [asyncio.create_task(plane.keep()) for plane in self.planes]
        servers = "\n".join(f"    server {plane.machine.name} {plane.machine.address}:{PORT}" for plane in self.planes)
        config = self.proxy.directory / "haproxy.cfg"
        config.write_text(_PROXY.format(proxy=self.proxy.address, port=PORT, servers=servers))
        self.proxy.start(["/usr/sbin/haproxy", "-f", str(config)])
        await self.ready(session)
        await until(partial(_is_ready, session, self.proxy.address), READY_S)
        return tasks

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Wait until each process can decide."""
        for plane in self.planes:
            await until(partial(_is_ready, session, plane.machine.address), READY_S)


async def _is_ready(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(f"http://{address}:{PORT}/ready", timeout=aiohttp.ClientTimeout(total=1)) as answer:
            return answer.status == 200
    except (TimeoutError, OSError, aiohttp.ClientError):
        return False
