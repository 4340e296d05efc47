"""`briefcase.sqlite`: what changes rarely, in one SQLite file of mode 0600.

Durability: write-ahead log with `synchronous=FULL`, so a committed transaction is synced before `run` returns.
`secure_delete` overwrites what was removed. Concurrency: one connection, used by one thread at a time; `run` keeps
the event loop free of disk waits. The schema moves forward by `PRAGMA user_version`, one transaction a step, so a
crash between two steps leaves a whole older schema that the next start continues from.

Tables hold no secret: tokens are stored as SHA-256, everything else that must be hidden is in the vault.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from briefcase.adapters.disk.checks import check_one_name
from briefcase.adapters.disk.files import open_private
from briefcase.model.errors import ConfigError, StoreError

APPLICATION_ID: Final = 0x42524643  # "BRFC", in the file's header
BUSY_TIMEOUT_S: Final = 5.0

# One step a version, only ever appended to: the schema of version N is the first N steps.
MIGRATIONS: Final = (
    """
    CREATE TABLE agents (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        token_sha256 BLOB NOT NULL UNIQUE CHECK (length(token_sha256) = 32),
        groups TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        revoked_us INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX agents_active_name ON agents (name) WHERE revoked_us IS NULL;
    CREATE TABLE notes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        text TEXT NOT NULL,
        created_us INTEGER NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE providers (
        id TEXT PRIMARY KEY,
        base_url TEXT NOT NULL,
        is_enabled INTEGER NOT NULL,
        max_stale_s INTEGER NOT NULL,
        updated_us INTEGER NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE provider_verdicts (
        base_url TEXT PRIMARY KEY,
        verdict TEXT NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE store (
        row INTEGER PRIMARY KEY CHECK (row = 1),
        id TEXT NOT NULL,
        is_settled INTEGER NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE sync_progress (
        base_url TEXT NOT NULL,
        device_id TEXT NOT NULL,
        progress TEXT NOT NULL,
        PRIMARY KEY (base_url, device_id)
    ) STRICT;
    """,
    """
    ALTER TABLE agents ADD COLUMN decides_for TEXT NOT NULL DEFAULT '';
    """,
)

_T = TypeVar("_T")


class Database:
    """One open `briefcase.sqlite`.

    Args:
        path: the file; made with mode 0600 where it is missing.

    Raises:
        ConfigError: it is not a private file, not this product's database, damaged, or made by a newer version.
        StoreError: it could not be opened or migrated (`not_ready`).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _create_or_check(path)
        try:
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._fault(error) from error
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="briefcase-sqlite")
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def log_paths(self) -> tuple[Path, Path]:
        """SQLite's write-ahead log and its index and locks: there from the first transaction to this process's end."""
        return self._path.with_name(f"{self._path.name}-wal"), self._path.with_name(f"{self._path.name}-shm")

    def run_now(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a function in one transaction, here: for start-up, before there is an event loop to hold up.

        Raises:
            StoreError: SQLite failed (`not_ready`); nothing of the transaction holds.
        """
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._fault(error) from error
        return result

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a function in one transaction on the database's thread; durable when it returns. Raises as `run_now`."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self.run_now, work)

    def close(self) -> None:
        """Finish what runs, fold the log into the file, and close."""
        self._worker.shutdown()
        self._connection.close()

    def _prepare(self) -> None:
        try:
            version = self._check_header()
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "secure_delete=ON",
                "foreign_keys=ON",
                "trusted_schema=OFF",
                "cell_size_check=ON",
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
                self._connection.executescript(
                    f"BEGIN IMMEDIATE; {script}; PRAGMA application_id={APPLICATION_ID};"
                    f" PRAGMA user_version={number}; COMMIT;"
                )
        except sqlite3.DatabaseError as error:
            raise self._fault(error) from error

    def _check_header(self) -> int:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        application = int(self._connection.execute("PRAGMA application_id").fetchone()[0])
        tables = int(self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        if application != APPLICATION_ID and (version or tables):
            raise ConfigError(f"expected `{self._path}` to be a briefcase database, got another program's")
        if version > len(MIGRATIONS):
            raise ConfigError(
                f"`{self._path}` has schema {version}, but this version knows only up to {len(MIGRATIONS)}",
                hint="install the newer briefcase that made it",
            )
        problem = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise self._damaged(str(problem))
        return version

    def _fault(self, error: sqlite3.Error) -> ConfigError | StoreError:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return self._damaged(str(error))
        return StoreError(
            f"the metadata store `{self._path.name}` failed: {error}",
            code="not_ready",
            hint="check the free space and the permissions of the data directory",
        )

    def _damaged(self, detail: str) -> ConfigError:
        return ConfigError(f"`{self._path}` is damaged", hint="restore it from a backup", detail=detail)


def _create_or_check(path: Path) -> None:
    """Make the file before SQLite does: SQLite would make it with the umask's mode, and follow a link."""
    descriptor = open_private(path)
    try:
        check_one_name(path)
    finally:
        os.close(descriptor)
