"""Approvals as they are stored, and the index of those that wait.

| table | key | value |
|---|---|---|
| approvals | approval id | msgpack of `StoredApproval` |
| waiting | `p` + BLAKE2b-128 of the principal + creating receipt id | msgpack of `_Waiting` |
| waiting | `b` + BLAKE2b-256 of the binding + creating receipt id | approval id |
| shown | `c` + approval id | msgpack of `ShownCall`: the whole call, while the approval waits |
| shown | `l` + BLAKE2b-256 of owner and tool | msgpack of `LastApproval` |
| shown | `d` + BLAKE2b-256 of the binding | id of the approval that was denied last, unless one was approved since |

Only pending and approved approvals are in `waiting`; the receipt id keeps them in the order they were made. Those past
their expiry leave it with their receipt (`calls.expiry`), so it stays small by itself. A whole call is apart from its
approval, so that a listing reads none, and goes when the approval ends.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from typing import Final

import lmdb
import msgspec

from briefcase.adapters.ledger.change import Change
from briefcase.adapters.ledger.tables import Tables, is_key
from briefcase.core.approvals.lifecycle import status_at
from briefcase.core.receipts.chain import encode_key
from briefcase.model.types import Approval, ApprovalStatus, LastApproval, ShownCall

_WAITS: Final = frozenset({ApprovalStatus.PENDING, ApprovalStatus.APPROVED})


class StoredApproval(msgspec.Struct, frozen=True):
    """An approval and the receipt that made it."""

    receipt_id: int
    approval: Approval


class _Waiting(msgspec.Struct, frozen=True, array_like=True):
    approval_id: str
    status: ApprovalStatus
    expires_us: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_stored: Final = msgspec.msgpack.Decoder(StoredApproval).decode
_decode_waiting: Final = msgspec.msgpack.Decoder(_Waiting).decode
_decode_shown: Final = msgspec.msgpack.Decoder(ShownCall).decode
_decode_last: Final = msgspec.msgpack.Decoder(LastApproval).decode


# --- inside a change --------------------------------------------------------------------------------------------------


def read(change: Change, approval_id: str) -> StoredApproval | None:
    """An approval as this change sees it."""
    key = approval_id.encode()
    stored = change.get(change.tables.approvals, key) if is_key(key) else None
    return None if stored is None else _decode_stored(stored)


def store(change: Change, stored: StoredApproval) -> None:
    """Plan an approval's new state, and its place among those that wait."""
    approval, tables = stored.approval, change.tables
    change.put(tables.approvals, approval.id.encode(), _encode(stored))
    by_principal = _principal_prefix(approval.principal) + encode_key(stored.receipt_id)
    by_binding = _binding_prefix(approval.binding_hex) + encode_key(stored.receipt_id)
    if approval.status in _WAITS:
        change.put(tables.waiting, by_principal, _encode(_Waiting(approval.id, approval.status, approval.expires_us)))
        change.put(tables.waiting, by_binding, approval.id.encode())
    else:
        change.delete(tables.waiting, by_principal)
        change.delete(tables.waiting, by_binding)
        change.delete(tables.shown, _shown_key(approval.id))
    if approval.status is ApprovalStatus.REJECTED:
        change.put(tables.shown, _denied_key(approval.binding_hex), approval.id.encode())
    elif approval.status is ApprovalStatus.APPROVED:
        change.delete(tables.shown, _denied_key(approval.binding_hex))


def store_shown(change: Change, approval_id: str, shown: ShownCall) -> None:
    """Plan to keep the whole call of an approval that waits."""
    change.put(change.tables.shown, _shown_key(approval_id), _encode(shown))


def store_last(change: Change, approval: Approval) -> None:
    """Plan to remember a yes as the last one of its principal and tool."""
    at_us, by = approval.decided_us or 0, approval.decided_by or ""
    last = LastApproval(approval.id, approval.args_digest_hex, at_us, by, approval.binding_hex)
    change.put(change.tables.shown, _last_key(approval.owner or approval.principal, approval.tool_id), _encode(last))


def forget_last(change: Change, approval: Approval) -> None:
    """Plan to forget a yes that was taken back, where it is the last one of its principal and tool."""
    key = _last_key(approval.owner or approval.principal, approval.tool_id)
    stored = change.get(change.tables.shown, key)
    if stored is not None and _decode_last(stored).approval_id == approval.id:
        change.delete(change.tables.shown, key)


def count_pending(change: Change, principal: str, now_us: int) -> int:
    """How many of a principal's approvals are pending. Those past their expiry end with a receipt of their own."""
    waiting = (
        _decode_waiting(value)
        for _, value in _with_prefix(change.transaction, change.tables, _principal_prefix(principal))
    )
    return sum(one.expires_us > now_us and one.status is ApprovalStatus.PENDING for one in waiting)


# --- for readers ------------------------------------------------------------------------------------------------------


def find(transaction: lmdb.Transaction[bytes], tables: Tables, approval_id: str) -> Approval | None:
    """One approval by id."""
    key = approval_id.encode(errors="replace")
    stored = transaction.get(key, db=tables.approvals) if is_key(key) else None
    return None if stored is None else _decode_stored(stored).approval


def find_waiting(transaction: lmdb.Transaction[bytes], tables: Tables, binding_hex: str) -> Approval | None:
    """The newest pending or approved approval of a binding."""
    newest = None
    for _, approval_id in _with_prefix(transaction, tables, _binding_prefix(binding_hex)):
        newest = approval_id
    return None if newest is None else find(transaction, tables, newest.decode())


def find_denied(transaction: lmdb.Transaction[bytes], tables: Tables, binding_hex: str) -> Approval | None:
    """The last denied approval of a binding, unless one was approved since."""
    approval_id = transaction.get(_denied_key(binding_hex), db=tables.shown)
    return None if approval_id is None else find(transaction, tables, approval_id.decode())


def list_expired(transaction: lmdb.Transaction[bytes], tables: Tables, now_us: int, most: int) -> list[Approval]:
    """Approvals that wait past their expiry, at most so many."""
    found: list[Approval] = []
    for _, value in _with_prefix(transaction, tables, b"p"):
        waiting = _decode_waiting(value)
        if waiting.expires_us <= now_us and len(found) < most:
            stored = transaction.get(waiting.approval_id.encode(), db=tables.approvals)
            if stored is not None:
                found.append(_decode_stored(stored).approval)
    return found


def find_shown(transaction: lmdb.Transaction[bytes], tables: Tables, approval_id: str) -> ShownCall | None:
    """The whole call of an approval that waits."""
    key = _shown_key(approval_id)
    stored = transaction.get(key, db=tables.shown) if is_key(key) else None
    return None if stored is None else _decode_shown(stored)


def find_last(transaction: lmdb.Transaction[bytes], tables: Tables, owner: str, tool_id: str) -> LastApproval | None:
    """The last yes of an owner (`Principal.owner`) and a tool."""
    stored = transaction.get(_last_key(owner, tool_id), db=tables.shown)
    return None if stored is None else _decode_last(stored)


def list_by_status(transaction: lmdb.Transaction[bytes], tables: Tables, status: ApprovalStatus) -> list[Approval]:
    """All approvals stored in one state, in the order they were made."""
    found: list[StoredApproval] = []
    if status in _WAITS:
        for _, value in _with_prefix(transaction, tables, b"p"):
            waiting = _decode_waiting(value)
            stored = transaction.get(waiting.approval_id.encode(), db=tables.approvals)
            if waiting.status is status and stored is not None:
                found.append(_decode_stored(stored))
    else:
        stored_all = (_decode_stored(value) for _, value in transaction.cursor(tables.approvals))
        found = [stored for stored in stored_all if stored.approval.status is status]
    return [stored.approval for stored in sorted(found, key=lambda stored: stored.receipt_id)]


def list_newest(
    transaction: lmdb.Transaction[bytes], tables: Tables, wanted: frozenset[ApprovalStatus], now_us: int, most: int
) -> list[Approval]:
    """The newest approvals that are in these states by now, at most so many, in the order they were made."""
    stored_all = (_decode_stored(value) for _, value in transaction.cursor(tables.approvals))
    found = (
        StoredApproval(stored.receipt_id, msgspec.structs.replace(stored.approval, status=status))
        for stored in stored_all
        if (status := status_at(stored.approval, now_us)) in wanted
    )
    newest = heapq.nlargest(most, found, key=lambda stored: stored.receipt_id)
    return [stored.approval for stored in reversed(newest)]


def _with_prefix(transaction: lmdb.Transaction[bytes], tables: Tables, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    with transaction.cursor(tables.waiting) as cursor:
        if not cursor.set_range(prefix):
            return
        for key, value in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, value


def _shown_key(approval_id: str) -> bytes:
    return b"c" + approval_id.encode(errors="replace")


def _last_key(owner: str, tool_id: str) -> bytes:
    name = owner.encode()
    parts = len(name).to_bytes(8, "big") + name + tool_id.encode()
    return b"l" + hashlib.blake2b(parts, digest_size=32).digest()


def _denied_key(binding_hex: str) -> bytes:
    return b"d" + hashlib.blake2b(binding_hex.encode(), digest_size=32).digest()


def _principal_prefix(principal: str) -> bytes:
    return b"p" + hashlib.blake2b(principal.encode(), digest_size=16).digest()


def _binding_prefix(binding_hex: str) -> bytes:
    return b"b" + hashlib.blake2b(binding_hex.encode(), digest_size=32).digest()
