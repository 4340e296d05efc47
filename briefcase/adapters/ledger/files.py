"""A ledger's files where no daemon runs: read and verified; nothing is written, nothing is repaired.

The environment is opened read-only and without LMDB's lock file, so a copy on a read-only disk will do; what keeps a
daemon from writing meanwhile is a shared lock on the daemon's own lock file, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import lmdb

from briefcase.adapters.disk.data_dir import LEDGER_DIR
from briefcase.adapters.disk.files import open_plain
from briefcase.adapters.disk.locks import holder_of, try_lock
from briefcase.adapters.ledger.archive import Archive, Boundary, Loaded, broken, merged_slice, read_boundary
from briefcase.adapters.ledger.directory import DATA_NAME, LOCK_NAME
from briefcase.adapters.ledger.tables import ENGINE, META_BOOT, META_STORE
from briefcase.core.receipts.chain import GENESIS, Verifier, decode_key, encode_key, hash_hex_of
from briefcase.model.effects import Head
from briefcase.model.errors import CallerError, ConfigError, StoreError
from briefcase.model.ports import Verification

MAX_TABLES: Final = 16
SLICE: Final = 4_096


class LedgerFiles:
    """An open, read-only ledger; made by `open_files`."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self._receipts = environment.open_db(b"receipts", create=False)
        self._meta = environment.open_db(b"meta", create=False)
        self._archive = Archive(Path(environment.path()))

    def head(self) -> Head:
        """The last receipt."""
        with self._environment.begin(db=self._receipts) as transaction, transaction.cursor() as cursor:
            if not cursor.last():
                return GENESIS
            key, record = cursor.item()
            return Head(decode_key(key), hash_hex_of(record))

    def boot(self) -> int:
        """The epoch of the last daemon that opened it."""
        with self._environment.begin(db=self._meta) as transaction:
            return decode_key(transaction.get(META_BOOT) or b"")

    def store_id(self) -> str | None:
        """What ties it to the database beside it; None in one of before there was such an id."""
        with self._environment.begin(db=self._meta) as transaction:
            stored = transaction.get(META_STORE)
        return None if stored is None else stored.decode("ascii", "replace")

    def boundary(self) -> Boundary:
        """Up to where the chain is archived."""
        with self._environment.begin() as transaction:
            return read_boundary(transaction, self._meta)

    def slice_from(self, first_id: int, count: int) -> list[tuple[bytes, bytes]]:
        """At most so many consecutive records, oldest first, archived ones included.

        Raises:
            StoreError: an archive segment is missing or damaged (`receipt_chain_broken`).
        """
        loaded = self._slice(first_id, count)
        if loaded.problem:
            raise broken(f"archived receipts cannot be read: {loaded.problem}")
        return loaded.records

    def _slice(self, first_id: int, count: int) -> Loaded:
        return merged_slice(first_id, count, self.boundary(), self._archive, self._live)

    def _live(self, first_id: int, count: int) -> list[tuple[bytes, bytes]]:
        with self._environment.begin(db=self._receipts) as transaction, transaction.cursor() as cursor:
            return list(islice(cursor.iternext(), count)) if cursor.set_range(encode_key(first_id)) else []

    def verify(self, anchor: Head | None, progress: Callable[[int, int], None]) -> Verification:
        """Check the whole chain; arguments as those of `verify_files`."""
        head = self.head()
        verifier = Verifier(anchor=anchor)
        next_id = 1
        while (records := self._slice(next_id, SLICE).records) and verifier.feed(records):
            next_id += len(records)
            progress(verifier.checked, head.id)
        return verifier.finish(expected=head, archived=self.boundary().id)


@contextmanager
def open_files(data_dir: Path) -> Iterator[LedgerFiles]:
    """Open the ledger in a data directory, or in a copy of one.

    Raises:
        CallerError: there is no ledger (`not_found`).
        ConfigError: a daemon is running on it (`already_running`).
        StoreError: the files are damaged (`receipt_chain_broken`).
    """
    path = data_dir / LEDGER_DIR
    if not (path / DATA_NAME).is_file():
        raise CallerError(f"no receipts in `{path}`", code="not_found", hint="give the daemon's data directory")
    with _no_daemon(path):
        try:
            with lmdb.open(str(path), readonly=True, lock=False, max_dbs=MAX_TABLES, lib_version=ENGINE) as environment:
                _check_length(path / DATA_NAME, environment)
                yield LedgerFiles(environment)
        except lmdb.Error as error:
            raise _damaged(path, str(error)) from None


def verify_files(data_dir: Path, anchor: Head | None, progress: Callable[[int, int], None]) -> Verification:
    """Check the chain in a data directory.

    Args:
        data_dir: the directory, or a copy of it.
        anchor: a head noted elsewhere, which the chain must contain.
        progress: called with (checked so far, all there are to check).

    Raises:
        BriefcaseError: as `open_files`.
    """
    with open_files(data_dir) as files:
        return files.verify(anchor, progress)


def read_store_id(data_dir: Path) -> str | None:
    """The id in the ledger of a data directory; None where there is no ledger, or it is empty or has none yet.

    Raises:
        BriefcaseError: as `open_files`.
    """
    data = data_dir / LEDGER_DIR / DATA_NAME
    if not data.is_file() or not data.stat().st_size:
        return None
    with open_files(data_dir) as files:
        return files.store_id()


def _check_length(file: Path, environment: lmdb.Environment) -> None:
    """Check that every page is in the file: LMDB reads through a map, and a page that is missing kills the process."""
    pages = environment.info()["last_pgno"] + 1
    expected, found = pages * environment.stat()["psize"], file.stat().st_size
    if found < expected:
        raise _damaged(file, f"expected at least {expected} bytes, got {found}")


@contextmanager
def _no_daemon(path: Path) -> Iterator[None]:
    """Keep a daemon from starting on the directory, and refuse where one runs."""
    try:
        lock = open_plain(path / LOCK_NAME)
    except FileNotFoundError:  # a copy: nobody writes to it
        yield
        return
    with lock:
        if not try_lock(lock.fileno(), is_shared=True):
            raise ConfigError(
                f"a daemon is running on `{path.parent}`: {holder_of(lock.fileno())} has its ledger",
                code="already_running",
                hint="ask it: run the same command without `--data-dir`",
            )
        yield


def _damaged(path: Path, problem: str) -> StoreError:
    return StoreError(
        f"`{path}` is damaged: {problem}",
        code="receipt_chain_broken",
        hint="keep a copy of it as it is, then restore a verified backup",
    )
