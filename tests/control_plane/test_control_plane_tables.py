"""The tables as the versions make them, and as the program asks them; what upkeep makes, empties and drops."""

import uuid
from datetime import timedelta

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, update

from briefcase.edges.control_plane.database import EVERY_TENANT, Database
from briefcase.edges.control_plane.device_calls import slot_of
from briefcase.edges.control_plane.schema import metadata
from briefcase.edges.control_plane.upkeep import Upkeep
from briefcase.model.types import US_PER_S
from support.clock import FakeClock
from support.fleet_server import chain

USED = "insert into dpop_jtis values ('default', gen_random_uuid(), substring(sha256('x') for 16), $1)"
OF_TENANTS = {name: table for name, table in metadata.tables.items() if "tenant" in table.c}
SELDOM = {
    "admin_tokens", "device_status", "forks", "mandatory_parts", "relayed_answers", "relayed_approvals", "rollouts",
    "witness_alarms", "witness_logs",
}  # fmt: skip
OF_POSTGRES_ALONE = {"remove_fk", "remove_constraint", "remove_index"}  # keeps rows apart, asks nothing


def is_ours(thing, name, kind, _reflected, _other) -> bool:
    return kind != "table" or not name.startswith(("dpop_jtis_", "receipts_", "alembic_"))


async def test_what_the_program_asks_is_what_the_versions_made(database_url):
    database = Database(database_url)
    await database.open()
    async with database.transaction(EVERY_TENANT) as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"include_object": is_ours, "compare_type": True}), metadata
            )
        )
    await database.close()
    assert [found for found in differences if found[0] not in OF_POSTGRES_ALONE] == []


async def test_a_transaction_sees_no_row_of_another_tenant_whatever_it_asks(plane):
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": "ops", "role": "admin", "tenant": "acme"})
    theirs, ours = await plane.new_device(token=made.body["token"]), await plane.new_device()
    await theirs.upload(chain(1))
    await ours.upload(chain(1))
    database = plane.services.database
    async with database.transaction(EVERY_TENANT) as connection:
        seen = {name: set(await connection.scalars(select(table.c.tenant))) for name, table in OF_TENANTS.items()}
    assert {name for name, tenants in seen.items() if {"acme", "default"} <= tenants} >= set(seen) - SELDOM
    for tenant in ("acme", "default", "nobody", ""):
        async with database.transaction(tenant) as connection:
            for name, table in OF_TENANTS.items():
                assert set(await connection.scalars(select(table.c.tenant))) <= {tenant}, name
    async with database.transaction("acme") as connection:
        moved = await connection.execute(update(OF_TENANTS["devices"]).values(name="stolen"))
    assert moved.rowcount == 1


async def partitions(database: Database) -> list[str]:
    rows = await database.fetch(
        "select relname from pg_inherits join pg_class on pg_class.oid = inhrelid"
        " where inhparent = 'receipts'::regclass order by relname"
    )
    return [row["relname"] for row in rows]


async def test_partitions_are_made_ahead_and_dropped_by_retention(database_url):
    database = Database(database_url)
    await database.open()
    upkeep = Upkeep(database, FakeClock(), uuid.uuid4(), retention_days=7)
    today = await database.fetchval("select (now() at time zone 'utc')::date")
    old = today - timedelta(days=9)
    await database.fetch(
        f"create table receipts_{old:%Y%m%d} partition of receipts"
        f" for values from ('{old}') to ('{old + timedelta(days=1)}')"
    )
    assert await upkeep.keep()
    made = [f"receipts_{today + timedelta(days=day):%Y%m%d}" for day in range(-1, 4)]
    assert await partitions(database) == made
    await database.close()


async def test_one_process_keeps_and_another_takes_over(database_url):
    database = Database(database_url)
    await database.open()
    first, second = (Upkeep(database, FakeClock(), uuid.uuid4()) for _ in range(2))
    assert await first.keep()
    assert not await second.keep()
    assert await first.keep()
    await database.fetch("update leases set until = now() - interval '1 second'")
    assert await second.keep()
    await database.close()


async def test_a_proof_is_forgotten_when_it_can_be_used_no_more(database_url):
    database, clock = Database(database_url), FakeClock()
    await database.open()
    slot = slot_of(clock.now_us() // US_PER_S)
    await database.fetch(USED, slot)
    upkeep = Upkeep(database, clock, uuid.uuid4())
    count = "select count(*) from dpop_jtis"
    for _ in range(5):
        await upkeep.keep()
        assert await database.fetchval(count) == 1
        clock.advance(us=150 * US_PER_S)
    for _ in range(3):
        await upkeep.keep()
        clock.advance(us=150 * US_PER_S)
    assert await database.fetchval(count) == 0
    await database.close()
