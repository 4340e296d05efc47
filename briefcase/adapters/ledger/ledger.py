"""The ledger: `ports.Ledger` on LMDB.

Open it with `Ledger.open`; one process, one event loop. What it is made of: `directory` (who may see it, the lock, the
disk's space), `tables` (the environment), `recovery` (opening), `journal` (a group becomes durable), `group` (who
commits when), `changes`, `approvals_table` and `intents` (what an entry changes), `reading` (lists, verification).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import lmdb
import msgspec

from briefcase._native.inodes import Inodes
from briefcase.adapters.disk.locks import take_lock
from briefcase.adapters.ledger import approvals_table, grants_table, nonces, reading
from briefcase.adapters.ledger.archive import MIN_LIVE_RECEIPTS, write_segment
from briefcase.adapters.ledger.budgets_table import getter, read_limit, read_line
from briefcase.adapters.ledger.directory import (
    ARCHIVE_NAME,
    LOCK_NAME,
    Space,
    lock_data,
    prepare_directory,
    watch_directory,
)
from briefcase.adapters.ledger.gate import SHUT, Gate, GateState
from briefcase.adapters.ledger.group import Counters, GroupCommit
from briefcase.adapters.ledger.reading import Progress
from briefcase.adapters.ledger.recovery import Recovered, recover
from briefcase.adapters.ledger.state import Replay
from briefcase.adapters.ledger.steady_clock import SteadyClock
from briefcase.adapters.ledger.tables import Tables, is_key
from briefcase.core.receipts.events import receipts_archived_event
from briefcase.core.redaction.redactor import redact_value
from briefcase.model.effects import Archived, ArchiveReceipts, ClaimNonce, Committed, Entry, Head, PutSetting, Refused
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.grants import Grant
from briefcase.model.ports import ActiveAgent, Clock, ReceiptFilter, Redactor, Verification
from briefcase.model.types import Approval, ApprovalStatus, BudgetLine, JsonObject, LastApproval, Receipt, ShownCall

MIB: Final = 1 << 20


class LedgerSettings(msgspec.Struct, frozen=True):
    """Sizes in bytes. `map_bytes` is address space only, and doubles when it is full."""

    map_bytes: int = 1 << 34
    low_disk_bytes: int = 64 * MIB
    reserve_bytes: int = 16 * MIB


class _Files(NamedTuple):
    """What an open ledger holds of its directory: the disk's space, its files as they were, the locks' descriptors."""

    space: Space
    inodes: Inodes
    locks: list[int]


class Ledger:
    """An open ledger. Make it with `open`."""

    def __init__(
        self, tables: Tables, recovered: Recovered, files: _Files, clock: Clock, redactor: Redactor | None = None
    ) -> None:
        self._redactor = redactor
        self._tables = tables
        self._intents = recovered.intents
        self._journal = recovered.journal
        self._secret = recovered.secret
        self._left_open = recovered.changes
        self._steady = SteadyClock(clock, recovered.journal.tip.ts_us)
        self._files = files
        self._gate = Gate()
        self._archiving = asyncio.Lock()
        self._group = GroupCommit(
            journal=recovered.journal,
            gate=self._gate,
            space=files.space,
            inodes=files.inodes,
            grow=tables.grow,
            first_sync_us=recovered.sync_us,
        )

    @classmethod
    def open(
        cls,
        path: Path,
        clock: Clock,
        settings: LedgerSettings | None = None,
        store_id: str | None = None,
        redactor: Redactor | None = None,
    ) -> Ledger:
        """Open the ledger in a directory, or make one there.

        Verifies the tail, closes the intents a crash left open, and appends a `boot` receipt.

        Args:
            path: the directory; its parent exists.
            clock: for the receipts' times.
            settings: sizes; the defaults where None.
            store_id: what ties it to the database beside it; stored where the ledger has none yet.
            redactor: cuts known secrets out of each event that comes unfiltered; None where there is no vault.

        Raises:
            ConfigError: the directory is not as it must be (`insecure_host`), or taken (`already_running`).
            StoreError: it cannot be read, or its tail does not verify (`receipt_chain_broken`).
        """
        chosen = settings or LedgerSettings()
        prepare_directory(path)
        locks = [take_lock(path / LOCK_NAME)]
        try:
            space = Space(path, locks[0], chosen.low_disk_bytes, chosen.reserve_bytes)
            tables = Tables(path, chosen.map_bytes)
            try:
                locks.append(lock_data(path))
                recovered = _recover(tables, clock, store_id)
                return cls(tables, recovered, _Files(space, watch_directory(path), locks), clock, redactor)
            except BaseException:
                tables.close()
                raise
        except BaseException:
            _close_all(locks)
            raise

    async def close(self) -> None:
        """Commit what waits, note that this run ended by itself, and let the directory go."""
        if self._gate.state is GateState.CLOSED:
            return
        await self._group.drain()
        try:
            if self._gate.state not in SHUT:
                self._journal.write_clean()
        except lmdb.Error as error:
            raise StoreError("the ledger cannot be closed cleanly", detail=str(error)) from None
        finally:
            self._gate.move(GateState.CLOSED)
            self._tables.close()
            _close_all(self._files.locks)

    # --- commits ------------------------------------------------------------------------------------------------------

    def commit(self, entry: Entry) -> Awaitable[Committed | Refused]:
        """Apply one entry, whole or not at all: see `ports.Ledger.commit`.

        Raises:
            CallerError: a setting in it holds a secret of the vault; nothing was stored.
        """
        return self._group.commit(entry if entry.is_filtered else self._filtered(entry))

    async def commit_all(self, entries: Sequence[Entry]) -> Sequence[Committed | Refused]:
        """Apply several entries in one group: see `ports.Ledger.commit_all`."""
        return await self._group.commit_all([self._filtered(entry) for entry in entries])

    def _filtered(self, entry: Entry) -> Entry:
        # INVARIANT (events): no event reaches a receipt but through here
        if self._redactor is None or entry.is_filtered:
            return entry
        _check_settings(entry, self._redactor)
        return msgspec.structs.replace(entry, event=redact_value(self._redactor, entry.event))

    def gate_problem(self) -> str | None:
        """Why commits are refused now, or None when they are served."""
        self._group.check_space()
        self._group.check_files()
        return self._gate.problem

    def files_problem(self) -> str | None:
        """Which file of the store is not the one that was opened, or None."""
        self._group.check_files()
        return self._gate.found if self._gate.state is GateState.REPLACED else None

    def watch(self, path: Path, *, grows: bool = False, first: bool = False) -> None:
        """Shut the gate, too, when this file or directory beside the ledger is not what it is now.

        Args:
            path: absolute; it exists.
            grows: whether it never shrinks.
            first: whether each group looks at it, and not only its turn.
        """
        self._files.inodes.watch(os.fsencode(path), path.name, grows, first)

    def engine_problem(self) -> str | None:
        """What is not as tested of the storage engine and its durability flags, or None; from any thread."""
        with self._tables.map_lock:
            return self._tables.engine_problem()

    def changes_left_open(self) -> Sequence[JsonObject]:
        """The events of the `change_intent` receipts that an earlier run left open, oldest first."""
        return self._left_open

    @property
    def counters(self) -> Counters:
        """What was committed so far."""
        return self._group.counters

    # --- state --------------------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """The last durable receipt."""
        return self._journal.tip.head

    def approval(self, approval_id: str) -> Approval | None:
        """One approval as stored; expiry is the reader's to judge."""
        with self._tables.begin_read() as transaction:
            return approvals_table.find(transaction, self._tables, approval_id)

    def pending_approval(self, binding_hex: str) -> Approval | None:
        """The newest pending or approved, not yet consumed approval of one binding."""
        with self._tables.begin_read() as transaction:
            return approvals_table.find_waiting(transaction, self._tables, binding_hex)

    def denied_approval(self, binding_hex: str) -> Approval | None:
        """The last denied approval of one binding, unless another of that binding was approved since."""
        with self._tables.begin_read() as transaction:
            return approvals_table.find_denied(transaction, self._tables, binding_hex)

    def approvals(self, status: ApprovalStatus) -> list[Approval]:
        """All approvals stored in one state, oldest first."""
        with self._tables.begin_read() as transaction:
            return approvals_table.list_by_status(transaction, self._tables, status)

    async def newest_approvals(self, wanted: frozenset[ApprovalStatus], most: int) -> list[Approval]:
        """The newest that are in these states by now, oldest first; it reads all there are, off the event loop."""
        return await asyncio.to_thread(self._newest_approvals, wanted, most)

    def _newest_approvals(self, wanted: frozenset[ApprovalStatus], most: int) -> list[Approval]:
        with self._tables.map_lock, self._tables.begin_read() as transaction:
            return approvals_table.list_newest(transaction, self._tables, wanted, self.now_us(), most)

    def expired_approvals(self, most: int) -> list[Approval]:
        """Those that are stored as waiting although their time is over, at most so many."""
        with self._tables.begin_read() as transaction:
            return approvals_table.list_expired(transaction, self._tables, self.now_us(), most)

    def now_us(self) -> int:
        """The time by which approvals end: see `SteadyClock`."""
        return self._steady.now_us()

    def shown_call(self, approval_id: str) -> ShownCall | None:
        """The whole call of an approval that waits."""
        with self._tables.begin_read() as transaction:
            return approvals_table.find_shown(transaction, self._tables, approval_id)

    def last_approval(self, owner: str, tool_id: str) -> LastApproval | None:
        """The last yes that a principal, by its `owner`, got for a tool."""
        with self._tables.begin_read() as transaction:
            return approvals_table.find_last(transaction, self._tables, owner, tool_id)

    def grant(self, grant_id: str) -> Grant | None:
        """One grant, with what was used of it by now."""
        with self._tables.begin_read() as transaction:
            return grants_table.find(transaction, self._tables, grant_id)

    def grants(self) -> list[Grant]:
        """All grants, the ended too, in the order they were given."""
        with self._tables.begin_read() as transaction:
            return grants_table.list_all(transaction, self._tables)

    def approval_secret(self) -> bytes:
        """The 32-byte key from which approval tokens are derived; made with the ledger."""
        return self._secret

    def claimed_request(self, principal: str, request_id: str) -> int | None:
        """The receipt id of the intent that took this request id, if any."""
        return self._intents.asked(principal, request_id)

    def is_nonce_taken(self, claim: ClaimNonce) -> bool:
        """Whether a `ClaimNonce` would be refused now."""
        with self._tables.begin_read() as transaction:
            return nonces.is_taken(transaction, self._tables, claim)

    def budget(self, category: str, day: str) -> BudgetLine | None:
        """One category's line on a UTC day, or None where no limit is set."""
        with self._tables.begin_read() as transaction:
            get = getter(transaction)
            if not is_key(category.encode()) or read_limit(get, self._tables, category) is None:
                return None
            return read_line(get, self._tables, category, day)

    def budgets(self, day: str) -> list[BudgetLine]:
        """All lines on a UTC day, by category."""
        with self._tables.begin_read() as transaction:
            categories = [key.decode() for key, _ in transaction.cursor(self._tables.limits)]
            return [read_line(getter(transaction), self._tables, category, day) for category in categories]

    def setting(self, name: str) -> bytes | None:
        """One named setting."""
        key = name.encode()
        with self._tables.begin_read() as transaction:
            return transaction.get(key, db=self._tables.settings) if is_key(key) else None

    # --- receipts -----------------------------------------------------------------------------------------------------

    async def receipt(self, receipt_id: int) -> Receipt | None:
        """One receipt by id."""
        if not 0 < receipt_id <= self.head().id:
            return None
        found = reading.read_receipt(self._tables, receipt_id)
        return found or await asyncio.to_thread(reading.read_archived, self._tables, receipt_id)

    async def receipts(self, chosen: ReceiptFilter) -> list[Receipt]:
        """Receipts in the order the filter asks for; a long scan does not hold the event loop."""
        return await asyncio.to_thread(reading.list_receipts, self._tables, self.head(), chosen)

    async def hashes(self, after_id: int, limit: int) -> list[str]:
        """The hashes of consecutive receipts, oldest first, as they are stored."""
        return await asyncio.to_thread(reading.list_hashes, self._tables, self.head(), after_id, limit)

    async def verify(
        self,
        anchor: Head | None = None,
        *,
        after: Head | None = None,
        progress: Progress | None = None,
        agents: Sequence[ActiveAgent] | None = None,
    ) -> Verification:
        """Check the chain, streaming, off the event loop.

        Args:
            anchor: a head noted elsewhere, which the chain must contain.
            after: a head up to which an earlier run verified; what lies before it is then named in `not_checked`.
            progress: called on another thread with (checked so far, all there are to check).
            agents: the active ones; where given, the tables and they are held against the whole chain.
        """
        replay = None if agents is None else Replay()
        found = await asyncio.to_thread(
            reading.verify_chain,
            self._tables,
            self.head(),
            anchor=anchor,
            after=after,
            progress=progress,
            seen=None if replay is None else replay.feed,
        )
        if replay is None or not found.ok:
            return found
        difference, not_checked = await asyncio.to_thread(
            reading.compare_state, self._tables, found.head, replay, agents
        )
        return msgspec.structs.replace(
            found, ok=difference is None, difference=difference, not_checked=(*found.not_checked, *not_checked)
        )

    async def archive(self, by: str, keep: int, before_us: int | None = None) -> Archived:
        """Move the oldest receipts into archive segments, one segment and one commit after the other.

        Args:
            by: who asked, for the receipts.
            keep: how many of the newest stay in the environment, at least `MIN_LIVE_RECEIPTS`. More stay where a
                start would need them.
            before_us: only receipts before this time; None for any.

        Raises:
            CallerError: an archiving is under way (`conflict`).
            StoreError: a receipt does not verify, the disk is full, or as `commit`. What was archived stays so.
        """
        if self._archiving.locked():
            raise CallerError("receipts are being archived already", code="conflict", hint="wait for it to end")
        async with self._archiving:
            started = after = await asyncio.to_thread(reading.boundary_of, self._tables)
            last_id = self.head().id - max(keep, MIN_LIVE_RECEIPTS)
            if before_us is not None:
                late = await asyncio.to_thread(reading.first_at_or_after, self._tables, self.head(), before_us)
                last_id = min(last_id, late - 1)
            last_id = min(last_id, self._intents.archivable_id)
            segments = size = 0
            while after.id < last_id:
                if self.gate_problem() is not None:
                    raise self._gate.refusal()
                done = await asyncio.to_thread(write_segment, self._tables.archive, after, last_id, self._live)
                if not started.id and not segments:
                    self._files.inodes.watch(os.fsencode(self._tables.archive.directory), ARCHIVE_NAME)
                event = receipts_archived_event(
                    by, after.id + 1, (done.through.id, done.through.hash_hex), done.segment.path.name, done.bytes
                )
                effect = ArchiveReceipts(after.head, done.through.head, done.through.ts)
                if not isinstance(await self.commit(Entry(event, (effect,))), Committed):
                    raise StoreError("the archive's boundary moved meanwhile", code="receipt_chain_broken")
                segments, size, after = segments + 1, size + done.bytes, done.through
            return Archived(after.id - started.id, segments, size, after.head, str(self._tables.archive.directory))

    def _live(self, first_id: int, count: int) -> list[tuple[bytes, bytes]]:
        return reading.live_slice(self._tables, first_id, count)


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _recover(tables: Tables, clock: Clock, store_id: str | None) -> Recovered:
    """Recover, with a larger map where the first one is full."""
    while True:
        try:
            return recover(tables, clock, store_id)
        except lmdb.MapFullError:
            tables.grow()
        except lmdb.Error as error:
            raise StoreError("the ledger cannot be opened", detail=str(error)) from None


def _check_settings(entry: Entry, redactor: Redactor) -> None:
    """Refuse to keep a setting (a policy, a server's description, its definitions) with a secret in it."""
    for effect in entry.effects:
        if isinstance(effect, PutSetting) and redactor.redact(effect.value) != effect.value:
            raise CallerError(
                f"expected no secret in the setting `{effect.name}`, got one of the vault's",
                hint="name the secret (`secret_env`, `bearer_secret`, a tool's `credential`) instead of writing it out",
            )
