"""`briefcase.sqlite`: private, migrated whole or not at all, refused when it is not what it says."""

import os
import sqlite3
import stat

import pytest

from briefcase.adapters.store import database as database_module
from briefcase.adapters.store.agents import Agents
from briefcase.adapters.store.database import MIGRATIONS, Database
from briefcase.adapters.store.notes import Notes
from briefcase.adapters.store.tie import settle_tie, tie_database
from briefcase.model.errors import CallerError, ConfigError, StoreError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "briefcase.sqlite"


@pytest.fixture
def database(path):
    opened = Database(path)
    yield opened
    opened.close()


def pragma(database, name):
    return database.run_now(lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0])


async def test_the_file_and_its_log_are_0600_under_umask_000(path):
    old = os.umask(0)
    try:
        database = Database(path)
        await Notes(database).add("hello", 1)
        modes = {name.name: stat.S_IMODE(name.stat().st_mode) for name in path.parent.iterdir()}
        database.close()
    finally:
        os.umask(old)
    assert modes.keys() >= {"briefcase.sqlite", "briefcase.sqlite-wal"}
    assert set(modes.values()) == {0o600}


def test_a_commit_is_synced_before_it_is_answered(database):
    assert pragma(database, "journal_mode") == "wal"
    assert pragma(database, "synchronous") == 2


@pytest.mark.parametrize("kind", ["link", "directory", "loose"])
def test_a_file_others_could_have_made_is_refused(path, kind):
    if kind == "link":
        path.symlink_to(path.with_name("elsewhere"))
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"SQLite format 3\0")
        path.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        Database(path)
    assert caught.value.code == "insecure_host"
    assert str(path) in caught.value.message
    assert not path.with_name("elsewhere").exists()


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database, but long enough to look at " * 50)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is damaged"):
        Database(path)


def test_another_programs_database_is_refused_and_left_alone(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (a)")
    other.commit()
    other.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="another program's"):
        Database(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path):
    database = Database(path)
    database.run_now(lambda connection: connection.execute("PRAGMA user_version=999"))
    database.close()
    with pytest.raises(ConfigError, match="has schema 999, but this version knows only up to"):
        Database(path)


def test_a_damaged_page_is_found_at_start(path):
    database = Database(path)
    for number in range(200):
        database.run_now(lambda connection, n=number: connection.execute(
            "INSERT INTO notes (text, created_us) VALUES (?, ?)", ("x" * 500, n)))  # fmt: skip
    database.close()
    data = bytearray(path.read_bytes())
    data[4096 * 10 : 4096 * 10 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="is damaged"):
        Database(path)


def test_a_failed_migration_leaves_the_older_schema_whole(path, monkeypatch):
    Database(path).close()
    good = "CREATE TABLE more (a INTEGER) STRICT"
    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, good, "CREATE TABLE bad (a); NONSENSE"))
    with pytest.raises(StoreError):
        Database(path)
    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, good))
    database = Database(path)
    assert pragma(database, "user_version") == len(MIGRATIONS) + 1
    tables = database.run_now(
        lambda connection: {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    )
    database.close()
    assert "more" in tables
    assert "bad" not in tables


async def test_a_transaction_that_fails_changes_nothing(database):
    def half(connection):
        connection.execute("INSERT INTO notes (text, created_us) VALUES ('a', 1)")
        raise CallerError("no")

    with pytest.raises(CallerError):
        database.run_now(half)
    assert await Notes(database).list() == ()


async def test_a_full_disk_is_a_store_error_and_the_next_write_works_once_there_is_space(database):
    notes = Notes(database)
    pages = pragma(database, "page_count")
    database.run_now(lambda connection: connection.execute(f"PRAGMA max_page_count={pages}").fetchone())
    with pytest.raises(StoreError) as caught:
        await notes.add("x" * 100_000, 1)
    assert caught.value.code == "not_ready"
    database.run_now(lambda connection: connection.execute("PRAGMA max_page_count=100000").fetchone())
    assert await notes.add("fits", 2) == 1


async def test_notes_are_listed_newest_first_with_ids_that_are_never_used_again(path):
    database = Database(path)
    notes = Notes(database)
    assert [await notes.add(text, 5) for text in ("one", "two")] == [1, 2]
    database.run_now(lambda connection: connection.execute("DELETE FROM notes WHERE id = 2"))
    database.close()
    database = Database(path)
    notes = Notes(database)
    assert await notes.add("three", 6) == 3
    assert [(note.id, note.text, note.created_us) for note in await notes.list()] == [
        (3, "three", 6),
        (1, "one", 5),
    ]
    assert [note.id for note in await notes.list(limit=1)] == [3]
    database.close()


async def test_a_removed_row_leaves_no_bytes_in_the_closed_file(path):
    database = Database(path)
    await Notes(database).add("canary-7d1c", 1)
    database.run_now(lambda connection: connection.execute("DELETE FROM notes"))
    Agents(database)
    database.close()
    assert b"canary-7d1c" not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_an_id_is_not_settled_before_the_ledger_has_it(tmp_path):
    path = tmp_path / "briefcase.sqlite"
    database = Database(path)
    assert tie_database(database, path, None, "first") == "first"
    assert tie_database(database, path, None, "second") == "first"  # a crash came before the ledger took it: go on
    settle_tie(database, "first")
    with pytest.raises(StoreError, match="expected the id first, got none"):
        tie_database(database, path, None, "third")
    database.close()
