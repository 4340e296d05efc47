"""Group commit: what waits together becomes durable together (docs/adr/0002).

    alone        one entry waits when the loop comes round: it is committed there, on the loop, if the disk is fast and
                 the entry small
    in company   all that wait become one group, handed to the one writer thread; what comes meanwhile is the next group

Before a group is written, the store is looked at (`Inodes`): where its files are not those that were opened, the gate
shuts, and nothing of the group is.

The disk counts as fast until a commit takes longer than `INLINE_MAX_US`; then the next `PROBATION` commits go to the
thread, whatever waits, so a slow disk never holds the loop again.

INVARIANT (one writer): at most one group is under way; a group is published on the loop before the next one starts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from operator import itemgetter
from queue import SimpleQueue
from typing import Final, TypeAlias

import lmdb

from briefcase._native.inodes import Inodes
from briefcase.adapters.ledger.directory import Space
from briefcase.adapters.ledger.gate import SHUT, Gate, GateState
from briefcase.adapters.ledger.journal import Journal, Written
from briefcase.model.effects import CloseIntent, Committed, Entry, Refused
from briefcase.model.errors import InternalError

INLINE_MAX_US: Final = 2_000
PROBATION: Final = 64
MAX_GROUP: Final = 1_024

_Waiting: TypeAlias = "tuple[Entry, asyncio.Future[Committed | Refused]]"
_Outcome: TypeAlias = Written | Exception
_entry_of: Final[Callable[[_Waiting], Entry]] = itemgetter(0)


class ReplacedError(Exception):
    """The store's files are not those that were opened; the text says which, and may be shown."""


class Counters:
    """What happened so far, as plain integers for whoever reports them. Times in microseconds."""

    def __init__(self) -> None:
        self.entries = 0
        self.refused = 0
        self.commits = 0
        self.inline_commits = 0
        self.failures = 0
        self.map_grown = 0
        self.last_group = 0
        self.max_group = 0
        self.last_sync_us = 0
        self.max_sync_us = 0


class GroupCommit:
    """Collects entries on the event loop and makes them durable in groups.

    Args:
        journal: writes a group.
        gate: whether commits are served.
        space: watches the disk.
        inodes: the store's files, as they were when it was opened.
        grow: doubles the map; called on the loop's thread while nothing is under way.
        first_sync_us: how long a commit took while opening.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        gate: Gate,
        space: Space,
        inodes: Inodes,
        grow: Callable[[], None],
        first_sync_us: int,
    ) -> None:
        self.counters = Counters()
        self._journal = journal
        self._gate = gate
        self._space = space
        self._inodes = inodes
        self._grow = grow
        self._probation = PROBATION if first_sync_us > INLINE_MAX_US else 0
        self._waiting: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._under_way = False
        self._idle: asyncio.Future[None] | None = None
        self._work: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def commit(self, entry: Entry) -> asyncio.Future[Committed | Refused]:
        """Have one entry take part in the next group, in the order of the calls; the future is for its caller alone.

        Raises (from the future):
            StoreError: the gate is not open, or closed on this very group.
            InternalError: no correct program commits such an entry; nothing was stored.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Committed | Refused] = loop.create_future()
        if self._gate.state in SHUT:
            future.set_exception(self._gate.refusal())
            return future
        self._waiting.append((entry, future))
        if not self._scheduled and not self._under_way:
            self._scheduled = True
            loop.call_soon(self._start)
        return future

    async def commit_all(self, entries: Sequence[Entry]) -> list[Committed | Refused]:
        """Make entries durable together, as far as one group takes them; in the order given.

        Raises:
            StoreError: as `commit`.
            InternalError: as `commit`, of the first such entry; the others are stored.
        """
        futures = [self.commit(entry) for entry in entries]
        if futures:
            await asyncio.wait(futures)
        problems = [problem for future in futures if (problem := future.exception()) is not None]
        if problems:
            raise problems[0]
        return [future.result() for future in futures]

    async def drain(self) -> None:
        """Wait until nothing is under way, then end the writer thread."""
        while self._waiting or self._under_way:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        self._work.put(None)
        self._thread.join()

    # --- on the loop --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the next group: every call that became ready in this turn of the loop has queued by now."""
        self._scheduled = False
        if self._under_way:
            return
        group = self._take()
        if not group:
            self._go_on()
            return
        self._under_way = True
        if len(group) == 1 and self._probation == 0 and not group[0][0].is_large:
            self.counters.inline_commits += 1
            self._finish(group, self._write(group))
        else:
            self._work.put(group)

    def _take(self) -> list[_Waiting]:
        """The next group. While the disk is full only outcomes of calls under way pass: the reserve is theirs."""
        group = self._waiting
        if len(group) <= MAX_GROUP:
            self._waiting = []
        else:
            group, self._waiting = group[:MAX_GROUP], group[MAX_GROUP:]
        self.check_space()
        if self._gate.state is GateState.OPEN:
            return group
        outcomes = []
        for waiting in group:
            entry, future = waiting
            if self._gate.state is GateState.LOW_DISK and any(isinstance(e, CloseIntent) for e in entry.effects):
                outcomes.append(waiting)
            elif not future.done():
                future.set_exception(self._gate.refusal())
        return outcomes

    def check_space(self) -> None:
        """Open or shut the gate by the disk's free space; one that does not tell it is not written to any more."""
        state = self._gate.state
        if state is not GateState.OPEN and state is not GateState.LOW_DISK:
            return
        try:
            is_low = self._space.is_low()
        except OSError as error:
            self.counters.failures += 1
            self._gate.move(GateState.BROKEN, detail=repr(error))
            return
        wanted = GateState.LOW_DISK if is_low else GateState.OPEN
        if wanted is not state:
            self._gate.move(wanted)

    def check_files(self) -> None:
        """Shut the gate where any file of the store is not the one that was opened."""
        if self._gate.state in SHUT:
            return
        problem = self._inodes.problem()
        if problem is not None:
            self._break([], ReplacedError(problem))

    def _finish(self, group: list[_Waiting], outcome: _Outcome) -> None:
        """Answer a group and start the next."""
        if isinstance(outcome, Written):
            self._under_way = False
            if self._gate.state not in SHUT:
                self._count(outcome, outcome.tip.id - self._journal.tip.id)
                self._journal.publish(outcome)
                self._answer(group, outcome)
            else:  # it is written, but meanwhile its files were found to be others
                self._break(group, outcome)
        else:
            problem = self._again(group) if isinstance(outcome, lmdb.MapFullError) else outcome
            if problem is None:
                return
            self._under_way = False
            self._break(group, problem)
        if self._waiting or self._idle is not None:
            self._go_on()

    def _go_on(self) -> None:
        """Start the next group in the next turn of the loop, where anybody waits."""
        if self._waiting:
            self._scheduled = True
            self._loop_of(self._waiting).call_soon(self._start)
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _again(self, group: list[_Waiting]) -> Exception | None:
        """Grow the map, then hand the same group to the thread. Returns what kept it from growing."""
        try:
            self._grow()
        except lmdb.Error as error:
            return error
        self.counters.map_grown += 1
        self._work.put(group)
        return None

    def _answer(self, group: list[_Waiting], written: Written) -> None:
        for (_, future), result in zip(group, written.results, strict=True):
            if future.done():
                continue  # its caller left; the receipt stays
            if isinstance(result, InternalError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _break(self, group: list[_Waiting], error: _Outcome) -> None:
        """Shut the gate for good: everyone of the group, and everyone who waits, is refused."""
        self.counters.failures += 1
        if isinstance(error, ReplacedError):
            self._gate.move(GateState.REPLACED, found=str(error))
        elif self._gate.state not in SHUT:
            self._gate.move(GateState.BROKEN, detail=repr(error))
        for _, future in (*group, *self._waiting):
            if not future.done():
                future.set_exception(self._gate.refusal())
        self._waiting.clear()

    def _count(self, written: Written, stored: int) -> None:
        counters, sync_us = self.counters, written.sync_us
        counters.entries += stored
        counters.refused += len(written.results) - stored
        if not stored:
            return
        counters.commits += 1
        counters.last_group = stored
        counters.max_group = max(counters.max_group, stored)
        counters.last_sync_us = sync_us
        counters.max_sync_us = max(counters.max_sync_us, sync_us)
        if sync_us > INLINE_MAX_US:
            self._probation = PROBATION
        elif self._probation:
            self._probation -= 1

    @staticmethod
    def _loop_of(group: Sequence[_Waiting]) -> asyncio.AbstractEventLoop:
        return group[0][1].get_loop()

    # --- on either thread ---------------------------------------------------------------------------------------------

    def _write(self, group: list[_Waiting]) -> _Outcome:
        problem = self._inodes.glance()
        if problem is not None:
            return ReplacedError(problem)
        try:
            return self._journal.write(map(_entry_of, group))
        except Exception as error:  # noqa: BLE001 - whatever it is, what is on disk is unknown: the gate shuts
            return error

    # --- on the writer thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            group = self._work.get()
            if group is None:
                return
            outcome = self._write(group)
            try:
                self._loop_of(group).call_soon_threadsafe(self._finish, group, outcome)
            except RuntimeError:
                return  # the loop is gone, and every caller with it
