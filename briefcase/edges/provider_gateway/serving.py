"""Serving a provider gateway: one loopback listener, bounded HTTP, facts tidied as time goes on.

It listens on loopback only; a provider's own proxy takes TLS in front of it, and `base_url` is that proxy's address.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from briefcase.adapters.disk.data_dir import DataDirLock, prepare_data_dir
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.server import HttpServer
from briefcase.edges.http.sockets import open_tcp_listener
from briefcase.edges.provider_gateway.app import ProviderGateway
from briefcase.edges.provider_gateway.settings import GatewaySettings
from briefcase.model.ports import Clock, Entropy
from briefcase.model.types import US_PER_S

TIDY_INTERVAL_S: Final = 10.0
LIMITS: Final = HttpLimits(drain_ms=1_000)


class GatewayServer:
    """One running provider gateway; construct it inside the event loop that serves it.

    Args:
        settings: how it issues and checks; an empty `base_url` becomes the listener's own address.
        host: a literal loopback address.
        port: the port, 0 for any free one.
        clock: the time.
        entropy: makes ids and codes.

    Raises:
        ConfigError: the state directory or the address cannot be used, or another gateway runs on the directory.
    """

    def __init__(self, settings: GatewaySettings, host: str, port: int, clock: Clock, entropy: Entropy) -> None:
        state_dir = prepare_data_dir(settings.state_dir)
        self._lock = DataDirLock(state_dir)
        try:
            self._listener = open_tcp_listener(host, port)
            bound = self._listener.sock.getsockname()
            self.base_url = settings.base_url or f"http://{f'[{host}]' if ':' in host else host}:{bound[1]}"
            chosen = msgspec.structs.replace(settings, base_url=self.base_url, state_dir=state_dir)
            self.app = ProviderGateway(chosen, clock, entropy)
        except BaseException:
            self._lock.release()
            raise
        self._clock = clock
        self._server = HttpServer(self.app, (self._listener,), LIMITS)
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()
        self._tidy()

    async def stop(self) -> None:
        """Stop serving; every fact is on disk when this returns."""
        if self._timer is not None:
            self._timer.cancel()
        await self._server.drain()
        self.app.facts.close()
        self._lock.release()

    def _tidy(self) -> None:
        self.app.facts.tidy(self._clock.now_us() // US_PER_S)
        self._timer = asyncio.get_running_loop().call_later(TIDY_INTERVAL_S, self._tidy)
