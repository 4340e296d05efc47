"""The nonces of sealed states that were used: each once, for as long as its state could be opened.

A key is the microsecond a state was sealed in, 8 bytes, and its nonce: the oldest come first, and are forgotten first.

INVARIANT (horizon): every nonce ever taken of a state sealed after the horizon is in the table, and none of a state
sealed at the horizon or before it is taken. The horizon moves only to what it forgets, and never back, so that a clock
that steps back brings no used state to life. A copy of a ledger starts with its horizon at the time it is opened.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import Final

import lmdb

from briefcase.adapters.ledger.change import Change
from briefcase.adapters.ledger.tables import META_NONCES, Tables
from briefcase.core.receipts.chain import encode_key
from briefcase.model.effects import ClaimNonce, Refused
from briefcase.model.errors import InternalError
from briefcase.model.reasons import REPLAY_DETECTED

MAX_NONCE_CHARS: Final = 128
FORGOTTEN_AT_ONCE: Final = 64  # more than one claim adds, so that the table shrinks back after a burst
_TIME: Final = struct.Struct(">Q")


def is_taken(transaction: lmdb.Transaction[bytes], tables: Tables, claim: ClaimNonce) -> bool:
    """Whether a claim would be refused now."""
    horizon = transaction.get(META_NONCES, db=tables.meta)
    if horizon is not None and claim.sealed_us <= _TIME.unpack(horizon)[0]:
        return True
    return transaction.get(_key(claim), db=tables.nonces) is not None


def take(change: Change, claim: ClaimNonce) -> Refused | None:
    """Take a nonce in the transaction of its intent, and forget some of those whose states have expired.

    Raises:
        InternalError: the event is no intent, or the nonce is none of ours.
    """
    if change.event.get("kind") != "intent" or not 0 < len(claim.nonce) <= MAX_NONCE_CHARS:
        raise InternalError("an `intent` event takes a nonce of 1 to 128 characters")
    if is_taken(change.transaction, change.tables, claim):
        return Refused(REPLAY_DETECTED)
    _forget(change, claim.forget_before_us)
    change.put(change.tables.nonces, _key(claim), encode_key(change.receipt_id))
    return None


def refuse_before(change: Change, now_us: int) -> None:
    """Let no state that was sealed up to now be used any more: what was used of a copied ledger is not known here."""
    change.put(change.tables.meta, META_NONCES, _TIME.pack(now_us))


def _forget(change: Change, before_us: int) -> None:
    tables = change.tables
    horizon_us = 0
    with change.transaction.cursor(tables.nonces) as cursor:
        for key, _ in islice(cursor, FORGOTTEN_AT_ONCE):
            (sealed_us,) = _TIME.unpack_from(key)
            if sealed_us >= before_us:
                break
            change.delete(tables.nonces, bytes(key))
            horizon_us = sealed_us
    if horizon_us:
        known = change.get(tables.meta, META_NONCES)
        known_us = 0 if known is None else _TIME.unpack(known)[0]
        change.put(tables.meta, META_NONCES, _TIME.pack(max(known_us, horizon_us)))


def _key(claim: ClaimNonce) -> bytes:
    return _TIME.pack(claim.sealed_us) + claim.nonce.encode()
