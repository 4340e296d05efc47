"""Kept connections, looked at once more before they are used again.

The client library gives a connection again when it was idle for less than its bound and is not known to be closed. That
is not enough for what may be sent only once, nor for an answer that must not be another's: so one on which anything has
come while it was idle, be it its end or bytes that nobody asked for, is closed and not used.
"""

from __future__ import annotations

import select
from typing import Any

import aiohttp
from aiohttp.connector import Connection


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
