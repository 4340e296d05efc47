"""Copies of a ledger: made while a daemon writes, and marked, so that one that is opened knows what it is.

The copy is LMDB's own: one read transaction, so it is the state after some commit and the daemon goes on meanwhile.
It runs in a process of its own (`briefcase.adapters.backup.child`): LMDB allows one open of an environment a process,
and a long read under the daemon's own map would hold up its growth.

The mark is in the copy itself, so whatever way a copy comes to be opened, `recovery` finds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import lmdb
import msgspec

from briefcase.adapters.disk.checks import PRIVATE_FILE_MODE
from briefcase.adapters.disk.directories import make_private_dir
from briefcase.adapters.disk.files import settle
from briefcase.adapters.ledger.archive import Boundary, copy_segments
from briefcase.adapters.ledger.directory import DATA_NAME
from briefcase.adapters.ledger.files import LedgerFiles
from briefcase.adapters.ledger.tables import ENGINE, META_COPY
from briefcase.model.effects import Head
from briefcase.model.errors import CallerError, StoreError

MAX_TABLES: Final = 16
_GROWTH_BYTES: Final = 1 << 24


class CopyMark(msgspec.Struct, frozen=True):
    """When the copy was made, and where the chain ended in it."""

    copied_at: str
    head_id: int
    head_hash_hex: str


def copy_ledger(source: Path, target: Path, now: str) -> Head:
    """Copy an open or closed ledger, without its free pages, and the archive segments that it counts on.

    Args:
        source: its directory.
        target: the copy's directory, made here.
        now: the time for the mark.

    Raises:
        CallerError: there is no ledger.
        StoreError: it cannot be read, or the copy not be written.

    Returns:
        Where the chain ends in the copy.
    """
    if not (source / DATA_NAME).is_file():
        raise CallerError(f"no receipts in `{source}`", code="not_found")
    make_private_dir(target)
    try:
        with lmdb.open(str(source), readonly=True, max_dbs=MAX_TABLES, lib_version=ENGINE) as environment:
            environment.copy(str(target), compact=True)
        head, boundary = _mark(target, now)
        copy_segments(source, target, boundary)
        return head  # noqa: TRY300 - the whole of it may fail
    except (lmdb.Error, OSError) as error:
        raise StoreError("the ledger cannot be copied", hint="check the free space there", detail=str(error)) from None


def decode_mark(stored: bytes) -> CopyMark:
    """Read a mark.

    Raises:
        StoreError: it is none.
    """
    try:
        return msgspec.json.decode(stored, type=CopyMark)
    except msgspec.DecodeError as error:
        raise StoreError("the ledger's mark of a copy cannot be read", detail=str(error)) from None


def _mark(target: Path, now: str) -> tuple[Head, Boundary]:
    data = target / DATA_NAME
    size = data.stat().st_size + _GROWTH_BYTES
    with lmdb.open(
        str(target), map_size=size, max_dbs=MAX_TABLES, mode=PRIVATE_FILE_MODE, lib_version=ENGINE
    ) as environment:
        files = LedgerFiles(environment)
        head, boundary = files.head(), files.boundary()
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(write=True, db=meta) as transaction:
            transaction.put(META_COPY, msgspec.json.encode(CopyMark(now, head.id, head.hash_hex)))
    (target / "lock.mdb").unlink()
    settle(data)
    return head, boundary
