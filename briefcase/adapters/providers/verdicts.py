"""What the contract harness last found at a provider's address: kept in `briefcase.sqlite`, shown by diagnostics.

A verdict is of an address, not of a provider's name: a provider that is moved has none until it is tried again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection

import msgspec

from briefcase.adapters.store.database import Database
from briefcase.core.operator.providers import Verdict


class Verdicts:
    """The verdicts of one database, by address."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Verdict] = database.run_now(_load)
        self._changing = asyncio.Lock()  # the map changes in the order the table does

    def of(self, base_url: str) -> Verdict | None:
        """The last one of an address, or None."""
        return self._known.get(base_url)

    async def put(self, verdict: Verdict, addresses: Collection[str]) -> None:
        """Keep one, and let go of those of addresses that are no provider's; durable when it returns.

        Raises:
            StoreError: it could not be stored.
        """
        row = verdict.base_url, msgspec.json.encode(verdict).decode()

        def write(connection: sqlite3.Connection) -> dict[str, Verdict]:
            gone = [(url,) for url in self._known if url not in addresses]
            connection.executemany("DELETE FROM provider_verdicts WHERE base_url = ?", gone)
            connection.execute("INSERT OR REPLACE INTO provider_verdicts VALUES (?, ?)", row)
            return _load(connection)

        async with self._changing:
            self._known = await self._database.run(write)


def _load(connection: sqlite3.Connection) -> dict[str, Verdict]:
    rows = connection.execute("SELECT base_url, verdict FROM provider_verdicts")
    return {base_url: msgspec.json.decode(text, type=Verdict) for base_url, text in rows}
