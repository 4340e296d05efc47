"""Convergence: from a publication until so many of the devices say that they run it."""

import asyncio
import json

import pytest

from briefcase.edges.control_plane.convergence import Convergences
from support.commands import run_command
from support.daemons import RunningDaemon
from support.fleet_server import ADMIN_TOKEN, AUDITOR_TOKEN, POLICY

PATH = "/v1/admin/convergence"


async def publish(plane, **more):
    path = "/v1/admin/rollouts" if more else "/v1/admin/policy"
    got = await plane.admin("POST", path, {"policy_text": POLICY, "budgets": {}, **more})
    assert got.status == 200, got
    return got.body["rollout_id"] if more else got.body["policy_bundle"]["bundle"]["bundle_id"]


async def say(plane, device, bundle_id, *, after_ms=None):
    """A device says what it runs; `after_ms` is how long after the publication that was."""
    assert (await device.call("POST", "status", {"running_bundle_id": bundle_id})).status == 200
    if after_ms is not None:
        await plane.services.database.fetch(
            "update device_status set running_since = greatest(given_at, enrolled_at) + make_interval(secs => $2)"
            " from bundle_heads, devices where device_status.device = $1 and devices.device = $1"
            " and bundle_heads.tenant = device_status.tenant",
            device.id,
            after_ms / 1_000,
        )


async def shown(plane, token=ADMIN_TOKEN):
    got = await plane.admin("GET", PATH, token=token)
    assert got.status == 200, got
    return got.body


def numbers(body):
    return tuple(body[name] for name in ("devices", "applied", "p50_ms", "p99_ms"))


async def test_a_fleet_without_devices_has_nothing_to_converge(plane):
    assert numbers(await shown(plane)) == (0, 0, None, None)


async def test_the_times_are_those_of_the_devices_and_known_once_so_many_run_it(plane):
    devices = [await plane.new_device() for _ in range(4)]
    bundle_id = await publish(plane)
    assert numbers(await shown(plane)) == (4, 0, None, None)
    for device, after_ms in zip(devices[:3], (100, 200, 300), strict=True):
        await say(plane, device, bundle_id, after_ms=after_ms)
    body = await shown(plane, AUDITOR_TOKEN)
    assert (body["bundle_id"], numbers(body)) == (bundle_id, (4, 3, 200, None))
    await say(plane, devices[3], bundle_id, after_ms=4_000)
    assert numbers(await shown(plane)) == (4, 4, 200, 4_000)
    await publish(plane)
    assert numbers(await shown(plane)) == (4, 0, None, None)  # of the new one


async def test_a_device_that_says_the_same_again_keeps_its_time(plane):
    device = await plane.new_device()
    bundle_id = await publish(plane)
    await say(plane, device, bundle_id, after_ms=70)
    await say(plane, device, bundle_id)
    assert numbers(await shown(plane)) == (1, 1, 70, 70)


async def test_a_revoked_device_and_one_of_a_canary_do_not_hold_it_up(plane):
    one, revoked = await plane.new_device(), await plane.new_device()
    bundle_id = await publish(plane)
    await say(plane, one, bundle_id, after_ms=10)
    assert numbers(await shown(plane)) == (2, 1, 10, None)
    await plane.admin("POST", f"/v1/admin/devices/{revoked.id}/revoke")
    assert numbers(await shown(plane)) == (1, 1, 10, 10)
    await say(plane, one, bundle_id + 1)  # which a rollout gave it
    assert numbers(await shown(plane)) == (0, 0, None, None)


async def test_a_device_that_came_later_counts_from_its_enrolment(plane):
    await publish(plane)
    await plane.services.database.fetch("update bundle_heads set given_at = now() - interval '1 day'")
    late = await plane.new_device()
    await say(plane, late, 2)
    _, _, _, p99_ms = numbers(await shown(plane))
    assert p99_ms < 3_600_000


async def test_a_rollout_shows_that_of_its_canary_and_then_that_of_all(plane):
    devices = [await plane.new_device() for _ in range(3)]
    rollout_id = await publish(plane, canary_permille=999)
    path = f"/v1/admin/rollouts/{rollout_id}"
    first = (await plane.admin("GET", path)).body
    assert first["convergence"]["bundle_id"] == rollout_id
    assert (first["convergence"]["devices"], first["convergence"]["applied"]) == (first["evidence"]["devices"], 0)
    for device in devices:
        await say(plane, device, rollout_id)
    assert (await plane.admin("GET", path)).body["convergence"]["p99_ms"] is not None
    advanced = (await plane.admin("POST", f"{path}/advance")).body
    assert (advanced["state"], advanced["convergence"]["devices"]) == ("active", 3)
    rolled_back = (await plane.admin("POST", f"{path}/rollback")).body
    assert rolled_back["convergence"] is None


async def test_another_tenant_is_not_counted(plane):
    token = (await plane.admin("POST", "/v1/admin/tokens", {"name": "x", "role": "admin", "tenant": "other"})).body
    await plane.new_device()
    assert numbers(await shown(plane, token["token"])) == (0, 0, None, None)


async def test_prometheus_has_what_was_looked_at_last(plane):
    device = await plane.new_device()
    bundle_id = await publish(plane)
    await say(plane, device, bundle_id, after_ms=250)
    await plane.services.convergences.look()
    lines = (await plane.admin("GET", "/metrics", token=AUDITOR_TOKEN)).body.splitlines()
    assert 'briefcase_fleet_devices_applied{tenant="default"} 1.0' in lines
    assert 'briefcase_fleet_convergence_seconds{quantile="0.99",tenant="default"} 0.25' in lines


async def test_what_was_not_reached_is_left_out(plane):
    await plane.new_device()
    convergences = Convergences(plane.services.database)
    await convergences.look()
    families = {family.name: family.values for family in convergences.families()}
    assert families["briefcase_fleet_convergence_seconds"] == ()
    assert families["briefcase_fleet_devices"] == (((("tenant", "default"),), 1.0),)


async def fleet(plane, *words):
    environ = {"PATH": "/usr/bin:/bin", "BRIEFCASE_FLEET_URL": plane.address, "BRIEFCASE_FLEET_TOKEN": ADMIN_TOKEN}
    return await asyncio.to_thread(run_command, environ, "fleet", *words)


async def test_the_command_line_shows_it_beside_the_policy_and_the_rollout(plane):
    assert "no devices were given it" in (await fleet(plane, "policy", "show")).stderr
    device = await plane.new_device()
    bundle_id = await publish(plane)
    assert "0 of 1 devices run it; not yet 99%" in (await fleet(plane, "policy", "show")).stderr
    await say(plane, device, bundle_id, after_ms=1_234)
    ran = await fleet(plane, "policy", "show")
    assert "1 of 1 devices run it; half within 1.234 s, 99% within 1.234 s" in ran.stderr
    document = json.loads((await fleet(plane, "policy", "show", "--json")).stdout)
    assert document["convergence"]["p99_ms"] == 1_234
    assert document["policy_bundle"]["bundle"]["bundle_id"] == bundle_id
    rollout_id = await publish(plane, canary_permille=999)
    assert "followed" in (await fleet(plane, "rollout", "show", str(rollout_id))).stdout


@pytest.mark.parametrize(("after_ms", "code"), [(900, 0), (1_100, 7), (None, 7)])
async def test_it_is_an_objective_of_slo_check(plane, daemon_of_a_user, after_ms, code):
    device = await plane.new_device()
    bundle_id = await publish(plane)
    if after_ms is not None:
        await say(plane, device, bundle_id, after_ms=after_ms)
    environ = {**daemon_of_a_user.env, "BRIEFCASE_FLEET_URL": plane.address, "BRIEFCASE_FLEET_TOKEN": ADMIN_TOKEN}
    ran = await asyncio.to_thread(run_command, environ, *CHECK, "--convergence-p99-ms", "1000", "--json")
    assert ran.stdout, ran.stderr
    report = json.loads(ran.stdout)
    finding = report["findings"][-1]
    assert (finding["objective"], finding["value"], finding["ok"]) == ("convergence_p99_ms", after_ms, code == 0)
    assert (ran.returncode, report["ok"]) == (code, code == 0)
    assert report["verdict"] == ("met" if code == 0 else "objectives_not_met")


async def test_without_a_fleet_the_objective_is_refused_by_what_is_missing(daemon_of_a_user):
    ran = await asyncio.to_thread(run_command, daemon_of_a_user.env, *CHECK, "--convergence-p99-ms", "1000")
    assert (ran.returncode, "BRIEFCASE_FLEET_URL" in ran.stderr) == (9, True)


PATIENT = ("--availability", "0", "--append-success", "0", "--call-success", "0", "--overhead-p95-ms", "100000")
CHECK = ("slo", "check", "--duration-secs", "0.3", *PATIENT)


@pytest.fixture
def daemon_of_a_user(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        yield daemon
