"""The journal: a group of entries becomes receipts and state, in one transaction.

`write` works on any thread and changes nothing in memory; `publish` takes over a group that is on disk, on the event
loop's thread. The steps of `write`, and what a crash right there leaves behind:

 1. begin                                      nothing
 2. for each entry, in order: check its effects, then write them and its receipt; or refuse it, or fault it alone
                                               nothing: the transaction is gone
 3. a checkpoint, where one is due             nothing, likewise
 4. commit: LMDB writes the pages, syncs them, then writes and syncs the meta page that makes them the truth
                                               all of the group or nothing of it; what is there was perhaps not answered
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, TypeAlias

import lmdb
import msgspec

from briefcase.adapters.ledger.change import Change
from briefcase.adapters.ledger.changes import apply_effects
from briefcase.adapters.ledger.intents import Intents, Staged
from briefcase.adapters.ledger.tables import CLEAN, META_BOOT, META_CLEAN, NOT_CLEAN, Tables
from briefcase.core.receipts.chain import HASH_CHARS, encode_key, link_record
from briefcase.model.effects import Committed, Entry, Head, Refused
from briefcase.model.errors import InternalError
from briefcase.model.ports import Clock
from briefcase.model.types import JsonObject, format_rfc3339

MIN_CLOCK_STEP_US: Final = 1_000_000

Result: TypeAlias = Committed | Refused | InternalError


class Tip(msgspec.Struct, frozen=True, gc=False):
    """The end of the chain, and what the clocks said there. `wall_us` is None before this run's first receipt."""

    id: int
    hash_hex: bytes
    ts_us: int
    wall_us: int | None = None
    monotonic_us: int = 0

    @property
    def head(self) -> Head:
        """The end of the chain, as the port names it."""
        return Head(self.id, self.hash_hex.decode())


class Written(msgspec.Struct, frozen=True, gc=False):
    """A group that is on disk: one result for each entry, and what it changes in memory."""

    results: list[Result]
    tip: Tip
    staged: Staged
    sync_us: int


class Journal:
    """Appends to the chain. One `write` at a time, each followed by its `publish` before the next.

    Args:
        tables: the open environment.
        intents: open intents and claims, as they are on disk.
        clock: for the receipts' times.
        tip: the end of the chain.
        boot: this run's epoch, recorded in each receipt.
    """

    def __init__(self, tables: Tables, intents: Intents, clock: Clock, tip: Tip, boot: int) -> None:
        self._tables = tables
        self._intents = intents
        self._clock = clock
        self._boot = boot
        self.tip = tip

    def write(self, entries: Iterable[Entry]) -> Written:
        """Make a group durable.

        Raises:
            lmdb.MapFullError: the map is full; nothing was changed, and it may be written again after growing.
            lmdb.Error: the transaction failed, or its sync; what is on disk is unknown.
        """
        # 1. begin
        transaction = self._tables.env.begin(write=True)
        try:
            # 2. the entries, in order
            start = self._stamp()
            step_us = _clock_step_us(self.tip, start)
            group = _Group(transaction, self._tables, self._intents, start, self._boot, step_us)
            results = list(map(group.add, entries))
            tip = Tip(group.last_id, group.last_hash_hex, start.ts_us, start.wall_us, start.monotonic_us)
            if tip.id == start.id:
                transaction.abort()  # all refused: nothing to sync
                return Written(results, self.tip, group.staged, 0)

            # 3. a checkpoint
            if self._intents.is_checkpoint_due(tip.id):
                self._intents.write_checkpoint(transaction, self._tables, tip.id, group.staged)

            # 4. commit
            started_ns = time.perf_counter_ns()
            transaction.commit()
            sync_us = (time.perf_counter_ns() - started_ns) // 1_000
        except BaseException:
            transaction.abort()
            raise
        return Written(results, tip, group.staged, sync_us)

    def publish(self, written: Written) -> None:
        """Take over a durable group."""
        self._intents.publish(written.staged)
        self.tip = written.tip

    def write_boot(self) -> None:
        """Note this run's epoch, and that it has not ended cleanly yet."""
        with self._tables.env.begin(write=True, db=self._tables.meta) as transaction:
            transaction.put(META_BOOT, encode_key(self._boot))
            transaction.put(META_CLEAN, NOT_CLEAN)

    def write_clean(self) -> None:
        """Checkpoint, and note that this run ended by itself."""
        staged = Staged()
        with self._tables.env.begin(write=True) as transaction:
            self._intents.write_checkpoint(transaction, self._tables, self.tip.id, staged)
            transaction.put(META_CLEAN, CLEAN, db=self._tables.meta)

    def _stamp(self) -> Tip:
        """The tip with the time of the next group: time never goes back in the chain."""
        now_us, tip = self._clock.now_us(), self.tip
        monotonic_us = self._clock.monotonic_ns() // 1_000
        return Tip(tip.id, tip.hash_hex, max(now_us, tip.ts_us), now_us, monotonic_us)


class _Group:
    """One group under way, inside its transaction."""

    def __init__(  # noqa: PLR0917 - built in one place
        self,
        transaction: lmdb.Transaction[bytes],
        tables: Tables,
        intents: Intents,
        start: Tip,
        boot: int,
        clock_step_us: int,
    ) -> None:
        self._transaction = transaction
        self._tables = tables
        self._intents = intents
        self._boot = boot
        self._ts_us = start.ts_us
        self._ts = format_rfc3339(start.ts_us)
        self._clock_step_us = clock_step_us
        self.staged = Staged()
        self.last_id = start.id
        self.last_hash_hex = start.hash_hex

    def add(self, entry: Entry) -> Result:
        """Apply one entry whole, or not at all. Anything but a storage error is this entry's own."""
        receipt_id = self.last_id + 1
        event: JsonObject = {**entry.event, "id": receipt_id, "ts": self._ts, "boot": self._boot}
        if self._clock_step_us:
            event["clock_step_us"] = self._clock_step_us
        try:
            change = None
            if entry.effects:
                change = Change(self._transaction, self._tables, self._intents, self.staged, receipt_id, event)
                refused = apply_effects(change, entry.effects)
                if refused is not None:
                    return refused
                if change.plans:
                    change.note_state()
            hash_hex, record = link_record(self.last_hash_hex, event)
        except InternalError as error:
            return error
        except (ValueError, TypeError, LookupError) as error:
            return InternalError("an entry cannot be recorded", detail=repr(error))
        if change is not None:
            change.write()
        self._transaction.put(encode_key(receipt_id), record, append=True, db=self._tables.receipts)
        self._clock_step_us = 0
        self.last_id = receipt_id
        self.last_hash_hex = record[:HASH_CHARS]
        return Committed(receipt_id, self._ts_us, hash_hex)


def _clock_step_us(before: Tip, now: Tip) -> int:
    """By how much the wall clock stepped since the last group, or is behind the chain; 0 for neither.

    A step is what it moved more than the monotonic clock did. NTP slews by at most 0.5 ms a second (adjtime(3)), so a
    second is no slew.
    """
    if now.wall_us is None:
        return 0
    if now.wall_us < before.ts_us:
        return now.wall_us - before.ts_us
    if before.wall_us is None:
        return 0
    step_us = (now.wall_us - before.wall_us) - (now.monotonic_us - before.monotonic_us)
    return 0 if -MIN_CLOCK_STEP_US < step_us < MIN_CLOCK_STEP_US else step_us
