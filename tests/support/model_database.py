"""The control plane's database as a model: SQLite in memory under the server's own code, one transaction at a time.

What administrators ask goes through SQLAlchemy as it does to PostgreSQL. Of what devices ask, the simple statements run
as they are; those that PostgreSQL alone understands are written again here, beside their text. Two walls are left out,
row-level security and races inside a transaction: PostgreSQL itself is asked for both by the tests beside it. That the
rest answers alike is held by `test_fleet_model.py`, which does the same to both.

`Storage` survives; a `ModelDatabase` is one process's way to it, and ends with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, cast

from sqlalchemy import DefaultClause, MetaData, create_engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from briefcase.edges.control_plane import convergence, cosigned, device_calls, schema, signing_keys, upkeep, uploads
from briefcase.edges.control_plane.database import LOCK_TABLES, UnavailableError
from briefcase.edges.control_plane.migrations.versions import v0001_first_tables, v0002_signing_keys
from support.crash import Crash

Row = Mapping[str, Any]

_AS_POSTGRES: Final = [
    statement.replace("create or replace view", "create view")
    for version in (v0001_first_tables, v0002_signing_keys)
    for statement in version.STATEMENTS
    if re.match(r"\s*create (or replace view|unique index)", statement)
]
_SAY_HELD: Final = signing_keys.SAY_HELD[signing_keys.SAY_HELD.index("insert") :]
_DEFAULTS: Final = {
    ("device_heads", "last_id"): "0",
    ("device_heads", "size"): "0",
    ("device_heads", "tree_size"): "0",
    ("device_heads", "tree_roots"): "(zeroblob(0))",
    ("device_heads", "head_hash"): "(zeroblob(32))",
    ("bundle_heads", "mandatory_id"): "0",
    ("signing_keys", "word"): "''",
}
_GONE: Final = "the connection was closed"


class Storage:
    """What survives every process.

    `after_commit` is called with each commit; while `is_away` nobody gets at it. Where `loses_commits` is set, a commit
    is acknowledged and not kept: a control, which the invariants must notice.
    """

    def __init__(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        self.one_at_a_time = asyncio.Lock()
        self.after_commit: Callable[[], None] = lambda: None
        self.listeners: dict[asyncio.Event, None] = {}
        self.told: list[str] = []
        self.is_away = False
        self.loses_commits = False
        self._lease: tuple[uuid.UUID, float] | None = None
        self.connection = self.engine.connect()
        raw = self._raw = cast("sqlite3.Connection", self.connection.connection.driver_connection)
        raw.create_function("pg_notify", 2, lambda _channel, tenant: self.told.append(tenant))
        raw.create_function("now", 0, lambda: "2026-01-01 00:00:00.000000")
        with self.connection.begin():
            _make_tables(self.connection)

    def take_lease(self, holder: uuid.UUID, seconds: float) -> bool:
        """Take upkeep's lease, where nobody else has it."""
        now_s = asyncio.get_running_loop().time()
        if self._lease is not None and self._lease[0] != holder and self._lease[1] >= now_s:
            return False
        self._lease = holder, now_s + seconds
        return True

    def ask(self, sql: str, *values: object) -> list[Row]:
        """The rows of a statement that SQLite understands once its parameters are numbered its way."""
        plain = re.sub(r"\$(\d+)", r"?\1", sql).replace(" for update", "")
        found = self.connection.exec_driver_sql(plain, tuple(map(_as_sqlite, values)))
        return [dict(row) for row in found.mappings()] if found.returns_rows else []

    def close(self) -> None:
        """Forget everything."""
        self.connection.close()
        self.engine.dispose()

    def peek(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a statement of SQLite's, for who watches."""
        return self._raw.execute(sql, values).fetchall()

    def changes(self) -> int:
        """How many rows were ever written."""
        return self._raw.total_changes

    def commit(self, transaction: Any) -> None:
        """End a transaction, tell those who listen, and have the invariants looked at."""
        if self.loses_commits:
            transaction.rollback()
            return
        transaction.commit()
        told, self.told = self.told, []
        if told:
            for heard in self.listeners:
                heard.set()
        self.after_commit()

    def wake(self) -> None:
        """Cut every connection that listens, as a failover does."""
        for heard in self.listeners:
            heard.set()


class ModelDatabase:
    """One process's database (`edges.control_plane.database.Database`).

    Args:
        storage: what it is of.
        step: called before and after each commit; may end the process (`Crash`).
        latency: how long each way to it takes, seconds.
    """

    def __init__(self, storage: Storage, step: Callable[[], None], latency: Callable[[], float]) -> None:
        self._storage = storage
        self._step = step
        self._latency = latency
        self.is_dead = False

    async def open(self) -> None:
        await self._way()

    async def close(self) -> None:
        self.is_dead = True

    async def is_ready(self) -> bool:
        try:
            await self.fetch("select 1")
        except UnavailableError:
            return False
        return True

    async def fetch(self, sql: str, *values: object) -> list[Row]:
        async with self._transaction():
            return self._ask(sql, values)

    async def fetchval(self, sql: str, *values: object) -> object:
        rows = await self.fetch(sql, *values)
        return next(iter(rows[0].values())) if rows else None

    @contextlib.asynccontextmanager
    async def transaction(self, _tenant: str) -> AsyncIterator[_Asked]:
        async with self._transaction():
            yield _Asked(self._storage.connection, self)

    @contextlib.asynccontextmanager
    async def device_transaction(self) -> AsyncIterator[_Asked]:
        async with self._transaction():
            yield _Asked(self._storage.connection, self)

    @contextlib.asynccontextmanager
    async def listening(self, _channel: str, heard: asyncio.Event) -> AsyncIterator[None]:
        await self._way()
        self._storage.listeners[heard] = None
        try:
            yield
        finally:
            self._storage.listeners.pop(heard, None)

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        storage = self._storage
        await self._way()
        async with storage.one_at_a_time:
            await self._way()
            transaction = storage.connection.begin()
            try:
                yield
                self._step()  # a crash right here leaves nothing of it
                if storage.is_away:
                    raise UnavailableError(_GONE)
                storage.commit(transaction)
            finally:
                if transaction.is_active:
                    transaction.rollback()
                storage.told.clear()
        self._step()  # a crash right here leaves all of it, and nobody is told
        await self._way()

    async def _way(self) -> None:
        await asyncio.sleep(self._latency())
        if self.is_dead:
            raise Crash
        if self._storage.is_away:
            raise UnavailableError(_GONE)

    def _ask(self, sql: str, values: Sequence[Any]) -> list[Row]:
        ask = self._storage.ask
        match sql:
            case device_calls.USE_PROOFS:
                return _use_proofs(ask, *values)
            case device_calls.LOOK_UP:
                return _look_up(ask, *values)
            case uploads.STORE:
                return _store(ask, *values)
            case uploads.STORED:
                return _stored(ask, *values)
            case uploads.APPEND:
                _append(ask, *values)
                return []
            case upkeep.TAKE_LEASE:
                return [{"holder": values[0]}] if self._storage.take_lease(values[0], values[1]) else []
            case upkeep.PARTITIONS:
                return []
            case signing_keys.READ:
                return [{**row, "changed_at": datetime.fromisoformat(row["changed_at"])} for row in ask(sql)]
            case signing_keys.SAY_HELD:
                return ask(_SAY_HELD, *values)
            case convergence.MEASURE:
                return _measure(ask, *values)
            case "select (now() at time zone 'utc')::date as today":
                return [{"today": date(2026, 1, 1)}]
        if sql == LOCK_TABLES or sql.startswith(("set local ", "create table receipts_")):
            return []
        emptied = re.fullmatch(r"truncate dpop_jtis_(\d)", sql)
        if emptied:
            return ask("delete from dpop_jtis where slot = $1", int(emptied[1]))
        return ask(sql, *values)


class _Asked:
    """A transaction's connection: SQLAlchemy's asynchronous one, and asyncpg's."""

    def __init__(self, connection: Connection, database: ModelDatabase) -> None:
        self._connection = connection
        self._database = database

    async def execute(self, statement: Any, *values: Any) -> Any:
        if isinstance(statement, str):
            return self._database._ask(statement, values)
        return self._connection.execute(statement, *values)

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        return self._database._ask(sql, values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        rows = await self.fetch(sql, *values)
        return next(iter(rows[0].values())) if rows else None

    async def scalar(self, statement: Any) -> Any:
        return self._connection.scalar(statement)

    async def scalars(self, statement: Any) -> Any:
        return self._connection.scalars(statement)


def _make_tables(connection: Connection) -> None:
    tables = MetaData()
    for table in schema.metadata.tables.values():
        table.to_metadata(tables)
    for (name, column), value in _DEFAULTS.items():
        tables.tables[name].c[column].server_default = DefaultClause(text(value))
    tables.create_all(connection)
    connection.execute(text("create unique index device_ids on devices (device)"))
    for statement in _AS_POSTGRES:
        connection.execute(text(statement))


def _as_sqlite(value: object) -> object:
    return value.hex if isinstance(value, uuid.UUID) else value


# --- what PostgreSQL alone understands --------------------------------------------------------------------------------


def _use_proofs(ask: Callable[..., list[Row]], *columns: Sequence[Any]) -> list[Row]:
    """`device_calls.USE_PROOFS`: each call beside its device, and whether its proof is new and now used."""
    rows: list[Row] = []
    for n, device, token_hash, jkt, jti, slot in zip(*columns, strict=True):
        known = ask("select * from device_bundles where device = $1", device)
        row: dict[str, Any] = {"tenant": None, "rollout_id": None, **(known[0] if known else {})}
        row["n"] = n
        row["is_token"] = None if not known else row["token_hash"] == token_hash and row["revoked_at"] is None
        row["is_key"] = None if not known else row["jkt"] == jkt
        row["is_new"] = bool(row["is_token"] and row["is_key"]) and _use_proof(ask, row["tenant"], device, jti, slot)
        rows.append(row)
    return rows


def _look_up(ask: Callable[..., list[Row]], *columns: Sequence[Any]) -> list[Row]:
    """`device_calls.LOOK_UP`: each device that is asked for, and whether the token is its own."""
    rows: list[Row] = []
    for n, device, token_hash in zip(*columns, strict=True):
        known = ask("select * from device_bundles where device = $1", device)
        row: dict[str, Any] = {"tenant": None, "is_token": None, **(known[0] if known else {}), "n": n}
        if known:
            row["is_token"] = row["token_hash"] == token_hash and row["revoked_at"] is None
        rows.append(row)
    return rows


def _measure(
    ask: Callable[..., list[Row]],
    tenant: str | None,
    chosen: Sequence[uuid.UUID] | None,
    bundle_id: int,
    given_at: datetime,
) -> list[Row]:
    """`convergence.MEASURE`: who runs what; each that does did so at once, since the clock stands still here."""
    given: list[Row] = [{"tenant": tenant, "bundle_id": bundle_id, "given_at": given_at}]
    if chosen is None:
        heads = ask("select tenant, bundle_id, given_at from bundle_heads where $1 is null or tenant = $1", tenant)
        given = [{**head, "given_at": datetime.fromisoformat(head["given_at"])} for head in heads]
    rows: list[Row] = []
    for head in given:
        running = {
            uuid.UUID(str(row["device"])): row["running_bundle_id"] or 0 for row in ask(_RUNNING, head["tenant"])
        }
        counted = [
            0.0 if runs == head["bundle_id"] else math.inf
            for device, runs in running.items()
            if (runs <= head["bundle_id"] if chosen is None else device in chosen)
        ]
        lags = sorted(counted)
        ranks = [math.ceil(share * len(lags)) - 1 for share in (0.5, 0.99)]
        measured = {"devices": len(lags), "applied": lags.count(0.0), "lags": lags and [lags[rank] for rank in ranks]}
        rows.append({**head, **measured})
    return rows


_RUNNING: Final = """
select devices.device, device_status.running_bundle_id from devices left join device_status
on device_status.tenant = devices.tenant and device_status.device = devices.device
where devices.tenant = $1 and devices.revoked_at is null
"""


def _use_proof(ask: Callable[..., list[Row]], tenant: str, device: uuid.UUID, jti: bytes, slot: int) -> bool:
    seen = "select 1 from dpop_jtis where tenant = $1 and device = $2 and jti = $3"
    if ask(seen, tenant, device, jti):
        return False
    ask("insert into dpop_jtis (tenant, device, jti, slot) values ($1, $2, $3, $4)", tenant, device, jti, slot)
    return True


def _store(
    ask: Callable[..., list[Row]],
    device: uuid.UUID,
    token_hash: bytes,
    jkt: str,
    jti: bytes,
    slot: int,
    *columns: Sequence[Any],
) -> list[Row]:
    """`uploads.STORE`: the device let in, its head moved where the batch continues it, the rows where it moved."""
    (let_in,) = _use_proofs(ask, [0], [device], [token_hash], [jkt], [jti], [slot])
    row: dict[str, Any] = {name: let_in.get(name) for name in ("tenant", "is_token", "is_key", "is_new")} | {
        "is_moved": False
    }
    if not row["is_new"]:
        return [row]
    ids, _, prev_hashes, _, _ = columns
    (head,) = ask(cosigned.LOCK_HEAD, row["tenant"], device)
    if head["last_id"] < ids[0] and head["head_hash"] == prev_hashes[0]:
        _append(ask, row["tenant"], device, *columns)
        row["is_moved"] = True
    return [row]


def _stored(ask: Callable[..., list[Row]], tenant: str, device: uuid.UUID, ids: Sequence[int]) -> list[Row]:
    """`uploads.STORED`."""
    query = "select id, hash from receipts where tenant = $1 and device = $2 and id = $3"
    return [row for receipt_id in ids for row in ask(query, tenant, device, receipt_id)]


def _append(ask: Callable[..., list[Row]], tenant: str, device: uuid.UUID, *columns: Sequence[Any]) -> None:
    """`uploads.APPEND`."""
    ids, _, _, hashes, _ = columns
    moved = "update device_heads set last_id = $3, head_hash = $4, size = size + $5 where tenant = $1 and device = $2"
    ask(moved, tenant, device, ids[-1], hashes[-1], len(ids))
    added = "insert into receipts (tenant, device, id, ts, prev_hash, hash, event) values ($1, $2, $3, $4, $5, $6, $7)"
    for receipt in zip(*columns, strict=True):
        ask(added, tenant, device, *receipt)
