"""The devices of a tenant: enrolled, listed, given another token, revoked; and what each last said of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from briefcase.core.fleet.words import INVALID_DEVICE_NAME, INVALID_DEVICE_PUBKEY
from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.jose.jws import parse_public_jwk
from briefcase.core.wire.fleet import FleetDevice
from briefcase.edges.control_plane import schema
from briefcase.edges.control_plane.administrators import Administrator
from briefcase.edges.control_plane.audit import ENROLLED, REVOKED, ROTATED, Act, append_act
from briefcase.edges.control_plane.database import Database
from briefcase.edges.control_plane.device_calls import Device, hash_token
from briefcase.edges.control_plane.refusals import CONFLICT, NOT_FOUND, RefusedError
from briefcase.model.ports import Clock, Entropy

MAX_NAME_CHARS: Final = 128
MAX_ERROR_CHARS: Final = 2_000
MAX_VERSION_CHARS: Final = 64
MAX_LISTED: Final = 1_000

SAY: Final = """
insert into device_status (
    tenant, device, running_bundle_id, tried_bundle_id, last_error, version, seen_at, running_since
)
values ($1, $2, $3, $4, $5, $6, now(), now())
on conflict (tenant, device) do update
set running_bundle_id = excluded.running_bundle_id, tried_bundle_id = excluded.tried_bundle_id,
    last_error = excluded.last_error, version = excluded.version, seen_at = excluded.seen_at,
    running_since = case when device_status.running_bundle_id is distinct from excluded.running_bundle_id
        then excluded.running_since else device_status.running_since end
"""


class Enrolment(msgspec.Struct, frozen=True):
    """What a device is enrolled with; members of other programs are ignored."""

    device_id: UUID
    device_name: str
    device_pubkey_b64: str


class Status(msgspec.Struct, frozen=True):
    """What a device says of itself: the bundle that runs, the one it tried last, and why that did not apply."""

    running_bundle_id: int | None = None
    tried_bundle_id: int | None = None
    last_error: str | None = None
    version: str | None = None


class Enrolled(msgspec.Struct, frozen=True):
    """A device's new token, and the highest receipt of it that is stored."""

    device_token: str
    last_receipt_id: int


class Devices:
    """The devices of every tenant.

    Args:
        database: where they are.
        clock: tells when an act was done.
        entropy: makes tokens.
    """

    def __init__(self, database: Database, clock: Clock, entropy: Entropy) -> None:
        self._database = database
        self._clock = clock
        self._entropy = entropy

    async def enrol(self, admin: Administrator, asked: Enrolment) -> Enrolled:
        """Enrol a device, or enrol it again: its token becomes another, its receipts stay.

        Raises:
            RefusedError: its name or key is not as it must be, or another tenant has a device of this id.
            UnavailableError: nobody knows whether it was enrolled; the token of a lost answer is replaced by the next.
        """
        name, key, jkt = check_enrolment(asked)
        token = self._entropy.token()
        devices, heads = schema.devices, schema.device_heads
        row = {"name": name, "public_key": key, "jkt": jkt, "token_hash": hash_token(token)}
        of = await self._database.fetchval("select tenant from devices where device = $1", asked.device_id)
        if of not in (None, admin.tenant):
            raise RefusedError(CONFLICT, "another tenant has a device of this id")
        async with self._database.transaction(admin.tenant) as connection:
            await connection.execute(
                upsert(devices)
                .values(tenant=admin.tenant, device=asked.device_id, **row)
                .on_conflict_do_update(
                    index_elements=[devices.c.device],
                    set_={**row, "revoked_at": None, "enrolled_at": func.now()},
                )
            )
            await connection.execute(
                upsert(heads).values(tenant=admin.tenant, device=asked.device_id).on_conflict_do_nothing()
            )
            last_id = await connection.scalar(
                select(heads.c.last_id).where(heads.c.tenant == admin.tenant, heads.c.device == asked.device_id)
            )
            await self._note(connection, admin, ENROLLED, asked.device_id)
        return Enrolled(token, last_id or 0)

    async def list(self, tenant: str, *, after: UUID | None = None, limit: int = MAX_LISTED) -> list[FleetDevice]:
        """Devices by id, with what each last said and how far its receipts are stored. Raises `UnavailableError`."""
        query = _LISTED.where(schema.devices.c.tenant == tenant)
        if after is not None:
            query = query.where(schema.devices.c.device > after)
        async with self._database.transaction(tenant) as connection:
            rows = await connection.execute(query.order_by(schema.devices.c.device).limit(limit))
            return [_shown(row) for row in rows]

    async def show(self, tenant: str, device: UUID) -> FleetDevice:
        """One device.

        Raises:
            RefusedError: the tenant has none of this id (`not_found`).
            UnavailableError: it could not be read.
        """
        query = _LISTED.where(schema.devices.c.tenant == tenant, schema.devices.c.device == device)
        async with self._database.transaction(tenant) as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise _not_found()
        return _shown(row)

    async def revoke(self, admin: Administrator, device: UUID) -> None:
        """End a device's token; from the commit on it gets nothing.

        Raises:
            RefusedError: there is no such device in force (`not_found`).
            UnavailableError: nobody knows whether it was ended.
        """
        table = schema.devices
        async with self._database.transaction(admin.tenant) as connection:
            ended = await connection.execute(
                update(table)
                .where(table.c.tenant == admin.tenant, table.c.device == device, table.c.revoked_at.is_(None))
                .values(revoked_at=func.now())
            )
            if not ended.rowcount:
                raise _not_found()
            await self._note(connection, admin, REVOKED, device)

    async def rotate(self, admin: Administrator, device: UUID) -> str:
        """Give a device another token; the old one ends with the commit.

        Raises:
            RefusedError: there is no such device in force (`not_found`).
            UnavailableError: nobody knows whether it was changed.
        """
        token = self._entropy.token()
        table = schema.devices
        async with self._database.transaction(admin.tenant) as connection:
            changed = await connection.execute(
                update(table)
                .where(table.c.tenant == admin.tenant, table.c.device == device, table.c.revoked_at.is_(None))
                .values(token_hash=hash_token(token))
            )
            if not changed.rowcount:
                raise _not_found()
            await self._note(connection, admin, ROTATED, device)
        return token

    async def say(self, device: Device, status: Status) -> None:
        """Keep what a device says of itself. Raises `UnavailableError`."""
        await self._database.fetch(
            SAY,
            device.tenant,
            device.device,
            status.running_bundle_id,
            status.tried_bundle_id,
            (status.last_error or "")[:MAX_ERROR_CHARS] or None,
            (status.version or "")[:MAX_VERSION_CHARS] or None,
        )

    async def _note(self, connection: AsyncConnection, admin: Administrator, act: str, device: UUID) -> None:
        now_us = self._clock.now_us()
        await append_act(connection, Act(admin.tenant, admin.name, act, {"device_id": str(device)}), now_us)


def check_enrolment(asked: Enrolment) -> tuple[str, bytes, str]:
    """A device's name without white space around it, its key's 32 bytes, and the key's thumbprint.

    Raises:
        RefusedError: `invalid_device_name`, `invalid_device_pubkey`.
    """
    name = asked.device_name.strip()
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise RefusedError(INVALID_DEVICE_NAME, f"expected a name of 1 to {MAX_NAME_CHARS} visible characters")
    try:
        key = parse_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": asked.device_pubkey_b64})
    except JoseError:
        raise RefusedError(INVALID_DEVICE_PUBKEY, "expected an Ed25519 key: 32 bytes in base64url, unpadded") from None
    return name, decode_base64url(asked.device_pubkey_b64), key.thumbprint


_STATUS, _HEADS = schema.device_status, schema.device_heads
_LISTED: Final = select(
    schema.devices.c.device,
    schema.devices.c.name,
    schema.devices.c.enrolled_at,
    schema.devices.c.revoked_at,
    _HEADS.c.last_id,
    _STATUS.c.running_bundle_id,
    _STATUS.c.tried_bundle_id,
    _STATUS.c.last_error,
    _STATUS.c.version,
    _STATUS.c.seen_at,
).select_from(
    schema.devices.join(
        _HEADS, (_HEADS.c.tenant == schema.devices.c.tenant) & (_HEADS.c.device == schema.devices.c.device)
    ).outerjoin(_STATUS, (_STATUS.c.tenant == schema.devices.c.tenant) & (_STATUS.c.device == schema.devices.c.device))
)


def _shown(row: Row[*tuple[Any, ...]]) -> FleetDevice:
    return FleetDevice(
        device_id=str(row.device),
        device_name=row.name,
        status="enrolled" if row.revoked_at is None else "revoked",
        enrolled_at_rfc3339=_time(row.enrolled_at),
        revoked_at_rfc3339=None if row.revoked_at is None else _time(row.revoked_at),
        last_receipt_id=row.last_id,
        running_bundle_id=row.running_bundle_id,
        tried_bundle_id=row.tried_bundle_id,
        last_error=row.last_error,
        version=row.version,
        seen_at_rfc3339=None if row.seen_at is None else _time(row.seen_at),
    )


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _not_found() -> RefusedError:
    return RefusedError(NOT_FOUND, "no such device is enrolled")
