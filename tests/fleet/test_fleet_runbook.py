"""Each cause in the runbook "policy does not arrive or does not apply" is caused here, and is told by its word."""

import json
import re
from pathlib import Path

import pytest

from briefcase.model.errors import CallerError, UpstreamError
from support.control_plane import HOUR_US, POLICY, SigningKey, refusal
from support.fleet import FleetDesk

PAGE = Path(__file__).parent.parent.parent / "docs" / "runbooks" / "policy-sync.md"
ROW = re.compile(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", re.MULTILINE)
NEXT = f"{POLICY} // the next"


def unreachable(desk):
    desk.outbound.cut = lambda _: UpstreamError("the upstream's certificate could not be verified", sent=False)


def a_page(desk):
    desk.plane.answer = lambda *_: (200, {"content-type": "text/html"}, b"<html>log in to the network</html>")


def a_clock_that_is_off(desk):
    now_us = desk.clock.now_us()
    desk.plane.now_us = lambda: now_us
    desk.clock.wall_us += HOUR_US


def revoked(desk):
    desk.plane.devices.clear()


def enrolled_elsewhere(desk):
    desk.plane.devices[desk.enrolment.device_id]["token"] = "another"


def no_bundle(desk):
    desk.plane.policy = None


def another_key(desk):
    desk.plane.key = SigningKey(8)
    desk.plane.publish(2, NEXT)


def a_key_that_leads_back(desk):
    desk.plane.siblings["keys"] = desk.plane.key.next_key(desk.plane.key)


def an_older_bundle(desk):
    desk.plane.publish(1)


def one_id_signed_twice(desk):
    desk.plane.publish(5, POLICY)


def no_word_of_freshness(desk):
    desk.plane.siblings = {}
    desk.plane.publish(6, NEXT)


def an_old_word_of_freshness(desk):
    desk.plane.publish(6, NEXT)
    desk.plane.siblings = {"freshness": desk.plane.key.freshness(6, desk.clock.now_us())}


def another_profile(desk):
    desk.plane.publish(6, NEXT, profile="aacp_v2")
    fresh(desk, 6)


def publish(**what):
    def cause(desk):
        desk.plane.publish(6, **what)
        fresh(desk, 6)

    return cause


def a_mandatory_part_that_permits(desk):
    desk.plane.siblings["mandatory"] = desk.plane.key.mandatory(1, POLICY)


def an_upload_that_is_answered(word):
    def cause(desk):
        desk.plane.answer = lambda method, target: refusal(400, word) if target.endswith("/receipts") else None

    return cause


def a_chain_that_went_on_elsewhere(desk):
    kept = desk.plane.receipts[desk.enrolment.device_id]
    kept.append({"id": kept[-1]["id"] + 1, "hash_hex": "f" * 64})


def fresh(desk, bundle_id: int) -> None:
    desk.plane.siblings = {"freshness": desk.plane.key.freshness(bundle_id, desk.clock.now_us() + HOUR_US)}


CAUSES = {
    "control_plane_unreachable": unreachable,
    "unexpected_answer": a_page,
    "invalid_dpop": a_clock_that_is_off,
    "unknown_device": revoked,
    "invalid_token": enrolled_elsewhere,
    "malformed_bundle": no_bundle,
    "invalid_signature": another_key,
    "signing_key_fell": a_key_that_leads_back,
    "bundle_id_fell": an_older_bundle,
    "bundle_changed": one_id_signed_twice,
    "no_freshness": no_word_of_freshness,
    "not_fresh": an_old_word_of_freshness,
    "incompatible_profile": another_profile,
    "invalid_policy_text": publish(text=" "),
    "invalid_budget": publish(text=NEXT, budgets={"read": -1}),
    "invalid_policy": publish(text="permit(principal, action, resource) when { resource.colour == 1 };"),
    "invalid_mandatory": a_mandatory_part_that_permits,
    "receipt_fork": a_chain_that_went_on_elsewhere,
    "receipt_id_not_monotonic": an_upload_that_is_answered("receipt_id_not_monotonic"),
    "receipt_prev_hash_mismatch": an_upload_that_is_answered("receipt_prev_hash_mismatch"),
    "receipt_hash_mismatch": an_upload_that_is_answered("receipt_hash_mismatch"),
}


def test_the_page_names_every_cause_and_no_other():
    named = [word for row in ROW.findall(PAGE.read_text()) for word in re.findall(r"`([a-z_]+)`", row)]
    assert sorted(named) == sorted(CAUSES)


@pytest.fixture
async def desk(tmp_path):
    """A device in `ga` that has had a fresh bundle 5, and has uploaded everything but one receipt."""
    desk = FleetDesk(tmp_path, needs_profile=True)
    await desk.start()
    await desk.enrol()
    desk.plane.publish(5, NEXT)
    fresh(desk, 5)
    await desk.sync.sync()
    desk.plane.says_last = False
    await desk.receipt()
    yield desk
    desk.database.close()


@pytest.mark.parametrize("word", CAUSES)
async def test_a_cause_is_told_by_its_word_the_old_policy_stays_and_mending_it_recovers(desk, word):
    healthy = json.dumps([desk.plane.policy, desk.plane.siblings])
    devices, key = json.dumps(desk.plane.devices), desk.plane.key
    kept = list(desk.plane.receipts[desk.enrolment.device_id])
    now_us = desk.clock.now_us()

    CAUSES[word](desk)
    with pytest.raises(UpstreamError, match=f"the sync failed: {word}"):
        await desk.sync.sync()
    assert (await desk.status()).progress.last_error.startswith(word)
    assert desk.policy.current()[0] == NEXT

    desk.plane.policy, desk.plane.siblings = json.loads(healthy)
    desk.plane.devices, desk.plane.key = json.loads(devices), key
    desk.plane.answer, desk.outbound.cut = lambda *_: None, lambda _: None
    desk.clock.wall_us = now_us
    if word == "receipt_fork":
        desk.plane.receipts[desk.enrolment.device_id] = kept
    await desk.sync.sync()
    assert (await desk.status()).progress.last_error == ""
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))


async def test_a_policy_that_is_the_control_planes_to_set_says_so(desk):
    with pytest.raises(CallerError) as refused:
        await desk.policy.set(POLICY, "ann")
    assert refused.value.code == "managed_by_control_plane"
