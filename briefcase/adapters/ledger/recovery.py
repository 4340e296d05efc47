"""Opening a ledger: make a new one, or check the end of the one there is and close what a crash left open.

 1. read the head; the receipts are as many as its id says
 2. load the checkpoints of intents and claims
 3. verify the tail: the receipts after the checkpoint, and at least `TAIL_RECEIPTS`; replay those after the checkpoint
 4. append `outcome_unknown` for each call's intent still open, settled as spent, `CLOSED_AT_ONCE` to a commit; then
    `restored`, where this is a copy, and `boot`: by the way all commits go. An operator's change that was left open
    stays so, for its noun to settle (`operator.administration`)

A crash in any step leaves what the next start does again. No more than one group is in memory, however many are open.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Final

import lmdb
import orjson

from briefcase import __version__
from briefcase.adapters.ledger.archive import MIN_LIVE_RECEIPTS, Boundary, read_boundary
from briefcase.adapters.ledger.budgets_table import encode_limit
from briefcase.adapters.ledger.copies import decode_mark
from briefcase.adapters.ledger.intents import Intents
from briefcase.adapters.ledger.journal import Journal, Tip
from briefcase.adapters.ledger.reading import read_head, slice_from
from briefcase.adapters.ledger.tables import (
    CLEAN,
    FORMAT,
    META_BOOT,
    META_CLEAN,
    META_COPY,
    META_FORMAT,
    META_SECRET,
    META_STATE,
    META_STORE,
    Tables,
)
from briefcase.core import budgets
from briefcase.core.receipts import events
from briefcase.core.receipts.chain import (
    GENESIS_HASH_HEX,
    HASH_CHARS,
    Verifier,
    decode_key,
    encode_key,
    event_of,
)
from briefcase.model.effects import CloseIntent, Committed, Effect, Entry, Head, NoteState, StartFromCopy
from briefcase.model.errors import StoreError
from briefcase.model.ports import Clock
from briefcase.model.types import JsonObject, parse_rfc3339

TAIL_RECEIPTS: Final = MIN_LIVE_RECEIPTS
SECRET_BYTES: Final = 32
CLOSED_AT_ONCE: Final = 4_096  # nobody waits for the loop yet: the sync is what each group costs
_SLICE: Final = 1_024


class Recovered:
    """What an opened ledger goes on with."""

    def __init__(
        self, journal: Journal, intents: Intents, secret: bytes, sync_us: int, changes: Sequence[JsonObject]
    ) -> None:
        self.journal = journal
        self.intents = intents
        self.secret = secret
        self.sync_us = sync_us
        self.changes = changes


def recover(tables: Tables, clock: Clock, store_id: str | None = None) -> Recovered:
    """Make the ledger ready for commits.

    Args:
        tables: the open environment.
        clock: for the receipts' times.
        store_id: what ties it to the database beside it, stored where it has none yet.

    Raises:
        StoreError: another format (`receipts_unavailable`), or a broken tail (`receipt_chain_broken`).
    """
    with tables.env.begin(write=True) as transaction:
        secret = transaction.get(META_SECRET, db=tables.meta) or _create(transaction, tables)
        if transaction.get(META_FORMAT, db=tables.meta) != FORMAT:
            raise StoreError("the ledger was written in another format", hint="start the release that wrote it")
        if store_id is not None and transaction.get(META_STORE, db=tables.meta) is None:
            transaction.put(META_STORE, store_id.encode(), db=tables.meta)
        boot = decode_key(transaction.get(META_BOOT, db=tables.meta) or b"") + 1
        is_noted = transaction.get(META_STATE, db=tables.meta) is not None
        copied = transaction.get(META_COPY, db=tables.meta)
        clean = transaction.get(META_CLEAN, db=tables.meta) == CLEAN
        # 1. the head
        boundary = read_boundary(transaction, tables.meta)
        head = _check_head(transaction, tables, boundary)
        # 2. the checkpoints
        intents = Intents(secret)
        checkpoint_id = intents.load(transaction, tables)

    # 3. the tail
    tip = _check_tail(tables, head, checkpoint_id, intents, boundary)

    # 4. what was left open, and the boot receipt
    journal = Journal(tables, intents, clock, tip, boot)
    left_open, changes, closed = sorted(intents.open), list[JsonObject](), 0
    journal.write_boot()
    for at in range(0, len(left_open), CLOSED_AT_ONCE):
        entries = []
        for intent_id, intent in _events_of(tables, left_open[at : at + CLOSED_AT_ONCE]):
            if intent["kind"] == events.CHANGE_INTENT:
                changes.append(intent)
            else:
                entries.append(_unknown(intent, intents.open[intent_id]))
        closed += len(entries)
        if entries:
            _write(journal, entries)
    last = [] if copied is None else [_restored(copied, clock.now_us())]
    boot_event = events.boot_event(__version__, clean=clean, closed_intents=closed)
    sync_us = _write(journal, [*last, Entry(boot_event, () if is_noted else (NoteState(),))])
    return Recovered(journal, intents, secret, sync_us, changes)


def _create(transaction: lmdb.Transaction[bytes], tables: Tables) -> bytes:
    """Write what a new ledger starts with."""
    secret = secrets.token_bytes(SECRET_BYTES)
    transaction.put(META_SECRET, secret, db=tables.meta)
    transaction.put(META_FORMAT, FORMAT, db=tables.meta)
    transaction.put(META_BOOT, encode_key(0), db=tables.meta)
    transaction.put(META_CLEAN, CLEAN, db=tables.meta)
    for category, limit in budgets.DEFAULT_DAILY_LIMITS_MICROUSD.items():
        transaction.put(category.encode(), encode_limit(limit), db=tables.limits)
    return secret


def _check_head(transaction: lmdb.Transaction[bytes], tables: Tables, boundary: Boundary) -> Head:
    last = read_head(transaction, tables)
    head = Head(0, GENESIS_HASH_HEX)
    if last is not None:
        key, record = last
        head = Head(decode_key(key), record[:HASH_CHARS].decode("ascii", "replace"))
    _check_count(transaction.stat(tables.receipts)["entries"], head, boundary)
    return head


def _check_count(stored: int, head: Head, boundary: Boundary) -> None:
    """A live receipt that is missing anywhere shows here, at no cost."""
    if stored != head.id - boundary.id:
        archived = f" after the {boundary.id} that are archived" if boundary.id else ""
        raise _broken(f"the last receipt is {head.id}, but {stored} are stored{archived}")


def _check_tail(tables: Tables, head: Head, checkpoint_id: int, intents: Intents, boundary: Boundary) -> Tip:
    """Verify the tail and replay it. The record before it is where the chain is taken up."""
    start_id = max(0, min(checkpoint_id, head.id - TAIL_RECEIPTS))
    start, start_ts = _start_of(tables, start_id, boundary)
    verifier = Verifier(start, start_ts)
    for records in _slices(tables, start_id + 1):
        if not verifier.feed(records):
            break
        for key, record in records:
            if decode_key(key) > checkpoint_id:
                intents.replay(event_of(record))
    verifier.finish(expected=head)
    bad = verifier.first_bad
    if bad is not None:
        raise _broken(
            f"receipt {bad.id} does not verify ({bad.problem}): expected {bad.expected_hash_hex}, "
            f"found {bad.found_hash_hex}"
        )
    return Tip(head.id, head.hash_hex.encode(), parse_rfc3339(verifier.head_ts) if head.id else 0)


def _start_of(tables: Tables, start_id: int, boundary: Boundary) -> tuple[Head, str]:
    if start_id < boundary.id:
        raise _broken(f"receipts up to {boundary.id} are archived, but what the start needs begins at {start_id}")
    if start_id == boundary.id:  # 0 where nothing is archived
        return boundary.head, boundary.ts
    _, record = slice_from(tables, start_id, 1)[0]
    event = orjson.loads(event_of(record))
    return Head(start_id, record[:HASH_CHARS].decode("ascii", "replace")), event["ts"]


def _slices(tables: Tables, first_id: int) -> Iterator[list[tuple[bytes, bytes]]]:
    while records := slice_from(tables, first_id, _SLICE):
        yield records
        first_id += len(records)


def _events_of(tables: Tables, receipt_ids: Sequence[int]) -> Iterator[tuple[int, JsonObject]]:
    """The events of receipts, whose ids ascend; those of ids that follow one another are read together."""
    at = 0
    while at < len(receipt_ids):
        first_id, count = receipt_ids[at], 1
        while at + count < len(receipt_ids) and receipt_ids[at + count] == first_id + count:
            count += 1
        for receipt_id, (_, record) in enumerate(slice_from(tables, first_id, count), first_id):
            yield receipt_id, orjson.loads(event_of(record))
        at += count


def _write(journal: Journal, entries: Sequence[Entry]) -> int:
    """Commit one group; gives how long its sync took."""
    written = journal.write(entries)
    refused = [result for result in written.results if not isinstance(result, Committed)]
    if refused:
        raise StoreError("an open intent cannot be closed", detail=repr(refused[0]))
    journal.publish(written)
    return written.sync_us


def _unknown(intent: JsonObject, settle: Effect | None) -> Entry:
    """What closes a call's intent that a crash left open: its whole reservation counts as spent."""
    intent_id = int(str(intent["id"]))
    event = events.outcome_unknown_event(intent_id, intent, "the daemon stopped before its outcome")
    effects: tuple[Effect, ...] = (CloseIntent(intent_id),)
    return Entry(event, effects if settle is None else (*effects, settle))


def _restored(copied: bytes, now_us: int) -> Entry:
    """What a copy starts with: an epoch of its own, and nothing left that may have been used since."""
    mark = decode_mark(copied)
    day = budgets.day_of(now_us)
    event = events.restored_event(mark.copied_at, mark.head_id, mark.head_hash_hex, secrets.token_hex(16), day)
    return Entry(event, (StartFromCopy(day, now_us),))


def _broken(message: str) -> StoreError:
    return StoreError(
        message,
        code="receipt_chain_broken",
        hint="keep the directory as it is, and compare it with a backup or an exported anchor",
    )
