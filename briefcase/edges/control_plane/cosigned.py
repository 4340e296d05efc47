"""A device's uploads held against the checkpoints of its log that this control plane cosigned (`witness.py`).

Whichever comes second is judged by the other, under the lock of the device's head:

| first | then | where they differ |
|---|---|---|
| receipts are uploaded | a checkpoint of them is to be cosigned | it is not (422) |
| a checkpoint of more is cosigned and kept | the upload that reaches its size | it is not stored (409 `receipt_fork`) |

Either is an alarm, `receipts`, which is kept. The tree over what was uploaded is kept as the roots of its complete
subtrees, and grows by what came since when a checkpoint asks for it.

Nothing is said where there is no such tree: ids have gaps, as another daemon's may, or receipts that it did not have
yet were dropped by `--retention-days`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.fleet.batches import UploadedReceipt
from briefcase.core.jose.did import encode_did_key
from briefcase.core.receipts.notes import Checkpoint, checkpoint_text
from briefcase.core.receipts.tree import Frontier
from briefcase.core.receipts.witnessing import origin_hash
from briefcase.edges.control_plane.database import DeviceConnection
from briefcase.edges.control_plane.figures import Figures

FORK: Final = "fork"
INCONSISTENT: Final = "inconsistent"
RECEIPTS: Final = "receipts"
ROOT_BYTES: Final = 32
MAX_READ: Final = 10_000  # hashes of one statement

LOCK_HEAD: Final = """
select last_id, head_hash, cosigned_size, cosigned_root, tree_size, tree_roots
from device_heads where tenant = $1 and device = $2 for update
"""
HASHES: Final = """
select id, hash from receipts where tenant = $1 and device = $2 and id > $3 and id <= $4 order by id limit $5
"""
EXPECT: Final = "update device_heads set cosigned_size = $3, cosigned_root = $4 where tenant = $1 and device = $2"
MET: Final = "update device_heads set cosigned_size = null, cosigned_root = null where tenant = $1 and device = $2"
GROW: Final = "update device_heads set tree_size = $3, tree_roots = $4 where tenant = $1 and device = $2"
PUBLIC_KEY: Final = "select public_key from devices where tenant = $1 and device = $2"
SEEN: Final = "select tenant, size, note from witness_logs where origin_hash = $1"
# The first of its kind is kept as evidence, and those after it are counted: a device cannot fill the table.
NOTE_ALARM: Final = """
insert into witness_alarms (tenant, origin_hash, problem, seen_size, seen_note, sent_size, sent_note)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (tenant, origin_hash, problem) do update set times = witness_alarms.times + 1, last_seen_at = now()
"""

_LOG: Final = get_logger("briefcase.control_plane")


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a device, and the checkpoint that was cosigned of more, where one was."""

    tenant: str
    device: UUID
    last_id: int
    head_hash_hex: str
    tree: Frontier
    cosigned_size: int | None
    cosigned_root: bytes | None


class Alarm(msgspec.Struct, frozen=True):
    """What does not fit: what was seen before, and what was sent. A text without a signature was computed here."""

    problem: str
    tenant: str
    origin: str
    seen: tuple[int, str]
    sent: tuple[int, str]


async def note_alarm(connection: DeviceConnection, figures: Figures, alarm: Alarm) -> None:
    """Keep, count and log it."""
    log = (alarm.tenant, origin_hash(alarm.origin))
    await connection.execute(NOTE_ALARM, *log, alarm.problem, *alarm.seen, *alarm.sent)
    figures.witness_alarms += 1
    _LOG.error("a device's log is not the one that was cosigned", problem=alarm.problem, origin=alarm.origin)


async def lock_head(connection: DeviceConnection, tenant: str, device: UUID) -> Head:
    """A device's head, which nobody else moves until the transaction ends."""
    (row,) = await connection.fetch(LOCK_HEAD, tenant, device)
    roots, cosigned_root = bytes(row["tree_roots"]), row["cosigned_root"]
    return Head(
        tenant=tenant,
        device=device,
        last_id=row["last_id"],
        head_hash_hex=bytes(row["head_hash"]).hex(),
        tree=Frontier(row["tree_size"], [roots[at : at + ROOT_BYTES] for at in range(0, len(roots), ROOT_BYTES)]),
        cosigned_size=row["cosigned_size"],
        cosigned_root=None if cosigned_root is None else bytes(cosigned_root),
    )


async def hold_checkpoint(connection: DeviceConnection, head: Head, checkpoint: Checkpoint) -> Checkpoint | None:
    """Hold a checkpoint that is to be cosigned against what was uploaded, or keep it for what will be.

    Returns:
        The checkpoint of the uploads, where it is another one.
    """
    if checkpoint.size > head.last_id:
        await connection.execute(EXPECT, head.tenant, head.device, checkpoint.size, checkpoint.root)
        return None
    tree = await _tree(connection, head, checkpoint.size, ())
    if tree is None or tree.root() == checkpoint.root:
        return None
    return Checkpoint(checkpoint.origin, tree.size, tree.root())


async def is_as_cosigned(
    connection: DeviceConnection, figures: Figures, head: Head, receipts: Sequence[UploadedReceipt]
) -> bool:
    """Whether receipts that continue a head make the tree that was cosigned, where they reach its size."""
    size = head.cosigned_size
    if size is None or not receipts or receipts[-1].id < size:
        return True
    tree = await _tree(connection, head, size, receipts)
    if tree is not None and tree.root() != head.cosigned_root:
        (owner,) = await connection.fetch(PUBLIC_KEY, head.tenant, head.device)
        origin = encode_did_key(bytes(owner["public_key"]))
        (log,) = await connection.fetch(SEEN, origin_hash(origin))
        sent = (size, checkpoint_text(Checkpoint(origin, size, tree.root())))
        await note_alarm(connection, figures, Alarm(RECEIPTS, log["tenant"], origin, (log["size"], log["note"]), sent))
        return False
    await connection.execute(MET, head.tenant, head.device)
    return True


async def _tree(
    connection: DeviceConnection, head: Head, size: int, more: Sequence[UploadedReceipt]
) -> Frontier | None:
    """The tree of the first `size` receipts, those that are to be stored included; None where there is none."""
    tree, of, stored = head.tree.copy(), (head.tenant, head.device), min(size, head.last_id)
    while tree.size < stored:
        rows = await connection.fetch(HASHES, *of, tree.size, stored, MAX_READ)
        if not rows or [row["id"] for row in rows] != list(range(tree.size + 1, tree.size + 1 + len(rows))):
            return None
        for row in rows:
            tree.append(bytes(row["hash"]))
    if tree.size > head.tree.size:  # whatever comes of it: no device has its receipts read twice
        await connection.execute(GROW, *of, tree.size, b"".join(root for _, _, root in tree.peaks()))
    for receipt in more:
        if receipt.id == tree.size + 1 and tree.size < size:
            tree.append(bytes.fromhex(receipt.hash_hex))
    return tree if tree.size == size else None
