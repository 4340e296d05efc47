"""A device at a control plane: let in by token, key and a proof that is used once, until it is revoked."""

import asyncio
import itertools
import json
import uuid

import pytest

from briefcase.core.fleet.bundles import PolicyBundle, signed_bytes
from briefcase.core.jose.base64url import decode_base64url
from briefcase.core.jose.jws import parse_public_jwk
from briefcase.edges.control_plane.device_calls import SLOT_S, SLOTS, empty_slot, slot_of
from briefcase.model.types import US_PER_S
from support.fleet_server import AUDITOR_TOKEN, POLICY, FleetDevice, RunningControlPlane


async def test_a_device_gets_the_bundle_as_it_was_signed(plane):
    published = await plane.admin(
        "POST", "/v1/admin/policy", {"policy_text": f"  {POLICY}\n", "budgets": {"b": 2, "a": 1}}
    )
    assert published.status == 200, published
    device = FleetDevice(plane, str(uuid.uuid4()))
    enrolled = await plane.admin("POST", "/v1/admin/devices/enroll", device.enrolment())
    device.token = enrolled.body["device_token"]

    got = await device.call("GET", "policy")
    assert got.status == 200
    signed = got.body["policy_bundle"]
    assert signed == published.body["policy_bundle"] == enrolled.body["policy_bundle"]
    bundle = PolicyBundle(**signed["bundle"])
    assert (bundle.bundle_id, bundle.policy_text, list(bundle.budgets)) == (2, POLICY, ["a", "b"])
    key = parse_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": enrolled.body["policy_signing_pubkey_b64"]})
    assert key.is_signature(signed_bytes(bundle), decode_base64url(signed["signature_b64"]))


async def test_what_is_wrong_is_told_in_the_order_of_the_contract(plane):
    device = await plane.new_device()
    other = await plane.new_device()
    path = f"/v1/devices/{device.id}/policy"
    good = {"authorization": f"Bearer {device.token}"}
    for expected, headers, where in [
        ("missing_token", {}, path),
        ("missing_token", {"authorization": f"DPoP {device.token}"}, path),
        ("unknown_device", good, f"/v1/devices/{uuid.uuid4()}/policy"),
        ("unknown_device", good, "/v1/devices/nobody/policy"),
        ("invalid_token", {"authorization": f"Bearer {other.token}"}, path),
        ("missing_dpop", good, path),
        ("invalid_dpop", good | {"dpop": "no.proof.here"}, path),
        ("invalid_dpop", good | {"dpop": device.proof("POST", path)}, path),
        ("invalid_dpop", good | {"dpop": device.proof("GET", "/v1/devices/elsewhere")}, path),
    ]:
        got = await plane.send("GET", where, headers=headers)
        assert (got.word, got.status) == (expected, 401), (expected, got)
    other.token = device.token  # a thief of the token has another key
    got = await plane.send("GET", path, headers=good | {"dpop": other.proof("GET", path)})
    assert got.word == "invalid_dpop"
    assert (await device.call("GET", "policy")).status == 200


async def test_a_proof_is_good_once_whoever_sends_it_first(plane):
    device = await plane.new_device()
    proof = device.proof("GET", f"/v1/devices/{device.id}/policy")
    answers = await asyncio.gather(*(device.call("GET", "policy", proof=proof) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 19
    assert (await device.call("GET", "policy", proof=proof)).word == "replay_detected"


async def test_the_id_of_a_proof_is_good_once_in_ten_minutes_whatever_its_time(plane):
    device = await plane.new_device()
    path = f"/v1/devices/{device.id}/policy"
    assert (await device.call("GET", "policy", proof=device.proof("GET", path, jti="the same"))).status == 200
    plane.clock.advance(us=500 * US_PER_S)  # in another part of the ring
    again = await device.call("GET", "policy", proof=device.proof("GET", path, jti="the same"))
    assert again.word == "replay_detected"


@pytest.mark.parametrize("now_s", range(1_767_225_600, 1_767_225_600 + SLOT_S * SLOTS, 37))
def test_the_part_of_the_ring_that_is_emptied_holds_no_proof_that_counts(now_s):
    counting = {slot_of(iat) for iat in range(now_s - 600 - 120, now_s + 121)}
    assert empty_slot(now_s * US_PER_S) not in counting


async def test_a_revoked_device_gets_nothing(plane):
    device = await plane.new_device()
    assert (await plane.admin("POST", f"/v1/admin/devices/{device.id}/revoke")).body["status"] == "revoked"
    for method, what, body in [
        ("GET", "policy", None),
        ("POST", "receipts", {"receipts": []}),
        ("POST", "status", {}),
        ("GET", "remote-signer", None),
    ]:
        assert (await device.call(method, what, body)).word == "invalid_token", what
    assert (await plane.admin("POST", f"/v1/admin/devices/{device.id}/revoke")).status == 404


async def test_another_token_ends_the_one_before(plane):
    device = await plane.new_device()
    old = device.token
    rotated = await plane.admin("POST", f"/v1/admin/devices/{device.id}/rotate")
    assert (await device.call("GET", "policy")).word == "invalid_token"
    device.token = rotated.body["device_token"]
    assert device.token != old
    assert (await device.call("GET", "policy")).status == 200

    enrolled = await plane.admin("POST", "/v1/admin/devices/enroll", device.enrolment())
    assert (await device.call("GET", "policy")).word == "invalid_token"
    device.token = enrolled.body["device_token"]
    assert (await device.call("GET", "policy")).status == 200


async def test_a_bundle_it_has_is_not_sent_again(plane):
    device = await plane.new_device()
    first = await device.call("GET", "policy")
    again = await device.call("GET", "policy", headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.headers["etag"]) == (304, first.headers["etag"])


async def wait_for_bundle(device: FleetDevice, etag: str):
    path = f"/v1/devices/{device.id}/policy?wait_ms=30000"
    fields = {"authorization": f"Bearer {device.token}", "dpop": device.proof("GET", path), "if-none-match": etag}
    return await device.plane.send("GET", path, headers=fields)


async def test_a_waiting_device_gets_what_is_published(plane):
    device = await plane.new_device()
    etag = (await device.call("GET", "policy")).headers["etag"]
    waiting = asyncio.create_task(wait_for_bundle(device, etag))
    published = await plane.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}})
    got = await waiting
    assert got.body["policy_bundle"] == published.body["policy_bundle"]


async def test_a_device_revoked_while_it_waits_gets_nothing_new(plane):
    device = await plane.new_device()
    etag = (await device.call("GET", "policy")).headers["etag"]
    waiting = asyncio.create_task(wait_for_bundle(device, etag))
    for _ in iter(lambda: plane.services.publications.waiting, 1):
        await asyncio.sleep(0.01)
    await plane.admin("POST", f"/v1/admin/devices/{device.id}/revoke")
    await plane.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}})
    assert (await waiting).status == 401


async def test_a_waiting_device_is_answered_when_the_process_stops(database_url, tmp_path):
    async with RunningControlPlane(database_url, tmp_path / "cp") as plane:
        device = await plane.new_device()
        etag = (await device.call("GET", "policy")).headers["etag"]
        waiting = asyncio.create_task(wait_for_bundle(device, etag))
        for _ in iter(lambda: plane.services.publications.waiting, 1):
            await asyncio.sleep(0.01)
        plane.services.publications.end()
        assert (await waiting).status == 304


async def test_what_a_device_says_of_itself_is_listed(plane):
    device = await plane.new_device(name="build server")
    said = {
        "running_bundle_id": 1,
        "tried_bundle_id": 2,
        "last_error": "invalid_policy: line 3",
        "version": "1.0",
        "more": [],
    }
    assert (await device.call("POST", "status", said)).status == 200
    listed = await plane.admin("GET", "/v1/admin/devices", token=AUDITOR_TOKEN)
    (shown,) = listed.body["devices"]
    assert {name: shown[name] for name in list(said)[:4]} == {name: said[name] for name in list(said)[:4]}
    assert (shown["device_name"], shown["status"], shown["last_receipt_id"]) == ("build server", "enrolled", 0)
    assert (await plane.admin("GET", f"/v1/admin/devices/{device.id}")).body == shown


async def test_a_key_in_custody_signs_for_its_device(plane):
    device = await plane.new_device()
    described = (await device.call("GET", "remote-signer")).body["signer"]
    message = b"pay nobody"
    wanted = {"key_id": described["key_id"], "msg_b64": "cGF5IG5vYm9keQ"}
    signed = await device.call("POST", "remote-signer/sign", wanted)
    key = parse_public_jwk(described["public_jwk"])
    assert key.is_signature(message, decode_base64url(signed.body["signature_b64"]))
    other = await plane.new_device()
    assert (await other.call("POST", "remote-signer/sign", wanted)).word == "invalid_key_id"
    assert (await other.call("GET", "remote-signer")).body["signer"]["public_jwk"] != described["public_jwk"]


async def test_each_tenant_sees_its_own_alone(plane):
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": "ops", "role": "admin", "tenant": "acme"})
    theirs = made.body["token"]
    device = await plane.new_device(token=theirs)
    ours = await plane.new_device()
    await plane.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}}, token=theirs)

    assert (await device.call("GET", "policy")).body["policy_bundle"]["bundle"]["policy_text"] == POLICY
    assert (await ours.call("GET", "policy")).body["policy_bundle"]["bundle"]["bundle_id"] == 1
    listed = await plane.admin("GET", "/v1/admin/devices", token=theirs)
    assert [shown["device_id"] for shown in listed.body["devices"]] == [device.id]
    assert (await plane.admin("POST", f"/v1/admin/devices/{ours.id}/revoke", token=theirs)).status == 404
    taken = await plane.admin("POST", "/v1/admin/devices/enroll", ours.enrolment(), token=theirs)
    assert taken.word == "conflict"
    assert (await ours.call("GET", "policy")).status == 200
    wider = await plane.admin("POST", "/v1/admin/tokens", {"name": "x", "role": "admin", "tenant": "b"}, token=theirs)
    assert wider.word == "forbidden"


async def test_a_named_token_is_good_until_it_is_revoked(plane):
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": "audit", "role": "auditor"})
    token = made.body["token"]
    assert (await plane.admin("GET", "/v1/audit/acts", token=token)).status == 200
    assert (
        await plane.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}}, token=token)
    ).status == 401
    assert (await plane.admin("POST", "/v1/admin/tokens", {"name": "audit", "role": "admin"})).word == "conflict"
    assert (await plane.admin("POST", "/v1/admin/tokens/audit/revoke")).status == 200
    assert (await plane.admin("GET", "/v1/audit/acts", token=token)).word == "invalid_token"


async def test_each_act_of_an_administrator_is_linked_to_the_one_before(plane):
    device = await plane.new_device()
    await asyncio.gather(
        *(plane.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}}) for _ in range(8))
    )
    await plane.admin("POST", f"/v1/admin/devices/{device.id}/revoke")
    acts = (await plane.admin("GET", "/v1/audit/acts", token=AUDITOR_TOKEN)).body["acts"][::-1]
    assert [act["id"] for act in acts] == list(range(1, len(acts) + 1))
    assert [act["event"]["act"] for act in acts] == [
        "tenant_made", "policy_published", "device_enrolled", *["policy_published"] * 8, "device_revoked"
    ]  # fmt: skip
    assert [act["event"]["bundle_id"] for act in acts[3:11]] == list(range(2, 10))
    for before, act in itertools.pairwise(acts):
        assert act["prev_hash_hex"] == before["hash_hex"]
    assert device.token not in json.dumps(acts)


async def test_many_who_are_enrolled_at_once_wait_for_each_other_and_not_in_a_ring(plane):
    devices = await asyncio.gather(*(plane.new_device() for _ in range(24)))
    acts = (await plane.admin("GET", "/v1/audit/acts?limit=100")).body["acts"]
    assert [act["event"]["act"] for act in acts].count("device_enrolled") == len(devices) == 24
