"""What one process at a time does for the database: partitions made ahead and dropped, what has ended forgotten.

The right to do it is a row with an end (`leases`); a process that dies with it holds nobody up for longer than that.
Each step may be done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import date, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from briefcase.edges.control_plane.database import LOCK_TABLES, Database, UnavailableError
from briefcase.edges.control_plane.device_calls import empty_slot
from briefcase.edges.control_plane.relay import forget_ended
from briefcase.model.ports import Clock

INTERVAL_S: Final = 30.0
LEASE_S: Final = 90
AHEAD_DAYS: Final = 3
LOCK_TIMEOUT_MS: Final = 500
PARTITION: Final = "receipts_"

TAKE_LEASE: Final = """
insert into leases (name, holder, until) values ('upkeep', $1, now() + make_interval(secs => $2))
on conflict (name) do update set holder = excluded.holder, until = excluded.until
where leases.holder = excluded.holder or leases.until < now()
returning holder
"""
PARTITIONS: Final = """
select relname from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = 'receipts'::regclass
"""


class Upkeep:
    """Keeps the tables of all processes.

    Args:
        database: where they are.
        clock: the time that proofs are compared with.
        holder: this process, by an id that is used once.
        retention_days: how long receipts are kept; None keeps them for ever.
    """

    def __init__(self, database: Database, clock: Clock, holder: UUID, retention_days: int | None = None) -> None:
        self._database = database
        self._clock = clock
        self._holder = holder
        self._retention_days = retention_days

    async def make_partitions(self) -> None:
        """Make those of today and of the next days, so that an upload finds its own. Raises `UnavailableError`."""
        today = await self._today()
        days = [today + timedelta(days=day) for day in range(-1, AHEAD_DAYS + 1)]
        async with self._database.device_transaction() as connection:
            await connection.execute(LOCK_TABLES)
            made = {row["relname"] for row in await connection.fetch(PARTITIONS)}
            for start in days:
                if _name(start) not in made:
                    await connection.execute(
                        f"create table {_name(start)} partition of receipts for values"
                        f" from ('{start} 00:00:00+00') to ('{start + timedelta(days=1)} 00:00:00+00')"
                    )

    async def run(self) -> None:
        """Do what is due until cancelled; a database that is away is asked again."""
        while True:
            with contextlib.suppress(UnavailableError, asyncpg.PostgresError):
                await self.keep()
            await asyncio.sleep(INTERVAL_S)

    async def keep(self) -> bool:
        """Do what is due, if this process has the right or nobody has. Raises `UnavailableError`.

        Returns:
            Whether it was done.
        """
        if await self._database.fetchval(TAKE_LEASE, self._holder, LEASE_S) is None:
            return False
        await self.make_partitions()
        await self._forget_proofs()
        await forget_ended(self._database, self._clock.now_us())
        await self._drop_old()
        return True

    async def _forget_proofs(self) -> None:
        async with self._database.device_transaction() as connection:
            await connection.execute(f"set local lock_timeout = {LOCK_TIMEOUT_MS}")
            await connection.execute(f"truncate dpop_jtis_{empty_slot(self._clock.now_us())}")

    async def _drop_old(self) -> None:
        if self._retention_days is None:
            return
        oldest = _name(await self._today() - timedelta(days=self._retention_days))
        for row in await self._database.fetch(PARTITIONS):
            if row["relname"] < oldest:
                await self._database.fetch(f"drop table if exists {row['relname']}")

    async def _today(self) -> date:
        """The day as the database has it, whose clock says when a receipt arrives."""
        (row,) = await self._database.fetch("select (now() at time zone 'utc')::date as today")
        today: date = row["today"]
        return today


def _name(day: date) -> str:
    return f"{PARTITION}{day:%Y%m%d}"
