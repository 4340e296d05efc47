"""What must not grow with the fleet: what a call looks at, and what thousands that wake at once ask of the database."""

import asyncio

import pytest

from briefcase.edges.control_plane.device_calls import LOOK_UP, USE_PROOFS
from briefcase.edges.control_plane.uploads import STORE
from support.fleet_server import ADMIN_TOKEN, POLICY
from support.waiting import until

MANY_DEVICES = """
insert into devices (tenant, device, name, public_key, jkt, token_hash)
select 'default', gen_random_uuid(), 'x', sha256(n::text::bytea), n::text, sha256('t')
from generate_series(1, 5000) as n
"""
MANY_PROOFS = """
insert into dpop_jtis select tenant, device, substring(sha256('x') for 16), n from devices, generate_series(0, 7) as n
"""
HASHES = "array(select sha256(n::text::bytea) from generate_series(1, 32) as n)"
JTIS = "array(select substring(sha256(n::text::bytea) for 16) from generate_series(1, 32) as n)"
GROUP = "array(select n from generate_series(1, 32) as n), array(select device from devices limit 32)"
ONE = "(select device from devices limit 1), sha256('t'), 'a key', substring(sha256('y') for 16)"
RECEIPT = "array[1::bigint], array['now'], array[sha256('a')], array[sha256('b')], array['{}']"
CALLS = {
    "proofs": (
        USE_PROOFS,
        f"{GROUP}, {HASHES}, array_fill('a'::text, array[32]), {JTIS}, array_fill(1::smallint, array[32])",
    ),
    "devices": (LOOK_UP, f"{GROUP}, {HASHES}"),
    "an upload": (STORE, f"{ONE}, 1::smallint, {RECEIPT}"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_reads_its_own_device_and_proof_and_no_others(plane, name):
    statement, values = CALLS[name]
    async with plane.services.database.device_transaction() as connection:
        await connection.execute(MANY_DEVICES)
        await connection.execute(MANY_PROOFS)
        await connection.execute("analyze devices")  # nobody counted the proofs since they came
        await connection.execute("set local plan_cache_mode = force_custom_plan")
        (row,) = await connection.fetch(f"select {values}")
        plan = await connection.fetch(f"explain {statement}", *row.values())
    lines = [line[0] for line in plan]
    assert any("devices_device_key" in line for line in lines), lines
    assert [line for line in lines if "Seq Scan on devices" in line or "Seq Scan on dpop" in line] == []


async def test_of_many_that_wait_for_a_policy_one_reads_it(plane, monkeypatch):
    devices = [await plane.new_device() for _ in range(24)]
    etag = (await devices[0].call("GET", "policy")).headers["etag"]
    path, known = "policy?wait_ms=20000", {"if-none-match": etag}
    waiting = [asyncio.create_task(device.call("GET", path, headers=known)) for device in devices]
    await until(lambda: plane.services.publications.waiting == len(devices))
    asked = []
    transaction, fetch = plane.services.database.transaction, plane.services.database.fetch
    monkeypatch.setattr(
        plane.services.database, "transaction", lambda tenant: asked.append(tenant) or transaction(tenant)
    )
    monkeypatch.setattr(plane.services.database, "fetch", lambda sql, *values: asked.append(sql) or fetch(sql, *values))
    await plane.services.bundles.publish(
        await plane.services.admin_tokens.check([f"Bearer {ADMIN_TOKEN}"], "admin"), POLICY, {}
    )
    answers = await asyncio.gather(*waiting)
    assert {answer.body["policy_bundle"]["bundle"]["bundle_id"] for answer in answers} == {2}
    assert asked.count("default") == 2, "one publishes, one reads"
    assert asked.count(LOOK_UP) < len(devices) / 2
