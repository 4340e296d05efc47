"""This control plane and this daemon's half together: what one says, the other takes."""

import asyncio

import pytest

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.core.fleet import words
from briefcase.core.fleet.device import DeviceState
from briefcase.model.errors import UpstreamError
from support.certificates import new_certificate
from support.fleet import FleetDesk
from support.fleet_server import ADMIN_TOKEN, POLICY, RunningControlPlane
from support.waiting import until

NEXT = f"{POLICY} // the next"


@pytest.fixture
async def desk(plane, tmp_path):
    """A device of the control plane, over the real way out."""
    outbound = GuardedOutbound([plane.address.removeprefix("http://")])
    (tmp_path / "device").mkdir()
    desk = FleetDesk(tmp_path / "device", outbound=outbound, base_url=plane.address, admin_token=ADMIN_TOKEN)
    await desk.start()
    await desk.enrol()
    yield desk
    desk.database.close()
    await outbound.close()


async def publish(plane, text: str, budgets: dict[str, int]) -> int:
    answer = await plane.admin("POST", "/v1/admin/policy", {"policy_text": text, "budgets": budgets})
    assert answer.status == 200
    return answer.body["policy_bundle"]["bundle"]["bundle_id"]


async def stored(plane, desk) -> list[int]:
    path = f"/v1/audit/receipts?device_id={desk.enrolment.device_id}&limit=500"
    return sorted(receipt["id"] for receipt in (await plane.admin("GET", path)).body["receipts"])


async def test_a_policy_is_applied_receipts_arrive_and_the_device_is_reported(plane, desk):
    bundle_id = await publish(plane, NEXT, {"read": 5})
    assert (await desk.sync.sync()).policy_applied
    assert (desk.enrolment.bundle_id, desk.policy.current()[0]) == (bundle_id, NEXT)
    for _ in range(300):
        await desk.receipt()
    await desk.sync.sync()
    assert await stored(plane, desk) == list(range(1, desk.ledger.head().id + 1))
    shown = (await plane.admin("GET", f"/v1/admin/devices/{desk.enrolment.device_id}")).body
    assert (shown["running_bundle_id"], shown["tried_bundle_id"], shown["last_error"]) == (bundle_id, bundle_id, None)


async def test_a_device_that_waits_has_a_policy_as_soon_as_it_is_published(plane, desk):
    loop = asyncio.create_task(desk.sync.run())
    await desk.sync.sync()
    bundle_id = await publish(plane, NEXT, {})
    await until(lambda: desk.enrolment.bundle_id == bundle_id)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_revoked_device_is_told_so_and_goes_on_when_it_is_enrolled_again(plane, desk):
    await desk.sync.sync()
    await plane.admin("POST", f"/v1/admin/devices/{desk.enrolment.device_id}/revoke")
    with pytest.raises(UpstreamError, match=words.INVALID_TOKEN):
        await desk.sync.sync()
    assert (await desk.status()).progress.state is DeviceState.REVOKED
    await desk.receipt()
    await desk.enrol()
    await desk.sync.sync()
    assert await stored(plane, desk) == list(range(1, desk.ledger.head().id + 1))


async def test_metadata_that_was_lost_sends_everything_again_and_nothing_is_stored_twice(plane, desk):
    await desk.sync.sync()
    await desk.database.run(lambda connection: connection.execute("DELETE FROM sync_progress"))
    await desk.restart()
    await desk.receipt()
    await desk.sync.sync()
    assert await stored(plane, desk) == list(range(1, desk.ledger.head().id + 1))


async def test_a_restored_device_is_a_fork_until_it_is_enrolled_as_another(plane, desk):
    await desk.receipt()
    await desk.sync.sync()
    del desk.ledger.chain[3:]
    await desk.database.run(lambda connection: connection.execute("DELETE FROM sync_progress"))
    await desk.restart()
    desk.clock.advance(us=1)
    for _ in range(4):
        await desk.receipt()
    with pytest.raises(UpstreamError, match=words.FORK):
        await desk.sync.sync()


@pytest.mark.parametrize("is_trusted", [False, True])
async def test_over_tls_the_trust_is_that_of_the_system_or_of_ssl_cert_file(
    database_url, tmp_path, monkeypatch, is_trusted
):
    certificate, key = new_certificate(tmp_path)
    running = RunningControlPlane(database_url, tmp_path / "cp", certificate=certificate, certificate_key=key)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (tmp_path / "device").mkdir()
    async with running as plane:
        base_url = plane.plane.base_url
        outbound = GuardedOutbound([base_url.removeprefix("https://")])
        desk = FleetDesk(tmp_path / "device", outbound=outbound, base_url=base_url, admin_token=ADMIN_TOKEN)
        await desk.start()
        try:
            if is_trusted:
                await desk.enrol()
                assert (await desk.sync.sync()).receipts_uploaded > 0
            else:
                with pytest.raises(UpstreamError, match="certificate could not be verified"):
                    await desk.enrol()
        finally:
            desk.database.close()
            await outbound.close()
