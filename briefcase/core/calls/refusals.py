"""Refusals that repeat: the first of a kind in a minute has a receipt of its own, the others are counted into one.

A refusal costs its caller nothing and the disk a receipt; counted, it costs the disk nothing either. A kind is one
principal, reason and tool id. An agent that names tools as it likes makes kinds as it likes: past `MAX_KINDS` of one
principal and reason, the rest of them are one kind, whose tool id is `OTHERS`.

Lifecycle of a window, which lasts `WINDOW_S` on the monotonic clock:

    (none)  -> opening   the first refusal is about to be committed; later ones of its kind wait for it
    opening -> open      its receipt is durable, and the later ones carry its id
    opening -> (none)    it could not be committed: the next refusal is a first one
    open    -> (none)    the minute is over, or the daemon stops: what was counted is committed

Counts are in memory: a crash loses those of the open windows, a minute's at most. The next start says which those were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from briefcase.core.calls.ratelimits import RateLimit, RateLimiter
from briefcase.core.receipts import events
from briefcase.core.receipts.events import RefusalKind
from briefcase.core.redaction.redactor import repeatable
from briefcase.model import reasons
from briefcase.model.effects import Entry, Refused
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.ports import Clock, Event, Ledger, ReceiptFilter, Redactor
from briefcase.model.types import JsonObject, Principal, Receipt, format_rfc3339

WINDOW_S: Final = 60
MAX_KINDS: Final = 8
OTHERS: Final = "*"
_COUNTED: Final = frozenset({reasons.RATE_LIMITED, reasons.TOO_MANY_OPEN_DECISIONS, reasons.UNKNOWN_TOOL})
_COUNTED_LATER: Final = frozenset({reasons.INVALID_ARGS, reasons.INVALID_OR_EXPIRED_APPROVAL, reasons.REPLAY_DETECTED})
_OWN_RECEIPTS: Final = RateLimit(per_second=1, burst=64)
MAX_RECOVERED: Final = 2_000  # receipts a start looks back over

_NS_PER_S: Final = 1_000_000_000


class _Window(msgspec.Struct):
    """A minute of one kind. `receipt_id` is the first one's, None while that is written; `count` are the others."""

    kind: RefusalKind
    written: Event
    ends_ns: int
    since_us: int
    last_us: int
    receipt_id: int | None = None
    count: int = 0


class Refusals:
    """The windows that are open. One event loop.

    Args:
        ledger: where refusals and counts are committed.
        clock: for the minute, and the times in a receipt.
        redactor: knows the secrets that a fault may not repeat.
        new_event: makes what later refusals wait on.
    """

    def __init__(self, ledger: Ledger, clock: Clock, redactor: Redactor, new_event: Callable[[], Event]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._redactor = redactor
        self._new_event = new_event
        self._windows: dict[RefusalKind, _Window] = {}
        self._kinds_of: dict[tuple[str, str], int] = {}
        self._own = RateLimiter(_OWN_RECEIPTS)

    def kind_of(self, principal: str, reason: str, tool_id: str) -> RefusalKind | None:
        """What a denied call is counted with; None where it has a receipt of its own, as a policy's denial always has.

        What is wrong with a call's arguments, approval or request id is worth a receipt each, and is free for its
        caller: a principal has the first `_OWN_RECEIPTS` of them, and what comes faster is counted.
        """
        word = _word_of(reason)
        if word in _COUNTED_LATER and self._own.take(principal, word or "", self._clock.monotonic_ns()):
            return None
        return None if word is None else RefusalKind(principal, word, tool_id)

    async def record(self, kind: RefusalKind, event: Callable[[], JsonObject]) -> int:
        """Record one refusal; durable when this returns, unless the kind's first one already is.

        Args:
            kind: what it is counted with.
            event: makes its own receipt's event, where it is the first.

        Raises:
            StoreError: the receipt could not be made durable, or none can be now.

        Returns:
            The receipt id of the first refusal of its kind in this minute.
        """
        while (window := self._window_of(kind)) is not None:
            if window.receipt_id is None:
                await window.written.wait()
            elif self._ledger.gate_problem() is not None:
                return await self._commit(event())  # nothing is answered while nothing can be recorded
            else:
                window.count += 1
                window.last_us = self._clock.now_us()
                return window.receipt_id
        return await self._record_first(self._key(kind), event)

    async def turn_away(self, principal: Principal, declared_bytes: int) -> CallerError:
        """The fault of a request that stands before its principal's empty bucket; its body was not read.

        Raises:
            StoreError: its receipt could not be made durable.
        """
        fault = CallerError(
            "more requests or bytes than one principal may send",
            code=reasons.RATE_LIMITED,
            hint="wait a second; the operator sets `[principal] per_second` and `bytes_per_second`",
        )
        kind = RefusalKind(principal.name, fault.code)
        event = events.refused_event(principal, fault.code, fault.message, "", declared_bytes)
        fault.receipt_id = await self.record(kind, lambda: event)
        return fault

    async def refuse(self, principal: Principal, error: CallerError, body: bytes) -> CallerError:
        """The fault found in a request that is no call, or in what rides beside one, its receipt on disk.

        Raise it outside the handler, so that the traceback holds no argument.

        Raises:
            StoreError: its receipt could not be made durable.
        """
        fault = repeatable(self._redactor, error, body)

        fault.receipt_id = await self._record_bytes(principal, fault.code, fault.message, body)
        return fault

    async def turn_down(self, principal: Principal, reason: str, body: bytes) -> int:
        """Record a question that is about no call of this daemon.

        Args:
            principal: who asks.
            reason: of `reasons`, with a detail that repeats nothing of the request.
            body: the request's bytes.

        Raises:
            StoreError: its receipt could not be made durable.

        Returns:
            The receipt id of the first refusal of its kind in this minute.
        """
        word = reasons.word_of(reason)
        return await self._record_bytes(principal, word, reason[len(word) :].removeprefix(": "), body)

    async def close_over(self, *, at_stop: bool = False) -> None:
        """Commit the counts of the minutes that are over; all of them where the daemon stops.

        Raises:
            StoreError: one could not be made durable; it stays for the next time.
        """
        now_ns = self._clock.monotonic_ns()
        for window in list(self._windows.values()):
            if window.receipt_id is None or (now_ns < window.ends_ns and not at_stop):
                continue
            self._forget(window)  # refusals that come meanwhile begin a minute of their own
            try:
                await self._commit_count(window)
            except StoreError:
                if window.kind not in self._windows:
                    self._keep(window)
                raise

    async def recover(self) -> None:
        """Name the minutes whose counts a crash lost: once, when the ledger has been opened.

        Raises:
            StoreError: that could not be made durable.
        """
        last = await self._ledger.receipts(ReceiptFilter(limit=MAX_RECOVERED))
        for receipt in reversed(_lost(last)):
            kind = _kind_of(receipt)
            event = events.refusals_counted_event(kind, 0, receipt.id, (receipt.ts, _later(receipt.ts)), complete=False)
            await self._ledger.commit(Entry(event))

    async def _record_bytes(self, principal: Principal, reason: str, detail: str, body: bytes) -> int:
        def event() -> JsonObject:
            return events.refused_event(principal, reason, detail, hashlib.sha256(body).hexdigest(), len(body))

        return await self.record(RefusalKind(principal.name, reason), event)

    async def _record_first(self, kind: RefusalKind, event: Callable[[], JsonObject]) -> int:
        now_us, ends_ns = self._clock.now_us(), self._clock.monotonic_ns() + WINDOW_S * _NS_PER_S
        before = self._windows.get(kind)
        if before is not None:
            self._forget(before)
        window = _Window(kind, self._new_event(), ends_ns, now_us, now_us)
        self._keep(window)
        try:
            receipt_id = window.receipt_id = await self._commit(event())
        finally:
            if window.receipt_id is None:
                self._forget(window)
                if before is not None:
                    self._keep(before)
            window.written.set()
        if before is not None:
            await self._commit_count(before)
        return receipt_id

    async def _commit(self, event: JsonObject) -> int:
        committed = await self._ledger.commit(Entry(event))
        if isinstance(committed, Refused):
            raise StoreError("a refusal could not be recorded", detail=committed.reason)
        return committed.receipt_id

    async def _commit_count(self, window: _Window) -> None:
        if window.count and window.receipt_id is not None:
            when = (format_rfc3339(window.since_us), format_rfc3339(window.last_us))
            event = events.refusals_counted_event(window.kind, window.count, window.receipt_id, when)
            await self._ledger.commit(Entry(event))

    def _window_of(self, kind: RefusalKind) -> _Window | None:
        window = self._windows.get(self._key(kind))
        return window if window is not None and self._clock.monotonic_ns() < window.ends_ns else None

    def _key(self, kind: RefusalKind) -> RefusalKind:
        of = (kind.principal, kind.reason)
        if kind in self._windows or self._kinds_of.get(of, 0) < MAX_KINDS:
            return kind
        return RefusalKind(*of, OTHERS)

    def _keep(self, window: _Window) -> None:
        of = (window.kind.principal, window.kind.reason)
        self._windows[window.kind] = window
        self._kinds_of[of] = self._kinds_of.get(of, 0) + 1

    def _forget(self, window: _Window) -> None:
        of = (window.kind.principal, window.kind.reason)
        del self._windows[window.kind]
        self._kinds_of[of] -= 1
        if not self._kinds_of[of]:
            del self._kinds_of[of]


def _word_of(reason: str) -> str | None:
    """The word a denial is counted by, without what its arguments put behind it; None where it never is."""
    word = reasons.word_of(reason)
    return word if word in _COUNTED or word in _COUNTED_LATER else None


def _lost(newest_first: Sequence[Receipt]) -> list[Receipt]:
    """The first refusals of the last minute before a crash whose count nobody committed, newest first."""
    boots = [at for at, receipt in enumerate(newest_first) if receipt.event["kind"] == "boot"]
    if not boots or newest_first[boots[0]].event["clean"] or boots[0] + 1 == len(newest_first):
        return []
    before = newest_first[boots[0] + 1 :]
    since = datetime.fromisoformat(before[0].ts) - timedelta(seconds=WINDOW_S)
    counted = {
        receipt.event["first_receipt_id"] for receipt in newest_first if receipt.event["kind"] == "refusals_counted"
    }
    found: dict[RefusalKind, Receipt] = {}
    for receipt in before:
        if datetime.fromisoformat(receipt.ts) < since or receipt.event["kind"] == "boot":
            break
        if _is_counted(receipt) and receipt.id not in counted:
            found.setdefault(_kind_of(receipt), receipt)
    return list(found.values())


def _is_counted(receipt: Receipt) -> bool:
    event = receipt.event
    return event["kind"] == "refused" or (event["kind"] == "denied" and _word_of(str(event["reason"])) is not None)


def _kind_of(receipt: Receipt) -> RefusalKind:
    event = receipt.event
    reason = str(event["reason"])
    return RefusalKind(str(event["principal"]), _word_of(reason) or reason, str(event.get("tool_id", "")))


def _later(ts: str) -> str:
    """The end of the minute that began then."""
    moment = datetime.fromisoformat(ts) + timedelta(seconds=WINDOW_S)
    return format_rfc3339(int(moment.timestamp() * 1_000_000))
