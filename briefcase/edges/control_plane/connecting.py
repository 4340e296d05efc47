"""Connecting to the primary among several hosts: all are asked at once, and the first that takes writes is used.

One after the other, as asyncpg does it, a host that is dark takes all the time there is, and one that is only starting
ends the search: after a failover the primary would not be found for as long as that host is not well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from briefcase.model.errors import ConfigError

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 10.0
MAX_HOSTS: Final = 16
DEFAULT_PORT: Final = 5_432
MAX_PORT: Final = 65_535

SCHEMES: Final = frozenset({"postgresql", "postgres"})
_NO_URL: Final = (
    "expected `BRIEFCASE_CONTROL_PLANE_DATABASE_URL` to be `postgresql://USER@HOST/DATABASE`; its value is not shown"
)

Host: TypeAlias = tuple[str, int]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Connector:
    """Connects to one database.

    Args:
        url: a libpq URL (PostgreSQL, section 34.1.1.2); several hosts stand before the path, or in `host` and `port`.

    Raises:
        ConfigError: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            parts = urlsplit(url)
            self._hosts = _hosts_of(parts.netloc, parse_qs(parts.query))
        except ValueError:
            raise ConfigError(_NO_URL) from None
        if parts.scheme not in SCHEMES or not parts.path.strip("/"):
            raise ConfigError(_NO_URL)

    async def connect(self, server_settings: Mapping[str, str] | None = None) -> Connection:
        """A new connection to the server that takes writes.

        Args:
            server_settings: of the session.

        Raises:
            OSError: none could be reached, or none of them takes writes now.
            asyncpg.InterfaceError, asyncpg.InternalClientError: likewise, as asyncpg has it.
        """
        settings = dict(server_settings or {})
        tries = [asyncio.ensure_future(self._try(host, settings)) for host in self._hosts or (None,)]
        chosen: Connection | None = None
        problem: Exception = ConnectionError("no host was asked")
        try:
            for ended in asyncio.as_completed(tries):
                try:
                    chosen = await ended
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                    # what the server says to who connects is of the server, whatever it says
                    problem = ConnectionError(error.sqlstate) if isinstance(error, asyncpg.PostgresError) else error
                else:
                    return chosen
        finally:
            _let_go(tries, chosen)
        raise problem

    async def _try(self, host: Host | None, server_settings: dict[str, str]) -> Connection:
        name, port = host or (None, None)
        return await asyncpg.connect(
            self._url,
            host=name,
            port=port,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            target_session_attrs=SessionAttribute.read_write,
            server_settings=server_settings,
        )


def _let_go(tries: Sequence[asyncio.Future[Connection]], chosen: Connection | None) -> None:
    """End every try but the chosen one, and what a slower one connected meanwhile."""
    for one in tries:
        if not one.done():
            one.cancel()
        elif not one.cancelled() and one.exception() is None and one.result() is not chosen:
            one.result().terminate()


def _hosts_of(netloc: str, query: Mapping[str, list[str]]) -> list[Host]:
    """The hosts of a URL; none where it names none, which is the default of the library's.

    Raises:
        ValueError: a port is no port, or there are not as many as hosts.
    """
    named = [name for name in netloc.rpartition("@")[2].split(",") if name] or ",".join(query.get("host", [])).split(
        ","
    )
    ports = ",".join(query.get("port", [])).split(",")
    hosts = [_host(name) for name in named if name]
    given = [_port(port) for port in ports if port]
    if len(hosts) > MAX_HOSTS or len(given) not in {0, 1, len(hosts)}:
        raise ValueError
    return [
        (name, port or given[at % len(given)] if given else port or DEFAULT_PORT)
        for at, (name, port) in enumerate(hosts)
    ]


def _host(text: str) -> tuple[str, int | None]:
    """A host and its own port; a path is that of a socket, and an IPv6 address stands in brackets."""
    if text.startswith("/"):
        return text, None
    name, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        return text.strip("[]"), None
    return name.strip("[]"), _port(port)


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port <= MAX_PORT:
        raise ValueError
    return port
