"""One PostgreSQL for all tests of a run, and a database of its own for each that asks."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from briefcase.edges.control_plane.embedded import USER, EmbeddedPostgres


class SharedPostgres:
    """A cluster that runs in a thread with a loop of its own, so that the loops of tests may come and go.

    Args:
        directory: of the cluster.
        binaries: where its `postgres` is; None takes the wheel's newest.
    """

    def __init__(self, directory: Path, binaries: Path | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._numbers = itertools.count(1)
        self._thread.start()
        self.postgres = EmbeddedPostgres(directory, binaries)
        self._run(self.postgres.start())

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"fleet{next(self._numbers)}"
        self._run(self._execute(f"create database {name} owner {USER}"))
        return urlunsplit(urlsplit(self.postgres.url)._replace(path=f"/{name}"))

    def close(self) -> None:
        """Stop it."""
        self._run(self.postgres.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self.postgres.superuser_url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()
