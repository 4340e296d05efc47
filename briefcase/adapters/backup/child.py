"""What a backup does in its own process: `python -m briefcase.adapters.backup.child copy DATA_DIR OUT | check DIR`.

A process of its own, because LMDB allows one open of an environment a process, and because a data file that somebody
prepared may kill the process that maps it: that must not be the daemon, and must look like a refusal to the operator.

`copy` writes the ledger, the database and the plain files of a data directory, each synced, and verifies the copied
chain; the ledger first, so that no receipt in it knows of something that the later database does not. `check` verifies
the chain in a backup. Both write one JSON object to standard output: a `Found`, or `{"error": {code, message, hint}}`.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.backup.manifest import (
    DATABASE_FILE,
    PLAIN_FILES,
    STAGING_DIR,
    TOOLS_DIR,
    VAULT_KEY_FILE,
    is_known,
)
from briefcase.adapters.disk.checks import OTHERS
from briefcase.adapters.disk.data_dir import LEDGER_DIR
from briefcase.adapters.disk.directories import fsync_tree, make_private_dir
from briefcase.adapters.disk.files import read_private, settle, write_new
from briefcase.adapters.ledger.copies import copy_ledger
from briefcase.adapters.ledger.files import open_files
from briefcase.model.errors import BriefcaseError, StoreError
from briefcase.model.types import format_rfc3339

WITH_KEY: Final = "with-key"


class Found(msgspec.Struct, frozen=True):
    """A ledger that was verified: where its chain ends, how many receipts, the epoch; and what was not copied."""

    head_id: int
    head_hash_hex: str
    checked: int
    boot: int
    left_out: tuple[str, ...] = ()


def main(arguments: list[str]) -> int:
    """Do one of the two; gives the exit code."""
    os.umask(OTHERS)
    try:
        match arguments:
            case ["copy", data_dir, out, *options]:
                found = copy(Path(data_dir), Path(out), with_key=WITH_KEY in options)
            case ["check", directory]:
                found = check(Path(directory), ())
            case _:
                raise StoreError("expected `copy` or `check`", code="internal")
    except BriefcaseError as error:
        wire = {"code": error.code, "message": error.message, "hint": error.hint, "detail": error.detail}
        sys.stdout.buffer.write(msgspec.json.encode({"error": wire}))
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


def copy(data_dir: Path, out: Path, *, with_key: bool) -> Found:
    """Copy a data directory into one that exists and is empty.

    Raises:
        BriefcaseError: something cannot be read or written, or the chain does not verify.
    """
    try:
        copy_ledger(data_dir / LEDGER_DIR, out / LEDGER_DIR, format_rfc3339(time.time_ns() // 1_000))
        _copy_database(data_dir / DATABASE_FILE, out / DATABASE_FILE)
        left_out = _copy_plain(data_dir, out, with_key=with_key)
        fsync_tree(out)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"`{data_dir}` cannot be copied to `{out}`", hint="check the free space there", detail=repr(error)
        ) from None
    return check(out, left_out)


def check(directory: Path, left_out: tuple[str, ...]) -> Found:
    """Verify the chain in a copy.

    Raises:
        StoreError: a receipt is wrong (`receipt_chain_broken`), or the files are damaged.
    """
    with open_files(directory) as files:
        verified = files.verify(None, lambda _done, _all: None)
        bad = verified.first_bad
        if bad is not None:
            raise StoreError(
                f"receipt {bad.id} does not verify ({bad.problem}): expected {bad.expected_hash_hex},"
                f" found {bad.found_hash_hex}",
                code="receipt_chain_broken",
                hint="run `briefcase receipts verify`, and keep a copy of the data directory as it is",
            )
        return Found(verified.head.id, verified.head.hash_hex, verified.checked, files.boot(), left_out)


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's own backup: one read transaction; the copy has no write-ahead log beside it."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as opened,
        closing(sqlite3.connect(target)) as made,
    ):
        opened.backup(made)
        made.execute("PRAGMA journal_mode=DELETE")
    settle(target)


def _copy_plain(data_dir: Path, out: Path, *, with_key: bool) -> tuple[str, ...]:
    """The files that are replaced whole when they change. Returns the names of those that are left out."""
    names = [*PLAIN_FILES, *([VAULT_KEY_FILE] if with_key else [])]
    if (data_dir / TOOLS_DIR).is_dir():
        found = (f"{TOOLS_DIR}/{path.name}" for path in sorted((data_dir / TOOLS_DIR).iterdir()) if path.is_file())
        names += [name for name in found if is_known(name)]
        make_private_dir(out / TOOLS_DIR)
    for name in names:
        private = "/" not in name and name != "briefcase.toml"
        source = data_dir / name
        data = read_private(source) if private else source.read_bytes() if source.is_file() else None
        if data is not None:
            with write_new(out / name) as file:
                file.write(data)
    kept = {*names, LEDGER_DIR, DATABASE_FILE, TOOLS_DIR, STAGING_DIR}
    return tuple(sorted(path.name for path in data_dir.iterdir() if path.name not in kept and _is_worth_naming(path)))


def _is_worth_naming(path: Path) -> bool:
    """Whether leaving a file out says something: a lock, a socket or SQLite's log does not."""
    return not path.is_socket() and not path.name.endswith((".lock", "-wal", "-shm"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
