"""How far the sync with a control plane has come: what changes with every sync, and is no matter of receipts.

A row for each control plane and device, so that one that was left and joined again goes on from its watermark. Losing
a row loses no receipt: the upload begins anew, and the control plane takes what it has by its hash.
"""

from __future__ import annotations

import sqlite3

import msgspec

from briefcase.adapters.store.database import Database
from briefcase.core.fleet.device import DeviceState
from briefcase.model.errors import StoreError


class SyncProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One device's progress.

    `uploaded_id` is the watermark: the last receipt that the control plane acknowledged. `last_sync_us` is when a sync
    last went well, and `last_error` what was wrong with the last one, a word and a sentence; empty where nothing was.
    `fresh_until_us` is until when the running bundle is known to be the present one; 0 where nobody said so.
    """

    state: DeviceState = DeviceState.ENROLLED
    uploaded_id: int = 0
    last_sync_us: int = 0
    last_error: str = ""
    updated_us: int = 0
    failures: int = 0
    fresh_until_us: int = 0


class SyncProgressStore:
    """The rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, base_url: str, device_id: str) -> SyncProgress:
        """One device's progress; of a new one, none.

        Raises:
            StoreError: the row cannot be read.
        """

        def select(connection: sqlite3.Connection) -> str | None:
            query = "SELECT progress FROM sync_progress WHERE base_url = ? AND device_id = ?"
            row = connection.execute(query, (base_url, device_id)).fetchone()
            return None if row is None else str(row[0])

        found = await self._database.run(select)
        if found is None:
            return SyncProgress()
        try:
            return msgspec.json.decode(found, type=SyncProgress)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StoreError("the progress of the sync is unreadable", code="not_ready", detail=str(error)) from error

    async def save(self, base_url: str, device_id: str, progress: SyncProgress) -> None:
        """Keep one device's progress; durable when it returns.

        Raises:
            StoreError: it could not be stored.
        """
        text = msgspec.json.encode(progress).decode()

        def upsert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO sync_progress (base_url, device_id, progress) VALUES (?, ?, ?)"
                " ON CONFLICT (base_url, device_id) DO UPDATE SET progress = excluded.progress",
                (base_url, device_id, text),
            )

        await self._database.run(upsert)
