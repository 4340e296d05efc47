"""A bundle is applied when every check holds, in the stated order; recorded bundles of another implementation hold."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from briefcase.core.fleet import words
from briefcase.core.fleet.answers import read_enrolment_answer
from briefcase.core.fleet.bundles import (
    Apply,
    BundleError,
    Fresh,
    PolicyBundle,
    Refused,
    Standing,
    Unchanged,
    check_key,
    digest_of,
    is_signed_by,
    judge_bundle,
    signed_bytes,
)
from briefcase.core.fleet.envelopes import pae, read_freshness, read_mandatory, read_next_key
from briefcase.core.jose.base64url import decode_base64url
from support.control_plane import POLICY, START_US, SigningKey

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "control_plane" / "recorded.json").read_text())
THEIR_KEY = RECORDED["policy_signing_pubkey_b64"]
KEY, OTHER = SigningKey(7), SigningKey(8)
NOW_US = START_US


def judged(value, fresh=None, **standing):
    return judge_bundle(value, Standing(**{"key_b64": KEY.public_b64, **standing}), fresh, NOW_US)


def reason(value, fresh=None, **standing):
    answer = judged(value, fresh, **standing)
    assert isinstance(answer, Refused), answer
    return answer.reason


# --- what was recorded ------------------------------------------------------------------------------------------------


def test_the_signed_bytes_of_a_recorded_bundle_are_ours_byte_for_byte():
    signed = RECORDED["signed"]
    bundle = msgspec.json.decode(signed["bytes_utf8"], type=PolicyBundle)
    assert signed_bytes(bundle) == signed["bytes_utf8"].encode()
    assert digest_of(bundle) == signed["sha256"]
    assert is_signed_by(THEIR_KEY, signed_bytes(bundle), decode_base64url(signed["signature_b64"]))


def test_the_order_in_which_budgets_are_sent_changes_nothing():
    bundle = msgspec.json.decode(RECORDED["signed"]["bytes_utf8"], type=PolicyBundle)
    turned = msgspec.structs.replace(bundle, budgets=dict(reversed(bundle.budgets.items())))
    assert list(turned.budgets) != list(bundle.budgets)
    assert digest_of(turned) == digest_of(bundle)


@pytest.mark.parametrize("value", RECORDED["bundles"], ids=lambda value: f"bundle-{value['bundle']['bundle_id']}")
def test_a_recorded_bundle_is_taken_by_the_key_that_signed_it_and_by_no_other(value):
    by_theirs = judge_bundle(value, Standing(THEIR_KEY), None, NOW_US)
    is_by_another = value["signature_b64"].startswith("gUHqUmbA")  # recorded with the key of another control plane
    assert isinstance(by_theirs, Refused if is_by_another else Apply)
    assert reason(value) == words.INVALID_SIGNATURE


def test_a_recorded_bundle_for_another_profile_is_refused_where_the_profile_is_needed():
    (value,) = [value for value in RECORDED["bundles"] if value["bundle"]["compatibility_profile"] != "aacp_v1"]
    answer = judge_bundle(value, Standing(THEIR_KEY, needs_profile=True), None, NOW_US)
    assert (answer.reason, answer.bundle_id, answer.profile) == (words.INCOMPATIBLE_PROFILE, 9, "aacp_v2")
    assert isinstance(judge_bundle(value, Standing(THEIR_KEY), None, NOW_US), Apply)


def test_a_recorded_enrolment_is_read_with_what_ours_does_not_know_of_passed_over():
    answer = read_enrolment_answer(json.dumps(RECORDED["enrolment"]).encode())
    assert (answer.device_id, answer.policy_signing_pubkey_b64) == (RECORDED["enrolment"]["device_id"], THEIR_KEY)
    assert isinstance(judge_bundle(answer.policy_bundle, Standing(THEIR_KEY), None, NOW_US), Apply)
    assert (answer.freshness, answer.mandatory, answer.last_receipt_id) == (None, None, None)


# --- the checks, each alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"bundle": {}, "signature_b64": ""},
        {**KEY.bundle(1), "signature_b64": "not base64url!"},
        {**KEY.bundle(1), "signature_b64": 7},
        KEY.bundle(0),
        KEY.bundle(-1),
        {**KEY.bundle(1), "bundle": {**KEY.bundle(1)["bundle"], "budgets": {"read": 1.5}}},
        {**KEY.bundle(1), "bundle": {**KEY.bundle(1)["bundle"], "bundle_id": True}},
    ],
)
def test_what_is_no_bundle_is_malformed(value):
    assert reason(value) == words.MALFORMED


@pytest.mark.parametrize(
    ("member", "changed"),
    [
        ("bundle_id", 2),
        ("compatibility_profile", "aacp_v2"),
        ("policy_text", POLICY + " "),
        ("budgets", {"read": 1}),
        ("updated_at_rfc3339", "2030-01-01T00:00:00+00:00"),
    ],
)
def test_a_change_of_any_member_breaks_the_signature(member, changed):
    value = KEY.bundle(1)
    assert isinstance(judged(value), Apply)
    value["bundle"][member] = changed
    assert reason(value) == words.INVALID_SIGNATURE


def test_the_signature_of_another_key_a_short_and_an_empty_one_are_refused():
    for signature in (OTHER.bundle(1)["signature_b64"], KEY.bundle(1)["signature_b64"][:-6], ""):
        assert reason({**KEY.bundle(1), "signature_b64": signature}) == words.INVALID_SIGNATURE


@pytest.mark.parametrize(
    ("bundle_id", "standing", "expected"),
    [
        (5, {"running_id": 6, "running_digest_hex": "x"}, words.BUNDLE_FELL),
        (5, {"floor": 6}, words.BUNDLE_FELL),
        (5, {"floor": 6, "running_id": 3, "running_digest_hex": "x"}, words.BUNDLE_FELL),
        (5, {"running_id": 5, "running_digest_hex": "another"}, words.BUNDLE_CHANGED),
    ],
)
def test_an_id_that_falls_and_one_that_was_used_twice_are_refused(bundle_id, standing, expected):
    assert reason(KEY.bundle(bundle_id), **standing) == expected


def test_the_running_bundle_is_nothing_new_and_a_restored_device_takes_it_again():
    value = KEY.bundle(5)
    digest_hex = judged(value).digest_hex
    assert judged(value, floor=5, running_id=5, running_digest_hex=digest_hex) == Unchanged(5)
    assert isinstance(judged(value, floor=5, running_id=3, running_digest_hex="x"), Apply)


def test_a_word_of_freshness_is_wanted_once_one_ever_came():
    fresh = Fresh(5, NOW_US + 1)
    assert isinstance(judged(KEY.bundle(5), fresh), Apply)
    assert isinstance(judged(KEY.bundle(5)), Apply)
    assert reason(KEY.bundle(5), expects_freshness=True) == words.NO_FRESHNESS
    assert reason(KEY.bundle(5), Fresh(5, NOW_US)) == words.NOT_FRESH
    assert reason(KEY.bundle(5), Fresh(6, NOW_US + 1)) == words.NOT_FRESH


@pytest.mark.parametrize(
    ("text", "budgets", "expected"),
    [
        ("", {}, words.INVALID_POLICY_TEXT),
        (" \n\t", {}, words.INVALID_POLICY_TEXT),
        ("x" * 200_001, {}, words.INVALID_POLICY_TEXT),
        ("é" * 100_001, {}, words.INVALID_POLICY_TEXT),
        (POLICY, {"read": -1}, words.INVALID_BUDGET),
        (POLICY, {"": 1}, words.INVALID_BUDGET),
        (POLICY, {"r" * 65: 1}, words.INVALID_BUDGET),
        (POLICY, {"re\nad": 1}, words.INVALID_BUDGET),
        (POLICY, {"read": 1 << 53}, words.INVALID_BUDGET),
        (POLICY, {f"c{number}": 1 for number in range(257)}, words.INVALID_BUDGET),
    ],
)
def test_a_signed_bundle_with_a_text_or_a_budget_out_of_bounds_is_refused(text, budgets, expected):
    answer = judged(KEY.bundle(4, text, budgets))
    assert (answer.reason, answer.bundle_id) == (expected, 4)


def test_the_largest_text_and_a_budget_of_nothing_are_taken():
    assert isinstance(judged(KEY.bundle(4, "x" * 200_000, {"read": 0})), Apply)


def test_the_checks_come_in_their_order():
    bad = KEY.bundle(4, "", {"read": -1}, profile="aacp_v2")
    standing = {"needs_profile": True, "floor": 9, "expects_freshness": True}
    assert reason({**bad, "signature_b64": OTHER.bundle(4)["signature_b64"]}, **standing) == words.INVALID_SIGNATURE
    found = [reason(bad, **standing)]
    for name in tuple(standing):
        del standing[name]
        found.append(reason(bad, **standing))
    expected = [words.INCOMPATIBLE_PROFILE, words.BUNDLE_FELL, words.NO_FRESHNESS, words.INVALID_POLICY_TEXT]
    assert found == expected


# --- keys and siblings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "AAAA", KEY.public_b64 + "=", KEY.public_b64[:-1], KEY.public_b64 + "AA", "é" * 43]
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(BundleError, match="Ed25519"):
        check_key(text)


def test_siblings_are_read_by_the_key_that_signed_them():
    assert read_freshness(KEY.freshness(3, NOW_US), KEY.public_b64) == Fresh(3, NOW_US)
    assert read_mandatory(KEY.mandatory(2, "forbid"), KEY.public_b64).policy_text == "forbid"
    assert read_next_key(KEY.next_key(OTHER), KEY.public_b64).policy_signing_pubkey_b64 == OTHER.public_b64


def test_one_sibling_is_never_taken_for_another():
    envelope = KEY.envelope("application/vnd.briefcase.fleet.keys+json", {"id": 1, "policy_text": ""})
    with pytest.raises(BundleError) as refused:
        read_mandatory(envelope, KEY.public_b64)
    assert refused.value.reason == words.MALFORMED
    renamed = {**envelope, "payloadType": "application/vnd.briefcase.fleet.mandatory+json"}
    with pytest.raises(BundleError) as refused:
        read_mandatory(renamed, KEY.public_b64)
    assert refused.value.reason == words.INVALID_SIGNATURE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"payload": "e30="}, words.INVALID_SIGNATURE),
        ({"payload": "!"}, words.MALFORMED),
        ({"payload": "A" * 400_001}, words.MALFORMED),
        ({"signatures": []}, words.INVALID_SIGNATURE),
        ({"signatures": [{"sig": "?"}]}, words.MALFORMED),
        ({"signatures": "none"}, words.MALFORMED),
    ],
)
def test_an_envelope_that_was_changed_is_refused(changes, expected):
    with pytest.raises(BundleError) as refused:
        read_freshness({**KEY.freshness(3, NOW_US), **changes}, KEY.public_b64)
    assert refused.value.reason == expected


@pytest.mark.parametrize("payload", [{"bundle_id": 3}, {"bundle_id": 3, "issued_at": "x", "expires_at": "soon"}, []])
def test_a_signed_payload_of_another_form_is_malformed(payload):
    envelope = KEY.envelope("application/vnd.briefcase.fleet.freshness+json", payload)
    with pytest.raises(BundleError) as refused:
        read_freshness(envelope, KEY.public_b64)
    assert refused.value.reason == words.MALFORMED


def test_what_an_envelope_signs_is_the_encoding_of_the_specification():
    """The example of the DSSE protocol 1.0.0."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected
    assert hashlib.sha256(expected).digest()
