"""Storing a device's receipts: one statement, and what it means when that stored nothing.

The statement lets the device in as `device_calls.py` does, moves the device's head if the batch continues it, and
stores the rows if the head moved: all or nothing. Two uploads of one device wait for each other at the head's row.

Where the head did not move, what is stored is read under that row's lock, and `core/fleet/batches.py` judges the batch
against it, and `cosigned.py` what would be stored against a checkpoint that was cosigned; a fork is kept as evidence.

A batch that is refused has used its proof: the device sends the next with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from briefcase.core.fleet.batches import Append, Held, Rejected, UploadedReceipt, judge_batch
from briefcase.core.fleet.words import FORK
from briefcase.edges.control_plane.cosigned import Head, is_as_cosigned, lock_head
from briefcase.edges.control_plane.database import Database, DeviceConnection
from briefcase.edges.control_plane.device_calls import Credentials, check_let_in
from briefcase.edges.control_plane.figures import Figures
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
        offset 0
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
      and (heads.cosigned_size is null or heads.cosigned_size > ($6::bigint[])[cardinality($6)])
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
        figures: counts uploads that are not what was cosigned.
    """

    def __init__(self, database: Database, figures: Figures) -> None:
        self._database = database
        self._figures = figures

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
        """Judge a batch under the lock of the head's row, and store what continues it."""
        async with self._database.device_transaction() as connection:
            head = await lock_head(connection, tenant, device)
            held = await _held(connection, head, batch)
            verdict = judge_batch(batch, held)
            if isinstance(verdict, Append) and not await is_as_cosigned(
                connection, self._figures, head, verdict.receipts
            ):
                verdict = Rejected(FORK, f"the first {head.cosigned_size} receipts are not those that were cosigned")
            if isinstance(verdict, Append) and verdict.receipts:
                await connection.execute(APPEND, tenant, device, *_columns(verdict.receipts))
            elif isinstance(verdict, Rejected) and verdict.forked is not None:
                await _note_fork(connection, tenant, device, verdict.forked, held)
        if isinstance(verdict, Rejected):  # after the commit, which keeps the evidence
            raise RefusedError(verdict.word, verdict.problem, last_receipt_id=held.last_id)
        last_id = verdict.receipts[-1].id if verdict.receipts else held.last_id
        return Stored(len(verdict.receipts), last_id)


async def _held(connection: DeviceConnection, head: Head, batch: Sequence[UploadedReceipt]) -> Held:
    stored = await connection.fetch(STORED, head.tenant, head.device, [receipt.id for receipt in batch])
    hashes_hex = {row["id"]: bytes(row["hash"]).hex() for row in stored}
    return Held(head.last_id, head.head_hash_hex, hashes_hex)


async def _note_fork(
    connection: DeviceConnection, tenant: str, device: UUID, sent: UploadedReceipt, held: Held
) -> None:
    stored, event = bytes.fromhex(held.hashes_hex[sent.id]), bytes(sent.event).decode()
    await connection.execute(NOTE_FORK, tenant, device, sent.id, stored, bytes.fromhex(sent.hash_hex), event)


def _columns(batch: Sequence[UploadedReceipt]) -> tuple[list[int], list[str], list[bytes], list[bytes], list[str]]:
    return (
        [receipt.id for receipt in batch],
        [receipt.ts for receipt in batch],
        [bytes.fromhex(receipt.prev_hash_hex) for receipt in batch],
        [bytes.fromhex(receipt.hash_hex) for receipt in batch],
        [bytes(receipt.event).decode() for receipt in batch],
    )
