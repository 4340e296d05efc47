"""The control plane as a witness: it cosigns what continues, keeps it before it answers, and names what does not."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from briefcase.adapters.system import SystemClock, SystemEntropy
from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.jose.did import encode_did_key
from briefcase.core.receipts.cosignatures import read_answer_lines, read_cosignatures
from briefcase.core.receipts.note_keys import COSIGNER_ED25519, LOG_ED25519, NoteKey, parse_cosigner_vkey
from briefcase.core.receipts.notes import checkpoint_text
from briefcase.core.receipts.witnessing import MAX_REQUEST_BYTES, SIZE_TYPE, AddCheckpoint, encode_request
from briefcase.model.types import US_PER_S
from support.daemons import RunningDaemon
from support.fleet_server import ADMIN_TOKEN, AUDITOR_TOKEN, FleetDevice, RunningControlPlane, chain
from support.witnesses import Log


async def enrolled(plane, log: Log, *, token: str | None = None) -> str:
    """A device whose identity is the log's key."""
    device_id = str(uuid.uuid4())
    body = {
        "device_id": device_id,
        "device_name": "laptop",
        "device_pubkey_b64": encode_base64url(log.key.public_key),
    }
    got = await plane.admin("POST", "/v1/admin/devices/enroll", body, **({} if token is None else {"token": token}))
    assert got.status == 200, got
    return device_id


async def add(plane, request: AddCheckpoint | bytes):
    body = request if isinstance(request, bytes) else encode_request(request)
    return await plane.send("POST", "/witness/add-checkpoint", body=body)


async def key_of(plane):
    return parse_cosigner_vkey((await plane.send("GET", "/witness")).body["vkey"])


async def logs(plane, token=AUDITOR_TOKEN):
    return (await plane.admin("GET", "/v1/audit/witness", token=token)).body["logs"]


async def test_a_devices_log_is_cosigned_as_it_grows(plane):
    log = Log()
    device_id = await enrolled(plane, log)
    key = await key_of(plane)
    assert key.type == COSIGNER_ED25519
    now_s = plane.clock.now_us() // US_PER_S
    for old_size, size in ((0, 3), (3, 3), (3, 8), (8, 21)):
        got = await add(plane, log.request(old_size, size))
        assert got.status == 200, got
        text = checkpoint_text(log.checkpoint(size))
        (found,) = read_cosignatures(read_answer_lines(got.body.encode()), [key], text, now_s, verify_note_signature)
        assert found.time_s == now_s
    (listed,) = await logs(plane)
    assert (listed["device_id"], listed["size"], listed["alarms"]) == (device_id, 21, [])
    assert listed["root_hex"] == log.checkpoint(21).root.hex()


@pytest.mark.parametrize(
    ("old_size", "size", "status", "kind", "body"),
    [
        (0, 5, 409, SIZE_TYPE, "5\n"),
        (0, 4, 409, SIZE_TYPE, "5\n"),
        (4, 9, 409, SIZE_TYPE, "5\n"),
        (9, 5, 400, "text/plain", "the old size is past the checkpoint\n"),
    ],
)
async def test_what_does_not_go_on_from_what_it_saw_is_refused_with_the_size(plane, old_size, size, status, kind, body):
    log = Log()
    await enrolled(plane, log)
    assert (await add(plane, log.request(0, 5))).status == 200
    got = await add(plane, AddCheckpoint(old_size, log.request(min(old_size, size), size).proof, log.note(size)))
    assert (got.status, got.headers["content-type"].split(";")[0], got.body) == (status, kind, body)
    assert (await add(plane, log.request(5, 9))).status == 200


async def test_two_histories_of_one_log_are_refused_and_both_signed_notes_are_kept(plane):
    log, forked = Log(), Log(history="another")
    await enrolled(plane, log)
    assert (await add(plane, log.request(0, 5))).status == 200
    for _ in range(3):
        assert (await add(plane, forked.request(5, 5))).status == 409
    assert (await add(plane, forked.request(5, 9))).status == 422
    (listed,) = await logs(plane)
    assert listed["size"] == 5
    fork, inconsistent = listed["alarms"]
    assert (fork["problem"], fork["times"], fork["seen_note"], fork["sent_note"]) == (
        "fork", 3, log.note(5), forked.note(5),
    )  # fmt: skip
    assert (inconsistent["problem"], inconsistent["sent_size"]) == ("inconsistent", 9)
    metrics = (await plane.admin("GET", "/metrics", token=AUDITOR_TOKEN)).body
    assert "briefcase_fleet_witness_alarms_total 4" in metrics or "briefcase_fleet_witness_alarms 4" in metrics
    assert (await add(plane, log.request(5, 9))).status == 200


async def test_a_log_of_no_device_or_of_a_revoked_one_is_unknown(plane):
    log = Log()
    assert (await add(plane, log.request(0, 3))).status == 404
    device_id = await enrolled(plane, log)
    assert (await add(plane, log.request(0, 3))).status == 200
    await plane.admin("POST", f"/v1/admin/devices/{device_id}/revoke")
    assert (await add(plane, log.request(3, 9))).status == 404


async def test_who_has_a_key_does_not_begin_anew_with_another_enrolment_or_another_tenant(plane):
    log, rewritten = Log(), Log(history="another")
    first = await enrolled(plane, log)
    assert (await add(plane, log.request(0, 9))).status == 200
    await plane.admin("POST", f"/v1/admin/devices/{first}/revoke")
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": "ops", "role": "admin", "tenant": "acme"})
    await enrolled(plane, log, token=made.body["token"])
    got = await add(plane, rewritten.request(0, 3))
    assert (got.status, got.body) == (409, "9\n")
    assert (await add(plane, log.request(9, 12))).status == 200
    assert await logs(plane, made.body["token"]) == []  # the row is the first tenant's


async def test_a_signature_by_another_key_counts_for_nothing(plane):
    log, other = Log(1), Log(2)
    await enrolled(plane, log)
    stolen = other.note(3).replace(other.origin, log.origin)
    assert (await add(plane, AddCheckpoint(0, (), stolen))).status == 403
    assert await logs(plane) == []


@pytest.mark.parametrize("body", [b"", b"old 0", b"old 0\n\nx\n", b"\xff", b"old 01\n\n" + Log().note(3).encode()])
async def test_what_is_no_request_is_refused(plane, body):
    await enrolled(plane, Log())
    got = await add(plane, body)
    assert (got.status, got.headers["content-type"].split(";")[0]) == (400, "text/plain")


async def test_a_body_is_bounded_before_anybody_is_asked(plane):
    assert (await add(plane, b"x" * (MAX_REQUEST_BYTES + 1))).status == 413


async def test_of_checkpoints_that_race_each_is_judged_by_the_one_before(plane):
    log = Log()
    await enrolled(plane, log)
    assert (await add(plane, log.request(0, 2))).status == 200
    got = await asyncio.gather(*(add(plane, log.request(2, size)) for size in range(3, 23)))
    assert sorted(one.status for one in got) == [200, *[409] * 19]
    (won,) = [size for size, one in zip(range(3, 23), got, strict=True) if one.status == 200]
    assert {one.body for one in got if one.status == 409} == {f"{won}\n"}
    assert (await logs(plane))[0]["size"] == won


async def test_another_process_goes_on_with_the_same_key_and_the_same_rows(plane, database_url, tmp_path):
    log = Log()
    await enrolled(plane, log)
    assert (await add(plane, log.request(0, 4))).status == 200
    again = RunningControlPlane(database_url, tmp_path / "control-plane", base_url=plane.plane.base_url)
    async with again:
        assert await key_of(again) == await key_of(plane)
        assert (await add(again, log.request(0, 4))).body == "4\n"
        assert (await add(again, log.request(4, 6))).status == 200
    assert (await add(plane, log.request(6, 7))).status == 200


async def test_while_the_database_is_away_nothing_is_cosigned(plane):
    log = Log()
    await enrolled(plane, log)
    await plane.services.database.close()
    got = await add(plane, log.request(0, 3))
    assert (got.status, got.word) == (503, "not_ready")


async def test_a_daemon_that_is_enrolled_has_its_log_cosigned_by_its_control_plane(database_url, tmp_path):
    async with RunningControlPlane(
        database_url, tmp_path / "control-plane", clock=SystemClock(), entropy=SystemEntropy()
    ) as plane:
        data_dir = tmp_path / "data"
        data_dir.mkdir(mode=0o700)
        host = plane.address.removeprefix("http://")
        config = f'[net]\nallow_private = ["{host}"]\n[receipts]\nwitness_interval_s = 1\n'
        (data_dir / "briefcase.toml").write_text(config)
        daemon = RunningDaemon(data_dir)
        try:
            await asyncio.to_thread(daemon.start)

            async def ask(method, path, body=None):
                status, answer = await asyncio.to_thread(daemon.request, method, path, body)
                assert status == 200, answer
                return answer

            wanted = {"base_url": plane.address, "admin_token": ADMIN_TOKEN, "device_name": "laptop"}
            enrolment = await ask("POST", "/v1/control-plane/enroll", wanted)
            key = (await plane.send("GET", "/witness")).body
            await ask("POST", "/v1/witnesses", {"url": key["url"], "key": key["vkey"]})

            async def is_cosigned():
                return (await ask("GET", "/v1/witnesses"))["witnesses"][0]["state"] == "ok"

            for _ in range(600):
                if await is_cosigned():
                    break
                await asyncio.sleep(0.1)
            verified = await ask("POST", "/v1/receipts/verify")
            assert (verified["ok"], verified["witnessed"]["quorum_met"]) == (True, True)
            assert verified["witnessed"]["by"] == [(await key_of(plane)).label]
            (listed,) = await logs(plane)
            assert listed["device_id"] == enrolment["device_id"]
            assert listed["size"] >= verified["witnessed"]["size"]
        finally:
            await asyncio.to_thread(daemon.__exit__)


class ReceiptLog(Log):
    """The log that a device's receipts make, signed by the key that it enrolled with."""

    def __init__(self, device: FleetDevice, receipts: list[dict[str, object]]) -> None:
        super().__init__()
        self._key, self.receipts = device.key, receipts
        public_key = decode_base64url(device.key.public.jwk["x"])
        self.origin = encode_did_key(public_key)
        self.key = NoteKey(self.origin, LOG_ED25519, public_key)

    def leaves(self, size: int) -> list[bytes]:
        return [bytes.fromhex(str(receipt["hash_hex"])) for receipt in self.receipts[:size]]


async def alarms(plane) -> list[dict[str, object]]:
    return [alarm for log in await logs(plane) for alarm in log["alarms"]]


async def test_uploads_and_checkpoints_of_one_history_are_taken_in_any_order(plane):
    device, receipts = await plane.new_device(), chain(40)
    log = ReceiptLog(device, receipts)
    sizes = {"upload": 0, "cosign": 0}
    for what, size in [
        *(("cosign", 3), ("upload", 2), ("upload", 7), ("cosign", 5), ("cosign", 7)),
        *(("upload", 11), ("cosign", 20), ("cosign", 25), ("upload", 40), ("cosign", 40)),
    ]:
        if what == "upload":
            got = await device.upload(receipts[sizes[what] : size])
        else:
            got = await add(plane, log.request(sizes[what], size))
        assert got.status == 200, (what, size, got)
        sizes[what] = size
    assert await alarms(plane) == []


async def test_an_upload_that_is_not_what_was_cosigned_is_a_fork_and_an_alarm(plane):
    device = await plane.new_device()
    shown, sent = ReceiptLog(device, chain(8)), chain(8, mark="another history")
    assert (await add(plane, shown.request(0, 6))).status == 200
    assert (await device.upload(sent[:4])).status == 200, "nothing is cosigned of so many"
    for _ in range(2):
        got = await device.upload(sent[4:])
        assert (got.status, got.word, got.body["last_receipt_id"]) == (409, "receipt_fork", 4), got
    (alarm,) = await alarms(plane)
    assert (alarm["problem"], alarm["times"], alarm["seen_size"], alarm["sent_size"]) == ("receipts", 2, 6, 6)
    assert alarm["seen_note"] == shown.note(6)
    assert alarm["sent_note"] == checkpoint_text(ReceiptLog(device, sent).checkpoint(6))
    assert plane.services.figures.witness_alarms == 2


async def test_a_checkpoint_that_is_not_of_what_was_uploaded_is_not_cosigned(plane):
    device = await plane.new_device()
    receipts = chain(9)
    assert (await device.upload(receipts)).status == 200
    shown, honest = ReceiptLog(device, chain(9, mark="another history")), ReceiptLog(device, receipts)
    got = await add(plane, shown.request(0, 5))
    assert (got.status, "uploaded" in got.body) == (422, True), got
    (alarm,) = await alarms(plane)
    assert (alarm["problem"], alarm["seen_size"], alarm["sent_note"]) == ("receipts", 5, shown.note(5))
    assert alarm["seen_note"] == checkpoint_text(honest.checkpoint(5))
    assert (await add(plane, honest.request(0, 9))).status == 200, "the log goes on with what is so"


async def test_a_chain_with_gaps_is_not_compared_and_not_stopped(plane):
    device = await plane.new_device()
    (first,) = chain(1)
    rest = chain(3, first_id=5, prev_hash_hex=first["hash_hex"])
    log = ReceiptLog(device, [first, *rest])
    assert (await add(plane, log.request(0, 4))).status == 200
    assert (await device.upload([first])).status == 200
    assert (await device.upload(rest)).status == 200
    assert (await add(plane, log.request(4, 4))).status == 200
    assert await alarms(plane) == []
