"""Each administrative act, in a hash chain of its tenant's: the row is written in the act's own transaction.

An event holds `id`, `ts`, `by`, `act` and what the act was about, never a token. It is linked as a receipt is
(`core/receipts/chain.py`), so whoever exported the chain once sees what was changed in it since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import desc, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from briefcase.core.receipts.chain import EVENT_AT, GENESIS_HASH_HEX, link_record
from briefcase.edges.control_plane import schema
from briefcase.model.types import format_rfc3339

PUBLISHED: Final = "policy_published"
BEGUN: Final = "rollout_begun"
ADVANCED: Final = "rollout_advanced"
ROLLED_BACK: Final = "rollout_rolled_back"
MANDATORY: Final = "mandatory_published"
KEY_PREPARED: Final = "signing_key_prepared"
KEY_SWITCHED: Final = "signing_key_switched"
KEY_DISCARDED: Final = "signing_key_discarded"
ENROLLED: Final = "device_enrolled"
REVOKED: Final = "device_revoked"
ROTATED: Final = "device_token_rotated"
TENANT_MADE: Final = "tenant_made"
ADMINISTRATOR_ADDED: Final = "administrator_added"
ADMINISTRATOR_REVOKED: Final = "administrator_revoked"
ANSWERED: Final = "approval_answered"


class Act(msgspec.Struct, frozen=True):
    """What an administrator of a tenant did: one of this module's words, and what it was about."""

    tenant: str
    by: str
    act: str
    about: Mapping[str, str | int] = {}


async def append_act(connection: AsyncConnection, act: Act, now_us: int) -> None:
    """Add an act to its tenant's chain; the tenant's row is locked until the transaction ends.

    Args:
        connection: in the transaction of the act.
        act: what was done.
        now_us: the time, microseconds.
    """
    tenants, events = schema.tenants, schema.audit_events
    # no key update: what this transaction inserted refers to the row, and so has it shared with others that wait here
    one = select(tenants.c.tenant).where(tenants.c.tenant == act.tenant).with_for_update(key_share=True)
    await connection.execute(one)
    last = (
        await connection.execute(
            select(events.c.id, events.c.hash).where(events.c.tenant == act.tenant).order_by(desc(events.c.id)).limit(1)
        )
    ).first()
    number, previous_hex = (last.id + 1, last.hash.hex()) if last is not None else (1, GENESIS_HASH_HEX)
    event = {"id": number, "ts": format_rfc3339(now_us), "by": act.by, "act": act.act, **act.about}
    hash_hex, record = link_record(previous_hex.encode(), event)
    await connection.execute(
        insert(events).values(
            tenant=act.tenant,
            id=number,
            prev_hash=bytes.fromhex(previous_hex),
            hash=bytes.fromhex(hash_hex),
            event=record[EVENT_AT:].decode(),
        )
    )
