"""Machines on one machine: network namespaces on a bridge, each with an address, processes and a cable to pull.

All of it lives in namespaces of the run's own (`inside`): of mounts, of processes and of the network. However the run
ends, the kernel takes everything back, and nothing outside could ever be reached.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

NETWORK: Final = "10.213.0"
NOBODY: Final = "65534"
POLL_S: Final = 0.1
_INSIDE: Final = "BRIEFCASE_FLEET_FAULTS_INSIDE"


def inside() -> bool:
    """Whether this process is in namespaces of its own."""
    return os.environ.get(_INSIDE) == "1"


def go_inside(arguments: Sequence[str]) -> int:
    """Run this program again in namespaces of its own; gives its exit code.

    A shell is their first process: it takes the children of those that die, without which PostgreSQL's dead would stay.
    """
    first = ("bash", "-c", '"$@"; exit $?', "init", sys.executable)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *first]
    return subprocess.run([*command, *arguments], env={**os.environ, _INSIDE: "1"}, check=False).returncode


def run(*command: str) -> str:
    """Run a command that must succeed; gives what it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def until(holds: Callable[[], Awaitable[object]], most_s: float) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it took too long.
    """
    async with asyncio.timeout(most_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(POLL_S)


def connect_all() -> None:
    """Lay the bridge; the run itself stands at it as `.1`."""
    Path("/run/netns").mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "netns", "/run/netns")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "switch", "type", "bridge")
    run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", "switch")
    run("ip", "link", "set", "switch", "up")


class Machine:
    """One machine.

    Args:
        name: at most ten characters.
        number: the last part of its address.
        directory: for its files and its log.
    """

    def __init__(self, name: str, number: int, directory: Path) -> None:
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self.directory = directory / name
        self.directory.mkdir(mode=0o755)
        self.log = directory / f"{name}.log"
        self._cable = f"to-{name}"
        run("ip", "netns", "add", name)
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", self._cable, "master", "switch", "up")
        run("ip", "-n", name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")

    def start(
        self, command: Sequence[str], *, environ: Mapping[str, str] | None = None, is_nobody: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a process on it, its output in the machine's log."""
        dropped = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
        log: IO[bytes]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *(dropped if is_nobody else ()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
                cwd=self.directory,
            )

    def pids(self) -> list[int]:
        """Its processes."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of it."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block none of its processes runs."""
        self.signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_all(signal.SIGCONT)

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Within the block its cable is pulled."""
        run("ip", "link", "set", self._cable, "down")
        try:
            yield
        finally:
            run("ip", "link", "set", self._cable, "up")

    @contextmanager
    def deaf_to(self, others: Sequence[Machine]) -> Iterator[None]:
        """Within the block what it sends to these machines goes nowhere: it reaches the rest of the network."""
        for other in others:
            run("ip", "-n", self.name, "route", "add", "blackhole", f"{other.address}/32")
        try:
            yield
        finally:
            for other in others:
                run("ip", "-n", self.name, "route", "del", "blackhole", f"{other.address}/32")

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Within the block its disk has not a byte left."""
        ballast = self.directory / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"\0" * (1 << 20)):
                pass
        try:
            yield
        finally:
            ballast.unlink()

    def stop(self) -> None:
        """End everything on it, and let go of its disk."""
        self.signal_all(signal.SIGKILL)
        subprocess.run(["umount", "--lazy", self.directory], check=False, capture_output=True)

    def mount_disk(self, mib: int) -> None:
        """Give it a small disk of its own."""
        run("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", self.name, str(self.directory))
        shutil.chown(self.directory, int(NOBODY), int(NOBODY))
