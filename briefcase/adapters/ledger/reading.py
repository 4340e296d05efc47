"""Reading receipts: lists with filters, and verification of the whole chain, both in slices off the event loop.

A slice is one short read transaction: a long one would keep LMDB from using freed pages again, and would hold up the
growth of the map. Receipts are only ever appended, so slices of one scan fit together; each scan ends at the head it
started with. What lies up to the archive's boundary is read from its segments, so a scan goes over both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeAlias

import lmdb
import orjson

from briefcase.adapters.ledger.archive import Boundary, Loaded, broken, merged_slice, read_boundary
from briefcase.adapters.ledger.state import Replay
from briefcase.adapters.ledger.tables import Tables
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.chain import (
    GENESIS,
    NO_TIME,
    Verifier,
    decode_key,
    decode_record,
    encode_key,
    event_of,
    hash_hex_of,
)
from briefcase.model.effects import Head
from briefcase.model.ports import ActiveAgent, ReceiptFilter, StateDifference, Verification
from briefcase.model.types import Receipt, parse_rfc3339

VERIFY_SLICE: Final = 128  # about a quarter of a millisecond with the interpreter's lock held
SCAN_SLICE: Final = 256
PAUSE_S: Final = 0.000_05  # long enough for a waiting event loop to take the interpreter's lock

Progress = Callable[[int, int], None]
_Record: TypeAlias = tuple[bytes, bytes]


def read_receipt(tables: Tables, receipt_id: int) -> Receipt | None:
    """One live receipt by id."""
    with tables.begin_read() as transaction:
        record = transaction.get(encode_key(receipt_id), db=tables.receipts) if 0 < receipt_id < 1 << 63 else None
    return None if record is None else decode_record(receipt_id, record)


def read_archived(tables: Tables, receipt_id: int) -> Receipt:
    """One archived receipt by id.

    Raises:
        StoreError: its segment is missing or damaged (`receipt_chain_broken`).
    """
    (_, record), *_ = whole_slice(tables, receipt_id, 1)
    return decode_record(receipt_id, record)


def read_head(transaction: lmdb.Transaction[bytes], tables: Tables) -> tuple[bytes, bytes] | None:
    """The last key and record."""
    with transaction.cursor(tables.receipts) as cursor:
        return cursor.item() if cursor.last() else None


def slice_from(tables: Tables, first_id: int, count: int) -> list[tuple[bytes, bytes]]:
    """At most so many consecutive records, oldest first; they end early where an archive segment cannot be read."""
    return _slice(tables, first_id, count).records


def whole_slice(tables: Tables, first_id: int, count: int) -> list[tuple[bytes, bytes]]:
    """As `slice_from`, but for who must not pass over what cannot be read.

    Raises:
        StoreError: an archive segment is missing or damaged (`receipt_chain_broken`).
    """
    loaded = _slice(tables, first_id, count)
    if loaded.problem:
        raise broken(f"archived receipts cannot be read: {loaded.problem}")
    return loaded.records


def boundary_of(tables: Tables) -> Boundary:
    """Up to where the chain is archived."""
    with tables.map_lock, tables.begin_read() as transaction:
        return read_boundary(transaction, tables.meta)


def live_slice(tables: Tables, first_id: int, count: int) -> list[tuple[bytes, bytes]]:
    """At most so many consecutive records of the environment itself."""
    with tables.map_lock, tables.begin_read() as transaction:
        return _live(tables, transaction, first_id, count)


def _slice(tables: Tables, first_id: int, count: int) -> Loaded:
    with tables.map_lock, tables.begin_read() as transaction:
        boundary = read_boundary(transaction, tables.meta)
        if first_id > boundary.id:
            return Loaded(_live(tables, transaction, first_id, count))
    # segments are read outside of the transaction and the lock; the boundary only ever grows, so nothing is missed
    return merged_slice(first_id, count, boundary, tables.archive, lambda first, n: _slice(tables, first, n).records)


def _live(tables: Tables, transaction: lmdb.Transaction[bytes], first_id: int, count: int) -> list[tuple[bytes, bytes]]:
    with transaction.cursor(tables.receipts) as cursor:
        if not cursor.set_range(encode_key(first_id)):
            return []
        return list(islice(cursor.iternext(), count))


# --- verification -----------------------------------------------------------------------------------------------------


def verify_chain(
    tables: Tables,
    head: Head,
    *,
    anchor: Head | None,
    after: Head | None,
    progress: Progress | None,
    seen: Callable[[list[_Record]], None] | None = None,
) -> Verification:
    """Check the chain up to a head, from its beginning or from a receipt that was verified before.

    Args:
        tables: the open environment.
        head: the last durable receipt; what is appended meanwhile is left for the next run.
        anchor: a head noted elsewhere, which the chain must contain.
        after: a head up to which an earlier run found the chain good; what lies before it is not checked again.
        progress: called with (checked so far, all there are to check).
        seen: given the records that were found good.
    """
    start = after or GENESIS
    verifier = Verifier(start, _time_at(tables, start), anchor)
    next_id, total = start.id + 1, head.id - start.id
    while next_id <= head.id and verifier.first_bad is None:
        records = slice_from(tables, next_id, min(VERIFY_SLICE, head.id - next_id + 1))
        if not records:
            break
        if verifier.feed(records) and seen is not None:
            seen(records)
        next_id += len(records)
        if progress is not None:
            progress(verifier.checked, total)
        time.sleep(PAUSE_S)
    return verifier.finish(expected=head, archived=boundary_of(tables).id)


def compare_state(
    tables: Tables, head: Head, replay: Replay, agents: Sequence[ActiveAgent] | None
) -> tuple[StateDifference | None, tuple[str, ...]]:
    """Hold the tables against the chain, in one read transaction; what was appended meanwhile is replayed first."""
    with tables.map_lock, tables.begin_read() as transaction:
        first_id = head.id + 1
        while records := _live(tables, transaction, first_id, SCAN_SLICE):
            replay.feed(records)
            first_id += len(records)
        return replay.compare(transaction, tables, agents)


def _time_at(tables: Tables, start: Head) -> str:
    records = slice_from(tables, start.id, 1) if start.id else []
    return decode_record(start.id, records[0][1]).ts if records else NO_TIME


# --- lists ------------------------------------------------------------------------------------------------------------


def list_receipts(tables: Tables, head: Head, chosen: ReceiptFilter) -> list[Receipt]:
    """Receipts that pass a filter, in the order it asks for."""
    wanted = _wanted(chosen)
    # canonical JSON has one spelling for each member: a record without those bytes is passed over unparsed
    spellings = [canonical_bytes({name: value})[1:-1] for name, value in wanted.items()]
    low, high = 1, head.id
    if chosen.after_id is not None:
        low = max(low, chosen.after_id + 1)
    if chosen.to_id is not None:
        high = min(high, chosen.to_id)
    if chosen.since_us is not None:
        low = max(low, first_at_or_after(tables, head, chosen.since_us))
    if chosen.until_us is not None:
        high = min(high, first_at_or_after(tables, head, chosen.until_us + 1) - 1)
    scan = _oldest_first if chosen.oldest_first else _newest_first
    passing = (receipt for records in scan(tables, low, high) for receipt in _passing(records, wanted, spellings))
    return list(islice(passing, chosen.offset, chosen.offset + chosen.limit))


def list_hashes(tables: Tables, head: Head, after_id: int, limit: int) -> list[str]:
    """The hashes of consecutive receipts up to a head, oldest first, unverified."""
    last_id = min(head.id, after_id + limit)
    return [hash_hex_of(record) for records in _oldest_first(tables, after_id + 1, last_id) for _, record in records]


def _wanted(chosen: ReceiptFilter) -> dict[str, str]:
    fields = {
        "kind": chosen.kind,
        "tool_id": chosen.tool_id,
        "principal": chosen.principal,
        "decision": chosen.decision,
        "approval_id": chosen.approval_id,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _newest_first(tables: Tables, low: int, high: int) -> Iterator[list[_Record]]:
    while low <= high:
        first = max(low, high - SCAN_SLICE + 1)
        yield whole_slice(tables, first, high - first + 1)[::-1]
        high = first - 1
        time.sleep(PAUSE_S)


def _oldest_first(tables: Tables, low: int, high: int) -> Iterator[list[_Record]]:
    while low <= high:
        yield whole_slice(tables, low, min(SCAN_SLICE, high - low + 1))
        low += SCAN_SLICE
        time.sleep(PAUSE_S)


def _passing(records: list[_Record], wanted: dict[str, str], spellings: list[bytes]) -> Iterator[Receipt]:
    """The receipts whose events hold what is wanted."""
    for key, record in records:
        if all(spelling in record for spelling in spellings):
            receipt = decode_record(decode_key(key), record)
            if all(receipt.event.get(name) == value for name, value in wanted.items()):
                yield receipt


def first_at_or_after(tables: Tables, head: Head, time_us: int) -> int:
    """The first receipt id whose time is at or after a moment: times never go back in the chain, so by halving."""
    low, high = 1, head.id + 1
    while low < high:
        middle = (low + high) // 2
        _, record = whole_slice(tables, middle, 1)[0]
        if parse_rfc3339(orjson.loads(event_of(record))["ts"]) < time_us:
            low = middle + 1
        else:
            high = middle
    return low
