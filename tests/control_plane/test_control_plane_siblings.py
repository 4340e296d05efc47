"""What a control plane says beside a bundle: signed by itself, read as a device reads it."""

import asyncio

import pytest

from briefcase.core.fleet.envelopes import read_freshness, read_mandatory
from briefcase.model.types import US_PER_S
from support.fleet_server import AUDITOR_TOKEN, POLICY, FleetDevice

FORBIDDEN = 'forbid(principal, action, resource == Tool::"echo");'


async def published(plane, policy_text: str):
    return await plane.admin("POST", "/v1/admin/mandatory", {"policy_text": policy_text})


async def given(device: FleetDevice) -> dict:
    return (await device.call("GET", "policy")).body


async def test_a_bundle_comes_with_the_word_that_it_is_the_present_one(plane):
    device = await plane.new_device()
    key = (await plane.services.keys.present()).key.public_b64
    first = await given(device)
    fresh = read_freshness(first["freshness"], key)
    now_us = plane.clock.now_us()
    assert (fresh.bundle_id, fresh.expires_us - now_us) == (1, 86_400 * US_PER_S)
    assert (await given(device))["freshness"] == first["freshness"]  # signed once
    plane.clock.advance(us=43_200 * US_PER_S)
    assert read_freshness((await given(device))["freshness"], key).expires_us > fresh.expires_us


async def test_a_mandatory_part_comes_beside_the_bundle_until_it_is_ended(plane):
    device = await plane.new_device()
    key = (await plane.services.keys.present()).key.public_b64
    first = await device.call("GET", "policy")
    assert "mandatory" not in first.body
    assert (await published(plane, f" {FORBIDDEN} ")).body == {"id": 1, "policy_text": FORBIDDEN}

    again = await device.call("GET", "policy", headers={"if-none-match": first.headers["etag"]})
    assert again.status == 200  # the bundle is the same, the part is new
    part = read_mandatory(again.body["mandatory"], key)
    assert (part.id, part.policy_text) == (1, FORBIDDEN)
    assert again.body["policy_bundle"] == first.body["policy_bundle"]

    await published(plane, "")
    ended = read_mandatory((await given(device))["mandatory"], key)
    assert (ended.id, ended.policy_text) == (2, "")
    assert (await plane.admin("GET", "/v1/admin/mandatory", token=AUDITOR_TOKEN)).body["id"] == 2


async def test_a_waiting_device_gets_a_new_mandatory_part(plane):
    device = await plane.new_device()
    etag = (await device.call("GET", "policy")).headers["etag"]
    path = f"/v1/devices/{device.id}/policy?wait_ms=30000"
    fields = {"authorization": f"Bearer {device.token}", "dpop": device.proof("GET", path), "if-none-match": etag}
    waiting = asyncio.create_task(plane.send("GET", path, headers=fields))
    await published(plane, FORBIDDEN)
    assert "mandatory" in (await waiting).body


async def test_an_enrolment_brings_what_the_device_would_be_given(plane):
    await published(plane, FORBIDDEN)
    device = FleetDevice(plane, "11111111-1111-4111-9111-111111111111")
    enrolled = await plane.admin("POST", "/v1/admin/devices/enroll", device.enrolment())
    device.token = enrolled.body["device_token"]
    got = await given(device)
    assert {name: enrolled.body[name] for name in got} == got


@pytest.mark.parametrize("text", [POLICY, f"{FORBIDDEN} {POLICY}", "no Cedar", "//" + "x" * 200_000])
async def test_a_mandatory_part_that_permits_or_is_none_is_refused(plane, text):
    assert (await published(plane, text)).word == "invalid_mandatory"
    assert (await plane.admin("GET", "/v1/admin/mandatory")).body == {"id": 0, "policy_text": ""}
