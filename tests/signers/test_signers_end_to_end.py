"""From an agent's call to a paired device's yes, at a running daemon, and what a token alone cannot do there."""

import json
import time

import lmdb

from briefcase.adapters.disk.data_dir import LEDGER_DIR
from briefcase.adapters.ledger.tables import ENGINE, TABLES
from briefcase.core.jose.base64url import decode_base64url
from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.signers.texts import Signed
from support.daemons import RunningDaemon
from support.signers import NO, YES, Device

NEEDS_SIGNER = '@id("signed") permit (principal, action == Action::"Call", resource);'


def now_us() -> int:
    return time.time_ns() // 1_000


def wire(signed: Signed) -> dict[str, str]:
    return {
        "signer_id": signed.signer_id, "ts_rfc3339": signed.ts, "nonce": signed.nonce, "sig_b64": signed.sig_b64,
    }  # fmt: skip


def pair(daemon, device: Device, **start: str) -> Device:
    status, begun = daemon.request("POST", "/v1/signer/pair/start", start or None)
    assert status == 200, begun
    side, arrival = device.arrive(begun["pairing_code"])
    sent = {
        "msg1_b64": arrival.msg1_b64, "algorithm": "ed25519", "signer_pubkey_b64": arrival.public_key_b64,
        "device_name": "phone",
    }  # fmt: skip
    status, done = daemon.request("POST", f"/v1/signer/pair/{begun['pairing_id']}/complete", sent, token="")
    assert status == 200, done
    device.signer_id = json.loads(side.read_message(decode_base64url(done["msg2_b64"])))["signer_id"]
    return device


def waiting(daemon, device: Device) -> dict:
    status, listed = daemon.request("POST", "/v1/signer/approvals", wire(device.listing(now_us())), token="")
    assert status == 200, listed
    return listed


def decide(daemon, device: Device, document: dict, did: str, to=YES) -> tuple[int, dict]:
    ruling = device.ruling(document["id"], now_us(), to, binding_hex_of(document, did))
    said = {**wire(ruling.signed), "binding_hex": ruling.binding_hex}
    word = "approve" if to is YES else "deny"
    return daemon.request("POST", f"/v1/signer/approvals/{document['id']}/{word}", said, token="")


def test_a_call_that_needs_a_signer_takes_a_devices_yes_and_no_tokens(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": NEEDS_SIGNER})[0] == 200
        before = daemon.call("note_add", {"text": "hi"})["approval"]
        assert (before["kind"], before["stands_in"]) == ("local", "signer")

        device = pair(daemon, Device())
        asked = daemon.call("note_add", {"text": "hi"})["approval"]
        assert (asked["kind"], "stands_in" in asked) == ("mobile_signer", False)
        for approval in (before, asked):
            status, refused = daemon.request("POST", f"/v1/approvals/{approval['id']}/approve")
            assert (status, refused["code"]) == (403, "signer_required")

        listed = waiting(daemon, device)
        document = next(one for one in listed["approvals"] if one["id"] == asked["id"])
        did = daemon.request("GET", "/v1/identity")[1]["did"]
        assert listed["device_did"] == did
        assert document == daemon.request("GET", f"/v1/approvals/{asked['id']}")[1]
        status, approved = decide(daemon, device, document, did)
        assert status == 200, approved
        daemon.kill()
        daemon.start()
        assert daemon.call("note_add", {"text": "hi"}, approval_token=approved["approval_token"])["status"] == "ok"
        again = daemon.call("note_add", {"text": "hi"})["approval"]
        assert decide(daemon, device, waiting(daemon, device)["approvals"][-1], did, NO)[0] == 200
        assert daemon.request("GET", f"/v1/approvals/{again['id']}")[1]["status"] == "rejected"

        checks = {one["name"]: one for one in daemon.request("GET", "/v1/diagnostics/security")[1]["checks"]}
        assert checks["signers"]["ok"]
        signers = daemon.request("GET", "/v1/signers")[1]["signers"]
        assert daemon.request("POST", f"/v1/signers/{signers[0]['signer_id']}/revoke")[0] == 200
        status, refused = daemon.request("POST", "/v1/signer/approvals", wire(device.listing(now_us())), token="")
        assert (status, refused["code"]) == (404, "unknown_signer")
        assert daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True


def test_a_signer_that_was_written_into_the_store_is_found(tmp_path):
    data = tmp_path / "data"
    with RunningDaemon(data) as daemon:
        pair(daemon, Device())
        assert daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True
    with lmdb.open(str(data / LEDGER_DIR), max_dbs=len(TABLES), lib_version=ENGINE) as env:
        table = env.open_db(b"settings")
        with env.begin(write=True) as transaction:
            known = json.loads(transaction.get(b"signers", db=table))
            known.append({**known[0], "id": "00000000-0000-4000-8000-00000000000a"})
            transaction.put(b"signers", json.dumps(known).encode(), db=table)
    with RunningDaemon(data) as daemon:
        found = daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]
        assert (found["ok"], found["difference"]["row"]) == (False, "setting:signers")


def test_what_was_signed_once_is_refused_after_a_restart_too(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        device = pair(daemon, Device())
        said = wire(device.listing(now_us()))
        assert daemon.request("POST", "/v1/signer/approvals", said, token="")[0] == 200
        daemon.kill()
        daemon.start()
        status, refused = daemon.request("POST", "/v1/signer/approvals", said, token="")
        assert (status, refused["code"]) == (400, "replay")


def test_the_agents_socket_serves_a_device_and_opens_no_pairing(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        device = pair(daemon, Device())
        daemon.kill()
        place = tmp_path / "agents"
        place.mkdir(mode=0o750)
        agents = str(place / "a.sock")
        daemon.environment["BRIEFCASE_AGENT_SOCKET"] = agents
        daemon.start()
        own, daemon.socket_path = daemon.socket_path, agents
        try:
            assert waiting(daemon, device)["approvals"] == []
            assert daemon.request("POST", "/v1/signer/pair/start")[0] == 403
            assert daemon.request("GET", "/v1/signers")[0] == 403
        finally:
            daemon.socket_path = own


def test_an_agent_pairs_nothing_and_sees_no_signer(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        for method, path in (
            ("POST", "/v1/signer/pair/start"),
            ("GET", "/v1/signers"),
            ("POST", "/v1/signers/x/revoke"),
        ):
            assert daemon.request(method, path, token=agent)[0] == 403
