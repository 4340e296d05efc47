"""A passkey is registered at the page, and says yes to exactly the call the page shows, once."""

import hashlib
import json

import pytest

from briefcase.core.jose.base64url import decode_base64url
from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.signers.ceremonies import CEREMONY_TTL_US
from briefcase.core.signers.signers import SETTING
from briefcase.model.types import ApprovalKind, ShownCall, ShownTool
from support.api import AGENT_TOKEN, APPROVER_TOKEN, OPERATOR_TOKEN, Rig
from support.passkeys import ORIGIN, PRESENT, VERIFIED, SoftPasskey

PASSKEYS = "/v1/signers/passkeys"
APPROVAL = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


@pytest.fixture
async def rig(tmp_path):
    async with Rig(tmp_path) as made:
        yield made


async def begin(rig, *, token=OPERATOR_TOKEN, origin=ORIGIN, name="laptop", code=""):
    wanted = {"name": name, "origin": origin, "pairing_code": code}
    return await rig.ask("POST", f"{PASSKEYS}/registration", wanted, token=token)


async def register(rig, passkey, *, token=OPERATOR_TOKEN, code="", **how):
    status, _, begun = await begin(rig, token=token, code=code)
    assert status == 200, begun
    sent = {"registration_id": begun["registration_id"], "credential": passkey.create(begun["options"], **how)}
    return await rig.ask("POST", PASSKEYS, sent, token=token)


def waits(rig, **changes):
    approval = rig.store_approval(kind=ApprovalKind.MOBILE_SIGNER, **changes)
    rig.ledger.shown[approval.id] = ShownCall('{"text":"hi"}', ShownTool("echo", "", "read", 0, "builtin"))
    return approval


async def ask(rig, *, to="approve", token=OPERATOR_TOKEN, approval_id=APPROVAL, **changes):
    shown = (await rig.ask("GET", f"/v1/approvals/{approval_id}"))[2]
    wanted = {
        "approval_id": approval_id, "to": to, "shown_digest_hex": shown["shown_digest_hex"], "origin": ORIGIN,
    }  # fmt: skip
    return await rig.ask("POST", f"{PASSKEYS}/ruling", {**wanted, **changes}, token=token)


async def answer(rig, begun, credential, *, token=OPERATOR_TOKEN, **changes):
    sent = {"assertion_id": begun["assertion_id"], "credential": credential, **changes}
    return await rig.ask("POST", f"{PASSKEYS}/rule", sent, token=token)


def decided(rig):
    return [one.event for one in rig.ledger.chain if one.event["kind"] == "approval_decided"]


async def test_a_passkey_is_registered_and_says_yes_to_what_the_page_shows(rig):
    passkey = SoftPasskey()
    status, _, made = await register(rig, passkey)
    assert (status, made["name"], made["owner"]) == (200, "laptop", "operator")
    waits(rig)
    assert (await rig.ask("POST", f"/v1/approvals/{APPROVAL}/approve", {}))[0] == 403
    begun = (await ask(rig))[2]
    assert (begun["options"]["rpId"], begun["options"]["userVerification"]) == ("localhost", "required")
    status, _, said = await answer(rig, begun, passkey.get(begun["options"]), reason="checked")
    assert (status, said["status"], said["approval_token"][:36]) == (200, "approved", APPROVAL)
    event = decided(rig)[-1]
    assert (event["signer_id"], event["signed_form"], event["by"], event["reason"]) == (
        made["signer_id"], "binding", "operator", "checked",
    )  # fmt: skip
    listed = (await rig.ask("GET", "/v1/signers"))[2]["signers"]
    assert [(one["algorithm"], one["form"]) for one in listed] == [("webauthn", "bound")]


async def test_the_challenge_is_the_digest_of_the_text_that_a_device_would_sign(rig):
    await register(rig, SoftPasskey())
    waits(rig)
    begun = (await ask(rig, to="deny"))[2]
    document = (await rig.ask("GET", f"/v1/approvals/{APPROVAL}"))[2]
    binding = binding_hex_of(document, "did:key:z6Mk")
    text = f"deny_binding\n{begun['signer_id']}\n{APPROVAL}\n{binding}\n{begun['ts_rfc3339']}\n{begun['nonce']}\n"
    assert decode_base64url(begun["options"]["challenge"]) == hashlib.sha256(text.encode()).digest()
    assert begun["binding_hex"] == binding


async def test_a_passkeys_no_is_carried_out(rig):
    passkey = SoftPasskey()
    await register(rig, passkey)
    waits(rig)
    begun = (await ask(rig, to="deny"))[2]
    status, _, said = await answer(rig, begun, passkey.get(begun["options"]))
    assert (status, said) == (200, {"approval_id": APPROVAL, "status": "rejected"})


BAD = {
    "another origin": (SoftPasskey(origin="http://localhost:9999"), {}),
    "an address for the name": (SoftPasskey(origin="http://127.0.0.1:8787", rp_id="127.0.0.1"), {}),
    "another site": (SoftPasskey(origin="https://evil.example", rp_id="evil.example"), {}),
    "another rp": (SoftPasskey(rp_id="evil.example"), {}),
    "no user verified": (SoftPasskey(), {"flags": PRESENT}),
    "no user present": (SoftPasskey(), {"flags": VERIFIED}),
    "an embedded page": (SoftPasskey(), {"crossOrigin": True}),
    "a page above": (SoftPasskey(), {"topOrigin": "https://evil.example"}),
    "another challenge": (SoftPasskey(), {"challenge": "AAAA"}),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_passkey_of_a_page_that_is_not_ours_is_neither_registered_nor_taken(rig, case):
    bad, how = BAD[case]
    status, _, refused = await register(rig, bad, **how)
    assert (status, refused["code"]) == (400, "invalid_signature")
    assert rig.signers.all() == ()
    good = SoftPasskey(seed=6)
    await register(rig, good)
    waits(rig)
    good.origin, good.rp_id = bad.origin, bad.rp_id
    begun = (await ask(rig))[2]
    status, _, refused = await answer(rig, begun, good.get(begun["options"], **how))
    assert (status, refused["code"], decided(rig)) == (400, "invalid_signature", [])


async def test_an_answer_that_is_none_is_refused(rig):
    for credential in (
        {},
        {"response": {}},
        {"id": 1, "response": {"clientDataJSON": "e30"}},
        {"response": {"clientDataJSON": "*"}},
    ):
        begun = (await begin(rig))[2]
        sent = {"registration_id": begun["registration_id"], "credential": credential}
        status, _, refused = await rig.ask("POST", PASSKEYS, sent)
        assert (status, refused["code"]) == (400, "invalid_signature")
    passkey = SoftPasskey()
    begun = (await begin(rig))[2]
    credential = passkey.create(begun["options"])
    credential["response"]["attestationObject"] = "oWFh"
    sent = {"registration_id": begun["registration_id"], "credential": credential}
    assert (await rig.ask("POST", PASSKEYS, sent))[0] == 400


async def test_an_answer_counts_once_and_not_for_another_call(rig):
    passkey = SoftPasskey()
    await register(rig, passkey)
    waits(rig)
    other = waits(rig, id="3f2504e0-4f89-41d3-9a0c-0305e82c3302")
    first, second = (await ask(rig))[2], (await ask(rig, approval_id=other.id))[2]
    signed = passkey.get(first["options"])
    assert (await answer(rig, second, signed))[2]["code"] == "invalid_signature"
    assert (await answer(rig, second, signed))[2]["code"] == "replay"
    assert (await answer(rig, first, signed))[0] == 200
    assert (await answer(rig, first, signed))[2]["code"] == "replay"
    assert len(decided(rig)) == 1


async def test_a_ceremony_is_over_after_two_minutes_and_is_who_began_its_own(rig):
    passkey = SoftPasskey()
    await register(rig, passkey)
    waits(rig)
    begun = (await ask(rig))[2]
    signed = passkey.get(begun["options"])
    assert (await answer(rig, begun, signed, token=APPROVER_TOKEN))[2]["code"] == "replay"
    rig.clock.advance(us=CEREMONY_TTL_US)
    assert (await answer(rig, begun, signed))[2]["code"] == "replay"


async def test_a_counter_that_does_not_go_on_is_a_copy(rig):
    passkey = SoftPasskey()
    await register(rig, passkey)
    waits(rig)
    passkey.counts = False
    begun = (await ask(rig))[2]
    assert (await answer(rig, begun, passkey.get(begun["options"])))[2]["code"] == "invalid_signature"
    passkey.count = 7
    begun = (await ask(rig))[2]
    assert (await answer(rig, begun, passkey.get(begun["options"])))[0] == 200
    assert json.loads(rig.ledger.settings[SETTING])[0]["sign_count"] == 7


async def test_a_passkey_that_counts_nothing_is_taken(rig):
    passkey = SoftPasskey(counts=False)
    await register(rig, passkey)
    for number in (1, 2):
        approval = waits(rig, id=f"3f2504e0-4f89-41d3-9a0c-0305e82c330{number}")
        begun = (await ask(rig, approval_id=approval.id))[2]
        assert (await answer(rig, begun, passkey.get(begun["options"])))[0] == 200


async def test_what_changed_since_the_page_showed_it_is_a_conflict(rig):
    passkey = SoftPasskey()
    await register(rig, passkey)
    approval = waits(rig)
    assert (await ask(rig, shown_digest_hex="0" * 64))[2]["code"] == "conflict"
    begun = (await ask(rig))[2]
    rig.ledger.shown[approval.id] = ShownCall('{"text":"ho"}', ShownTool("echo", "", "read", 0, "builtin"))
    assert (await answer(rig, begun, passkey.get(begun["options"])))[2]["code"] == "conflict"
    assert decided(rig) == []


async def test_a_passkey_that_is_revoked_between_the_question_and_the_answer_decides_nothing(rig):
    passkey = SoftPasskey()
    made = (await register(rig, passkey))[2]
    waits(rig)
    begun = (await ask(rig))[2]
    assert (await rig.ask("POST", f"/v1/signers/{made['signer_id']}/revoke"))[0] == 200
    assert (await answer(rig, begun, passkey.get(begun["options"])))[2]["code"] == "unknown_signer"
    assert (await ask(rig))[2]["code"] == "unknown_signer"
    assert (await register(rig, passkey))[2]["code"] == "conflict"


async def test_an_approver_registers_only_what_an_operator_opened_for_them_once(rig):
    assert (await begin(rig, token=APPROVER_TOKEN))[2]["code"] == "pairing_not_found"
    others = (await rig.ask("POST", "/v1/signer/pair/start", {}))[2]["pairing_code"]
    code = (await rig.ask("POST", "/v1/signer/pair/start", {"owner": "ann"}))[2]["pairing_code"]
    for other in ("", others):
        assert (await begin(rig, token=APPROVER_TOKEN, code=other))[2]["code"] == "pairing_not_found"
    _, _, second = await begin(rig, token=APPROVER_TOKEN, code=code)
    status, _, made = await register(rig, SoftPasskey(), token=APPROVER_TOKEN, code=code)
    assert (status, made["owner"]) == (200, "ann")
    assert (await begin(rig, token=APPROVER_TOKEN, code=code))[2]["code"] == "pairing_not_found"
    late = {"registration_id": second["registration_id"], "credential": SoftPasskey(6).create(second["options"])}
    assert (await rig.ask("POST", PASSKEYS, late, token=APPROVER_TOKEN))[2]["code"] == "pairing_not_found"
    waits(rig)
    assert (await ask(rig))[2]["code"] == "unknown_signer"  # the operator has none
    assert (await ask(rig, token=APPROVER_TOKEN))[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://127.0.0.1:8787", "https://localhost:8787", "http://localhost", "http://localhost:0", "http://localhost:99999",
     "http://localhost:8787/", "http://localhost.evil.example:80", "http://LOCALHOST:80", ""],
)  # fmt: skip
async def test_a_page_at_another_origin_registers_nothing(rig, origin):
    assert (await begin(rig, origin=origin))[2]["code"] == "bad_request"


async def test_an_agent_registers_nothing_and_asks_no_passkey(rig):
    for path in ("/registration", "", "/ruling", "/rule"):
        assert (await rig.ask("POST", f"{PASSKEYS}{path}", {}, token=AGENT_TOKEN))[0] == 403
