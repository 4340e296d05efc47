"""The embedded server: takes connections on sockets that were bound before, and drains them when asked to.

Draining, in order; what is left behind if the process dies at a step is what a crash leaves at any other time:

 1. stop taking connections (the socket file goes)
 2. tell the application, so that nothing waits for what will not come
 3. close idle connections; let requests that have begun finish, each answered with `connection: close`
 4. at the deadline cut what is left: a call that is cut has its intent on disk and no answer
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from briefcase.edges.http.asgi import AsgiApp
from briefcase.edges.http.connection import Connection, Serving
from briefcase.edges.http.exchange import DirectApp, RefusalWords
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.places import Places
from briefcase.edges.http.sockets import BACKLOG, Listener

DATE_INTERVAL_S: Final = 1.0  # RFC 9110 section 6.6.1: `date` counts whole seconds
_DRAIN_POLL_S: Final = 0.01


class HttpServer:
    """One application on any number of listeners, in the running event loop.

    Args:
        app: answers every request.
        listeners: from `sockets.open_unix_listener` and `open_tcp_listener`; closed by `drain`.
        limits: the bounds of HTTP.
        on_drain: tells the application that the server is about to stop.
        refusal_words: see `connection.Serving`.
    """

    def __init__(
        self,
        app: DirectApp | AsgiApp,
        listeners: Sequence[Listener],
        limits: HttpLimits,
        on_drain: Callable[[], None] | None = None,
        refusal_words: Mapping[bytes, RefusalWords] | None = None,
    ) -> None:
        self._on_drain = on_drain
        self._listeners = tuple(listeners)
        self._limits = limits
        self._state = Serving(app, limits, refusal_words)
        self._servers: list[asyncio.Server] = []
        self._date_timer: asyncio.TimerHandle | None = None

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._state.connections)

    @property
    def places(self) -> Places:
        """Who has the connections, and what is held for them."""
        return self._state.places

    async def start(self) -> None:
        """Begin to take connections; they are served from when this returns."""
        loop = asyncio.get_running_loop()
        self._tick()

        self._state.agent_listeners = frozenset(
            number for number, listener in enumerate(self._listeners) if listener.is_for_agents
        )
        for number, listener in enumerate(self._listeners):
            new_protocol = partial(Connection, self._state, loop, number)
            self._servers.append(await loop.create_server(new_protocol, sock=listener.sock, backlog=BACKLOG))

    async def drain(self) -> None:
        """Stop, as the module's steps say. Returns when every connection is closed, at the latest after `drain_ms`."""
        for server in self._servers:  # 1
            server.close()
        for listener in self._listeners:
            listener.close()
        if self._on_drain is not None:  # 2
            self._on_drain()
        for connection in list(self._state.connections):  # 3
            connection.shutdown()
        deadline = time.monotonic() + self._limits.drain_ms / 1_000
        while self._busy() and time.monotonic() < deadline:  # noqa: ASYNC110 - the sets announce nothing
            await asyncio.sleep(_DRAIN_POLL_S)
        await self._cut()  # 4
        if self._state.tcp_peers is not None:
            self._state.tcp_peers.close()
        if self._date_timer is not None:
            self._date_timer.cancel()

    def _busy(self) -> bool:
        return bool(self._state.connections or self._state.tasks)

    async def _cut(self) -> None:
        for connection in list(self._state.connections):
            connection.transport.abort()
        while self._state.connections:  # noqa: ASYNC110 - as above; each one hears of it in the next turn
            await asyncio.sleep(0)
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tick(self) -> None:
        self._state.date.tick()
        self._date_timer = asyncio.get_running_loop().call_later(DATE_INTERVAL_S, self._tick)
