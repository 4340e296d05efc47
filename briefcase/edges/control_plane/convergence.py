"""How soon the devices of a fleet run what they are given: publish → applied, from what each says of itself.

A device's time begins when its bundle was given to it (published, or its enrolment where that came later) and ends
with the first status that names the bundle as running, so the way of the status is in it. Devices that do not run it
yet count as if they never would: "99% within" is known once 99% do. A device whose bundle is above the one for all is
in a canary, and counts there.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from briefcase.adapters.telemetry.metrics import Family
from briefcase.core.wire.fleet import Convergence
from briefcase.edges.control_plane.database import Database, UnavailableError
from briefcase.model.types import US_PER_S, format_rfc3339

LOOK_S: Final = 15.0
MS_PER_S: Final = 1_000

MEASURE: Final = """
with given as (
    select tenant, bundle_id, given_at, null::uuid[] as chosen from bundle_heads
    where $2::uuid[] is null and ($1::text is null or tenant = $1)
    union all
    select $1, $3::bigint, $4::timestamptz, $2::uuid[] where $2::uuid[] is not null
), each as (
    select given.tenant,
           case when status.running_bundle_id = given.bundle_id then
               greatest(0, extract(epoch from status.running_since - greatest(given.given_at, devices.enrolled_at)))
           else 'infinity' end::float8 as lag
    from given
    join devices on devices.tenant = given.tenant
    left join device_status as status on status.tenant = devices.tenant and status.device = devices.device
    where devices.revoked_at is null and case when given.chosen is null
        then coalesce(status.running_bundle_id, 0) <= given.bundle_id else devices.device = any(given.chosen) end
)
select given.tenant, given.bundle_id, given.given_at,
       count(each.lag) as devices, count(*) filter (where each.lag < 'infinity') as applied,
       percentile_disc(array[0.5, 0.99]) within group (order by each.lag) as lags
from given left join each on each.tenant = given.tenant
group by given.tenant, given.bundle_id, given.given_at order by given.tenant
"""
"""Of the bundles for all (of one tenant, or of each), or of one that some devices of a tenant were given."""


class Convergences:
    """Measures each tenant's.

    Args:
        database: where devices' last words are.
        look_s: how often all tenants' are looked at, for `families`.
    """

    def __init__(self, database: Database, *, look_s: float = LOOK_S) -> None:
        self._database = database
        self._look_s = look_s
        self._looking = asyncio.Lock()
        self._last: list[tuple[str, Convergence]] = []

    async def of(self, tenant: str) -> Convergence:
        """That of the bundle for all devices of a tenant. Raises `UnavailableError`."""
        (row,) = await self._database.fetch(MEASURE, tenant, None, None, None)
        return _measured(row)

    async def of_some(self, tenant: str, devices: Sequence[UUID], bundle_id: int, given_at: datetime) -> Convergence:
        """That of a bundle which some devices of a tenant were given. Raises `UnavailableError`."""
        (row,) = await self._database.fetch(MEASURE, tenant, devices, bundle_id, given_at)
        return _measured(row)

    async def run(self) -> None:
        """Look at all tenants until cancelled; a database that is away is asked again."""
        while True:
            with contextlib.suppress(UnavailableError):
                await self.look()
            await asyncio.sleep(self._look_s)

    async def look(self) -> None:
        """Look at all tenants now. Raises `UnavailableError`."""
        async with self._looking:  # so that what is kept is what was seen last
            rows = await self._database.fetch(MEASURE, None, None, None, None)
            self._last = [(row["tenant"], _measured(row)) for row in rows]

    def families(self) -> list[Family]:
        """What was seen last, for Prometheus; a quantile that is not reached is left out."""
        quantiles = tuple(
            ((("quantile", quantile), ("tenant", tenant)), lag_ms / MS_PER_S)
            for tenant, seen in self._last
            for quantile, lag_ms in (("0.5", seen.p50_ms), ("0.99", seen.p99_ms))
            if lag_ms is not None
        )
        devices, applied = (
            tuple(((("tenant", tenant),), float(getattr(seen, name))) for tenant, seen in self._last)
            for name in ("devices", "applied")
        )
        return [
            Family("briefcase_fleet_devices", "gauge", "Devices that were given the bundle for all.", devices),
            Family("briefcase_fleet_devices_applied", "gauge", "Those of them that run it, by their word.", applied),
            Family(
                "briefcase_fleet_convergence_seconds",
                "gauge",
                "From a bundle's publication until so many of the devices ran it.",
                quantiles,
            ),
        ]


def _measured(row: asyncpg.Record) -> Convergence:
    p50_ms, p99_ms = (
        None if lag is None or math.isinf(lag) else round(lag * MS_PER_S) for lag in row["lags"] or (None, None)
    )
    return Convergence(row["bundle_id"], _time(row["given_at"]), row["devices"], row["applied"], p50_ms, p99_ms)


def _time(moment: datetime) -> str:
    return format_rfc3339(round(moment.timestamp() * US_PER_S))
