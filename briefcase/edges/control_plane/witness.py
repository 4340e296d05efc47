"""The control plane as a witness of its devices' logs (C2SP tlog-witness, `core/receipts/witnessing.py`).

A device's log is called by its `did:key`, so who it is, and by which key it is signed, is known from its enrolment:

 1. the request is of the form                                                     400
 2. a device of that key is enrolled, and not revoked                              404
 3. its key signed the checkpoint                                                  403
 4. under the lock of the log's one row: what was cosigned last, and whether this
    continues it; a log that tells two histories is kept as evidence               400, 409, 422
    what was uploaded of it is what the checkpoint is of (`cosigned.py`)           422
 5. the row moves to the checkpoint, and the transaction commits
 6. cosigned, and answered

INVARIANT (no rollback): a row is of an origin, whoever's device has its key now, and its size never falls. A crash
between 5 and 6 leaves a log that was cosigned and did not hear of it: it asks again, and is told the size.

The key is derived from the key file's secret for custody (`key_file.py`), so that every process has it, no database
does, and a rotation of the signing key leaves it. Its name is the address that devices use: with another one it is
another witness.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from sqlalchemy import select

from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.core.jose.did import decode_did_key
from briefcase.core.receipts.cosignatures import cosign
from briefcase.core.receipts.note_keys import COSIGNER_ED25519, LOG_ED25519, NoteKey
from briefcase.core.receipts.notes import Checkpoint, checkpoint_text
from briefcase.core.receipts.witnessing import (
    SIZE_TYPE,
    AddCheckpoint,
    Refusal,
    Seen,
    check_signed,
    judge,
    origin_hash,
    parse_request,
    read_origin,
)
from briefcase.core.wire.fleet import WitnessAlarm, WitnessedLog
from briefcase.edges.control_plane import schema
from briefcase.edges.control_plane.cosigned import (
    FORK,
    INCONSISTENT,
    RECEIPTS,
    Alarm,
    hold_checkpoint,
    lock_head,
    note_alarm,
)
from briefcase.edges.control_plane.database import Database
from briefcase.edges.control_plane.figures import Figures
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock
from briefcase.model.types import US_PER_S, format_rfc3339

PATH: Final = "/witness"
MAX_LISTED: Final = 1_000
TEXT: Final = b"text/plain; charset=utf-8"

FIND_DEVICE: Final = """
select tenant, device from devices where public_key = $1 and revoked_at is null order by enrolled_at, device limit 1
"""
MAKE_LOG: Final = """
insert into witness_logs (tenant, origin_hash, device, origin) values ($1, $2, $3, $4) on conflict do nothing
"""
LOCK_LOG: Final = "select tenant, size, root, note from witness_logs where origin_hash = $1 for update"
MOVE_LOG: Final = """
update witness_logs set size = $3, root = $4, note = $5, cosigned_at = to_timestamp($6)
where tenant = $1 and origin_hash = $2
"""

_LABEL: Final = b"briefcase control plane witness\n"  # no other key of the secret begins so
_SEED_BYTES: Final = 32


class Said(msgspec.Struct, frozen=True):
    """What a log is answered: text."""

    status: HTTPStatus
    body: bytes
    content_type: bytes = TEXT


class Witness:
    """Cosigns the checkpoints of enrolled devices.

    Args:
        database: what was cosigned.
        key: cosigns (`witness_key`).
        clock: the time of cosignatures.
        base_url: the address that devices use, which is the witness's name.
        figures: counts what it found.
    """

    def __init__(
        self, database: Database, key: Ed25519PrivateKey, clock: Clock, base_url: str, figures: Figures
    ) -> None:
        self._database = database
        self._key = key
        self._clock = clock
        self._figures = figures
        self.url = f"{base_url}{PATH}"
        parts = urlsplit(base_url)
        name = f"{parts.netloc}{parts.path}{PATH}"
        self.key = NoteKey(name, COSIGNER_ED25519, self._key.public_key().public_bytes_raw())

    async def add_checkpoint(self, body: bytes) -> Said:
        """The steps of the module.

        Raises:
            UnavailableError: nobody knows whether it was kept; the log asks again.
        """
        # 1. the form
        try:
            request = parse_request(body)
            origin = read_origin(request)
            # 2. and 3. the device, and its signature
            device = await self._find(origin)
            keys = [] if device is None else [device.log]
            checkpoint = check_signed(request, keys, verify_note_signature)
        except CallerError as error:
            return Said(HTTPStatus.BAD_REQUEST, f"{error.message}\n".encode())
        if device is None or isinstance(checkpoint, Refusal):
            unknown = Refusal(HTTPStatus.NOT_FOUND, "unknown log")
            return _refused(checkpoint if isinstance(checkpoint, Refusal) else unknown)
        # 4. and 5. the row
        time_s = self._clock.now_us() // US_PER_S
        refusal = await self._move(device, request, checkpoint, time_s)
        if refusal is not None:
            return _refused(refusal)
        # 6. cosign
        self._figures.checkpoints_cosigned += 1
        return Said(HTTPStatus.OK, cosign(self.key, checkpoint, time_s, self._key.sign).text.encode())

    async def logs(self, tenant: str) -> list[WitnessedLog]:
        """The logs of a tenant's devices, and what was found of them; alarms first. Raises `UnavailableError`."""
        logs, alarms = schema.witness_logs, schema.witness_alarms
        async with self._database.transaction(tenant) as connection:
            rows = (await connection.execute(select(logs).order_by(logs.c.origin).limit(MAX_LISTED))).all()
            found: dict[bytes, list[WitnessAlarm]] = {}
            for row in await connection.execute(select(alarms).order_by(alarms.c.problem)):
                found.setdefault(row.origin_hash, []).append(
                    WitnessAlarm(
                        problem=row.problem,
                        seen_size=row.seen_size,
                        seen_note=row.seen_note,
                        sent_size=row.sent_size,
                        sent_note=row.sent_note,
                        times=row.times,
                        seen_at_rfc3339=format_rfc3339(int(row.seen_at.timestamp() * US_PER_S)),
                    )
                )
        listed = [
            WitnessedLog(
                device_id=str(row.device),
                origin=row.origin,
                size=row.size,
                root_hex=row.root.hex(),
                cosigned_at_rfc3339=None
                if row.cosigned_at is None
                else format_rfc3339(int(row.cosigned_at.timestamp()) * US_PER_S),
                alarms=found.get(row.origin_hash, []),
            )
            for row in rows
        ]
        return sorted(listed, key=lambda one: not one.alarms)

    async def _find(self, origin: str) -> _Device | None:
        public_key = decode_did_key(origin)
        if public_key is None:
            return None
        rows = await self._database.fetch(FIND_DEVICE, public_key)
        if not rows:
            return None
        return _Device(rows[0]["tenant"], rows[0]["device"], NoteKey(origin, LOG_ED25519, public_key))

    async def _move(
        self, device: _Device, request: AddCheckpoint, checkpoint: Checkpoint, time_s: int
    ) -> Refusal | None:
        hashed = origin_hash(device.log.name)
        async with self._database.device_transaction() as connection:
            await connection.execute(MAKE_LOG, device.tenant, hashed, device.id, device.log.name)
            (row,) = await connection.fetch(LOCK_LOG, hashed)
            # 4. what was cosigned last
            refusal = judge(request, checkpoint, Seen(row["size"], bytes(row["root"])))
            seen, sent = (row["size"], row["note"]), (checkpoint.size, request.note)
            problem = _problem_of(refusal)
            if refusal is None:
                head = await lock_head(connection, device.tenant, device.id)
                uploaded = await hold_checkpoint(connection, head, checkpoint)
                if uploaded is not None:
                    seen, problem = (uploaded.size, checkpoint_text(uploaded)), RECEIPTS
                    refusal = Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "the receipts that were uploaded are others")
            if problem:
                await note_alarm(connection, self._figures, Alarm(problem, row["tenant"], device.log.name, seen, sent))
            elif refusal is None:
                # 5. move
                values = (checkpoint.size, checkpoint.root, request.note, float(time_s))
                await connection.execute(MOVE_LOG, row["tenant"], hashed, *values)
        return refusal


def witness_key(secret: bytes) -> Ed25519PrivateKey:
    """The witness's key.

    Args:
        secret: of the key file, 32 bytes (`KeyRing.custody_secret`).
    """
    return Ed25519PrivateKey.from_private_bytes(HKDFExpand(hashes.SHA256(), _SEED_BYTES, _LABEL).derive(secret))


class _Device(msgspec.Struct, frozen=True):
    tenant: str
    id: UUID
    log: NoteKey


def _problem_of(refusal: Refusal | None) -> str:
    """The alarm that a refusal is; nothing where it is none."""
    if refusal is None:
        return ""
    return FORK if refusal.is_fork else INCONSISTENT if refusal.is_inconsistent else ""


def _refused(refusal: Refusal) -> Said:
    if refusal.size is not None:
        return Said(refusal.status, f"{refusal.size}\n".encode(), SIZE_TYPE.encode())
    return Said(refusal.status, f"{refusal.problem}\n".encode())
