"""Credentials that verify from their issuer's name alone, and payments that are good once."""

import json
import zlib
from urllib.parse import urlencode

import pytest

from briefcase.core.jose.base64url import decode_base64url
from briefcase.core.jose.jws import check_signature, key_of, parse_compact
from briefcase.core.payments.challenges import read_challenge
from support.providers import ADMIN_SECRET, BASE_URL, Holder, ask

S = 1_000_000
HOLDER_DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def issue_credential(gateway, clock):
    access = Holder(gateway, clock).log_in()["access_token"]
    return ask(gateway, "POST", f"/vc/issue?holder_did={HOLDER_DID}", {"authorization": f"Bearer {access}"}).json[
        "vc_jwt"
    ]


def test_a_credential_verifies_from_its_issuers_did_alone_and_opens_a_capability(gateway, clock):
    credential = issue_credential(gateway, clock)
    jws = parse_compact(credential, "vc+jwt")
    check_signature(jws, key_of(jws.claims["iss"]))
    assert jws.claims["sub"] == HOLDER_DID
    assert ask(gateway, "POST", "/token", {"x-vc-jwt": credential}).status == 200


def test_a_revoked_credential_is_on_the_status_list_and_opens_nothing(opened, clock):
    gateway = opened()
    credentials = [issue_credential(gateway, clock) for _ in range(3)]
    claims = parse_compact(credentials[1], "vc+jwt").claims
    ask(
        gateway,
        "POST",
        "/api/revoke",
        {"x-aag-admin-secret": ADMIN_SECRET},
        json.dumps({"token": credentials[1]}).encode(),
    )
    for _ in range(2):
        status = parse_compact(ask(gateway, "GET", "/vc/status").body.decode(), "statuslist+jwt")
        check_signature(status, key_of(claims["iss"]))
        bits = zlib.decompress(decode_base64url(status.claims["status_list"]["lst"]))
        assert [bits[0] >> index & 1 for index in range(8)] == [0, 1, 0, 0, 0, 0, 0, 0]
        opened_by = [ask(gateway, "POST", "/token", {"x-vc-jwt": credential}).status for credential in credentials]
        assert opened_by == [200, 401, 200]
        gateway = opened()


@pytest.mark.parametrize("holder_did", ["", "x", "did:", "did:key:", "did:key:a b", "did:key:" + "x" * 300])
def test_a_credential_needs_an_access_token_and_a_holder(gateway, clock, holder_did):
    access = Holder(gateway, clock).log_in()["access_token"]
    query = urlencode({"holder_did": holder_did})
    assert ask(gateway, "POST", f"/vc/issue?{query}", {"authorization": f"Bearer {access}"}).status == 400
    assert ask(gateway, "POST", f"/vc/issue?holder_did={HOLDER_DID}").status == 401


def read_of(headers, body):
    """A challenge as the daemon reads it."""
    token_url = f"{BASE_URL}/token"
    return read_challenge(headers, body, provider_id="demo", base_url=BASE_URL, token_url=token_url, assets=None)


def pay(gateway, rail):
    challenge = ask(gateway, "POST", "/token", {} if rail == "x402" else {"x-accept-payment-rail": rail})
    assert (challenge.status, challenge.error) == (402, "payment_required")
    assert challenge.json["rail"] == rail
    assert challenge.json["amount_microusd"] == 200_000
    told = ", ".join(f'{name}="{value}"' for name, value in challenge.json.items() if isinstance(value, str))
    said = f"{rail.upper()} {told.partition(', ')[2]}, amount_microusd=200000"  # the rail is the scheme
    assert challenge.headers["www-authenticate"] == said
    assert read_of(challenge.headers, b"").said == read_of({}, challenge.body).said
    if rail == "x402":
        assert challenge.json["payment_url"] == BASE_URL + "/pay"
        body = json.dumps({"payment_id": challenge.json["payment_id"]}).encode()
        return f"X402 {ask(gateway, 'POST', '/pay', body=body).json['proof']}"
    body = json.dumps({"invoice": challenge.json["invoice"]}).encode()
    preimage = ask(gateway, "POST", "/l402/pay", body=body).json["preimage"]
    return f"L402 {challenge.json['macaroon']}:{preimage}"


@pytest.mark.parametrize("rail", ["x402", "l402"])
def test_a_payment_opens_one_capability_and_no_second_after_a_restart(opened, clock, rail):
    gateway = opened()
    paid, unused = pay(gateway, rail), pay(gateway, rail)
    assert ask(gateway, "POST", "/token", {"authorization": paid}).status == 200
    assert ask(gateway, "POST", "/token", {"authorization": paid}).error == "invalid_token"
    gateway = opened()
    assert ask(gateway, "POST", "/token", {"authorization": paid}).error == "invalid_token"
    assert ask(gateway, "POST", "/token", {"authorization": unused}).status == 200


@pytest.mark.parametrize("rail", ["x402", "l402"])
def test_a_payment_with_one_character_changed_or_past_its_time_opens_nothing(gateway, clock, rail):
    paid = pay(gateway, rail)
    for position in range(len(rail) + 1, len(paid), 7):
        changed = paid[:position] + ("A" if paid[position] != "A" else "B") + paid[position + 1 :]
        assert ask(gateway, "POST", "/token", {"authorization": changed}).status == 401
    clock.advance(us=600 * S)
    assert ask(gateway, "POST", "/token", {"authorization": paid}).status == 401


def test_a_bad_proof_uses_up_no_payment(holder):
    paid = pay(holder.gateway, "x402")
    assert ask(holder.gateway, "POST", "/token", {"authorization": paid, "dpop": "garbage"}).status == 401
    assert ask(holder.gateway, "POST", "/token", {"authorization": paid}).status == 200


def test_with_payments_off_there_is_no_challenge(opened):
    answer = ask(opened(takes_payments=False), "POST", "/token")
    assert (answer.status, answer.error) == (401, "invalid_token")
