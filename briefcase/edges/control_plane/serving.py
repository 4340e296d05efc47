"""One process of a control plane: started in order, stopped in the other.

 1. PostgreSQL, where it is embedded; it is started again whenever it ends by itself
 2. the key file
 3. the tables, brought to this version; the key that signs; the first tenant and its default policy; today's partitions
 4. the background tasks: groups of device calls, publications, keys, upkeep
 5. the listener

A database that is away at the start is waited for; one that goes away later is answered with 503 until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import msgspec
import uvicorn

from briefcase.adapters.disk.data_dir import prepare_data_dir
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.outlet import OUTLET
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.edges.control_plane.administrators import ADMIN, INSTALLER, Administrator
from briefcase.edges.control_plane.app import ControlPlaneApp
from briefcase.edges.control_plane.database import Database, UnavailableError
from briefcase.edges.control_plane.embedded import EmbeddedPostgres
from briefcase.edges.control_plane.key_file import KeyFile
from briefcase.edges.control_plane.schema import DEFAULT_TENANT
from briefcase.edges.control_plane.services import Services, compose_services
from briefcase.edges.control_plane.settings import ControlPlaneSettings, Network
from briefcase.edges.control_plane.signing_keys import Process
from briefcase.edges.control_plane.tracing import RequestTraces
from briefcase.edges.control_plane.upkeep import Upkeep
from briefcase.model.errors import ConfigError
from briefcase.model.ports import Clock, Entropy

if TYPE_CHECKING:
    from briefcase.adapters.telemetry.otel import Exporting

_LOG: Final = get_logger("briefcase.control_plane")
KEEP_ALIVE_S: Final = 75
BACKLOG: Final = 2_048
DRAIN_S: Final = 5
DATABASE_RETRY_S: Final = 1.0

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class ControlPlane:
    """One running process.

    Args:
        settings: how it runs.
        clock: the time.
        entropy: makes tokens and ids.
        exporting: takes traces and figures; None where OpenTelemetry is off.

    Raises:
        ConfigError: the address, the directory, a certificate or the database's URL cannot be used.
    """

    def __init__(
        self, settings: ControlPlaneSettings, clock: Clock, entropy: Entropy, exporting: Exporting | None = None
    ) -> None:
        self._settings = settings
        self._exporting = exporting
        self._clock = clock
        self._entropy = entropy
        _check_certificate(settings)
        self._directory = prepare_data_dir(settings.directory)
        self._socket = _listen(settings.host, settings.port)
        self.base_url = settings.base_url or self._own_url()
        self._stack = contextlib.AsyncExitStack()
        self._stack.callback(self._socket.close)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def start(self) -> Services:
        """Start in the module's order; serving from when this returns.

        Raises:
            ConfigError: something it needs is not as it must be.
        """
        settings, stack = self._settings, self._stack
        if self._exporting is not None:
            stack.push_async_callback(self._exporting.close)
        url = settings.database_url
        if settings.is_embedded:  # 1
            postgres = EmbeddedPostgres(self._directory / "postgresql")
            stack.push_async_callback(postgres.stop)
            await postgres.start()
            stack.push_async_callback(_end, asyncio.create_task(postgres.keep_running()))
            url = postgres.url
        key_file = KeyFile(settings.signing_key_file)  # 2
        database = Database(url)
        stack.push_async_callback(database.close)
        process = Process(UUID(self._entropy.uuid()), f"{socket.gethostname()}:{self.address[1]}")
        services = compose_services(
            msgspec.structs.replace(settings, base_url=self.base_url),
            database,
            key_file,
            process,
            clock=self._clock,
            entropy=self._entropy,
        )
        upkeep = Upkeep(database, self._clock, process.id, settings.retention_days)
        await _prepare(services, upkeep)  # 3
        stack.push_async_callback(services.keys.end)
        parts = (services.calls, services.publications, services.relay, services.keys, services.convergences, upkeep)
        for part in parts:  # 4
            stack.push_async_callback(_end, asyncio.create_task(part.run()))
        if self._exporting is not None:
            sending = self._exporting.send_metrics(services.metrics)
            stack.push_async_callback(_end, asyncio.create_task(sending))
        await self._serve(services)  # 5
        return services

    async def stop(self) -> None:
        """Stop: no new connections, requests that began are finished, then everything in the other order."""
        await self._stack.aclose()

    async def _serve(self, services: Services) -> None:
        site = ControlPlaneApp(services, self._traces()).site()
        await site.start()  # type: ignore[no-untyped-call]
        settings = self._settings
        app: App = for_proxies(site, settings.proxies) if settings.proxies else site
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            backlog=BACKLOG,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.certificate_key,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[self._socket]))

        async def end() -> None:
            services.publications.end()
            services.relay.end()
            server.should_exit = True
            if not task.done():  # one that failed has said so
                await task

        self._stack.push_async_callback(end)
        while not server.started:
            if task.done():
                try:
                    await task
                except OSError as error:  # another process took the address after this one had bound it
                    raise _not_listening(*self.address, error) from error
            await asyncio.sleep(0.01)

    def _traces(self) -> RequestTraces | None:
        otel = self._settings.otel
        return RequestTraces(otel.sampling, self._exporting.send_trace) if otel and self._exporting else None

    def _own_url(self) -> str:
        host, port = self.address
        scheme = "https" if self._settings.certificate is not None else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def hide_secrets(settings: ControlPlaneSettings) -> None:
    """Keep what a process was started with out of all that it logs and exports from here on."""
    OUTLET.redactor = SecretRedactor(_Known(settings))


class _Known:
    """The secrets that a process was started with."""

    revision = 0

    def __init__(self, settings: ControlPlaneSettings) -> None:
        self._secrets = (settings.admin_token, settings.auditor_token, *_passwords_in(settings.database_url))

    def redaction_set(self) -> frozenset[bytes]:
        """Each that there is."""
        return frozenset(secret.encode() for secret in self._secrets if secret)


def _passwords_in(url: str) -> tuple[str, str]:
    """The passwords of a libpq URL, whose hosts may be several: that beside the user, and that of the query."""
    rest, _, query = url.partition("://")[2].partition("?")
    userinfo = rest.partition("/")[0].rpartition("@")[0]
    return unquote(userinfo.partition(":")[2]), dict(parse_qsl(query)).get("password", "")


class _Server(uvicorn.Server):
    """uvicorn's, which leaves signals to the command that runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:  # noqa: ANN401 - as the method it stands for
        yield


async def _prepare(services: Services, upkeep: Upkeep) -> None:
    is_said = False
    while True:
        try:
            await services.database.open()
            await upkeep.make_partitions()
            await services.keys.begin()
            async with services.database.transaction(DEFAULT_TENANT) as connection:
                await services.bundles.make_tenant(connection, Administrator(DEFAULT_TENANT, INSTALLER, ADMIN))
        except UnavailableError as error:
            if not is_said:
                _LOG.warning("the database is waited for", detail=error.detail)
            is_said = True
            await asyncio.sleep(DATABASE_RETRY_S)
        else:
            return


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _check_certificate(settings: ControlPlaneSettings) -> None:
    """Load the certificate and its key once, before anything runs, to say which file is not as it must be."""
    if settings.certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.certificate_key)
    except (ssl.SSLError, OSError) as error:
        files = f"`{settings.certificate}` and `{settings.certificate_key}`"
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"expected {files} to be a certificate and its key in PEM: {reason}") from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise _not_listening(host, port, error) from error
    return listening


def _not_listening(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"`{host}:{port}` cannot be listened on: {error.strerror}")


def for_proxies(app: App, proxies: tuple[Network, ...]) -> App:
    """The application for those proxies, and for this host: nobody else may speak to it in clear text."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        address = ipaddress.ip_address((scope.get("client") or ("0.0.0.0",))[0])  # noqa: S104 - nobody's
        if address.is_loopback or any(address in network for network in proxies):
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": int(HTTPStatus.FORBIDDEN), "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return serve
