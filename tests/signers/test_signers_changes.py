"""Where only signers are taken, a change is signed: this one, for this daemon, by an operator's device, once."""

import hashlib
import uuid

import msgspec
import pytest

from briefcase.adapters.system import SystemEntropy
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.signers.texts import Signed, change_text
from briefcase.model.types import format_rfc3339
from support.api import Rig
from support.signers import Device

DID = "did:key:z6Mk"
PATH, BODY = "/v1/budgets/read", b'{"daily_limit_microusd":7}'


@pytest.fixture
async def rig(tmp_path):
    made = Rig(tmp_path)
    made.services = msgspec.structs.replace(made.services, signers_only=True)
    async with made:
        yield made


async def paired(rig, device, owner=None):
    desk = rig.services.operator.signers
    desk._parts = msgspec.structs.replace(desk._parts, entropy=SystemEntropy())
    pairing = desk.start_pairing(owner, "operator")
    await desk.complete_pairing(pairing.id, device.arrive(pairing.code)[1])
    device.signer_id = rig.signers.all()[-1].id
    return device


def headers(rig, device, *, did=DID, target=f"POST {PATH}", body=BODY):
    empty = Signed(device.signer_id, format_rfc3339(rig.ledger.now_us()), str(uuid.uuid4()))
    text = change_text(did, target, hashlib.sha256(body).hexdigest(), empty)
    signature = encode_base64url(device.key.sign(text))
    return [
        ("x-briefcase-signer", empty.signer_id), ("x-briefcase-signed-at", empty.ts),
        ("x-briefcase-nonce", empty.nonce), ("x-briefcase-signature", signature),
    ]  # fmt: skip


async def change(rig, sent=(), *, path=PATH, body=BODY):
    status, _, answer = await rig.ask("POST", path, body, headers=sent)
    return status if status == 200 else answer["code"]


async def test_a_change_that_is_signed_is_made_and_recorded_before(rig):
    device = await paired(rig, Device())
    assert await change(rig) == "signer_required"
    assert await change(rig, headers(rig, device)) == 200
    assert rig.ledger.kinds()[-2:] == ["signer_authorized", "budget_set"]
    event = rig.ledger.chain[-2].event
    assert (event["operation"], event["body_digest"]) == (
        "POST /v1/budgets/{category}", hashlib.sha256(BODY).hexdigest(),
    )  # fmt: skip


async def test_a_signature_for_another_change_is_refused(rig):
    device = await paired(rig, Device())
    for signed in (
        headers(rig, device, body=b'{"daily_limit_microusd":8}'),
        headers(rig, device, body=b""),
        headers(rig, device, target="POST /v1/budgets/write"),
        headers(rig, device, target=f"PUT {PATH}"),
        headers(rig, device, did="did:key:z6Another"),
    ):
        assert await change(rig, signed) == "invalid_signature"
    assert "budget_set" not in rig.ledger.kinds()


async def test_a_signature_over_a_change_counts_once(rig):
    device = await paired(rig, Device())
    signed = headers(rig, device)
    assert await change(rig, signed) == 200
    assert await change(rig, signed) == "replay"


async def test_a_signature_of_an_approvers_device_changes_nothing(rig):
    device = await paired(rig, Device(), owner="ann")
    assert await change(rig, headers(rig, device)) == "forbidden"
    assert "budget_set" not in rig.ledger.kinds()


async def test_a_signature_with_a_part_missing_is_none(rig):
    device = await paired(rig, Device())
    signed = headers(rig, device)
    for left_out in range(len(signed)):
        assert await change(rig, signed[:left_out] + signed[left_out + 1 :]) == "signer_required"
    assert await change(rig, signed + signed[:1]) == "signer_required"
