"""Enrolling, applying and leaving: each with its receipt, and a crash between two steps leaves what the table says."""

import json

import pytest

from briefcase.adapters.fleet.custody import FLOORS_FILE
from briefcase.core.fleet import words
from briefcase.core.fleet.answers import read_policy_answer
from briefcase.core.fleet.enrolment import SETTING
from briefcase.core.operator.fleet import EnrolmentRequest, Wanted
from briefcase.model.errors import CallerError, StoreError, UpstreamError
from support.control_plane import ADMIN_TOKEN, HOUR_US, POLICY, FakeControlPlane, SigningKey
from support.crash import Crash, crashed
from support.fleet import BASE_URL, FleetDesk

DAY = "2026-01-01"
NEXT = f"{POLICY} // the next"
FORBID = 'forbid(principal, action == Action::"Call", resource) when { resource.category == "admin" };'


@pytest.fixture
async def desk(tmp_path):
    desk = FleetDesk(tmp_path)
    await desk.start()
    yield desk
    desk.database.close()


def answer_of(plane: FakeControlPlane, **siblings):
    return read_policy_answer(json.dumps({"policy_bundle": plane.policy, **siblings}).encode())


async def apply(desk, **siblings):
    return await desk.bundles.apply(answer_of(desk.plane, **siblings))


# --- enrolling --------------------------------------------------------------------------------------------------------


async def test_enrolling_is_an_intent_an_outcome_with_the_enrolment_and_the_first_policy(desk):
    await desk.enrol()
    assert desk.ledger.kinds() == [
        "policy_set", "change_intent", "control_plane_enroll", "control_plane_policy_sync",
    ]  # fmt: skip
    enrolled = desk.ledger.chain[2].event
    assert (enrolled["by"], enrolled["base_url"], enrolled["device_name"]) == ("ann", BASE_URL, "laptop")
    assert (desk.enrolment.policy_key_b64, desk.enrolment.bundle_id) == (desk.plane.key.public_b64, 1)
    assert desk.policy.current()[0] == POLICY
    device = desk.plane.devices[desk.enrolment.device_id]
    assert desk.secrets.kept == {"device.token": device["token"].encode()}
    assert desk.remembered == [device["token"].encode()]


async def test_neither_token_is_in_a_receipt_a_setting_or_a_text_of_the_request(desk):
    await desk.enrol()
    kept = json.dumps([receipt.event for receipt in desk.ledger.chain]) + str(desk.ledger.settings)
    token = next(iter(desk.plane.devices.values()))["token"]
    assert ADMIN_TOKEN not in kept
    assert token not in kept
    assert ADMIN_TOKEN not in repr(EnrolmentRequest(BASE_URL, ADMIN_TOKEN, "d", "n"))
    assert ADMIN_TOKEN not in repr(Wanted(BASE_URL, ADMIN_TOKEN, "n"))


@pytest.mark.parametrize("name", ["", " ", "n" * 129, "a\nb"])
async def test_a_name_out_of_bounds_is_refused_before_anything_is_sent(desk, name):
    with pytest.raises(CallerError, match=words.INVALID_DEVICE_NAME):
        await desk.sync.enrol(Wanted(BASE_URL, ADMIN_TOKEN, name), "ann")
    assert (desk.plane.seen, desk.ledger.kinds()) == ([], ["policy_set"])


@pytest.mark.parametrize(
    "url", ["", "fleet.example", "ftp://fleet.example", "https://u:secret@fleet.example", "https://fleet.example?x=1"]
)
async def test_an_address_that_is_none_is_refused_and_not_repeated(desk, url):
    with pytest.raises(CallerError) as refused:
        await desk.sync.enrol(Wanted(url, ADMIN_TOKEN, "laptop"), "ann")
    assert "secret" not in refused.value.message
    assert desk.plane.seen == []


async def test_a_refused_enrolment_changes_nothing_and_its_receipt_says_so(desk):
    with pytest.raises(UpstreamError, match="invalid_token"):
        await desk.sync.enrol(Wanted(BASE_URL, "wrong-token", "laptop"), "ann")
    assert desk.ledger.kinds()[1:] == ["change_intent", "change_failed"]
    assert (desk.admin.state().enrolment, desk.secrets.kept) == (None, {})


@pytest.mark.parametrize(
    "changes",
    [
        {"device_id": "another"},
        {"policy_signing_pubkey_b64": "AAAA"},
        {"device_token": "short"},
        {"device_token": "with a space in it, which no header holds"},
        {"device_token": None},
    ],
)
async def test_an_enrolment_that_is_not_as_expected_is_refused(desk, changes):
    real = desk.plane._enrol

    def odd(headers, asked):
        status, fields, body = real(headers, asked)
        return status, fields, json.dumps({**json.loads(body), **changes}).encode()

    desk.plane._enrol = odd
    with pytest.raises(UpstreamError, match=words.UNEXPECTED):
        await desk.enrol()
    assert desk.admin.state().enrolment is None


async def test_enrolling_again_rotates_the_token_and_keeps_device_bundle_and_chain(desk):
    await desk.enrol()
    await desk.sync.sync()
    before, uploaded = desk.enrolment, desk.uploaded
    await desk.enrol()
    assert (desk.enrolment.device_id, desk.enrolment.bundle_id) == (before.device_id, 1)
    assert desk.plane.tokens == 2
    await desk.sync.sync()
    assert desk.uploaded[: len(uploaded)] == uploaded
    assert desk.uploaded == list(range(1, desk.ledger.head().id + 1))


async def test_another_control_plane_and_another_key_are_refused_until_this_one_is_left(desk):
    await desk.enrol()
    with pytest.raises(CallerError, match=BASE_URL) as refused:
        await desk.sync.enrol(Wanted("https://other.example", ADMIN_TOKEN, "laptop"), "ann")
    assert refused.value.code == "conflict"
    desk.plane.key = SigningKey(9)
    desk.plane.publish(2)
    with pytest.raises(UpstreamError, match="another key"):
        await desk.enrol()
    await desk.sync.leave("ann")
    await desk.enrol()
    assert desk.enrolment.policy_key_b64 == SigningKey(9).public_b64


@pytest.mark.parametrize(
    ("owner", "name", "when"), [("plane", "handle", "after"), ("secrets", "put", "before"), ("secrets", "put", "after")]
)
async def test_an_enrolment_that_a_crash_cut_off_is_undone(desk, monkeypatch, owner, name, when):
    if owner == "plane":
        real = desk.plane.handle

        def dying(*args):
            real(*args)
            raise Crash

        monkeypatch.setattr(desk.plane, "handle", dying)
        with pytest.raises(Crash):
            await desk.enrol()
        monkeypatch.undo()
    else:
        with crashed(monkeypatch, getattr(desk, owner), name, when), pytest.raises(Crash):
            await desk.enrol()
    await desk.restart()
    assert desk.ledger.kinds()[-1] == "change_failed"
    assert desk.ledger.chain[-1].event["error"] == "interrupted"
    assert (desk.admin.state().enrolment, desk.secrets.kept) == (None, {})
    await desk.enrol()
    assert desk.enrolment.bundle_id == 1


# --- applying ---------------------------------------------------------------------------------------------------------


async def test_policy_budgets_and_bundle_change_in_one_receipt(desk):
    await desk.enrol()
    desk.plane.publish(2, NEXT, {"write": 7, "read": 5})
    applied = await apply(desk)
    event = desk.ledger.chain[-1].event
    assert applied.policy_applied
    assert (event["kind"], event["bundle_id"], event["budgets"]) == (
        "control_plane_policy_sync", 2, {"read": 5, "write": 7},
    )  # fmt: skip
    assert event["policy_hash_hex"] == desk.policy.current()[1]
    assert desk.policy.current()[0] == NEXT
    assert desk.ledger.budget("read", DAY).daily_limit_microusd == 5
    assert desk.ledger.budget("admin", DAY).daily_limit_microusd == 0  # merged: the bundle does not name it


async def test_a_bundle_that_cannot_be_made_durable_changes_nothing(desk):
    await desk.enrol()
    desk.plane.publish(2, NEXT, {"read": 5})
    desk.ledger.broken = "EIO"
    with pytest.raises(StoreError):
        await apply(desk)
    desk.ledger.broken = None
    assert (desk.enrolment.bundle_id, desk.policy.current()[0]) == (1, POLICY)
    assert desk.ledger.budget("read", DAY).daily_limit_microusd == 3_000_000
    assert (await apply(desk)).policy_applied


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("this is not cedar", words.INVALID_POLICY),
        ("permit(principal, action, resource) when { context.nothing };", words.INVALID_POLICY),
        ("", words.INVALID_POLICY_TEXT),
    ],
)
async def test_a_signed_bundle_that_is_no_policy_leaves_the_old_one_and_one_receipt(desk, text, expected):
    await desk.enrol()
    desk.plane.publish(2, text)
    for _ in range(3):
        applied = await apply(desk)
        assert (applied.policy_applied, applied.refused.reason) == (False, expected)
    assert desk.policy.current()[0] == POLICY
    assert desk.ledger.kinds()[4:] == ["control_plane_policy_bundle_refused"]
    assert desk.ledger.chain[-1].event["reason"] == expected
    desk.plane.publish(3, NEXT)
    assert (await apply(desk)).policy_applied


async def test_a_bundle_for_another_profile_is_refused_in_ga_with_the_receipt_of_the_contract(tmp_path):
    desk = FleetDesk(tmp_path, needs_profile=True)
    await desk.start()
    await desk.enrol()
    desk.plane.publish(2, NEXT, profile="aacp_v2")
    assert (await apply(desk)).refused.reason == words.INCOMPATIBLE_PROFILE
    event = {name: value for name, value in desk.ledger.chain[-1].event.items() if name not in {"id", "ts", "boot"}}
    assert event == {
        "kind": "control_plane_policy_bundle_incompatible",
        "bundle_id": 2,
        "expected_compatibility_profile": "aacp_v1",
        "got_compatibility_profile": "aacp_v2",
    }
    assert desk.policy.current()[0] == POLICY
    desk.database.close()


async def test_a_forged_bundle_is_named_and_fills_no_chain(desk):
    await desk.enrol()
    head = desk.ledger.head()
    desk.plane.policy = SigningKey(8).bundle(9, NEXT)
    assert (await apply(desk)).refused.reason == words.INVALID_SIGNATURE
    assert desk.ledger.head() == head


async def test_an_older_bundle_is_refused_also_after_the_ledger_was_taken_back(desk):
    await desk.enrol()
    old, settings = desk.plane.policy, dict(desk.ledger.settings)
    desk.plane.publish(5, NEXT)
    await apply(desk)
    desk.plane.policy = desk.plane.key.bundle(4)
    assert (await apply(desk)).refused.reason == words.BUNDLE_FELL

    desk.ledger.settings = settings  # a backup of before bundle 5, put back over the data directory
    await desk.restart()
    assert desk.enrolment.bundle_id == 1
    assert (await apply(desk)).refused.reason == words.BUNDLE_FELL
    desk.plane.policy = old
    assert (await apply(desk)).refused.reason == words.BUNDLE_FELL
    desk.plane.publish(5, NEXT)
    assert (await apply(desk)).policy_applied


async def test_a_floor_that_a_crash_came_before_is_noted_by_the_next_start(desk, tmp_path):
    await desk.enrol()
    (tmp_path / FLOORS_FILE).unlink()
    await desk.restart()
    assert desk.floors.floor(desk.plane.key.public_b64) == 1
    assert (tmp_path / FLOORS_FILE).is_file()


async def test_leaving_and_joining_again_takes_no_older_bundle(desk):
    await desk.enrol()
    desk.plane.publish(5, NEXT)
    await apply(desk)
    await desk.sync.leave("ann")
    desk.plane.publish(4)
    await desk.enrol()
    assert (desk.enrolment.bundle_id, desk.policy.current()[0]) == (0, NEXT)
    assert (await desk.status()).progress.last_error.startswith(words.BUNDLE_FELL)


async def test_a_bundle_without_a_word_of_freshness_is_refused_once_one_came_with_it(desk):
    await desk.enrol()
    desk.plane.publish(2, NEXT)
    until_us = desk.clock.now_us() + HOUR_US
    applied = await apply(desk, freshness=desk.plane.key.freshness(2, until_us))
    assert (applied.policy_applied, applied.fresh_until_us) == (True, until_us)
    desk.plane.publish(3)
    assert (await apply(desk)).refused.reason == words.NO_FRESHNESS
    assert (await apply(desk, freshness=desk.plane.key.freshness(4, until_us))).refused.reason == words.NOT_FRESH
    desk.clock.advance(us=HOUR_US)
    assert (await apply(desk, freshness=desk.plane.key.freshness(3, until_us))).refused.reason == words.NOT_FRESH
    assert desk.policy.current()[0] == NEXT


async def test_a_key_that_takes_the_place_of_another_goes_on_with_its_ids(desk):
    await desk.enrol()
    desk.plane.publish(5)
    old, new = desk.plane.key, SigningKey(9)
    await apply(desk, keys=old.next_key(new))
    desk.plane.key = new
    desk.plane.publish(4)
    assert (await apply(desk, keys=old.next_key(new))).refused.reason == words.BUNDLE_FELL
    desk.plane.publish(6, NEXT)
    assert (await apply(desk, keys=old.next_key(new))).policy_applied
    desk.plane.policy = old.bundle(7)
    assert (await apply(desk)).refused.reason == words.INVALID_SIGNATURE


async def test_a_key_that_the_pinned_one_did_not_name_is_nobodys(desk):
    await desk.enrol()
    new = SigningKey(9)
    desk.plane.policy = new.bundle(2)
    assert (await apply(desk, keys=new.next_key(new))).refused.reason == words.INVALID_SIGNATURE
    assert desk.enrolment.next_key_b64 == ""


# --- the mandatory part -----------------------------------------------------------------------------------------------


async def test_the_mandatory_part_decides_after_any_policy_and_outlives_the_enrolment(desk):
    await desk.enrol()
    await apply(desk, mandatory=desk.plane.key.mandatory(1, FORBID))
    assert desk.policy.current()[0] == f"{POLICY}\n{FORBID}"
    event = desk.ledger.chain[-1].event
    assert (event["kind"], event["mandatory_id"], event["policy_hash_hex"]) == (
        "control_plane_mandatory_set", 1, desk.policy.current()[1],
    )  # fmt: skip
    desk.plane.publish(2, NEXT)
    await apply(desk)
    assert desk.policy.current()[0] == f"{NEXT}\n{FORBID}"
    with pytest.raises(CallerError) as refused:
        await desk.admin.remove_mandatory("ann")
    assert refused.value.code == "managed_by_control_plane"

    await desk.sync.leave("ann")
    await desk.restart()
    await desk.policy.set(POLICY, "ann")
    assert desk.policy.current()[0] == f"{POLICY}\n{FORBID}"
    await desk.policy.set(f"{NEXT}\n{FORBID}", "ann")  # what `policy show` printed, set again
    assert desk.policy.current()[0] == f"{NEXT}\n{FORBID}"

    await desk.admin.remove_mandatory("ann")
    assert desk.policy.current()[0] == NEXT
    assert (desk.ledger.kinds()[-1], desk.ledger.chain[-1].event["by"]) == ("control_plane_mandatory_removed", "ann")
    with pytest.raises(CallerError, match="no mandatory part"):
        await desk.admin.remove_mandatory("ann")


@pytest.mark.parametrize("text", [POLICY, f"{FORBID}\n{POLICY}", "nonsense", f'@id("a") {FORBID}\n@id("a") {FORBID}'])
async def test_a_mandatory_part_that_permits_or_is_no_policy_changes_nothing(desk, text):
    await desk.enrol()
    head = desk.ledger.head()
    applied = await apply(desk, mandatory=desk.plane.key.mandatory(1, text))
    assert applied.refused.reason == words.INVALID_MANDATORY
    assert (desk.policy.current()[0], desk.ledger.head()) == (POLICY, head)


async def test_an_older_mandatory_part_and_a_forged_one_change_nothing_and_a_newer_empty_one_ends_it(desk):
    await desk.enrol()
    key = desk.plane.key
    await apply(desk, mandatory=key.mandatory(2, FORBID))
    assert (await apply(desk, mandatory=key.mandatory(1, ""))).refused.reason == words.BUNDLE_FELL
    assert (await apply(desk, mandatory=SigningKey(8).mandatory(3, ""))).refused.reason == words.INVALID_SIGNATURE
    assert desk.policy.current()[0] == f"{POLICY}\n{FORBID}"
    assert (await apply(desk, mandatory=key.mandatory(3, ""))).refused is None
    assert desk.policy.current()[0] == POLICY


# --- whose the policy is ----------------------------------------------------------------------------------------------


async def test_the_policy_is_the_control_planes_while_it_manages_this_daemon(desk):
    await desk.policy.set(NEXT, "ann")
    await desk.enrol()
    with pytest.raises(CallerError) as refused:
        await desk.policy.set(NEXT, "ann")
    assert (refused.value.code, refused.value.http_status) == ("managed_by_control_plane", 409)
    await desk.sync.leave("ann")
    assert desk.policy.current()[0] == POLICY
    await desk.policy.set(NEXT, "ann")
    assert desk.policy.current()[0] == NEXT


async def test_leaving_has_a_receipt_and_removes_the_token(desk, monkeypatch):
    with pytest.raises(CallerError, match="not enrolled"):
        await desk.sync.leave("ann")
    await desk.enrol()
    with crashed(monkeypatch, desk.secrets, "delete", "before"), pytest.raises(Crash):
        await desk.sync.leave("ann")
    assert desk.ledger.kinds()[-1] == "control_plane_leave"
    assert desk.secrets.kept
    await desk.restart()
    assert (desk.secrets.kept, await desk.sync.status()) == ({}, None)


async def test_a_stored_enrolment_that_cannot_be_read_stops_what_needs_it(desk):
    desk.ledger.settings[SETTING] = b"{"
    with pytest.raises(StoreError, match="unreadable"):
        await desk.policy.set(NEXT, "ann")
