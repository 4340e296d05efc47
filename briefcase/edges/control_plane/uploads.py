"""Storing a device's receipts: one statement, and what it means when that stored nothing.

The statement lets the device in as `device_calls.py` does, moves the device's head if the batch continues it, and
stores the rows if the head moved: all or nothing. Two uploads of one device wait for each other at the head's row.

Where the head did not move, what is stored is looked at under that row's lock, receipt by receipt:

 1. stored already with the same hash: passed over, so that an upload whose answer was lost can be sent again
 2. stored with another hash: the chain was told in two ways, both are kept as evidence 409 `receipt_fork`
 3. at or below the head and not stored: what was passed over cannot come later         400 `receipt_id_not_monotonic`
 4. the rest must continue the head                                                     400 `receipt_prev_hash_mismatch`

A batch that is refused has used its proof: the device sends the next with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from briefcase.core.fleet.batches import UploadedReceipt
from briefcase.core.fleet.words import FORK, NOT_MONOTONIC, PREV_HASH_MISMATCH
from briefcase.edges.control_plane.database import Database, DeviceConnection
from briefcase.edges.control_plane.device_calls import Credentials, check_let_in
from briefcase.edges.control_plane.refusals import RefusedError

STORE: Final = """
with found as (
    select tenant, token_hash = $2 and revoked_at is null as is_token, jkt = $3 as is_key
    from devices where device = $1
), used as (
    insert into dpop_jtis (tenant, device, jti, slot)
    select tenant, $1, $4, $5 from found
    where is_token and is_key and not exists (
        select from dpop_jtis as old where old.tenant = found.tenant and old.device = $1 and old.jti = $4
    )
    on conflict do nothing
    returning tenant
), moved as (
    update device_heads as heads
    set last_id = ($6::bigint[])[cardinality($6)], head_hash = ($9::bytea[])[cardinality($9)],
        size = heads.size + cardinality($6)
    from used
    where heads.tenant = used.tenant and heads.device = $1
      and heads.last_id < ($6::bigint[])[1] and heads.head_hash = ($8::bytea[])[1]
    returning heads.tenant
), stored as (
    insert into receipts (tenant, device, id, ts, prev_hash, hash, event)
    select moved.tenant, $1, sent.id, sent.ts, sent.prev_hash, sent.hash, sent.event
    from moved, unnest($6::bigint[], $7::text[], $8::bytea[], $9::bytea[], $10::text[])
        as sent (id, ts, prev_hash, hash, event)
)
select found.tenant, found.is_token, found.is_key,
       exists (select from used) as is_new, exists (select from moved) as is_moved
from (select 1) as always left join found on true
"""

LOCK_HEAD: Final = "select last_id, head_hash from device_heads where tenant = $1 and device = $2 for update"
STORED: Final = "select id, hash from receipts where tenant = $1 and device = $2 and id = any($3::bigint[])"
APPEND: Final = """
with moved as (
    update device_heads set last_id = ($3::bigint[])[cardinality($3)], head_hash = ($6::bytea[])[cardinality($6)],
                            size = size + cardinality($3)
    where tenant = $1 and device = $2
)
insert into receipts (tenant, device, id, ts, prev_hash, hash, event)
select $1, $2, sent.* from unnest($3::bigint[], $4::text[], $5::bytea[], $6::bytea[], $7::text[]) as sent
"""
NOTE_FORK: Final = """
insert into forks (tenant, device, id, stored_hash, sent_hash, event) values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
"""


class Stored(msgspec.Struct, frozen=True):
    """The answer to an upload: how many receipts are new, and the highest id that is stored."""

    stored: int
    last_receipt_id: int


class Uploads:
    """Stores uploads.

    Args:
        database: where they are stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, credentials: Credentials, batch: Sequence[UploadedReceipt]) -> Stored:
        """Let the device in and store what it sent; on disk when this returns.

        Args:
            credentials: of the call.
            batch: by growing id, each linked to the one before (`core/fleet/batches.py`).

        Raises:
            RefusedError: as the module says, and as `device_calls.py`.
            UnavailableError: nobody knows whether it was stored; the device sends the same again.
        """
        rows = await self._database.fetch(
            STORE,
            credentials.device,
            credentials.token_hash,
            credentials.proof.jkt,
            credentials.proof.replay_key,
            credentials.slot,
            *_columns(batch),
        )
        row = rows[0]
        check_let_in(row["tenant"], is_token=row["is_token"], is_key=row["is_key"], is_new=row["is_new"])
        if row["is_moved"]:
            return Stored(len(batch), batch[-1].id)
        return await self._compare(row["tenant"], credentials.device, batch)

    async def _compare(self, tenant: str, device: UUID, batch: Sequence[UploadedReceipt]) -> Stored:
        """Steps 1 to 4, under the lock of the head's row."""
        async with self._database.device_transaction() as connection:
            (head,) = await connection.fetch(LOCK_HEAD, tenant, device)
            last_id: int = head["last_id"]
            known = {
                row["id"]: bytes(row["hash"])
                for row in await connection.fetch(STORED, tenant, device, [receipt.id for receipt in batch])
            }
            rest = [receipt for receipt in batch if receipt.id > last_id]
            refused = await _refusal(connection, tenant, device, [r for r in batch if r.id <= last_id], known)  # 1 to 3
            if refused is None and rest:
                if rest[0].prev_hash_hex != bytes(head["head_hash"]).hex():  # 4
                    refused = PREV_HASH_MISMATCH, f"receipt {rest[0].id} does not continue receipt {last_id}"
                else:
                    await connection.execute(APPEND, tenant, device, *_columns(rest))
                    last_id = rest[-1].id
        if refused is not None:  # after the commit, which keeps the evidence
            raise RefusedError(*refused, last_receipt_id=last_id)
        return Stored(len(rest), last_id)


async def _refusal(
    connection: DeviceConnection,
    tenant: str,
    device: UUID,
    old: Sequence[UploadedReceipt],
    known: dict[int, bytes],
) -> tuple[str, str] | None:
    """The word and a sentence on what is wrong with receipts that are not above the head; the first fork is kept."""
    for receipt in old:
        stored = known.get(receipt.id)
        if stored is None:
            return NOT_MONOTONIC, f"receipt {receipt.id} comes after a later one was stored"
        sent = bytes.fromhex(receipt.hash_hex)
        if stored != sent:
            event = bytes(receipt.event).decode()
            await connection.execute(NOTE_FORK, tenant, device, receipt.id, stored, sent, event)
            return FORK, f"receipt {receipt.id} was stored with another hash"
    return None


def _columns(batch: Sequence[UploadedReceipt]) -> tuple[list[int], list[str], list[bytes], list[bytes], list[str]]:
    return (
        [receipt.id for receipt in batch],
        [receipt.ts for receipt in batch],
        [bytes.fromhex(receipt.prev_hash_hex) for receipt in batch],
        [bytes.fromhex(receipt.hash_hex) for receipt in batch],
        [bytes(receipt.event).decode() for receipt in batch],
    )
