"""Grants as they are stored: by id, msgpack of `StoredGrant`, with what was used of each.

Each use rewrites the row in the transaction of its intent, and its digest is in that receipt (`state`), so that a row
of another hand is found. None is removed: an ended one says what it was used for.
"""

from __future__ import annotations

from typing import Final

import lmdb
import msgspec

from briefcase.adapters.ledger.change import Change
from briefcase.adapters.ledger.tables import Tables, is_key
from briefcase.core.grants import bounds
from briefcase.model.effects import CreateGrant, Refused, RevokeGrant, SettleBudget, UseGrant
from briefcase.model.errors import InternalError
from briefcase.model.grants import Grant


class StoredGrant(msgspec.Struct, frozen=True):
    """A grant and the receipt of the yes that gave it."""

    receipt_id: int
    grant: Grant


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(StoredGrant).decode


# --- inside a change --------------------------------------------------------------------------------------------------


def create(change: Change, effect: CreateGrant) -> None:
    """Plan a new grant."""
    grant = effect.grant
    if _read(change, grant.id) is not None:
        raise InternalError(f"grant `{grant.id}` exists")
    _store(change, StoredGrant(change.receipt_id, grant))


def use(change: Change, effect: UseGrant) -> Refused | None:
    """Plan one use. Returns the refusal where the grant has not that much left."""
    stored = _read(change, effect.grant_id)
    return _store_changed(change, stored, bounds.use_grant(None if stored is None else stored.grant, effect))


def revoke(change: Change, effect: RevokeGrant) -> Refused | None:
    """Plan the end of a grant. Returns the refusal where it was revoked before."""
    stored = _read(change, effect.grant_id)
    return _store_changed(change, stored, bounds.revoke_grant(None if stored is None else stored.grant, effect))


def settle(change: Change, effect: SettleBudget) -> None:
    """Plan what a call cost of the grant that let it pass."""
    stored = _read(change, effect.grant_id)
    if stored is None:
        raise InternalError(f"grant `{effect.grant_id}` is not there to be settled")
    settled = bounds.settle_grant(stored.grant, effect.reserved_microusd, effect.spent_microusd)
    _store(change, StoredGrant(stored.receipt_id, settled))


def revoke_all(change: Change, now_us: int) -> int:
    """Plan the end of each grant that is active. Returns how many there are."""
    active = [one for one in list_all(change.transaction, change.tables) if bounds.status_of(one, now_us) == "active"]
    for grant in active:
        revoke(change, RevokeGrant(grant.id, "restored", now_us))
    return len(active)


def _read(change: Change, grant_id: str) -> StoredGrant | None:
    key = grant_id.encode()
    stored = change.get(change.tables.grants, key) if is_key(key) else None
    return None if stored is None else _decode(stored)


def _store(change: Change, stored: StoredGrant) -> None:
    change.put(change.tables.grants, stored.grant.id.encode(), _encode(stored))


def _store_changed(change: Change, stored: StoredGrant | None, changed: Grant | Refused) -> Refused | None:
    if isinstance(changed, Refused):
        return changed
    if stored is not None:
        _store(change, StoredGrant(stored.receipt_id, changed))
    return None


# --- for readers ------------------------------------------------------------------------------------------------------


def find(transaction: lmdb.Transaction[bytes], tables: Tables, grant_id: str) -> Grant | None:
    """One grant by id."""
    key = grant_id.encode(errors="replace")
    stored = transaction.get(key, db=tables.grants) if is_key(key) else None
    return None if stored is None else _decode(stored).grant


def list_all(transaction: lmdb.Transaction[bytes], tables: Tables) -> list[Grant]:
    """All grants, in the order they were given."""
    found = [_decode(value) for _, value in transaction.cursor(tables.grants)]
    return [stored.grant for stored in sorted(found, key=lambda stored: stored.receipt_id)]
