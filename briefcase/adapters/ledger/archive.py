"""Archived receipts: the old part of the chain in compressed files that still verify, beside the environment.

    archive/segment-0000000000000001-0000000000002048.gz

A segment is the stored records of consecutive receipts (`receipts.chain`), one a line, compressed with gzip (RFC 1952):
canonical JSON has no line break, so `zcat SEGMENT` shows them, and a line's first 64 characters are the SHA-256 of the
rest of it. A segment is never changed.

The boundary, in the environment, says up to which receipt the chain is archived. It moves in the transaction that
removes those receipts and appends the receipt that says so. Archiving one segment (`write_segment`, then the commit),
and what a crash right there leaves:

 1. write and sync `NAME.new`                       the next run writes it again
 2. read it back from the disk and verify it        the same
 3. rename it, sync the directory                   a copy of receipts that are still live; the next run takes it over
 4. commit: receipts removed, boundary, receipt     archived

INVARIANT (archive): a receipt is removed only in the commit after a synced segment that holds it was read back good.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec

from briefcase.adapters.disk.checks import reason_of
from briefcase.adapters.disk.directories import fsync_dir, make_private_dir
from briefcase.adapters.disk.files import digest_of, open_plain, write_new, write_whole
from briefcase.adapters.ledger.directory import ARCHIVE_NAME
from briefcase.core.receipts.chain import GENESIS_HASH_HEX, NO_TIME, Verifier, decode_key, encode_key
from briefcase.model.effects import Head
from briefcase.model.errors import StoreError

MIN_LIVE_RECEIPTS: Final = 1_000  # what a start verifies must be in the environment
MAX_SEGMENT_RECEIPTS: Final = 2_048
MAX_SEGMENT_BYTES: Final = 16 << 20  # uncompressed; one receipt may pass it
MAX_RECORD_BYTES: Final = 16 << 20
META_ARCHIVE: Final = b"archive"
_NAME: Final = re.compile(r"segment-(\d{16})-(\d{16})\.gz")
_LEVEL: Final = 6
_GZIP: Final = 31  # zlib's word for gzip framing
_PIECE_BYTES: Final = 64 << 10

Record = tuple[bytes, bytes]


class Boundary(msgspec.Struct, frozen=True):
    """The last archived receipt: its id, hash and time; before the first one where nothing is archived."""

    id: int = 0
    hash_hex: str = GENESIS_HASH_HEX
    ts: str = NO_TIME

    @property
    def head(self) -> Head:
        """Where the live part of the chain begins."""
        return Head(self.id, self.hash_hex)


class Segment(msgspec.Struct, frozen=True):
    """One file and the receipts in it."""

    path: Path
    first_id: int
    last_id: int


class Loaded(msgspec.Struct, frozen=True):
    """What could be read of a segment, from its first receipt on, and what is wrong with the rest, or nothing."""

    records: list[Record]
    problem: str = ""


NOTHING_ARCHIVED: Final = Boundary()


def read_boundary(transaction: lmdb.Transaction[bytes], meta: Any) -> Boundary:  # noqa: ANN401 - lmdb's handle is private
    """Up to where the chain is archived, as a transaction sees it.

    Raises:
        StoreError: it cannot be read (`receipt_chain_broken`).
    """
    stored = transaction.get(META_ARCHIVE, db=meta)
    if stored is None:
        return NOTHING_ARCHIVED
    try:
        return msgspec.json.decode(stored, type=Boundary)
    except msgspec.DecodeError as error:
        raise broken("the ledger's archive boundary cannot be read", str(error)) from None


def encode_boundary(boundary: Boundary) -> bytes:
    """The boundary as it is stored."""
    return msgspec.json.encode(boundary)


class Archive:
    """Reads the segments of one ledger; from any thread. The last segment read is kept, for who reads on.

    Args:
        ledger_dir: the directory of the environment.
    """

    def __init__(self, ledger_dir: Path) -> None:
        self.directory = ledger_dir / ARCHIVE_NAME
        self._lock = threading.Lock()
        self._kept: tuple[Segment, Loaded] | None = None

    def segments(self) -> list[Segment]:
        """What is there, in the order of the chain; other files are passed over."""
        try:
            names = [path.name for path in self.directory.iterdir()]
        except FileNotFoundError:
            return []
        found = ((name, _NAME.fullmatch(name)) for name in names)
        segments = [Segment(self.directory / name, int(m[1]), int(m[2])) for name, m in found if m is not None]
        return sorted(segments, key=lambda segment: segment.first_id)

    def slice_from(self, first_id: int, count: int) -> Loaded:
        """So many consecutive records, oldest first; fewer, and why, where a segment is missing or damaged."""
        records: list[Record] = []
        while len(records) < count:
            wanted = first_id + len(records)
            loaded = self._holding(wanted)
            at = wanted - decode_key(loaded.records[0][0]) if loaded.records else 0
            part = loaded.records[at : at + count - len(records)]
            if not part:
                return Loaded(records, loaded.problem or f"receipt {wanted} is in no archive segment")
            records += part
        return Loaded(records)

    def _holding(self, receipt_id: int) -> Loaded:
        with self._lock:
            if self._kept is not None and self._kept[0].first_id <= receipt_id <= self._kept[0].last_id:
                return self._kept[1]
            for segment in self.segments():
                if segment.first_id <= receipt_id <= segment.last_id:
                    loaded = load_segment(segment)
                    self._kept = (segment, loaded)
                    return loaded
        return Loaded([], f"no archive segment in `{self.directory}` holds receipt {receipt_id}")


def merged_slice(
    first_id: int,
    count: int,
    boundary: Boundary,
    archive: Archive,
    live: Callable[[int, int], list[Record]],
) -> Loaded:
    """Consecutive records across the boundary, oldest first.

    Args:
        first_id: the first receipt.
        count: how many at most.
        boundary: as the transaction of `live` sees it.
        archive: what lies up to it.
        live: reads what lies after it, from an id on, at most so many.
    """
    archived = max(0, min(count, boundary.id - first_id + 1))
    if not archived:
        return Loaded(live(first_id, count))
    old = archive.slice_from(first_id, archived)
    if len(old.records) < archived or archived == count:
        return old
    return Loaded(old.records + live(first_id + archived, count - archived))


def load_segment(segment: Segment) -> Loaded:
    """Read a segment as far as it can be read; nothing is verified: its records may have been changed."""
    lines, problem = _lines_of(segment.path)
    expected = segment.last_id - segment.first_id + 1
    if not problem and len(lines) != expected:
        problem = f"`{segment.path}` holds {len(lines)} receipts, expected {expected}"
    records = [(encode_key(segment.first_id + at), line) for at, line in enumerate(lines[:expected])]
    return Loaded(records, problem)


def _lines_of(path: Path) -> tuple[list[bytes], str]:
    """The whole lines of a gzip file, and what is wrong with the rest of it."""
    inflater = zlib.decompressobj(_GZIP)
    data = bytearray()
    problem = ""
    try:
        for piece in _pieces(path):
            data += inflater.decompress(piece, MAX_SEGMENT_BYTES + MAX_RECORD_BYTES - len(data) + 1)
            if len(data) > MAX_SEGMENT_BYTES + MAX_RECORD_BYTES:
                problem = f"`{path}` holds more than a segment may"
                break
        else:
            if not inflater.eof or inflater.unused_data:
                problem = f"`{path}` is cut off, or goes on after its end"
    except zlib.error as error:
        problem = f"`{path}` is damaged: {error}"
    except OSError as error:
        problem = f"`{path}` cannot be read: {reason_of(error)}"
    whole, _, rest = bytes(data).rpartition(b"\n")
    return (whole.split(b"\n") if whole else []), problem or (f"`{path}` ends amid a line" if rest else "")


def _pieces(path: Path) -> Iterator[bytes]:
    with open_plain(path) as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


# --- writing ----------------------------------------------------------------------------------------------------------


class Written(msgspec.Struct, frozen=True):
    """A segment that is durable and was read back good: the receipts after `after`, up to and including `through`."""

    segment: Segment
    after: Boundary
    through: Boundary
    bytes: int


def write_segment(archive: Archive, after: Boundary, last_id: int, live: Callable[[int, int], list[Record]]) -> Written:
    """Make the next segment durable: steps 1 to 3 of the module.

    Args:
        archive: where to.
        after: where the archive ends now.
        last_id: no receipt after this one is taken.
        live: reads live records, from an id on, at most so many.

    Raises:
        StoreError: a receipt does not verify (`receipt_chain_broken`), or the segment cannot be written or read back.
    """
    records = _next_records(after, last_id, live)
    through = _verified(records, after, "the live chain")
    first_id = after.id + 1
    name = f"segment-{first_id:016d}-{through.id:016d}.gz"
    segment = Segment(archive.directory / name, first_id, through.id)
    data = _compressed(records)

    def read_back(written: Path) -> None:
        read = load_segment(Segment(written, first_id, through.id))
        if read.problem or read.records != records or _verified(read.records, after, f"`{written}`") != through:
            raise broken(f"`{written}` does not hold what was written to it", read.problem)

    try:
        make_private_dir(archive.directory, exist_ok=True)
        fsync_dir(archive.directory.parent)
        _set_aside(archive, first_id, keep=segment.path)
        # 1. write, 2. read back, 3. rename
        with write_whole(segment.path, check=read_back) as file:
            file.write(data)
    except OSError as error:
        raise StoreError(
            f"`{segment.path}` cannot be written: {reason_of(error)}",
            hint="nothing was removed; free some space, and archive again",
        ) from None
    return Written(segment, after, through, len(data))


def _next_records(after: Boundary, last_id: int, live: Callable[[int, int], list[Record]]) -> list[Record]:
    records: list[Record] = []
    size = 0
    for key, record in live(after.id + 1, min(MAX_SEGMENT_RECEIPTS, last_id - after.id)):
        size += len(record) + 1
        if records and size > MAX_SEGMENT_BYTES:
            break
        records.append((key, record))
    return records


def _verified(records: list[Record], after: Boundary, where: str) -> Boundary:
    """Where verified records end."""
    verifier = Verifier(after.head, after.ts)
    verifier.feed(records)
    if verifier.first_bad is not None or not records:
        bad = after.id + 1 if verifier.first_bad is None else verifier.first_bad.id
        raise broken(f"receipt {bad} of {where} does not verify")
    return Boundary(verifier.head.id, verifier.head.hash_hex, verifier.head_ts)


def _compressed(records: list[Record]) -> bytes:
    """The same bytes for the same records: the header holds no time."""
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    parts = [deflater.compress(record + b"\n") for _, record in records]
    return b"".join([*parts, deflater.flush()])


def _set_aside(archive: Archive, first_id: int, keep: Path) -> None:
    """Rename what is of another history: a segment past the boundary that is not the one being written.

    It may be what an older ledger that was put back here has lost, so it is kept, under a name that nothing reads.
    """
    for segment in archive.segments():
        if segment.last_id >= first_id and segment.path != keep:
            segment.path.rename(segment.path.with_name(f"{segment.path.name}.aside-{time.time_ns()}"))


def copy_segments(source: Path, target: Path, boundary: Boundary) -> None:
    """Copy the segments that a copied environment counts on, each synced; they never change.

    Raises:
        OSError: one cannot be read or written.
    """
    wanted = [segment for segment in Archive(source).segments() if segment.last_id <= boundary.id]
    if not wanted:
        return
    directory = target / ARCHIVE_NAME
    make_private_dir(directory)
    for segment in wanted:
        with write_new(directory / segment.path.name) as file:
            digest_of(segment.path, file.write)
    fsync_dir(directory)


def broken(message: str, detail: str = "") -> StoreError:
    """The error of an archive that is not as it must be."""
    return StoreError(
        message,
        code="receipt_chain_broken",
        hint="keep the directory as it is, and look for the segment in a backup",
        detail=detail,
    )
