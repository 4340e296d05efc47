"""Capability tokens and PKCE: what was issued verifies whole, anything else not at all."""

import json

import pytest

from briefcase.core.jose.base64url import decode_base64url
from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import Signer, generate_key
from briefcase.core.jose.pkce import challenge_of, is_challenge, is_verified
from briefcase.core.jose.tokens import TYP, Capability, Confirmation, issue_capability, verify_capability

NOW_S = 1_767_225_600
NOW_US = NOW_S * 1_000_000
KEY = generate_key("ES256")
OTHER = generate_key("EdDSA")
ISSUER = "https://provider.example"
GOOD = Capability(ISSUER, NOW_S, NOW_S + 60, "id", "quote", 10, 2_000, Confirmation(KEY.public.thumbprint))
SIGNER = Signer(OTHER, TYP)


def test_an_issued_capability_verifies_whole():
    token = issue_capability(SIGNER, GOOD)
    assert verify_capability(token, OTHER.public, ISSUER, NOW_US) == GOOD
    assert json.loads(decode_base64url(token.split(".")[1])) == {
        "iss": ISSUER, "iat": NOW_S, "exp": NOW_S + 60, "jti": "id", "scope": "quote",
        "max_calls": 10, "cost_microusd": 2_000, "cnf": {"jkt": KEY.public.thumbprint},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"iss": "https://other.example"}, "another issuer"),
        ({"exp": NOW_S}, "expired 0 s ago"),
        ({"exp": NOW_S - 10}, "expired 10 s ago"),
        ({"iat": NOW_S + 6}, "in the future"),
        ({"max_calls": 0}, "max_calls"),
        ({"max_calls": "10"}, "max_calls"),
        ({"max_calls": True}, "max_calls"),
        ({"cost_microusd": -1}, "cost_microusd"),
        ({"exp": None}, "exp"),
        ({"cnf": {"jkt": "short"}}, "jkt"),
        ({"cnf": {}}, "jkt"),
        ({"jti": ""}, "jti"),
    ],
)
def test_a_capability_with_a_wrong_claim_is_refused(changed, problem):
    claims = {"iss": ISSUER, "iat": NOW_S, "exp": NOW_S + 60, "jti": "id", "scope": "quote", "max_calls": 1,
              "cost_microusd": 0} | changed  # fmt: skip
    answer = verify_capability(SIGNER.sign(claims), OTHER.public, ISSUER, NOW_US)
    assert isinstance(answer, str)
    assert problem in answer


def test_a_capability_of_another_key_kind_or_type_is_refused():
    for token, key in (
        (issue_capability(SIGNER, GOOD), KEY.public),
        (issue_capability(SIGNER, GOOD), generate_key("EdDSA").public),
        (Signer(OTHER, "JWT").sign({}), OTHER.public),
        (ProofSigner(KEY).sign("GET", ISSUER, "j", NOW_US), KEY.public),
    ):
        assert isinstance(verify_capability(token, key, ISSUER, NOW_US), str)


def test_rfc_7636_appendix_b():
    verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge_of(verifier) == challenge
    assert is_verified(verifier, challenge)


@pytest.mark.parametrize("verifier", ["", "short", "x" * 42, "x" * 129, "é" * 43, "x" * 42 + " ", "x" * 43 + "\n"])
def test_a_malformed_verifier_verifies_nothing(verifier):
    assert not is_verified(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")


@pytest.mark.parametrize("text", ["", "x" * 42, "x" * 44, "x" * 42 + "=", "x" * 43 + "\n"])
def test_what_cannot_be_an_s256_challenge_is_none(text):
    assert not is_challenge(text)
