"""What an operator changes: each such change goes through here, and leaves an intent and an outcome as a call does.

 1. the ledger can write                          else refused (`receipts_unavailable`): nothing happened
 2. the subject's earlier change is closed        else refused (`conflict`): nothing happened
 3. intent: who changes what, durable             likewise; so an answer of 503 says that nothing happened
 4. the effect                                    a crash leaves the intent open; the next start settles it
 5. outcome: the receipt of the change, durable   likewise; the asker hears `outcome_unknown`, not that nothing happened

A change that lives in the ledger (a policy, a budget, a control, a server's description) needs no intent: it is in the
transaction of its receipt (`record`). No event holds a secret: a builder of `receipts.events` makes it.

What a crash left open is settled by its noun (`Settler`) before the next start serves anything: finished or undone, so
that what is kept and what its receipts say agree again.

INVARIANT (one at a time): of one subject at most one intent is open, and it is of the last change. So a settler may
finish a change without undoing a later one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

from briefcase.core.receipts import events
from briefcase.model.effects import CloseIntent, Committed, Effect, Entry, OpenIntent, Refused
from briefcase.model.errors import BriefcaseError, CallerError, InternalError, StoreError, UpstreamError
from briefcase.model.ports import Ledger
from briefcase.model.types import JsonObject

_T = TypeVar("_T")

Settler: TypeAlias = Callable[[JsonObject], Awaitable[JsonObject | None]]
"""Finishes or undoes a change that a crash cut off, given its event, and gives the event that closes it.

That is `events.change_finished_event` where the change is made now, `events.change_undone_event` where it is not, and
None where nobody can know. A settler that runs again changes nothing more.
"""


def _nothing_more(_: object) -> JsonObject:
    return {}


def _no_effects(_: object) -> tuple[Effect, ...]:
    return ()


class Administration:
    """The one way to change something as an operator. One event loop; one for each ledger.

    Args:
        ledger: takes the receipts.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._unclosed: dict[str, Entry | None] = {}  # by subject: what closes its change, None while it is made

    def check_open(self) -> None:
        """Check that a change could be recorded.

        Raises:
            StoreError: the gate is shut (`receipts_unavailable`).
        """
        problem = self._ledger.gate_problem()
        if problem is not None:
            raise StoreError(
                f"receipts cannot be made durable, so nothing is changed: {problem}",
                hint="see `briefcase diagnostics check`",
            )

    async def record(self, entry: Entry) -> Committed:
        """Make a change that is in the ledger itself: one transaction with its receipt.

        Raises:
            CallerError: an effect does not hold (`conflict`).
            StoreError: it could not be made durable; nothing changed.
        """
        # 1. the ledger can write
        self.check_open()
        # 2. to 5. at once
        committed = await self._ledger.commit(entry)
        if isinstance(committed, Refused):
            raise CallerError(f"the change was refused: {committed.reason}", code="conflict")
        return committed

    async def make(
        self,
        subject: str,
        event: JsonObject,
        effect: Callable[[], Awaitable[_T]],
        found: Callable[[_T], JsonObject] = _nothing_more,
        effects: Callable[[_T], tuple[Effect, ...]] = _no_effects,
    ) -> _T:
        """Make a change outside of the ledger.

        Args:
            subject: what is changed, as `name:scout`.
            event: the receipt of the change, of a kind in `events.CHANGES`, with who (`by`) and what; no secret.
            effect: makes it. What can be checked before is checked before this is called.
            found: what the outcome says beside `event`.
            effects: what changes in the ledger with the outcome.

        Raises:
            CallerError: another change of the subject is under way (`conflict`); nothing happened.
            StoreError: the intent could not be made durable; nothing happened.
            BriefcaseError: as `effect`; or it was made and its receipt could not be (`outcome_unknown`).
        """
        # 1. the ledger can write
        self.check_open()

        # 2. the subject's earlier change is closed
        await self._claim(subject)

        # 3. intent
        intended = events.change_intent_event(event)
        try:
            intent = await self._ledger.commit(Entry(intended, (OpenIntent(),)))
        except BaseException:
            del self._unclosed[subject]
            raise
        if isinstance(intent, Refused):
            raise InternalError(f"an intent was refused: {intent.reason}")

        # 4. the effect
        try:
            result = await effect()
        except BriefcaseError as error:
            is_doubtful = isinstance(error, UpstreamError) and error.sent
            failed = events.change_failed_event(event, error.code, is_doubtful=is_doubtful)
            await self._close(subject, intent.receipt_id, failed)
            raise
        except BaseException as error:
            cause = f"it failed inside: {type(error).__name__}"
            unknown = events.outcome_unknown_event(intent.receipt_id, intended, cause)
            if isinstance(error, Exception):
                await self._close(subject, intent.receipt_id, unknown)
            else:  # a task that is cancelled awaits nothing more
                self._unclosed[subject] = _closing(intent.receipt_id, unknown)
            raise

        # 5. outcome
        await self._close(subject, intent.receipt_id, {**event, **found(result)}, effects(result))
        return result

    @asynccontextmanager
    async def alone(self, subject: str) -> AsyncGenerator[None]:
        """Keep other changes of a subject out while one is checked and made in the ledger.

        Raises:
            CallerError: another change of the subject is under way (`conflict`).
            StoreError: the subject's earlier change could not be closed.
        """
        await self._claim(subject)
        try:
            yield
        finally:
            del self._unclosed[subject]

    async def settle(self, settlers: Mapping[str, Settler]) -> None:
        """Close each change that a crash left open; before anything else is changed.

        Args:
            settlers: by the kind of the change's event.

        Raises:
            StoreError: one could not be closed; the next start goes on.
        """
        for intent in self._ledger.changes_left_open():
            intent_id, event = events.intended_change(intent)
            settler = settlers.get(str(event["kind"]))
            cause, settled = "the daemon stopped before its outcome", None
            try:
                settled = None if settler is None else await settler(event)
            except BriefcaseError as error:
                cause = f"{cause}, and it could not be settled: {error.message}"
            closing = settled or events.outcome_unknown_event(intent_id, intent, cause)
            if isinstance(await self._ledger.commit(_closing(intent_id, closing)), Refused):
                raise InternalError(f"intent {intent_id} could not be closed")

    async def _claim(self, subject: str) -> None:
        """Take a subject for a change, once its earlier one has its outcome."""
        if subject in self._unclosed:
            closing = self._unclosed[subject]
            if closing is None:
                raise CallerError(
                    f"another change of `{subject}` is under way", code="conflict", hint="try again when it has ended"
                )
            self._unclosed[subject] = None
            try:
                await self._ledger.commit(closing)
            except BaseException:
                self._unclosed[subject] = closing
                raise
        self._unclosed[subject] = None

    async def _close(self, subject: str, intent_id: int, event: JsonObject, effects: tuple[Effect, ...] = ()) -> None:
        closing = _closing(intent_id, event, effects)
        try:
            closed = await self._ledger.commit(closing)
        except BaseException as error:
            self._unclosed[subject] = closing
            if not isinstance(error, StoreError):
                raise
            raise BriefcaseError(
                "the change may have been made, but its receipt could not be",
                code="outcome_unknown",
                hint=f"look at what it is now; its next change, or a restart, closes receipt {intent_id}",
                detail=error.detail or error.message,
            ) from None
        del self._unclosed[subject]
        if isinstance(closed, Refused):
            raise InternalError(f"intent {intent_id} could not be closed: {closed.reason}")


def _closing(intent_id: int, event: JsonObject, effects: tuple[Effect, ...] = ()) -> Entry:
    return Entry({**event, "intent_id": intent_id}, (CloseIntent(intent_id), *effects))
