"""Each administrative act leaves one in the tenant's chain: every path that changes something is tried."""

import asyncio
import uuid

import pytest

from briefcase.core.receipts.chain import GENESIS_HASH_HEX
from briefcase.edges.control_plane.openapi import OPERATIONS
from support.commands import run_command
from support.fleet_server import ADMIN_TOKEN, POLICY, FleetDevice, chain

NEW = {"policy_text": POLICY, "budgets": {}}
CHANGING = [each for each in OPERATIONS if each.method == "POST" and "admin" in each.roles]


async def begin(plane, **gates):
    begun = await plane.admin("POST", "/v1/admin/rollouts", {**NEW, "canary_permille": 999, "gates": gates})
    assert begun.status == 200, begun
    return begun.body["rollout_id"]


async def device_path(plane, what):
    return f"/v1/admin/devices/{(await plane.new_device()).id}/{what}", None


async def advance(plane):
    rollout_id = None
    device = await plane.new_device()
    while rollout_id is None:  # until the one device is among the canaries
        rollout_id = await begin(plane)
        shown = (await plane.admin("GET", f"/v1/admin/rollouts/{rollout_id}")).body
        if not shown["evidence"]["devices"]:
            await plane.admin("POST", f"/v1/admin/rollouts/{rollout_id}/rollback")
            rollout_id = None
    assert (await device.call("POST", "status", {"running_bundle_id": rollout_id})).status == 200
    return f"/v1/admin/rollouts/{rollout_id}/advance", None


async def roll_back(plane):
    return f"/v1/admin/rollouts/{await begin(plane)}/rollback", None


async def revoke_token(plane):
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": "one-more", "role": "auditor"})
    assert made.status == 200
    return "/v1/admin/tokens/one-more/revoke", None


def asks(path, body):
    async def prepare(_plane):
        return path, body

    return prepare


# path -> what is asked, once it was made possible, and the acts that this leaves, the newest first
ACTS = {
    "/v1/admin/policy": (asks("/v1/admin/policy", NEW), ["policy_published"]),
    "/v1/admin/devices/enroll": (
        asks("/v1/admin/devices/enroll", FleetDevice(None, str(uuid.uuid4())).enrolment()),
        ["device_enrolled"],
    ),
    "/v1/admin/devices/{device}/revoke": (lambda plane: device_path(plane, "revoke"), ["device_revoked"]),
    "/v1/admin/devices/{device}/rotate": (lambda plane: device_path(plane, "rotate"), ["device_token_rotated"]),
    "/v1/admin/mandatory": (asks("/v1/admin/mandatory", {"policy_text": ""}), ["mandatory_published"]),
    "/v1/admin/keys/rotate": (asks("/v1/admin/keys/rotate", {}), ["signing_key_prepared"]),
    "/v1/admin/rollouts": (
        asks("/v1/admin/rollouts", {**NEW, "canary_permille": 5}),
        ["rollout_begun", "policy_published"],
    ),
    "/v1/admin/rollouts/{rollout}/advance": (advance, ["rollout_advanced"]),
    "/v1/admin/rollouts/{rollout}/rollback": (roll_back, ["policy_published", "rollout_rolled_back"]),
    "/v1/admin/tokens": (asks("/v1/admin/tokens", {"name": "ops", "role": "admin"}), ["administrator_added"]),
    "/v1/admin/tokens/{name}/revoke": (revoke_token, ["administrator_revoked"]),
}


async def acts(plane):
    return (await plane.admin("GET", "/v1/audit/acts?limit=1000")).body["acts"]


def test_each_path_that_changes_something_is_tried():
    assert ACTS.keys() == {each.path for each in CHANGING}


@pytest.mark.parametrize("path", ACTS)
async def test_an_administrators_change_leaves_its_act_and_a_refused_one_none(plane, path):
    prepare, expected = ACTS[path]
    asked, body = await prepare(plane)
    before = await acts(plane)
    assert (await plane.admin("POST", asked, body, token="nobodys-token")).status == 401
    if body is not None:
        assert (await plane.admin("POST", asked, "no object")).status == 400
    assert await acts(plane) == before
    got = await plane.admin("POST", asked, body)
    assert got.status == 200, got
    after = await acts(plane)
    new = after[: len(after) - len(before)]
    assert [act["event"]["act"] for act in new] == expected
    assert {act["event"]["by"] for act in new} == {"environment"}
    assert after[len(new) :] == before
    for act, older in zip(after, [*after[1:], {"hash_hex": GENESIS_HASH_HEX}], strict=True):
        assert act["prev_hash_hex"] == older["hash_hex"]


async def test_what_devices_do_is_no_act(plane):
    device = await plane.new_device()
    before = await acts(plane)
    await device.upload(chain(1))
    await device.call("POST", "status", {})
    await device.call("GET", "policy")
    assert await acts(plane) == before


async def test_the_command_line_shows_each_act_with_who_and_what(plane):
    device = await plane.new_device()
    await plane.admin("POST", f"/v1/admin/devices/{device.id}/revoke")
    environ = {"PATH": "/usr/bin:/bin", "BRIEFCASE_FLEET_URL": plane.address, "BRIEFCASE_FLEET_TOKEN": ADMIN_TOKEN}
    ran = await asyncio.to_thread(run_command, environ, "fleet", "acts")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert [word in lines[1] for word in ("device_revoked", "environment", f"device_id={device.id}")] == [True] * 3
    assert "device_enrolled" in lines[2]
