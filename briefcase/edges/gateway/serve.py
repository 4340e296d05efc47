"""The gateway's process: the daemon's client, the endpoint and the standard streams, started and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from briefcase.adapters.service_manager import managed
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.signals import stop_on_signals
from briefcase.edges.gateway.connection import Core
from briefcase.edges.gateway.daemon import Daemon
from briefcase.edges.gateway.feed import Feed
from briefcase.edges.gateway.holding import Holding
from briefcase.edges.gateway.http_endpoint import HttpEndpoint
from briefcase.edges.gateway.line_writer import LineWriter
from briefcase.edges.gateway.methods import Methods
from briefcase.edges.gateway.operations import Operations
from briefcase.edges.gateway.request_state import StateSealer
from briefcase.edges.gateway.session import Sessions
from briefcase.edges.gateway.settings import GatewaySettings
from briefcase.edges.gateway.stdio import MAX_LINE_BYTES, StdioConnection
from briefcase.edges.gateway.tracing import TracedEndpoint, TracedOperations
from briefcase.edges.gateway.view import View
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.server import HttpServer
from briefcase.edges.http.sockets import open_tcp_listener

if TYPE_CHECKING:
    from briefcase.adapters.telemetry.otel import Exporting

LIMITS: Final = HttpLimits(drain_ms=3_000)
STATE_KEY_BYTES: Final = 32

_log: Final = get_logger("briefcase.gateway")


@contextlib.asynccontextmanager
async def running_core(settings: GatewaySettings, exporting: Exporting | None = None) -> AsyncIterator[Core]:
    """Everything but the transports. The key of request states lives as long as this."""
    async with Daemon(settings) as daemon:
        sealer = StateSealer(secrets.token_bytes(STATE_KEY_BYTES), time.time)
        holding = Holding(daemon, settings.hold_s)
        operations = Operations(daemon, sealer, holding)
        if settings.otel is not None and exporting is not None:
            operations = TracedOperations(daemon, sealer, holding, settings.otel.sampling, exporting.send_trace)
        yield Core(Methods(daemon, operations), Feed(daemon))


@contextlib.asynccontextmanager
async def running_http(core: Core, settings: GatewaySettings) -> AsyncIterator[tuple[str, int]]:
    """The HTTP endpoint, where one is configured; gives the address it listens on.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    host, port = settings.http_addr or ("127.0.0.1", 0)
    listener = open_tcp_listener(host, port)
    bound_host, bound_port = listener.sock.getsockname()[:2]
    endpoint = HttpEndpoint(core, Sessions(time.monotonic), settings)
    app = endpoint if settings.otel is None else TracedEndpoint(endpoint)
    server = HttpServer(app, (listener,), LIMITS, on_drain=endpoint.announce_stop)
    await server.start()
    try:
        yield bound_host, bound_port
    finally:
        await server.drain()
        await endpoint.stop()


async def serve_gateway(settings: GatewaySettings, exporting: Exporting | None = None) -> None:
    """Serve until the client at the standard streams leaves, or until SIGTERM or SIGINT.

    Args:
        settings: from `load_gateway_settings`.
        exporting: where traces and logs go; closed when this returns.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    stopping = stop_on_signals()
    async with contextlib.AsyncExitStack() as stack:
        if exporting is not None:
            stack.push_async_callback(exporting.close)
        core = await stack.enter_async_context(running_core(settings, exporting))
        if settings.http_addr is not None:
            host, port = await stack.enter_async_context(running_http(core, settings))
            shown = f"[{host}]" if ":" in host else host
            _log.info("listening", url=f"http://{shown}:{port}{settings.http_path}")
        waiting: list[asyncio.Task[object]] = [asyncio.create_task(stopping.wait())]
        if settings.stdio and settings.token is not None:
            view = View(settings.server, settings.keeps_ids)
            waiting.append(asyncio.create_task(_serve_stdio(core, settings.token, view)))
        async with managed(os.environ):
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    _log.info("stopped")


async def _serve_stdio(core: Core, token: str, view: View) -> None:
    """Serve the client at standard input and output until it leaves."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    source, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    writer = LineWriter(sys.stdout.fileno())
    try:
        await StdioConnection(core, token, view, writer.write).serve(reader)
    except BrokenPipeError:
        pass  # the client has left
    finally:
        source.close()
        writer.close()
