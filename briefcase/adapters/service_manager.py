"""Tell the service manager how this process is (`sd_notify(3)`, `systemd.service(5)`): ready, alive, or stopping.

A datagram of `NAME=VALUE` lines to the socket that `NOTIFY_SOCKET` names; nothing where there is none. Where
`WATCHDOG_USEC` asks for it, a sign of life is given from the event loop at half of that time: a loop that is held is
a process to start again.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from briefcase.adapters.telemetry.logger import get_logger

_US_PER_S: Final = 1_000_000

_log: Final = get_logger("briefcase.process")


@asynccontextmanager
async def managed(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Say that this process is ready now, that it lives while the block runs, and that it stops when the block ends.

    Args:
        environ: with what the service manager gave it.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        yield
        return
    tell(address, "READY=1")
    alive = asyncio.create_task(_say_alive(address, watchdog_s(environ)))
    try:
        yield
    finally:
        alive.cancel()
        with suppress(asyncio.CancelledError):
            await alive
        tell(address, "STOPPING=1")


def tell(address: str, state: str) -> None:
    """Send one state; one that cannot be sent is logged, for nothing here depends on it.

    Args:
        address: a path, or an abstract name that begins with `@`.
        state: `READY=1` and the like.
    """
    place = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(0)
            sender.sendto(state.encode(), place)
    except OSError as error:
        _log.warning("service_manager_not_told", state=state, problem=error.strerror or str(error))


def watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Seconds within which the service manager wants a sign of life of this process, or None where it wants none."""
    asked, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not asked.isdecimal() or int(asked) == 0 or whose not in {"", str(os.getpid())}:
        return None
    return int(asked) / _US_PER_S


async def _say_alive(address: str, within_s: float | None) -> None:
    while within_s is not None:
        tell(address, "WATCHDOG=1")
        await asyncio.sleep(within_s / 2)
