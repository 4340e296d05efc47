"""What one entry changes: each effect checked by the core's pure rules, then planned; written only when all hold.

A `Change` is a view of the transaction with this entry's own plans on top. An effect that does not hold refuses the
entry and leaves nothing behind, in the transaction or in memory.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import lmdb
import msgspec

from briefcase.adapters.ledger import approvals_table, nonces
from briefcase.adapters.ledger.approvals_table import StoredApproval
from briefcase.adapters.ledger.archive import META_ARCHIVE, Boundary, encode_boundary, read_boundary
from briefcase.adapters.ledger.intents import INTENT, Intents, Staged, check_claim, check_closing, note_opening
from briefcase.adapters.ledger.state import rows_of, state_name
from briefcase.adapters.ledger.tables import META_COPY, META_STATE, Tables, is_key
from briefcase.core import budgets
from briefcase.core.approvals import lifecycle as approvals
from briefcase.core.receipts.chain import decode_key, encode_key, hash_hex_of
from briefcase.model.effects import (
    ArchiveReceipts,
    ClaimNonce,
    ClaimRequest,
    CloseIntent,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    Effect,
    ExpireApproval,
    NoteState,
    OpenIntent,
    PutSetting,
    Refused,
    ReserveBudget,
    SetBudgetLimit,
    SettleBudget,
    StartFromCopy,
)
from briefcase.model.errors import InternalError
from briefcase.model.reasons import CONFLICT, RATE_LIMITED, REPLAY_DETECTED
from briefcase.model.types import Approval, ApprovalStatus, BudgetLine, JsonObject

MIN_LIVE_RECEIPTS: Final = 1_000  # what a start verifies must be in the environment

_LINE: Final = struct.Struct(">qq")
_LIMIT: Final = struct.Struct(">q")
_NO_LINE: Final = _LINE.pack(0, 0)

Table: TypeAlias = Any  # lmdb's handle type is private


class Change:
    """One entry's reads and planned writes.

    Args:
        transaction: the group's write transaction.
        tables: its tables.
        intents: open intents and claims as they are on disk.
        staged: what earlier entries of the group changed of them.
        receipt_id: the id this entry's receipt will have.
        event: the entry's event; effects may add to it.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is one thing an effect may look at
        self,
        transaction: lmdb.Transaction[bytes],
        tables: Tables,
        intents: Intents,
        staged: Staged,
        receipt_id: int,
        event: JsonObject,
    ) -> None:
        self.transaction = transaction
        self.tables = tables
        self.intents = intents
        self.staged = staged
        self.receipt_id = receipt_id
        self.event = event
        self.claim: bytes | None = None
        self.opens: OpenIntent | None = None
        self.closes: int | None = None
        self.archives: tuple[int, int] | None = None
        self.plans: dict[tuple[Table, bytes], bytes | None] = {}  # what is written, None for what is removed

    def get(self, table: Table, key: bytes) -> bytes | None:
        """A value as this entry sees it."""
        if self.plans and (table, key) in self.plans:
            return self.plans[table, key]
        return self.transaction.get(key, db=table)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Plan a write.

        Raises:
            InternalError: a key of a length that cannot be stored.
        """
        if not is_key(key):
            raise InternalError(f"expected a key of 1 to 511 bytes, got {len(key)}")
        self.plans[table, key] = value

    def delete(self, table: Table, key: bytes) -> None:
        """Plan a removal."""
        self.plans[table, key] = None

    def apply(self, effects: tuple[Effect, ...]) -> Refused | None:
        """Check and plan all effects. Returns the first refusal.

        Raises:
            InternalError: an effect that no correct program asks for.
        """
        for effect in effects:
            refused = _APPLY[type(effect)](self, effect)
            if refused is not None:
                return refused
        if self.event.get("kind") == INTENT and (self.claim is None or self.opens is None):
            raise InternalError("an `intent` event claims its request id and opens its intent")
        return None

    def note_state(self) -> None:
        """Say in the event what is written of the rows that `state.Replay` holds against the chain."""
        noted: JsonObject = {}
        for (table, key), value in self.plans.items():
            kind = self.tables.replayed.get(table)
            if kind is not None:
                noted[state_name(kind, key)] = "" if value is None else hashlib.sha256(value).hexdigest()
        if noted:
            self.event["state"] = noted

    def write(self) -> None:
        """Carry out what was planned."""
        if self.plans:
            for (table, key), value in self.plans.items():
                if value is None:
                    self.transaction.delete(key, db=table)
                else:
                    self.transaction.put(key, value, db=table)
        if self.archives is not None:
            self._remove_receipts(*self.archives)
        if self.claim is not None:
            self.staged.claims[self.claim] = self.receipt_id
        if self.opens is not None:
            self.staged.opened[self.receipt_id] = self.opens.settle
        if self.closes is not None:
            self.staged.closed.add(self.closes)

    def _remove_receipts(self, first_id: int, last_id: int) -> None:
        with self.transaction.cursor(self.tables.receipts) as cursor:
            found = cursor.set_range(encode_key(first_id))
            while found and decode_key(cursor.key()) <= last_id:
                found = cursor.delete()  # and on to the next one


# --- approvals --------------------------------------------------------------------------------------------------------


def _create_approval(change: Change, effect: CreateApproval) -> Refused | None:
    approval = effect.approval
    if approvals_table.read(change, approval.id) is not None:
        raise InternalError(f"approval `{approval.id}` exists")
    waiting = approvals_table.count_pending(change, approval.principal, approval.created_us)
    if waiting >= approvals.MAX_PENDING_PER_PRINCIPAL:
        return Refused(RATE_LIMITED)
    approvals_table.store(change, StoredApproval(change.receipt_id, approval))
    if effect.shown is not None:
        approvals_table.store_shown(change, approval.id, effect.shown)
    return None


def _decide_approval(change: Change, effect: DecideApproval) -> Refused | None:
    stored = approvals_table.read(change, effect.approval_id)
    held = None if stored is None else stored.approval
    decided = approvals.decide_approval(held, effect.to, effect.by, effect.now_us)
    if isinstance(decided, Approval) and decided.status is ApprovalStatus.APPROVED:
        approvals_table.store_last(change, decided)
    elif isinstance(decided, Approval) and held is not None and held.status is ApprovalStatus.APPROVED:
        approvals_table.forget_last(change, decided)
    return _store(change, stored, decided)


def _expire_approval(change: Change, effect: ExpireApproval) -> Refused | None:
    stored = approvals_table.read(change, effect.approval_id)
    held = None if stored is None else stored.approval
    return _store(change, stored, approvals.expire_approval(held, effect.now_us))


def _consume_approval(change: Change, effect: ConsumeApproval) -> Refused | None:
    stored = approvals_table.read(change, effect.approval_id)
    held = None if stored is None else stored.approval
    return _store(change, stored, approvals.consume_approval(held, effect.binding_hex, effect.now_us))


def _store(change: Change, stored: StoredApproval | None, changed: Approval | Refused) -> Refused | None:
    if isinstance(changed, Refused):
        return changed
    if stored is not None:
        approvals_table.store(change, StoredApproval(stored.receipt_id, changed))
    return None


# --- budgets ----------------------------------------------------------------------------------------------------------


def getter(transaction: lmdb.Transaction[bytes]) -> Callable[[Table, bytes], bytes | None]:
    """How a transaction that only reads looks a key up."""
    return lambda table, key: transaction.get(key, db=table)


def read_line(get: Callable[[Table, bytes], bytes | None], tables: Tables, category: str, day: str) -> BudgetLine:
    """A category's line on a day; without a limit, a line with no money."""
    spent, reserved = _LINE.unpack(get(tables.spend, _line_key(category, day)) or _NO_LINE)
    return BudgetLine(category, read_limit(get, tables, category) or 0, spent, reserved)


def read_limit(get: Callable[[Table, bytes], bytes | None], tables: Tables, category: str) -> int | None:
    """A category's daily limit, or None where none is set."""
    stored = get(tables.limits, category.encode())
    return None if stored is None else int(_LIMIT.unpack(stored)[0])


def encode_limit(daily_limit_microusd: int) -> bytes:
    """A daily limit as it is stored."""
    return _LIMIT.pack(daily_limit_microusd)


def _line_key(category: str, day: str) -> bytes:
    return f"{day}{category}".encode()


def _reserve_budget(change: Change, effect: ReserveBudget) -> Refused | None:
    _check_amount(effect.amount_microusd)
    line = read_line(change.get, change.tables, effect.category, effect.day)
    changed = budgets.reserve_budget(line, effect.amount_microusd, approved=effect.approved)
    if isinstance(changed, Refused):
        return changed
    _put_line(change, effect.day, changed)
    return None


def _settle_budget(change: Change, effect: SettleBudget) -> None:
    _check_amount(effect.reserved_microusd)
    _check_amount(effect.spent_microusd)
    line = read_line(change.get, change.tables, effect.category, effect.day)
    if effect.reserved_microusd > line.reserved_microusd:
        raise InternalError(f"`{effect.category}` has less reserved on {effect.day} than is settled")
    changed = budgets.settle_budget(line, effect.reserved_microusd, effect.spent_microusd)
    _put_line(change, effect.day, changed)


def _put_line(change: Change, day: str, line: BudgetLine) -> None:
    value = _LINE.pack(line.spent_microusd, line.reserved_microusd)
    change.put(change.tables.spend, _line_key(line.category, day), value)


def _set_budget_limit(change: Change, effect: SetBudgetLimit) -> None:
    _check_amount(effect.daily_limit_microusd)
    change.put(change.tables.limits, effect.category.encode(), encode_limit(effect.daily_limit_microusd))


def _check_amount(amount_microusd: int) -> None:
    if not 0 <= amount_microusd < 1 << 62:
        raise InternalError(f"expected an amount of money from 0 up, got {amount_microusd}")


# --- a copy that is opened --------------------------------------------------------------------------------------------


def _start_from_copy(change: Change, effect: StartFromCopy) -> None:
    """What the daemon that was copied did after the copy is not known here, so all that it may have used is used up."""
    tables, waiting = change.tables, (ApprovalStatus.PENDING, ApprovalStatus.APPROVED)
    ids = [
        approval.id
        for status in waiting
        for approval in approvals_table.list_by_status(change.transaction, tables, status)
    ]
    for approval_id in ids:
        stored = approvals_table.read(change, approval_id)
        if stored is not None:
            expired = msgspec.structs.replace(stored.approval, status=ApprovalStatus.EXPIRED)
            approvals_table.store(change, StoredApproval(stored.receipt_id, expired))
    for key, _ in change.transaction.cursor(tables.limits):
        line = read_line(change.get, tables, key.decode(), effect.day)
        spent = max(line.spent_microusd, line.daily_limit_microusd)
        _put_line(change, effect.day, msgspec.structs.replace(line, spent_microusd=spent))
    nonces.refuse_before(change, effect.now_us)
    change.delete(tables.meta, META_COPY)
    change.event["expired_approvals"] = len(ids)


def _note_state(change: Change, _: NoteState) -> None:
    """The rows there are, once; of approvals those that wait, for an ended one lets nothing happen."""
    waiting = {
        state_name("approval", approval.id.encode())
        for status in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED)
        for approval in approvals_table.list_by_status(change.transaction, change.tables, status)
    }
    change.event["is_baseline"] = True
    change.event["state"] = {
        name: hashlib.sha256(value).hexdigest()
        for name, value in rows_of(change.transaction, change.tables)
        if not name.startswith("approval:") or name in waiting
    }
    change.put(change.tables.meta, META_STATE, b"1")


# --- the archive ------------------------------------------------------------------------------------------------------


def _archive_receipts(change: Change, effect: ArchiveReceipts) -> Refused | None:
    """INVARIANT (archive): who commits this has a durable segment that holds the receipts and was read back good."""
    boundary = read_boundary(change.transaction, change.tables.meta)
    last = change.get(change.tables.receipts, encode_key(effect.through.id))
    if boundary.head != effect.after or last is None or hash_hex_of(last) != effect.through.hash_hex:
        return Refused(CONFLICT)
    newest = min(change.intents.archivable_id, change.receipt_id - 1 - MIN_LIVE_RECEIPTS)
    if not boundary.id < effect.through.id <= newest:
        raise InternalError(f"receipts up to {newest} may be archived, got {effect.through.id}")
    moved = Boundary(effect.through.id, effect.through.hash_hex, effect.through_ts)
    change.put(change.tables.meta, META_ARCHIVE, encode_boundary(moved))
    change.archives = (boundary.id + 1, effect.through.id)
    return None


# --- intents and settings -----------------------------------------------------------------------------------------


def _claim_request(change: Change, effect: ClaimRequest) -> Refused | None:
    check_claim(change.event, effect.principal, effect.request_id)
    fingerprint = change.intents.asked_fingerprint(effect.principal, effect.request_id)
    if change.intents.claimed(fingerprint, change.staged) is not None:
        return Refused(REPLAY_DETECTED)
    change.claim = fingerprint
    return None


def _open_intent(change: Change, effect: OpenIntent) -> None:
    note_opening(change.event, effect.settle)
    change.opens = effect


def _close_intent(change: Change, effect: CloseIntent) -> Refused | None:
    check_closing(change.event, effect.intent_id)
    if not change.intents.is_open(effect.intent_id, change.staged):
        return Refused(CONFLICT)
    change.closes = effect.intent_id
    return None


def _put_setting(change: Change, effect: PutSetting) -> None:
    change.put(change.tables.settings, effect.name.encode(), effect.value)


_APPLY: Final[dict[type[Effect], Callable[[Change, Any], Refused | None]]] = {
    CreateApproval: _create_approval,
    DecideApproval: _decide_approval,
    ExpireApproval: _expire_approval,
    ConsumeApproval: _consume_approval,
    ReserveBudget: _reserve_budget,
    SettleBudget: _settle_budget,
    SetBudgetLimit: _set_budget_limit,
    ClaimRequest: _claim_request,
    ClaimNonce: nonces.take,
    OpenIntent: _open_intent,
    CloseIntent: _close_intent,
    PutSetting: _put_setting,
    StartFromCopy: _start_from_copy,
    NoteState: _note_state,
    ArchiveReceipts: _archive_receipts,
}
