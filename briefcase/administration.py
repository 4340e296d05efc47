"""What an operator changes: each such change goes through here, and leaves an intent and an outcome as a call does.

 1. the ledger can write                          else refused (`receipts_unavailable`): nothing happened
 2. intent: who changes what, durable             likewise; so an answer of 503 says that nothing happened
 3. the effect                                    a crash leaves the intent open; the next start closes it
 4. outcome: the receipt of the change, durable   likewise; the asker hears `outcome_unknown`, not that nothing happened

A change that lives in the ledger (a policy, a budget, a control, a server's description) needs no intent: it is in the
transaction of its receipt (`record`). No event holds a secret: a builder of `receipts.events` makes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from briefcase.model.effects import CloseIntent, Committed, Entry, OpenIntent, Refused
from briefcase.model.errors import BriefcaseError, CallerError, InternalError, StoreError, UpstreamError
from briefcase.model.ports import Ledger
from briefcase.model.types import JsonObject
from briefcase.receipts import events

_T = TypeVar("_T")


def _nothing_more(_: object) -> JsonObject:
    return {}


class Administration:
    """The one way to change something as an operator. One event loop.

    Args:
        ledger: takes the receipts.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

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
        # 2. to 4. at once
        committed = await self._ledger.commit(entry)
        if isinstance(committed, Refused):
            raise CallerError(f"the change was refused: {committed.reason}", code="conflict")
        return committed

    async def make(
        self,
        event: JsonObject,
        effect: Callable[[], Awaitable[_T]],
        found: Callable[[_T], JsonObject] = _nothing_more,
    ) -> _T:
        """Make a change outside of the ledger.

        Args:
            event: the receipt of the change, of a kind in `events.CHANGES`, with who (`by`) and what; no secret.
            effect: makes it. What can be checked before is checked before this is called.
            found: what the outcome says beside `event`.

        Raises:
            StoreError: the intent could not be made durable; nothing happened.
            BriefcaseError: as `effect`; or it was made and its receipt could not be (`outcome_unknown`).
        """
        # 1. the ledger can write
        self.check_open()

        # 2. intent
        intended = events.change_intent_event(event)
        intent = await self._ledger.commit(Entry(intended, (OpenIntent(),)))
        if isinstance(intent, Refused):
            raise InternalError(f"an intent was refused: {intent.reason}")

        # 3. the effect
        try:
            result = await effect()
        except BriefcaseError as error:
            is_doubtful = isinstance(error, UpstreamError) and error.sent
            await self._close(intent.receipt_id, events.change_failed_event(event, error.code, is_doubtful=is_doubtful))
            raise
        except Exception as error:
            cause = f"it failed inside: {type(error).__name__}"
            await self._close(intent.receipt_id, events.outcome_unknown_event(intent.receipt_id, intended, cause))
            raise

        # 4. outcome
        await self._close(intent.receipt_id, {**event, **found(result)})
        return result

    async def _close(self, intent_id: int, event: JsonObject) -> None:
        entry = Entry({**event, "intent_id": intent_id}, (CloseIntent(intent_id),))
        try:
            closed = await self._ledger.commit(entry)
        except StoreError as error:
            raise BriefcaseError(
                "the change may have been made, but its receipt could not be",
                code="outcome_unknown",
                hint=f"look at what it is now; a restart closes receipt {intent_id} as `outcome_unknown`",
                detail=error.detail or error.message,
            ) from None
        if isinstance(closed, Refused):
            raise InternalError(f"intent {intent_id} could not be closed: {closed.reason}")
