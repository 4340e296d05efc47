"""Notes: what the built-in tools `note_add` and `notes_list` keep."""

from __future__ import annotations

import sqlite3

import msgspec

from briefcase.adapters.store.database import Database


class Note(msgspec.Struct, frozen=True):
    """One note. Ids grow and are never used again."""

    id: int
    text: str
    created_us: int


class Notes:
    """The notes of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, text: str, now_us: int) -> int:
        """Store a note; durable when it returns.

        Raises:
            StoreError: it could not be stored.

        Returns:
            Its id.
        """

        def insert(connection: sqlite3.Connection) -> int:
            cursor = connection.execute("INSERT INTO notes (text, created_us) VALUES (?, ?)", (text, now_us))
            assert cursor.lastrowid is not None  # an INSERT into a table with an INTEGER key has one
            return cursor.lastrowid

        return await self._database.run(insert)

    async def list(self, limit: int = 1_000) -> tuple[Note, ...]:
        """The newest notes, newest first."""

        def select(connection: sqlite3.Connection) -> tuple[Note, ...]:
            rows = connection.execute("SELECT id, text, created_us FROM notes ORDER BY id DESC LIMIT ?", (limit,))
            return tuple(Note(*row) for row in rows)

        return await self._database.run(select)
