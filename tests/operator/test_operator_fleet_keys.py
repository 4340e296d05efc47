"""The control plane's key changes: a device follows it with what it signs, in one transaction, and never goes back."""

import json

import pytest

from briefcase.adapters.fleet.custody import FLOORS_FILE, FloorFile
from briefcase.core.fleet import words
from briefcase.core.fleet.answers import read_policy_answer
from briefcase.model.errors import ConfigError, UpstreamError
from support.control_plane import HOUR_US, POLICY, START_US, SigningKey
from support.crash import Crash, crashed
from support.fleet import FleetDesk

NEXT = f"{POLICY} // the next"
FORBID = 'forbid(principal, action == Action::"Call", resource) when { resource.category == "admin" };'
OLD, NEW, NEWEST, NOBODYS = (SigningKey(seed) for seed in (7, 21, 22, 23))


@pytest.fixture
async def desk(tmp_path):
    desk = FleetDesk(tmp_path)
    await desk.start()
    await desk.enrol()
    yield desk
    desk.database.close()


async def apply(desk, policy, **siblings):
    return await desk.bundles.apply(read_policy_answer(json.dumps({"policy_bundle": policy, **siblings}).encode()))


def keys_of(desk):
    return desk.enrolment.policy_key_b64, desk.enrolment.next_key_b64


async def test_the_present_keys_word_is_kept_with_a_receipt_and_nothing_else_changes(desk):
    await apply(desk, OLD.bundle(1), keys=OLD.next_key(NEW))
    assert keys_of(desk) == (OLD.public_b64, NEW.public_b64)
    assert desk.ledger.kinds()[-1] == "control_plane_key_announced"
    head = desk.ledger.head()
    await apply(desk, OLD.bundle(1), keys=OLD.next_key(NEW))
    assert desk.ledger.head() == head


async def test_a_bundle_by_the_next_key_pins_it_in_one_receipt(desk):
    applied = await apply(desk, NEW.bundle(2, NEXT), keys=OLD.next_key(NEW))
    assert applied.policy_applied
    assert desk.ledger.kinds()[-2:] == ["control_plane_key_announced", "control_plane_policy_sync"]
    assert desk.ledger.chain[-1].event["pinned_key_b64"] == NEW.public_b64
    assert (keys_of(desk), desk.enrolment.bundle_id) == ((NEW.public_b64, ""), 2)
    await apply(desk, NEW.bundle(3))
    assert "pinned_key_b64" not in desk.ledger.chain[-1].event


async def test_the_running_bundle_signed_anew_pins_the_key_with_a_receipt_of_its_own(desk):
    await apply(desk, OLD.bundle(1), keys=OLD.next_key(NEW))
    applied = await apply(desk, NEW.bundle(1), key_chain=[OLD.next_key(NEW)])
    assert (applied.policy_applied, applied.refused) == (False, None)
    assert (keys_of(desk), desk.enrolment.bundle_id) == ((NEW.public_b64, ""), 1)
    assert desk.ledger.kinds()[-1] == "control_plane_key_pinned"


async def test_a_device_that_was_away_for_several_rotations_walks_the_chain(desk):
    chain = [OLD.next_key(NEW), NEW.next_key(NEWEST)]
    applied = await apply(desk, NEWEST.bundle(9, NEXT), key_chain=chain, keys=NEWEST.next_key(NOBODYS))
    assert applied.policy_applied
    assert keys_of(desk) == (NEWEST.public_b64, NOBODYS.public_b64)
    assert desk.floors.successors() == {OLD.public_b64: NEW.public_b64, NEW.public_b64: NEWEST.public_b64}
    for key in (OLD, NEW):
        assert (await apply(desk, key.bundle(10), key_chain=chain)).refused.reason == words.INVALID_SIGNATURE


@pytest.mark.parametrize(
    "chain",
    [
        [],
        [NEW.next_key(NEWEST)],  # a word is missing
        [NOBODYS.next_key(NEWEST)],  # somebody else's
        [NEWEST.next_key(NEWEST)],
        [OLD.next_key(NEW), NOBODYS.next_key(NEWEST)],
    ],
)
async def test_a_key_that_the_chain_does_not_reach_signs_nothing(desk, chain):
    assert (await apply(desk, NEWEST.bundle(2, NEXT), key_chain=chain)).refused.reason == words.INVALID_SIGNATURE
    assert (desk.enrolment.policy_key_b64, desk.policy.current()[0]) == (OLD.public_b64, POLICY)


async def test_a_loop_of_words_is_named_and_never_leads_back(desk):
    loop = [OLD.next_key(NEW), NEW.next_key(OLD)]
    applied = await apply(desk, NEW.bundle(2), key_chain=loop)
    assert (applied.policy_applied, applied.refused.reason) == (True, words.KEY_FELL)
    applied = await apply(desk, OLD.bundle(3, NEXT), key_chain=loop)
    assert applied.refused.reason == words.INVALID_SIGNATURE
    assert (keys_of(desk), desk.policy.current()[0]) == ((NEW.public_b64, ""), POLICY)


async def test_a_key_that_was_named_and_replaced_before_it_signed_is_not_taken_again(desk):
    await apply(desk, OLD.bundle(1), keys=OLD.next_key(NEW))
    await apply(desk, OLD.bundle(1), keys=OLD.next_key(NEWEST, START_US + 1))
    assert keys_of(desk) == (OLD.public_b64, NEWEST.public_b64)
    applied = await apply(desk, NEW.bundle(2, NEXT), keys=OLD.next_key(NEW))
    assert applied.refused.reason == words.INVALID_SIGNATURE
    assert keys_of(desk) == (OLD.public_b64, NEWEST.public_b64)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_leaves_bundle_and_pin_both_or_neither(desk, monkeypatch, when):
    await apply(desk, OLD.bundle(1), keys=OLD.next_key(NEW))
    with crashed(monkeypatch, desk.ledger, "commit", when), pytest.raises(Crash):
        await apply(desk, NEW.bundle(2, NEXT))
    await desk.restart()
    is_applied = when == "after"
    assert desk.enrolment.policy_key_b64 == (NEW if is_applied else OLD).public_b64
    assert (desk.enrolment.bundle_id, desk.policy.current()[0]) == ((2, NEXT) if is_applied else (1, POLICY))
    assert (OLD.public_b64 in desk.floors.successors()) is is_applied
    await apply(desk, NEW.bundle(2, NEXT))
    assert (desk.enrolment.policy_key_b64, desk.enrolment.bundle_id) == (NEW.public_b64, 2)


async def test_a_restored_device_takes_no_older_bundle_by_the_key_that_was_left(desk):
    """The ledger is a backup's, from before the rotation; what a control plane signed then is sent again."""
    backup = dict(desk.ledger.settings)
    until_us = desk.clock.now_us() + HOUR_US
    await apply(desk, OLD.bundle(2), freshness=OLD.freshness(2, until_us))
    await apply(desk, NEW.bundle(3), keys=OLD.next_key(NEW), freshness=NEW.freshness(3, until_us))

    desk.ledger.settings = backup
    await desk.restart()
    assert desk.enrolment.bundle_id == 1
    assert keys_of(desk) == (NEW.public_b64, "")  # taken forward at the start, with a receipt
    assert desk.ledger.kinds()[-1] == "control_plane_key_pinned"
    for replayed in (OLD.bundle(2), OLD.bundle(3), OLD.bundle(99, NEXT)):
        applied = await apply(desk, replayed, freshness=OLD.freshness(99, until_us), keys=OLD.next_key(NOBODYS))
        assert applied.refused.reason == words.INVALID_SIGNATURE
    assert (await apply(desk, NEW.bundle(2))).refused.reason == words.BUNDLE_FELL
    assert (await apply(desk, NEW.bundle(4, NEXT))).policy_applied


async def test_a_stolen_key_that_was_left_names_no_other_successor_on_a_restored_device(desk):
    backup = dict(desk.ledger.settings)
    await apply(desk, NEW.bundle(2), keys=OLD.next_key(NEW))
    desk.ledger.settings = backup
    await desk.restart()
    applied = await apply(desk, NOBODYS.bundle(5, NEXT), key_chain=[OLD.next_key(NOBODYS, START_US + HOUR_US)])
    assert applied.refused.reason == words.INVALID_SIGNATURE
    assert desk.policy.current()[0] == POLICY


async def test_which_keys_were_left_is_noted_by_the_next_start_where_a_crash_came_before(desk, tmp_path, monkeypatch):
    with crashed(monkeypatch, desk.floors, "note", "before"), pytest.raises(Crash):
        await apply(desk, NEW.bundle(2), keys=OLD.next_key(NEW))
    assert FloorFile(tmp_path).successors() == {}
    await desk.restart()
    assert FloorFile(tmp_path).successors() == {OLD.public_b64: NEW.public_b64}


async def test_enrolling_again_follows_the_chain_and_takes_no_key_that_was_left(desk):
    desk.plane.key, desk.plane.policy = NEW, NEW.bundle(2, NEXT)
    desk.plane.siblings = {"key_chain": [OLD.next_key(NEW)]}
    await desk.enrol()
    assert (keys_of(desk), desk.enrolment.bundle_id) == ((NEW.public_b64, ""), 2)

    desk.plane.key, desk.plane.policy = OLD, OLD.bundle(3)
    with pytest.raises(UpstreamError, match=words.KEY_FELL):
        await desk.enrol()
    await desk.sync.leave("ann")
    with pytest.raises(UpstreamError, match=words.KEY_FELL):
        await desk.enrol()
    assert desk.admin.state().enrolment is None


async def test_a_device_that_left_and_joined_under_the_next_key_goes_back_to_neither_key_nor_id(desk):
    backup = dict(desk.ledger.settings)
    await apply(desk, OLD.bundle(5))
    await desk.sync.leave("ann")
    desk.plane.key, desk.plane.policy = NEW, NEW.bundle(4, NEXT)
    desk.plane.siblings = {"key_chain": [OLD.next_key(NEW)]}
    await desk.enrol()
    assert (await desk.status()).progress.last_error.startswith(words.BUNDLE_FELL)
    assert keys_of(desk) == (NEW.public_b64, "")
    desk.ledger.settings = backup
    await desk.restart()
    assert keys_of(desk) == (NEW.public_b64, "")


async def test_a_mandatory_part_by_the_next_key_counts_and_by_a_left_key_no_more(desk):
    chain = {"key_chain": [OLD.next_key(NEW)]}
    await apply(desk, NEW.bundle(1), mandatory=NEW.mandatory(1, FORBID), **chain)
    assert desk.policy.current()[0] == f"{POLICY}\n{FORBID}"
    applied = await apply(desk, NEW.bundle(1), mandatory=OLD.mandatory(2, ""), **chain)
    assert applied.refused.reason == words.INVALID_SIGNATURE
    assert desk.policy.current()[0] == f"{POLICY}\n{FORBID}"


async def test_a_mandatory_part_of_another_organisation_with_a_lower_id_is_refused(desk):
    """It was left by the first organisation and stays; the second one's ids begin anew, and its key is another."""
    await apply(desk, OLD.bundle(1), mandatory=OLD.mandatory(5, FORBID))
    await desk.sync.leave("ann")
    desk.plane.key, desk.plane.policy = NOBODYS, NOBODYS.bundle(1)
    await desk.enrol()
    for part_id in (1, 5):
        applied = await apply(desk, NOBODYS.bundle(1), mandatory=NOBODYS.mandatory(part_id, ""))
        assert applied.refused.reason == words.BUNDLE_FELL
        assert desk.policy.mandatory().policy_text == FORBID
    assert (await apply(desk, NOBODYS.bundle(1), mandatory=NOBODYS.mandatory(6, ""))).refused is None


def test_a_file_of_floors_from_before_keys_were_rotated_is_read(tmp_path):
    path = tmp_path / FLOORS_FILE
    path.write_text('{"k": 5}')
    path.chmod(0o600)
    assert (FloorFile(tmp_path).floor("k"), FloorFile(tmp_path).successors()) == (5, {})
    path.write_text('{"floors": "5"}')
    with pytest.raises(ConfigError, match="not as the daemon wrote it"):
        FloorFile(tmp_path)
