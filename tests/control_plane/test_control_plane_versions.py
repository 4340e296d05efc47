"""The control plane on each version of PostgreSQL that it says it runs on: what a fleet does in a day, once each."""

import asyncio
import uuid

import pytest
from sqlalchemy import select

from briefcase.edges.control_plane.database import EVERY_TENANT, MIN_VERSION_NUM, Database
from briefcase.edges.control_plane.schema import devices, receipts
from briefcase.edges.control_plane.upkeep import Upkeep
from briefcase.model.types import US_PER_S
from support.clock import FakeClock
from support.fleet_server import AUDITOR_TOKEN, POLICY, RunningControlPlane, chain
from support.postgres import SharedPostgres
from support.postgres_versions import VERSIONS, find_version, missing


@pytest.fixture(scope="module", params=VERSIONS, ids=str)
def version(request):
    return request.param


@pytest.fixture(scope="module")
def cluster(version, tmp_path_factory):
    binaries = find_version(version)
    if binaries is None:
        pytest.skip(missing(version))
    shared = SharedPostgres(tmp_path_factory.mktemp("pg") / "pg", binaries)
    yield shared
    shared.close()


@pytest.fixture
async def plane(cluster, tmp_path):
    async with RunningControlPlane(cluster.new_database(), tmp_path / "control-plane") as running:
        yield running


async def test_a_day_of_a_fleet(plane, version):
    said = await plane.services.database.fetchval("select current_setting('server_version_num')::int")
    assert said // 10_000 == version

    # enrol, sync, and let the next sync wait
    device = await plane.new_device()
    first = await device.call("GET", "policy")
    assert first.body["policy_bundle"]["bundle"]["bundle_id"] == 1
    known = {"if-none-match": first.headers["etag"]}
    assert (await device.call("GET", "policy", headers=known)).status == 304
    path = f"/v1/devices/{device.id}/policy?wait_ms=55000"
    fields = known | {"authorization": f"Bearer {device.token}", "dpop": device.proof("GET", path)}
    waiting = asyncio.create_task(plane.send("GET", path, headers=fields))

    # publish: who waits has it
    await plane.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {"read": 1}})
    assert (await waiting).body["policy_bundle"]["bundle"]["bundle_id"] == 2

    # upload, again, on from there, and another story
    sent = chain(6)
    assert (await device.upload(sent[:4])).body == {"stored": 4, "last_receipt_id": 4}
    assert (await device.upload(sent)).body == {"stored": 2, "last_receipt_id": 6}
    assert (await device.upload(chain(2, mark="another"))).word == "receipt_fork"
    listed = await plane.admin("GET", f"/v1/audit/receipts?device_id={device.id}", token=AUDITOR_TOKEN)
    assert [receipt["id"] for receipt in listed.body["receipts"]] == [6, 5, 4, 3, 2, 1]

    # a proof is good once
    proof = device.proof("POST", f"/v1/devices/{device.id}/status")
    assert (await device.call("POST", "status", {"running_bundle_id": 2}, proof=proof)).status == 200
    assert (await device.call("POST", "status", {"running_bundle_id": 2}, proof=proof)).word == "replay_detected"

    # a rollout, back again, and a device that is no longer one
    begun = await plane.admin(
        "POST", "/v1/admin/rollouts", {"policy_text": POLICY, "budgets": {}, "canary_permille": 999}
    )
    held = await plane.admin("POST", f"/v1/admin/rollouts/{begun.body['rollout_id']}/advance")
    assert held.word == "gate_shut"
    back = await plane.admin("POST", f"/v1/admin/rollouts/{begun.body['rollout_id']}/rollback")
    assert back.body["state"] == "rolled_back"
    assert (await plane.admin("POST", f"/v1/admin/devices/{device.id}/revoke")).status == 200
    assert (await device.call("GET", "policy")).word == "invalid_token"


async def test_a_tenant_sees_its_own_rows(plane):
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": "ops", "role": "admin", "tenant": "acme"})
    theirs, ours = await plane.new_device(token=made.body["token"]), await plane.new_device()
    for device in (theirs, ours):
        await device.upload(chain(1))
    database = plane.services.database
    for tenant, seen in (
        ("acme", {"acme"}),
        ("default", {"default"}),
        ("", set()),
        (EVERY_TENANT, {"acme", "default"}),
    ):
        async with database.transaction(tenant) as connection:
            for table in (devices, receipts):
                assert set(await connection.scalars(select(table.c.tenant))) == seen, (tenant, table.name)


async def test_upkeep_makes_partitions_and_empties_the_ring(cluster):
    database, clock = Database(cluster.new_database()), FakeClock()
    await database.open()
    upkeep = Upkeep(database, clock, uuid.uuid4())
    for _ in range(2):
        assert await upkeep.keep()
        clock.advance(us=150 * US_PER_S)
    made = "select count(*) from pg_inherits where inhparent = $1::text::regclass"
    assert await database.fetchval(made, "receipts") == 5
    assert await database.fetchval(made, "dpop_jtis") == 8
    await database.close()


def test_every_version_from_the_oldest_that_is_taken_is_tried():
    assert list(VERSIONS) == list(range(MIN_VERSION_NUM // 10_000, max(VERSIONS) + 1))
