"""The passkey story in a real browser: what it makes of our options, and what it signs at which page."""

import pytest

from briefcase.model.types import ApprovalKind, ShownCall, ShownTool
from support.api import Rig
from support.chromium import CHROMIUM, Chromium

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: Debian has it as `chromium`")
PASSKEYS = "/v1/signers/passkeys"
APPROVAL = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


@pytest.fixture
async def rig(tmp_path):
    async with Rig(tmp_path) as made:
        yield made


async def register(rig, browser):
    begun = (await rig.ask("POST", f"{PASSKEYS}/registration", {"origin": browser.origin, "name": "chromium"}))[2]
    made = await browser.credentials("create", begun["options"])
    assert "error" not in made
    sent = {"registration_id": begun["registration_id"], "credential": made}
    return begun, await rig.ask("POST", PASSKEYS, sent)


async def ask(rig, browser, approval_id=APPROVAL, to="approve"):
    approval = rig.store_approval(id=approval_id, kind=ApprovalKind.MOBILE_SIGNER)
    rig.ledger.shown[approval.id] = ShownCall('{"text":"hi"}', ShownTool("echo", "", "read", 0, "builtin"))
    shown = (await rig.ask("GET", f"/v1/approvals/{approval_id}"))[2]["shown_digest_hex"]
    wanted = {"approval_id": approval_id, "to": to, "shown_digest_hex": shown, "origin": browser.origin}
    return (await rig.ask("POST", f"{PASSKEYS}/ruling", wanted))[2]


async def answer(rig, begun, credential):
    sent = {"assertion_id": begun["assertion_id"], "credential": credential}
    return await rig.ask("POST", f"{PASSKEYS}/rule", sent)


async def test_a_passkey_of_a_real_browser_is_registered_says_yes_once_and_not_after_it_is_revoked(rig):
    async with Chromium() as browser:
        _, (status, _, made) = await register(rig, browser)
        assert status == 200, made
        begun = await ask(rig, browser)
        signed = await browser.credentials("get", begun["options"])
        status, _, said = await answer(rig, begun, signed)
        assert (status, said.get("status")) == (200, "approved"), said
        assert (await answer(rig, begun, signed))[2]["code"] == "replay"
        other = await ask(rig, browser, APPROVAL[:-1] + "2", "deny")
        assert (await answer(rig, other, signed))[2]["code"] == "invalid_signature"
        other = await ask(rig, browser, APPROVAL[:-1] + "3", "deny")
        assert (await answer(rig, other, await browser.credentials("get", other["options"])))[2]["status"] == "rejected"

        last = await ask(rig, browser, APPROVAL[:-1] + "4")
        signed = await browser.credentials("get", last["options"])
        await rig.ask("POST", f"/v1/signers/{made['signer_id']}/revoke")
        assert (await answer(rig, last, signed))[2]["code"] == "unknown_signer"


async def test_a_real_browser_signs_for_no_other_page_and_for_no_user_it_did_not_verify(rig):
    async with Chromium() as browser, Chromium() as other:
        begun, _ = await register(rig, browser)
        address = browser.origin.replace("localhost", "127.0.0.1")
        await browser.open(address)
        assert (await browser.credentials("create", begun["options"]))["error"] == "SecurityError"
        await browser.open(other.origin)  # another port of the same name: the browser signs, and the daemon refuses
        ruling = await ask(rig, browser)
        signed = await browser.credentials("get", ruling["options"])
        assert (await answer(rig, ruling, signed))[2]["code"] == "invalid_signature"

        await browser.open(browser.origin)
        await browser.verify_user(is_verified=False)
        ruling = await ask(rig, browser)
        assert "error" in await browser.credentials("get", ruling["options"])
        assert rig.ledger.approval(APPROVAL).status == "pending"
