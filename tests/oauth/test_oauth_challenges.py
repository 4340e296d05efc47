"""`WWW-Authenticate` read strictly: what is no challenge changes nothing."""

import time

import pytest

from briefcase.adapters.oauth.challenges import Challenge, challenge_in, is_scope, parse_challenges, union_of


@pytest.mark.parametrize(
    ("value", "challenges"),
    [
        ("", []),
        ("Bearer", [("bearer", {})]),
        ('Bearer realm="a, b"', [("bearer", {"realm": "a, b"})]),
        ('bearer Scope="a b", error=invalid_token', [("bearer", {"scope": "a b", "error": "invalid_token"})]),
        ('Basic realm="x", DPoP algs="ES256", Bearer a=b',
         [("basic", {"realm": "x"}), ("dpop", {"algs": "ES256"}), ("bearer", {"a": "b"})]),
        (r'Bearer a="q\"u\\o"', [("bearer", {"a": 'q"u\\o'})]),
        ("Bearer, Basic", [("bearer", {}), ("basic", {})]),
        ('Bearer scope="a", scope="b", scope="c"', [("bearer", {})]),
        ("Bearer ===", [("bearer", {})]),
        ('Bearer a="never closed', [("bearer", {})]),
        ("é", []),
        ('a="b"', []),
        ("Negotiate abc==, Bearer a=b", [("negotiate", {})]),
    ],
)  # fmt: skip
def test_a_field_value_is_read_by_its_grammar_and_no_further(value, challenges):
    assert parse_challenges(value) == challenges


def test_the_challenge_is_the_first_of_the_strongest_scheme():
    value = 'Bearer error="b", Bearer error="later", DPoP error="use_dpop_nonce"'
    assert challenge_in({"www-authenticate": value}) == Challenge(error="use_dpop_nonce")
    assert challenge_in({"www-authenticate": 'Bearer error="b", Bearer error="later"'}) == Challenge(error="b")
    assert challenge_in({"www-authenticate": "Basic"}) is None
    assert challenge_in({}) is None


@pytest.mark.parametrize("scope", ["a\\\\b", " a", "a  b", "é", "x" * 2_049])
def test_a_scope_that_is_none_is_not_asked_for(scope):
    found = challenge_in({"www-authenticate": f'Bearer scope="{scope}", error="e"'})
    assert found == Challenge(error="e")
    assert not is_scope(scope)


def test_a_long_value_is_read_in_time_and_up_to_its_bound():
    started = time.process_time()
    for value in ('Bearer a="' + "\\" * 1_000_000, "a " * 500_000, "Bearer " + "a=b," * 250_000, "," * 1_000_000):
        parse_challenges(value)
    assert time.process_time() - started < 1


def test_scopes_are_joined_once_each():
    assert union_of("a b", "", "b c", "a") == "a b c"
