"""The relay at the control plane: what devices put, what approvers see and send, and how all of it ends."""

import asyncio
import base64
import uuid

import pytest

from briefcase.core.wire.relay import MAX_SEALED_BYTES, MAX_WAITING
from briefcase.edges.control_plane.relay import KEPT_US, MAX_AGE_US, forget_ended
from briefcase.model.types import US_PER_S, format_rfc3339
from support.fleet_server import AUDITOR_TOKEN, RunningControlPlane
from support.waiting import until

MINUTE_US = 60 * US_PER_S
SEALED = "c2VhbGVk"
BINDING = "ab" * 32
LISTED = "/v1/admin/approvals"


def put(plane, approval_id: str, *, sealed_b64: str = SEALED, ttl_us: int = 15 * MINUTE_US, **more: object) -> dict:
    expires_at = format_rfc3339(plane.clock.now_us() + ttl_us)
    return {"approval_id": approval_id, "expires_at": expires_at, "sealed_b64": sealed_b64, **more}


def answer(action: str = "approve_binding", **more: str) -> dict[str, str]:
    whole = {"action": action, "signer_id": "phone", "binding_hex": BINDING, "ts_rfc3339": "t", "nonce": "n"}
    return {**whole, "sig_b64": "c2ln", **more}


async def approver(plane, name: str = "ada", **more: str) -> str:
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": name, "role": "approver", **more})
    return made.body["token"]


async def waiting(plane, device) -> str:
    """An approval that waits at a device."""
    approval_id = str(uuid.uuid4())
    kept = await device.call("POST", "approvals", {"put": [put(plane, approval_id)]})
    assert approval_id in kept.body["waiting"]
    return approval_id


async def sent(plane, device, approval_id: str, token: str, body: dict[str, str] | None = None):
    path = f"{LISTED}/{device.id}/{approval_id}/answer"
    return await plane.admin("POST", path, body or answer(), token=token)


async def shown(plane, device, approval_id: str) -> dict:
    return (await plane.admin("GET", f"{LISTED}/{device.id}/{approval_id}")).body


async def fetched(device, wait_ms: int = 0) -> list[dict]:
    return (await device.call("GET", f"approvals/answers?wait_ms={wait_ms}")).body["answers"]


async def test_what_waits_is_seen_answered_fetched_and_said(plane):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)

    (listed,) = (await plane.admin("GET", LISTED, token=token)).body["approvals"]
    assert (listed["approval_id"], listed["device_name"], listed["status"]) == (approval_id, "laptop", "pending")
    assert "sealed_b64" not in listed
    one = await plane.admin("GET", f"{LISTED}/{device.id}/{approval_id}", token=token)
    assert one.body["sealed_b64"] == SEALED

    answer_id = (await sent(plane, device, approval_id, token)).body["answer_id"]
    (got,) = await fetched(device)
    assert got == {**answer(), "answer_id": answer_id, "approval_id": approval_id}
    assert await fetched(device) == [got]  # until the device says a word

    said = {"answer_id": answer_id, "word": "taken", "message": ""}
    ended = {"approval_id": approval_id, "status": "approved"}
    report = {"said": [said], "ended": [ended]}
    assert (await device.call("POST", "approvals", report)).body == {"waiting": [], "not_kept": []}
    assert (await device.call("POST", "approvals", report)).status == 200  # as often as it likes
    assert await fetched(device) == []
    one = await shown(plane, device, approval_id)
    assert (one["status"], one["answers"][0]["word"], one["answers"][0]["sent_by"]) == ("approved", "taken", "ada")
    assert "sealed_b64" not in one
    acts = (await plane.admin("GET", "/v1/audit/acts")).body["acts"]
    assert acts[0]["event"]["act"] == "approval_answered"
    assert acts[0]["event"]["signer_id"] == "phone"


async def test_an_answer_wakes_the_device_that_waits(plane):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)
    polling = asyncio.create_task(fetched(device, 50_000))
    await until(lambda: plane.services.relay.waiting == 1)
    await sent(plane, device, approval_id, token)
    assert [got["approval_id"] for got in await polling] == [approval_id]


async def test_another_process_wakes_it_too(plane, database_url, tmp_path):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "signing_key").write_bytes((tmp_path / "control-plane" / "signing_key").read_bytes())
    (tmp_path / "second" / "signing_key").chmod(0o600)
    async with RunningControlPlane(database_url, tmp_path / "second", clock=plane.clock) as second:
        polling = asyncio.create_task(fetched(device, 50_000))
        await until(lambda: plane.services.relay.waiting == 1)
        await sent(second, device, approval_id, token)
        assert len(await polling) == 1


async def test_a_device_that_is_revoked_while_it_waits_gets_no_answer_and_its_approvals_go(plane):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)
    polling = asyncio.create_task(device.call("GET", "approvals/answers?wait_ms=50000"))
    await until(lambda: plane.services.relay.waiting == 1)
    await plane.admin("POST", f"/v1/admin/devices/{device.id}/revoke")
    plane.services.relay.end()  # as at a stop: each that waits is answered now
    assert (await polling).word == "invalid_token"
    assert (await device.call("GET", "approvals/answers")).word == "invalid_token"
    assert (await device.call("POST", "approvals", {})).word == "invalid_token"
    assert (await plane.admin("GET", LISTED)).body == {"approvals": []}
    assert (await sent(plane, device, approval_id, token)).word == "not_found"
    await forget_ended(plane.services.database, plane.clock.now_us())
    assert await plane.services.database.fetchval("select count(*) from relayed_approvals") == 0
    assert await plane.services.database.fetchval("select count(*) from relayed_answers") == 0


@pytest.mark.parametrize("what", ["policy", "devices", "keys", "rollouts", "mandatory", "convergence"])
async def test_an_approvers_token_opens_nothing_else(plane, what):
    token = await approver(plane)
    assert (await plane.admin("GET", f"/v1/admin/{what}", token=token)).word == "invalid_token"


async def test_whoever_is_no_approver_sends_no_answer(plane):
    device = await plane.new_device()
    approval_id = await waiting(plane, device)
    for token in ("admin-test-token", AUDITOR_TOKEN, "nobody's", device.token):
        assert (await sent(plane, device, approval_id, token)).word == "invalid_token"
    assert (await plane.admin("GET", LISTED, token=AUDITOR_TOKEN)).word == "invalid_token"
    assert await fetched(device) == []


async def test_a_revoked_approver_sees_and_sends_nothing_and_what_was_sent_still_arrives(plane):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)
    await sent(plane, device, approval_id, token)
    assert (await plane.admin("POST", "/v1/admin/tokens/ada/revoke")).status == 200
    assert (await plane.admin("GET", LISTED, token=token)).word == "invalid_token"
    assert (await sent(plane, device, approval_id, token)).word == "invalid_token"
    assert len(await fetched(device)) == 1  # it is the signer's signature that counts


async def test_another_tenants_approver_sees_nothing_and_reaches_nothing(plane):
    device, theirs = await plane.new_device(), await approver(plane, tenant="acme")
    approval_id = await waiting(plane, device)
    assert (await plane.admin("GET", LISTED, token=theirs)).body == {"approvals": []}
    path = f"{LISTED}/{device.id}/{approval_id}"
    assert (await plane.admin("GET", path, token=theirs)).word == "not_found"
    assert (await sent(plane, device, approval_id, theirs)).word == "not_found"


async def test_a_device_reaches_no_approval_of_another_device(plane):
    first, second, token = await plane.new_device(), await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, first)
    answer_id = (await sent(plane, first, approval_id, token)).body["answer_id"]
    assert await fetched(second) == []
    report = {
        "said": [{"answer_id": answer_id, "word": "taken"}],
        "ended": [{"approval_id": approval_id, "status": "withdrawn"}],
    }
    await second.call("POST", "approvals", report)
    one = await shown(plane, first, approval_id)
    assert (one["status"], one["answers"][0]["word"]) == ("pending", None)
    assert (await sent(plane, second, approval_id, token)).word == "not_found"
    # one id at two devices is two approvals
    await second.call("POST", "approvals", {"put": [put(plane, approval_id, sealed_b64="b3RoZXI")]})
    assert (await shown(plane, first, approval_id))["sealed_b64"] == SEALED


async def test_an_approver_has_one_answer_to_an_approval_and_the_last_one_stands(plane):
    device, ada, bob = await plane.new_device(), await approver(plane), await approver(plane, "bob")
    approval_id = await waiting(plane, device)
    first = (await sent(plane, device, approval_id, ada)).body["answer_id"]
    await sent(plane, device, approval_id, ada, answer("deny_binding"))
    await sent(plane, device, approval_id, bob)
    assert [got["action"] for got in await fetched(device)] == ["deny_binding", "approve_binding"]
    # a word about the answer that was replaced is of none
    await device.call("POST", "approvals", {"said": [{"answer_id": first, "word": "invalid_sig"}]})
    assert len(await fetched(device)) == 2


async def test_what_was_put_is_replaced_while_it_waits_and_never_waits_again(plane):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)
    await device.call("POST", "approvals", {"put": [put(plane, approval_id, sealed_b64="bmV3")]})
    assert (await shown(plane, device, approval_id))["sealed_b64"] == "bmV3"
    await device.call("POST", "approvals", {"ended": [{"approval_id": approval_id, "status": "rejected"}]})
    again = await device.call("POST", "approvals", {"put": [put(plane, approval_id)]})
    assert again.body == {"waiting": [], "not_kept": [{"approval_id": approval_id, "code": "late"}]}
    refused = await sent(plane, device, approval_id, token)
    assert (refused.status, refused.word) == (409, "conflict")


async def test_what_is_said_of_an_end_leaves_nothing_sealed_behind(plane):
    device = await plane.new_device()
    approval_id = await waiting(plane, device)
    await device.call("POST", "approvals", {"ended": [{"approval_id": approval_id, "status": "withdrawn"}]})
    assert await plane.services.database.fetchval("select length(sealed) from relayed_approvals") == 0


async def test_what_was_withdrawn_alone_may_be_put_again(plane):
    device = await plane.new_device()
    approval_id = await waiting(plane, device)
    await device.call("POST", "approvals", {"ended": [{"approval_id": approval_id, "status": "withdrawn"}]})
    kept = await device.call("POST", "approvals", {"put": [put(plane, approval_id)]})
    assert kept.body == {"waiting": [approval_id], "not_kept": []}


async def test_an_answer_that_the_device_never_spoke_of_is_told_to_be_late(plane):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)
    await sent(plane, device, approval_id, token)
    await device.call("POST", "approvals", {"ended": [{"approval_id": approval_id, "status": "rejected"}]})
    (kept,) = (await shown(plane, device, approval_id))["answers"]
    assert (kept["word"], kept["message"]) == ("late", "the approval is rejected at the device")
    assert await fetched(device) == []


async def test_an_approval_ends_by_itself_and_is_forgotten(plane):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)
    await sent(plane, device, approval_id, token)
    plane.clock.advance(us=15 * MINUTE_US)
    assert (await shown(plane, device, approval_id))["status"] == "expired"
    assert (await sent(plane, device, approval_id, token)).word == "conflict"
    database = plane.services.database
    await forget_ended(database, plane.clock.now_us())
    assert (await shown(plane, device, approval_id))["answers"][0]["word"] == "late"
    assert await database.fetchval("select length(sealed) from relayed_approvals") == 0
    plane.clock.advance(us=KEPT_US)
    await forget_ended(database, plane.clock.now_us())
    assert (await plane.admin("GET", f"{LISTED}/{device.id}/{approval_id}")).word == "not_found"


async def test_no_device_has_more_waiting_nor_for_longer_than_the_bound(plane):
    device, other = await plane.new_device(), await plane.new_device()
    puts = [put(plane, str(uuid.uuid4())) for _ in range(MAX_WAITING)]
    kept = await device.call("POST", "approvals", {"put": puts})
    assert len(kept.body["waiting"]) == MAX_WAITING
    one_more = put(plane, str(uuid.uuid4()))
    kept = await device.call("POST", "approvals", {"put": [one_more]})
    assert kept.body["not_kept"] == [{"approval_id": one_more["approval_id"], "code": "too_many_approvals"}]
    assert (await device.call("POST", "approvals", {"put": [*puts, one_more]})).word == "invalid_request"
    assert (await other.call("POST", "approvals", {"put": [one_more]})).body["not_kept"] == []
    ends = [{"approval_id": each["approval_id"], "status": "approved"} for each in puts]
    for_ever = put(plane, str(uuid.uuid4()), ttl_us=400 * MAX_AGE_US)
    for _ in range(5):
        await device.call("POST", "approvals", {"ended": ends})
        puts = [put(plane, str(uuid.uuid4())) for _ in range(MAX_WAITING - 1)]
        await device.call("POST", "approvals", {"put": [*puts, for_ever]})
        ends = [{"approval_id": each["approval_id"], "status": "approved"} for each in puts]
    plane.clock.advance(us=MAX_AGE_US)
    assert (await shown(plane, device, for_ever["approval_id"]))["status"] == "expired"
    rows = await plane.services.database.fetchval("select count(*) from relayed_approvals where device = $1", device.id)
    assert rows <= 2 * MAX_WAITING + MAX_WAITING


async def test_a_put_of_another_form_is_refused(plane):
    device = await plane.new_device()
    approval_id = str(uuid.uuid4())
    good = put(plane, approval_id)
    head = {"tool_id": "t" * 257, "principal": "p", "reason": "r", "kind": "local"}
    for bad in (
        {"approval_id": "../etc"}, {"expires_at": "soon"}, {"sealed_b64": "="}, {"head": head},
        {"sealed_b64": "A" * (MAX_SEALED_BYTES * 2)},
    ):  # fmt: skip
        assert (await device.call("POST", "approvals", {"put": [{**good, **bad}]})).word == "invalid_request", bad
    assert (await device.call("POST", "approvals", "x" * (5 << 20))).word == "payload_too_large"
    past = put(plane, approval_id, ttl_us=-1)
    kept = await device.call("POST", "approvals", {"put": [past]})
    assert kept.body["not_kept"][0]["code"] == "late"
    whole = base64.urlsafe_b64encode(b"\xff" * MAX_SEALED_BYTES).decode().rstrip("=")
    kept = await device.call("POST", "approvals", {"put": [put(plane, approval_id, sealed_b64=whole)]})
    assert kept.body["not_kept"] == []


@pytest.mark.parametrize(
    "bad",
    [{"action": "approve"}, {"action": "deny"}, {"binding_hex": "AB"}, {"sig_b64": ""}, {"nonce": "n" * 129}],
    ids=str,
)
async def test_only_an_answer_to_a_binding_is_carried(plane, bad):
    device, token = await plane.new_device(), await approver(plane)
    approval_id = await waiting(plane, device)
    assert (await sent(plane, device, approval_id, token, answer(**bad))).word == "invalid_request"
    assert (await plane.admin("GET", f"{LISTED}/{device.id}/x", token=token)).word == "invalid_request"


async def test_what_a_device_says_in_clear_is_seen(plane):
    device = await plane.new_device()
    approval_id = str(uuid.uuid4())
    head = {"tool_id": "mail", "principal": "agent", "reason": "policy", "kind": "local"}
    await device.call("POST", "approvals", {"put": [put(plane, approval_id, sealed_b64="", head=head)]})
    one = await shown(plane, device, approval_id)
    assert one["head"] == head
    assert "sealed_b64" not in one


async def test_racing_answers_and_an_end_leave_no_answer_open(plane):
    device = await plane.new_device()
    tokens = [await approver(plane, f"a{number}") for number in range(6)]
    approval_id = await waiting(plane, device)
    end = device.call("POST", "approvals", {"ended": [{"approval_id": approval_id, "status": "approved"}]})
    got = await asyncio.gather(*(sent(plane, device, approval_id, token) for token in tokens), end)
    assert {answered.status for answered in got} <= {200, 409}
    assert await fetched(device) == []
    kept = (await shown(plane, device, approval_id))["answers"]
    assert {each["word"] for each in kept} <= {"late"}
    assert len(kept) == sum(answered.status == 200 for answered in got[:-1])
