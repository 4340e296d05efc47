"""What an auditor reads: the receipts of devices as they came, and the acts of administrators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, case, cast, desc, func, select
from sqlalchemy.dialects.postgresql import JSON

from briefcase.core.wire.fleet import ActRecord, FleetReceipt
from briefcase.edges.control_plane import schema
from briefcase.edges.control_plane.database import Database

DEFAULT_ROWS: Final = 100
MAX_ROWS: Final = 1_000
_NUL: Final = r"\u0000"


class Page(msgspec.Struct, frozen=True):
    """Which rows of a listing, the newest first; with `after_id` those above it, the oldest first."""

    limit: int = DEFAULT_ROWS
    offset: int = 0
    after_id: int | None = None


class Wanted(msgspec.Struct, frozen=True):
    """Which receipts: of a device, between two times (RFC 3339, as receipts have them), with these members.

    `members` are names and values of the events' own members, each a text.
    """

    device: UUID | None = None
    since: str | None = None
    until: str | None = None
    members: Mapping[str, str] = {}


class Archive:
    """Reads for auditors.

    Args:
        database: where everything is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def receipts(self, tenant: str, wanted: Wanted, page: Page) -> list[FleetReceipt]:
        """Receipts of a tenant, the newest first: of one device by id, of all devices by arrival.

        Raises:
            UnavailableError: they could not be read.
        """
        table = schema.receipts
        query = select(table).where(table.c.tenant == tenant, *_conditions(wanted))
        order = [desc(table.c.received_at), table.c.device, desc(table.c.id)]
        if wanted.device is not None:
            order = [desc(table.c.id)]
        if page.after_id is not None:
            query, order = query.where(table.c.id > page.after_id), [table.c.device, table.c.id]
        async with self._database.transaction(tenant) as connection:
            rows = await connection.execute(query.order_by(*order).limit(page.limit).offset(page.offset))
            return [_receipt(row) for row in rows]

    async def acts(self, tenant: str, page: Page) -> list[ActRecord]:
        """The acts of a tenant's administrators. Raises `UnavailableError`."""
        table = schema.audit_events
        query = select(table).where(table.c.tenant == tenant).order_by(desc(table.c.id))
        async with self._database.transaction(tenant) as connection:
            rows = await connection.execute(query.limit(page.limit).offset(page.offset))
            return [
                ActRecord(row.id, row.prev_hash.hex(), row.hash.hex(), msgspec.Raw(row.event.encode())) for row in rows
            ]


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    table = schema.receipts
    if wanted.device is not None:
        yield table.c.device == wanted.device
    if wanted.since is not None:
        yield table.c.ts >= wanted.since
    if wanted.until is not None:
        yield table.c.ts < wanted.until
    for name, value in wanted.members.items():
        # PostgreSQL has no text with a NUL in it: an event that names one is never what is looked for
        member = cast(table.c.event, JSON)[name].astext
        yield case((func.strpos(table.c.event, _NUL) > 0, False), else_=member == value)


def _receipt(row: Row[*tuple[Any, ...]]) -> FleetReceipt:
    event = msgspec.Raw(row.event.encode())
    return FleetReceipt(str(row.device), row.id, row.ts, row.prev_hash.hex(), row.hash.hex(), event)
