"""The one PostgreSQL behind all processes: two pools, and what is said when it is away.

Administrators and auditors ask through SQLAlchemy. What devices ask a thousand times a second goes straight to asyncpg,
one prepared statement a call (docs/adr/0033). Both write to the primary alone; no decision is read from a replica.

A fault of the database, or on the way to it, is `UnavailableError`: whether the commit happened is unknown, the caller
asks again, and each write is such that asking again is safe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import alembic.command
import asyncpg
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from briefcase.adapters.telemetry.tracing import upstream_span
from briefcase.edges.control_plane.connecting import CONNECT_TIMEOUT_S, Connection, Connector
from briefcase.model.errors import ConfigError, StoreError

POOL_SIZE: Final = 6  # connections of a process for devices; twelve processes fit PostgreSQL's default of 100
ADMIN_POOL_SIZE: Final = 2
MIN_VERSION_NUM: Final = 140_000  # 14.0
RETRIES: Final = 3  # of one statement that lost against another

SPAN: Final = "db.query"

TENANT_SETTING: Final = "briefcase.tenant"
EVERY_TENANT: Final = "*"
"""What a transaction sees that is of no tenant: devices, whose tenant follows from their token, and upkeep."""

CHANGES: Final = "briefcase_bundles"
"""Where processes are told, with the commit, that devices get something new."""

LOCK_TABLES: Final = "select pg_advisory_xact_lock(736251)"
"""Whoever makes or drops tables takes this lock first; it ends with the transaction."""

_SEE: Final = text(f"select set_config('{TENANT_SETTING}', :tenant, true)")
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
# PostgreSQL says no more than this where a standby did not get a commit; the client is told of success.
_NOT_REPLICATED: Final = "canceling wait for synchronous replication"
_LOST_A_RACE: Final = frozenset({"40001", "40P01"})  # a serialization failure, a deadlock
# SQLSTATE classes that are the server's fault and not the statement's (PostgreSQL, appendix A).
_SERVER_CLASSES: Final = ("08", "25", "40", "53", "55", "57", "58", "XX")

DeviceConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class UnavailableError(StoreError):
    """The database did not answer as it should; whether it committed is unknown."""

    default_code = "not_ready"


class Database:
    """The pools of one process.

    Args:
        url: a libpq URL of a PostgreSQL; several hosts may stand in it.

    Raises:
        ConfigError: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        self._connector = Connector(url)
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connector.connect,
            pool_size=ADMIN_POOL_SIZE,
            pool_pre_ping=True,
        )
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connect, and bring the tables to this program's version; several processes may do so at once.

        Raises:
            UnavailableError: it cannot be reached now.
            ConfigError: it is too old, or its tables are of a newer program.
        """
        async with self.transaction(EVERY_TENANT) as connection:
            version = await connection.scalar(text("select current_setting('server_version_num')::int"))
            if version < MIN_VERSION_NUM:
                raise ConfigError(f"expected PostgreSQL 14 or newer, got {version // 10_000}")
            await connection.run_sync(_migrate)
        with _translated():
            self._pool = await asyncpg.create_pool(
                connect=self._connect_for_devices, reset=_keep_session, min_size=0, max_size=POOL_SIZE
            )

    async def close(self) -> None:
        """Let go of every connection."""
        if self._pool is not None:
            await self._pool.close()
        await self._engine.dispose()

    async def is_ready(self) -> bool:
        """Whether a decision can be made durably now."""
        try:
            return not await self.fetchval("select pg_is_in_recovery()")
        except UnavailableError:
            return False

    @contextlib.asynccontextmanager
    async def transaction(self, tenant: str) -> AsyncIterator[AsyncConnection]:
        """One transaction of an administrator or an auditor, committed at its end.

        Args:
            tenant: whose rows it sees; `EVERY_TENANT` for what is of no tenant.

        Raises:
            UnavailableError: the database cannot be reached, or did not replicate the commit.
        """
        with upstream_span(SPAN, {"db.system.name": "postgresql"}), _translated():
            async with self._engine.connect() as connection:
                driver = cast("DeviceConnection", (await connection.get_raw_connection()).driver_connection)
                with _given_up(driver), _checked(driver):
                    async with connection.begin():
                        await connection.execute(_SEE, {"tenant": tenant})
                        yield connection

    async def fetch(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """The rows of one statement for a device, which is a transaction of its own.

        Raises:
            UnavailableError: as `transaction`.
        """
        for tries in range(1, RETRIES + 1):
            try:
                async with self._connection() as connection:
                    with _checked(connection):
                        return await connection.fetch(sql, *values)
            except UnavailableError as error:
                if error.detail not in _LOST_A_RACE or tries == RETRIES:
                    raise
        raise AssertionError

    async def fetchval(self, sql: str, *values: object) -> object:
        """The first value of one statement. See `fetch`."""
        rows = await self.fetch(sql, *values)
        return rows[0][0] if rows else None

    @contextlib.asynccontextmanager
    async def device_transaction(self) -> AsyncIterator[DeviceConnection]:
        """A transaction of several statements for a device.

        Raises:
            UnavailableError: as `transaction`.
        """
        async with self._connection() as connection:
            with _checked(connection):
                async with connection.transaction():
                    yield connection

    @contextlib.asynccontextmanager
    async def listening(self, channel: str, heard: asyncio.Event) -> AsyncIterator[None]:
        """Set an event at each notification on a channel, and when no more can come.

        Raises:
            UnavailableError: as `transaction`.
        """
        with _translated():
            connection = await self._connector.connect()
            try:
                await connection.add_listener(channel, lambda *_: heard.set())
                connection.add_termination_listener(lambda _: heard.set())
                yield
            finally:
                await connection.close(timeout=CONNECT_TIMEOUT_S)

    async def _connect_for_devices(self, *_: Any, **__: Any) -> Connection:
        """What the pool of devices asks for; what it says of loops and classes is asyncpg's default."""
        return await self._connector.connect({TENANT_SETTING: EVERY_TENANT, "jit": "off"})  # each is a few look-ups

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[DeviceConnection]:
        if self._pool is None:
            raise UnavailableError("the database is not connected yet")
        with upstream_span(SPAN, {"db.system.name": "postgresql"}), _translated():
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                with _given_up(connection):
                    yield connection


async def _keep_session(_: object) -> None:
    """No statement of a device's changes its session, so nothing is asked of the server between two of them.

    The pool itself has rolled back what was open. asyncpg's own way is one more round trip for each statement.
    """


def _migrate(connection: SyncConnection) -> None:
    """Run the versions that are missing, one process at a time."""
    connection.execute(text(LOCK_TABLES))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        alembic.command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(
            "the database's tables are of a newer version than this program",
            hint="run the newer `briefcase`, or restore the backup made before the upgrade",
            detail=str(error),
        ) from None


@contextlib.contextmanager
def _checked(connection: DeviceConnection) -> Iterator[None]:
    """Believe no commit of which a standby did not hear."""
    warnings: list[str] = []

    def note(_: object, message: asyncpg.PostgresLogMessage) -> None:
        warnings.append(str(message))

    connection.add_log_listener(note)
    try:
        yield
    finally:
        connection.remove_log_listener(note)
    if any(_NOT_REPLICATED in warning for warning in warnings):
        raise UnavailableError("the commit was not replicated", detail=_NOT_REPLICATED)


@contextlib.contextmanager
def _given_up(connection: DeviceConnection) -> Iterator[None]:
    """Let go at once of a connection whose server did not answer in time: to end it properly waits for that server."""
    try:
        yield
    except TimeoutError:
        connection.terminate()
        raise


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state is not None and not state.startswith(_SERVER_CLASSES):
            raise
        raise UnavailableError("the database is not available", detail=state or type(error.orig).__name__) from None
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if not state.startswith(_SERVER_CLASSES):
            raise
        raise UnavailableError("the database is not available", detail=state) from None
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise UnavailableError("the database is not available", detail=type(error).__name__) from None
