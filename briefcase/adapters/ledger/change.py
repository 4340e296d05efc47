"""One entry's view of the group's transaction: what is there, with this entry's own plans on top.

Nothing is written before every effect of the entry holds (`changes.apply_effects`): an entry that is refused leaves
nothing behind, in the transaction or in memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import lmdb

from briefcase.adapters.ledger.intents import Intents, Staged
from briefcase.adapters.ledger.tables import Tables, is_key, state_name
from briefcase.core.receipts.chain import decode_key, encode_key
from briefcase.model.effects import OpenIntent
from briefcase.model.errors import InternalError
from briefcase.model.types import JsonObject

Table: TypeAlias = Any  # lmdb's handle type is private


@dataclass(slots=True)
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

    transaction: lmdb.Transaction[bytes]
    tables: Tables
    intents: Intents
    staged: Staged
    receipt_id: int
    event: JsonObject
    claim: bytes | None = None
    opens: OpenIntent | None = None
    closes: int | None = None
    archives: tuple[int, int] | None = None
    plans: dict[tuple[Table, bytes], bytes | None] = field(default_factory=dict)  # what is written, None for what goes

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
