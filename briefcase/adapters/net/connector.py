"""The client library's connector: names resolve through the guard, and a kept connection is looked at once more.

The client library gives a connection again when it was idle for less than its bound and is not known to be closed. That
is not enough for what may be sent only once, nor for an answer that must not be another's: so one on which anything has
come while it was idle, be it its end or bytes that nobody asked for, is closed and not used.
"""

from __future__ import annotations

import select
import socket
from ipaddress import IPv6Address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection

from briefcase.adapters.net.destinations import DestinationGuard


class GuardedResolver(AbstractResolver):
    """The addresses that a `DestinationGuard` lets through, as the connector takes them."""

    def __init__(self, guard: DestinationGuard) -> None:
        self._guard = guard

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # the port asks for it; every family is checked
    ) -> list[ResolveResult]:
        """The addresses of a name, each of them checked."""
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._guard.resolve(host, port)
        ]

    async def close(self) -> None:
        """It holds nothing."""


class LookingConnector(aiohttp.TCPConnector):
    """A `TCPConnector` that asks the socket itself before it gives a connection again."""

    async def _get(self, *args: Any, **kwargs: Any) -> Connection | None:
        while (connection := await super()._get(*args, **kwargs)) is not None:
            if not _has_news(connection):
                return connection
            connection.close()
        return None


def _has_news(connection: Connection) -> bool:
    """Whether anything came on an idle connection, read from its socket by now or not."""
    protocol = connection.protocol
    if protocol is None or protocol.transport is None or protocol.should_close:
        return True
    looking = select.poll()
    looking.register(protocol.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(looking.poll(0))
