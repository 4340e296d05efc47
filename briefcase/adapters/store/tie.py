"""What ties `briefcase.sqlite` to the ledger beside it: one random id, kept in both, so that neither goes alone.

Device, inode and link count are never stored: a directory that was copied or restored opens. The id is made at the
first start, or at the first one of a directory of before there was such an id; what a crash in between leaves:

 1. the database takes a new id, not settled     the next start goes on with it
 2. the ledger takes it                          the next start settles it
 3. the database's id is settled                 from now on neither opens without the other

| in the database | in the ledger | |
|---|---|---|
| none | none | a new directory, or an old one: step 1 |
| not settled | none | step 2 |
| not settled or settled | the same | step 3, or nothing to do |
| none | an id | refused: the database is missing, or another one |
| settled | none | refused: the ledger is missing, or another one |
| an id | another | refused: they are of two directories |
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.store.database import Database
from briefcase.model.errors import StoreError

MISMATCH: Final = "store_mismatch"
_HINT: Final = (
    "put back the file that belongs there, or restore a verified backup into a new directory (`briefcase help backup`);"
    " nothing was changed"
)


class Tie(msgspec.Struct, frozen=True):
    """The id in the database; not settled until the ledger is known to have it too."""

    id: str
    is_settled: bool


def check_database_present(path: Path, ledger_id: str | None) -> None:
    """Check, before a database is made where there is none, that none is missing.

    Raises:
        StoreError: the ledger beside it knows one (`store_mismatch`).
    """
    if ledger_id is not None and (not path.exists() or not path.stat().st_size):
        raise StoreError(
            f"`{path}` is missing or empty, but the ledger beside it belongs to one", code=MISMATCH, hint=_HINT
        )


def tie_database(database: Database, path: Path, ledger_id: str | None, new_id: str) -> str:
    """The id for the ledger: the one both have, or a new one that the database now holds, not settled.

    Args:
        database: the open database.
        path: its file, for messages.
        ledger_id: what the ledger beside it has (`ledger.files.read_store_id`).
        new_id: what to take where neither has one.

    Raises:
        StoreError: the two do not belong together (`store_mismatch`).
    """
    tie = database.run_now(_read)
    if tie is None and ledger_id is None:
        database.run_now(lambda connection: _write(connection, Tie(new_id, is_settled=False)))
        return new_id
    if tie is None:
        raise StoreError(
            f"`{path}` is not the database that the ledger beside it belongs to: it has no id, expected {ledger_id}",
            code=MISMATCH,
            hint=_HINT,
        )
    if ledger_id is None and tie.is_settled:
        raise StoreError(
            f"the ledger beside `{path}` is missing, empty or another one: expected the id {tie.id}, got none",
            code=MISMATCH,
            hint=_HINT,
        )
    if ledger_id is not None and ledger_id != tie.id:
        raise StoreError(
            f"`{path}` and the ledger beside it are of two directories: they have the ids {tie.id} and {ledger_id}",
            code=MISMATCH,
            hint=_HINT,
        )
    return tie.id


def settle_tie(database: Database, store_id: str) -> None:
    """Note that the ledger has the id too, durably.

    Raises:
        StoreError: SQLite failed (`not_ready`).
    """
    database.run_now(lambda connection: _write(connection, Tie(store_id, is_settled=True)))


def _read(connection: sqlite3.Connection) -> Tie | None:
    row = connection.execute("SELECT id, is_settled FROM store").fetchone()
    return None if row is None else Tie(row[0], bool(row[1]))


def _write(connection: sqlite3.Connection, tie: Tie) -> None:
    connection.execute("INSERT OR REPLACE INTO store VALUES (1, ?, ?)", (tie.id, int(tie.is_settled)))
