"""What a control plane says beside a bundle, each signed by itself (`core/fleet/envelopes.py`).

`freshness` says which bundle is the present one of a device, for a day; it is signed anew when half of that is over.
`keys` and `key_chain` say which key signs after which (`signing_keys.py`). `mandatory` is what each device of a tenant
forbids, whatever else its policy says. Its id only grows, and it is a part of the version that devices wait for.
"""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy import desc, insert, select, update

from briefcase.core.fleet.bundles import MandatoryPart, PolicyKey
from briefcase.core.fleet.envelopes import FRESHNESS, MANDATORY, Envelope, Freshness
from briefcase.core.policy.check import check_policy
from briefcase.core.wire.control_plane import MandatoryRecord
from briefcase.edges.control_plane import audit, schema
from briefcase.edges.control_plane.administrators import Administrator
from briefcase.edges.control_plane.bundles import MAX_KEPT, Bundles, check_size
from briefcase.edges.control_plane.database import Database
from briefcase.edges.control_plane.device_calls import Device
from briefcase.edges.control_plane.keys import SigningKey
from briefcase.edges.control_plane.refusals import INVALID_MANDATORY, RefusedError
from briefcase.edges.control_plane.signing_keys import Signer
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock
from briefcase.model.types import US_PER_S, format_rfc3339

FRESH_S: Final = 86_400
_RENEWED_S: Final = FRESH_S // 2


class Siblings:
    """Signs what goes with a bundle.

    Args:
        database: where the mandatory parts are.
        bundles: has the lock under which they change.
        clock: the time.
    """

    def __init__(self, database: Database, bundles: Bundles, clock: Clock) -> None:
        self._database = database
        self._bundles = bundles
        self._clock = clock
        self._freshness: dict[tuple[int, PolicyKey], tuple[int, Envelope]] = {}
        self._mandatory: dict[tuple[str, int, PolicyKey], Envelope] = {}
        self._reading = asyncio.Lock()

    async def of(self, device: Device, signer: Signer) -> dict[str, object]:
        """The siblings for a device, by name, signed by what signs now. Raises `UnavailableError`."""
        siblings: dict[str, object] = {"freshness": self._fresh(device.bundle_id, signer.key), **signer.siblings}
        if device.mandatory_id:
            siblings["mandatory"] = await self._part(device.tenant, device.mandatory_id, signer.key)
        return siblings

    async def publish(self, admin: Administrator, policy_text: str) -> MandatoryRecord:
        """Give every device of a tenant another mandatory part; those that wait hear of it.

        Args:
            admin: whose devices.
            policy_text: Cedar that only forbids; empty ends the part before.

        Raises:
            RefusedError: it is no such policy (`invalid_mandatory`), or too long.
            UnavailableError: nobody knows whether it was published.
        """
        policy_text = policy_text.strip()
        await asyncio.to_thread(check_mandatory, policy_text)
        parts, heads = schema.mandatory_parts, schema.bundle_heads
        async with self._database.transaction(admin.tenant) as connection:
            await self._bundles.lock_head(connection, admin.tenant)
            moved = await connection.execute(
                update(heads)
                .where(heads.c.tenant == admin.tenant)
                .values(mandatory_id=heads.c.mandatory_id + 1)
                .returning(heads.c.mandatory_id)
            )
            part = MandatoryPart(moved.scalar_one(), policy_text)
            await connection.execute(
                insert(parts).values(tenant=admin.tenant, id=part.id, policy_text=policy_text, published_by=admin.name)
            )
            act = audit.Act(admin.tenant, admin.name, audit.MANDATORY, {"mandatory_id": part.id})
            await audit.append_act(connection, act, self._clock.now_us())
            await self._bundles.tell(connection, admin.tenant)
        return MandatoryRecord(part.id, part.policy_text)

    async def current(self, tenant: str) -> MandatoryRecord:
        """The present mandatory part of a tenant; id 0 where there never was one. Raises `UnavailableError`."""
        parts = schema.mandatory_parts
        query = select(parts).where(parts.c.tenant == tenant).order_by(desc(parts.c.id)).limit(1)
        async with self._database.transaction(tenant) as connection:
            row = (await connection.execute(query)).first()
        return MandatoryRecord(0, "") if row is None else MandatoryRecord(row.id, row.policy_text)

    def _fresh(self, bundle_id: int, key: SigningKey) -> Envelope:
        now_us = self._clock.now_us()
        renewed_us, sealed = self._freshness.get((bundle_id, key.public_b64), (0, None))
        if sealed is None or now_us - renewed_us >= _RENEWED_S * US_PER_S:
            said = Freshness(bundle_id, format_rfc3339(now_us), format_rfc3339(now_us + FRESH_S * US_PER_S))
            sealed = key.seal(FRESHNESS, said)
            self._freshness[bundle_id, key.public_b64] = (now_us, sealed)
            if len(self._freshness) > MAX_KEPT:
                del self._freshness[next(iter(self._freshness))]
        return sealed

    async def _part(self, tenant: str, part_id: int, key: SigningKey) -> Envelope:
        found = (tenant, part_id, key.public_b64)
        if found in self._mandatory:
            return self._mandatory[found]
        parts = schema.mandatory_parts
        query = select(parts.c.policy_text).where(parts.c.tenant == tenant, parts.c.id == part_id)
        async with self._reading:  # of thousands that waited for it, one reads
            if found in self._mandatory:
                return self._mandatory[found]
            async with self._database.transaction(tenant) as connection:
                text = (await connection.execute(query)).scalar_one()
            sealed = self._mandatory[found] = key.seal(MANDATORY, MandatoryPart(part_id, text))
        if len(self._mandatory) > MAX_KEPT:
            del self._mandatory[next(iter(self._mandatory))]
        return sealed


def check_mandatory(policy_text: str) -> None:
    """Check what every device is to forbid.

    Raises:
        RefusedError: it is no Cedar, permits something, or is too long (`invalid_mandatory`).
    """
    if not policy_text:
        return
    check_size(policy_text, INVALID_MANDATORY)
    try:
        parsed = check_policy(policy_text)
    except CallerError as error:
        raise RefusedError(INVALID_MANDATORY, error.message) from None
    permits = [name for name in parsed.names if name not in parsed.forbids]
    if permits:
        raise RefusedError(INVALID_MANDATORY, f"expected only policies that forbid, got `{permits[0]}`")
