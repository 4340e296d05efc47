"""What each effect of an entry changes: checked by the core's pure rules, then planned in the entry's `Change`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from briefcase.adapters.ledger import approvals_table, budgets_table, grants_table, nonces
from briefcase.adapters.ledger.approvals_table import StoredApproval
from briefcase.adapters.ledger.archive import (
    META_ARCHIVE,
    MIN_LIVE_RECEIPTS,
    Boundary,
    encode_boundary,
    read_boundary,
)
from briefcase.adapters.ledger.change import Change
from briefcase.adapters.ledger.intents import INTENT, check_claim, check_closing, note_opening
from briefcase.adapters.ledger.state import rows_of
from briefcase.adapters.ledger.tables import META_COPY, META_STATE, state_name
from briefcase.core.approvals import lifecycle as approvals
from briefcase.core.receipts.chain import encode_key, hash_hex_of
from briefcase.core.receipts.events import ASKED_CLIENT, DELEGATED, OBSERVED
from briefcase.model.effects import (
    ArchiveReceipts,
    ClaimNonce,
    ClaimRequest,
    CloseIntent,
    ConsumeApproval,
    CreateApproval,
    CreateGrant,
    DecideApproval,
    Effect,
    ExpireApproval,
    NoteState,
    OpenIntent,
    PutSetting,
    Refused,
    ReserveBudget,
    RevokeGrant,
    SetBudgetLimit,
    SettleBudget,
    StartFromCopy,
    UseGrant,
)
from briefcase.model.errors import InternalError
from briefcase.model.reasons import CONFLICT, RATE_LIMITED, REPLAY_DETECTED
from briefcase.model.types import Approval, ApprovalStatus

_CLOSED_AT_ONCE: Final = frozenset({DELEGATED, ASKED_CLIENT, OBSERVED})


def apply_effects(change: Change, effects: tuple[Effect, ...]) -> Refused | None:
    """Check and plan all effects of an entry. Returns the first refusal.

    Raises:
        InternalError: an effect that no correct program asks for.
    """
    for effect in effects:
        refused = _APPLY[type(effect)](change, effect)
        if refused is not None:
            return refused
    if change.event.get("kind") == INTENT and (change.claim is None or change.opens is None):
        raise InternalError("an `intent` event claims its request id and opens its intent")
    if change.event.get("kind") in _CLOSED_AT_ONCE and change.claim is None:
        raise InternalError("an event of a call that is closed at once claims its request id")
    return None


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
    decided = approvals.decide_approval(
        held, effect.to, effect.by, effect.now_us, effect.reason, after=effect.after, grant=effect.grant
    )
    if isinstance(decided, Approval) and decided.status is ApprovalStatus.APPROVED:
        approvals_table.store_last(change, decided)
    elif isinstance(decided, Approval) and held is not None and held.status is ApprovalStatus.APPROVED:
        approvals_table.forget_last(change, decided)
        if held.grant is not None:
            grants_table.revoke(change, RevokeGrant(held.id, effect.by, effect.now_us))  # or it was before
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


def _settle(change: Change, effect: SettleBudget) -> None:
    budgets_table.settle(change, effect)
    if effect.grant_id:
        grants_table.settle(change, effect)


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
        line = budgets_table.read_line(change.get, tables, key.decode(), effect.day)
        spent = max(line.spent_microusd, line.daily_limit_microusd)
        budgets_table.put_line(change, effect.day, msgspec.structs.replace(line, spent_microusd=spent))
    nonces.refuse_before(change, effect.now_us)
    change.delete(tables.meta, META_COPY)
    change.event["expired_approvals"] = len(ids)
    revoked = grants_table.revoke_all(change, effect.now_us)
    if revoked:
        change.event["revoked_grants"] = revoked


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
    CreateGrant: grants_table.create,
    UseGrant: grants_table.use,
    RevokeGrant: grants_table.revoke,
    ReserveBudget: budgets_table.reserve,
    SettleBudget: _settle,
    SetBudgetLimit: budgets_table.set_limit,
    ClaimRequest: _claim_request,
    ClaimNonce: nonces.take,
    OpenIntent: _open_intent,
    CloseIntent: _close_intent,
    PutSetting: _put_setting,
    StartFromCopy: _start_from_copy,
    NoteState: _note_state,
    ArchiveReceipts: _archive_receipts,
}
