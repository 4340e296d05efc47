"""The operator page's listener: opened with the first link, closed with the daemon. It loads nothing before.

The page's address is `http://localhost:PORT`, which is what a passkey is bound to. A browser tries `::1` before
`127.0.0.1`, so the daemon takes both: who held the other one would be sent the log-in code.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Final

import msgspec

from briefcase.core.calls.ratelimits import PrincipalBuckets
from briefcase.core.wire.page import PageLink
from briefcase.edges.api.services import Services
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.server import HttpServer
from briefcase.edges.http.sockets import Listener, open_tcp_listener
from briefcase.edges.page.sessions import CODE_S, Sessions
from briefcase.model.errors import CallerError, ConfigError
from briefcase.model.types import US_PER_S, Principal, format_rfc3339

if TYPE_CHECKING:
    from briefcase.edges.page.app import Page

LIMITS: Final = HttpLimits(max_connections=128, drain_ms=1_000)
_NO_IPV6: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class _Open(msgspec.Struct, frozen=True):
    """The page while it is served; `authority` is its host and port."""

    server: HttpServer
    sessions: Sessions
    authority: str


class PageServer:
    """Opens the page when it is asked for.

    Args:
        port: where, 0 for any free port.
        buckets: how much each person may ask, here and of the API together.
    """

    def __init__(self, port: int, buckets: PrincipalBuckets) -> None:
        self._port = port
        self._buckets = buckets
        self._opening = asyncio.Lock()
        self._open: _Open | None = None

    async def new_link(self, services: Services, principal: Principal) -> PageLink:
        """A link that logs a browser in, once, as a person; opens the page.

        Args:
            services: what the page answers from.
            principal: whose link it is.

        Raises:
            CallerError: its port is not to be had (`conflict`).
        """
        async with self._opening:
            if self._open is None:
                self._open = await self._opened(services)
        code = self._open.sessions.new_code(principal)
        expires_at = format_rfc3339(services.clock.now_us() + CODE_S * US_PER_S)
        return PageLink(f"http://{self._open.authority}/ui/login?code={code}", expires_at)

    async def stop(self) -> None:
        """Close the page, if it is open."""
        if self._open is not None:
            await self._open.server.drain()

    async def _opened(self, services: Services) -> _Open:
        listeners = open_localhost(self._port)
        try:
            authority = f"localhost:{listeners[0].sock.getsockname()[1]}"
            new_page = await asyncio.to_thread(_load)  # a quarter of a second, which no call waits for
            sessions = Sessions(services.people, services.entropy, services.clock.monotonic_ns)
            page = new_page(services, self._buckets, sessions, authority)
            server = HttpServer(page, listeners, LIMITS, on_drain=page.stop)
            await server.start()
        except BaseException:
            for listener in listeners:
                listener.close()
            raise
        return _Open(server, sessions, authority)


def open_localhost(port: int) -> list[Listener]:
    """Listen on every loopback address that a browser may take `localhost` for.

    Args:
        port: which; 0 for any that is free.

    Raises:
        CallerError: somebody else listens there (`conflict`).
    """
    listeners: list[Listener] = []
    try:
        listeners.append(open_tcp_listener("127.0.0.1", port))
        listeners.append(open_tcp_listener("::1", listeners[0].sock.getsockname()[1]))
    except ConfigError as error:
        cause = error.__cause__
        if listeners and isinstance(cause, OSError) and cause.errno in _NO_IPV6:
            return listeners
        for listener in listeners:
            listener.close()
        raise CallerError(
            f"the page cannot be opened: {error.message}",
            code="conflict",
            hint="end what listens there, or set another `port` under `[page]` in `briefcase.toml`",
        ) from None
    return listeners


def _load() -> type[Page]:
    from briefcase.edges.page.app import Page

    return Page
