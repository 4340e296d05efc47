"""Challenges to pay: the recorded ones are read as they were, each hostile one is refused before anything is paid."""

import base64
import copy
import json
from pathlib import Path

import pytest

from briefcase.core.payments.challenges import MAX_HEADER_CHARS, read_challenge
from briefcase.core.payments.x402 import USDC, Asset, check_payload, read_settlement
from briefcase.model.errors import UpstreamError
from briefcase.model.types import PaymentTerms

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "provider_payments.json").read_text())
ASKED, HELPED, DECODED, PAID, SETTLED = RECORDED[:5]
L402_ASKED = next(one for one in RECORDED if one.get("response", {}).get("body", "").startswith('{"rail":"l402"'))
BASE_URL = "http://127.0.0.1:22099"
TOKEN_URL = f"{BASE_URL}/token"
SIGNED_S = 1_795_873_328  # when the recorded payment was made
REQUIRED = HELPED["helper_stdin"]["payment_required"]
PAYLOAD = DECODED["payment_payload_decoded"]


def encoded(document):
    return base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()


def read(headers=None, body=b"", *, assets=USDC, base_url=BASE_URL):
    return read_challenge(
        headers or {}, body, provider_id="demo", base_url=base_url, token_url=f"{base_url}/token", assets=assets
    )


def required(**changes):
    """The recorded challenge with one of its offer's fields, or of its own, replaced."""
    document = copy.deepcopy(REQUIRED)
    for name, value in changes.items():
        place = document if name in document else document["accepts"][0]
        if value is None:
            del place[name]
        else:
            place[name] = value
    return {"payment-required": encoded(document)}


# --- as they were recorded --------------------------------------------------------------------------------------


def test_the_recorded_challenge_of_version_2_is_read_and_handed_on_as_it_was():
    challenge = read(ASKED["response"]["headers"], ASKED["response"]["body"].encode())
    assert challenge.terms == PaymentTerms(
        provider_id="demo",
        rail="x402_v2",
        amount_microusd=2_000,
        pay_to="0x209693bc6afc0c5328ba36faf03c514ef312287c",
        asset="0x036cbd53842c5426634e7929541ec2318f3dcf7e",
        network="eip155:84532",
        amount="2000",
        resource=TOKEN_URL,
    )
    assert challenge.document == REQUIRED


def test_the_recorded_payment_is_one_that_may_leave():
    challenge = read(ASKED["response"]["headers"])
    signed = HELPED["helper_stdout"]["payment_signature_b64"]
    assert PAID["request"]["headers"] == {"PAYMENT-SIGNATURE": signed}
    check_payload(signed, challenge.required, SIGNED_S * 1_000_000)


def test_the_recorded_answer_says_what_came_of_it():
    settled = read_settlement(PAID["response"]["headers"]["payment-response"])
    assert {name: getattr(settled, name) for name in ("success", "payer", "transaction", "network")} == SETTLED[
        "payment_response_decoded"
    ]
    for garbage in (None, "", "=", encoded([]), encoded({"success": "yes"}), "A" * (1 << 20)):
        assert read_settlement(garbage) is None


@pytest.mark.parametrize(
    ("recorded", "rail", "pay_to"),
    [(ASKED, "x402", f"{BASE_URL}/pay"), (L402_ASKED, "l402", f"the Lightning invoice of {BASE_URL}")],
)
def test_the_older_rails_are_read_from_the_body_the_header_or_both(recorded, rail, pay_to):
    headers, body = recorded["response"]["headers"], recorded["response"]["body"].encode()
    told = {"www-authenticate": headers["www-authenticate"]}
    if rail == "x402":
        told["www-authenticate"] = told["www-authenticate"].replace(", ", " , ")
    found = [read(told, body, assets=None), read(told, assets=None), read({}, body, assets=None)]
    for challenge in found:
        assert challenge.terms == PaymentTerms("demo", rail, 2_000, pay_to, resource=TOKEN_URL)
        assert challenge.said == found[0].said


def test_lsat_is_what_l402_was_called_before():
    header = 'LSAT macaroon="m", invoice="lnbc1", amount_microusd=5'
    assert read({"www-authenticate": header}).terms.rail == "l402"


# --- what is paid, and what it is known by ----------------------------------------------------------------------


def test_the_first_offer_that_can_be_paid_is_the_only_one_that_a_helper_sees():
    other = REQUIRED["accepts"][0] | {"network": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "payTo": "4Nd1m"}
    dearer = REQUIRED["accepts"][0] | {"amount": "9000"}
    upto = REQUIRED["accepts"][0] | {"scheme": "upto"}
    challenge = read(required(accepts=[other, upto, REQUIRED["accepts"][0], dearer]))
    assert challenge.document["accepts"] == REQUIRED["accepts"]
    assert challenge.terms.amount_microusd == 2_000


@pytest.mark.parametrize(
    ("decimals", "units", "microusd"), [(6, 1, 1), (18, 1, 1), (18, 10**12 + 1, 2), (2, 150, 1_500_000)]
)
def test_an_amount_is_counted_in_micro_usd_and_rounded_up(decimals, units, microusd):
    assert Asset("eip155:1", "0x" + "a" * 40, decimals).microusd_of(units) == microusd


def test_a_challenge_is_known_by_its_id_and_one_of_version_2_by_the_call_that_pays_it():
    def claim(call_id, headers=None, **said):
        body = json.dumps({"rail": "x402", "amount_microusd": 5, "payment_id": "p"} | said).encode()
        return read(headers, b"" if headers else body, assets=USDC if headers else None).claim(call_id)

    assert claim("call 1") == claim("call 2") == claim("call 1", payment_url="/pay")
    assert claim("call 1") != claim("call 1", payment_id="q")
    assert claim("call 1", required()) == claim("call 1", required()) != claim("call 2", required())
    assert claim("call 1", required()) != claim("call 1", required(amount="2001"))


# --- hostile challenges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"payment-required": "A" * (2 << 20)}, f"at most {MAX_HEADER_CHARS}"),
        ({"payment-required": "no base64!"}, "not as expected"),
        ({"payment-required": base64.b64encode(b"{").decode()}, "not as expected"),
        ({"payment-required": base64.b64encode(b'{"x402Version":2,"x402Version":2}').decode()}, "not as expected"),
        ({"payment-required": base64.b64encode(b"[" * 60 + b"]" * 60).decode()}, "not as expected"),
        ({"payment-required": encoded([])}, "not as expected"),
        (required(x402Version=1), "not as expected"),
        (required(x402Version=None), "not as expected"),
        (required(accepts=[]), "not as expected"),
        (required(accepts=REQUIRED["accepts"] * 17), "not as expected"),
        (required(amount="0"), "not as expected"),
        (required(amount="-1"), "not as expected"),
        (required(amount="1e3"), "not as expected"),
        (required(amount="2000.5"), "not as expected"),
        (required(amount=2000), "not as expected"),
        (required(amount="9" * 30), "no price"),
        (required(payTo="mallory"), "not as expected"),
        (required(payTo=None), "not as expected"),
        (required(maxTimeoutSeconds=0), "not as expected"),
        (required(maxTimeoutSeconds=10**9), "not as expected"),
        (required(scheme="upto"), "not paid here"),
        (required(network="eip155:1"), "not paid here"),
        (required(network="solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"), "not paid here"),
        (required(asset="0x" + "b" * 40), "not paid here"),
        (required(extra={"assetTransferMethod": "permit2"}), "not paid here"),
        (required(resource={"url": f"{BASE_URL}/other"}), "another resource"),
        (required(resource={"url": "http://127.0.0.1:22098/token"}), "another resource"),
        (required(resource={"url": "http://attacker.example/token"}), "another resource"),
        (required(resource={"url": f"{BASE_URL}/token/../admin"}), "another resource"),
        (required(resource={"url": "http://user@127.0.0.1:22099/token"}), "another resource"),
        (required(resource={"url": ""}), "not as expected"),
        (required(resource=None), "not as expected"),
    ],
)
def test_a_challenge_of_version_2_that_is_wrong_in_one_thing_is_refused_for_it(headers, problem):
    with pytest.raises(UpstreamError, match=problem):
        read(headers)


def said(**changes):
    return json.dumps(
        {"rail": "x402", "payment_id": "p", "payment_url": "/pay", "amount_microusd": 5} | changes
    ).encode()


@pytest.mark.parametrize(
    ("header", "body", "problem"),
    [
        ("", b"", "not as expected"),
        ("", b"{", "not as expected"),
        ("", b'{"error":"replay_detected"}', "not as expected"),
        ("", said(rail="cash"), "not as expected"),
        ("", said(amount_microusd=0), "not as expected"),
        ("", said(amount_microusd=10**15), "not as expected"),
        ("", said(payment_id=""), "does not say what"),
        ("", said(payment_id="a b"), "not as expected"),
        ("", said(rail="l402", invoice="i"), "does not say what"),
        ("", said(payment_url="https://attacker.example/pay"), "not its own"),
        ("", said(payment_url="//attacker.example/pay"), "not its own"),
        ("", said(payment_url=f"{BASE_URL}@attacker.example/pay"), "not its own"),
        ("", said(payment_url="/pay?to=mallory"), "not its own"),
        ('X402 payment_id="p", payment_url="/pay", amount_microusd=6', said(), "two payments at once"),
        ('X402 payment_id="q", payment_url="/pay", amount_microusd=5', said(), "two payments at once"),
        ('L402 macaroon="m", invoice="i", amount_microusd=5', said(), "two payments at once"),
        ('X402 payment_id="p", amount_microusd=5, amount_microusd=6', b"", "in one way"),
        ('X402 payment_id="p", amount_microusd=5, rail="l402"', b"", "in one way"),
        ('X402 payment_id="p" amount_microusd=5', b"", "in one way"),
        ('X402 payment_id="p\\"", amount_microusd=5', b"", "in one way"),
        ('X402 payment_id="p", amount_microusd=5, Basic realm="x"', b"", "in one way"),
        ('X402 payment_id="p"', b"", "not as expected"),
        ('L402 macaroon="m", invoice="i"', b"", "not as expected"),  # a price that nobody names has no budget
        ('X402 payment_id="p", amount_microusd=' + "9" * 40, b"", "not as expected"),
        ("X402 " + "a" * (2 << 20), b"", f"at most {MAX_HEADER_CHARS}"),
        ('Basic realm="x"', b"", "not as expected"),
    ],
)
def test_a_challenge_of_an_older_rail_that_is_wrong_in_one_thing_is_refused_for_it(header, body, problem):
    with pytest.raises(UpstreamError, match=problem):
        read({"www-authenticate": header} if header else {}, body, assets=None)


# --- what a helper may sign -------------------------------------------------------------------------------------


def payload(**changes):
    """The recorded payment with one thing replaced: of its authorization, its payload, or itself."""
    document = copy.deepcopy(PAYLOAD)
    places = (document["payload"]["authorization"], document["payload"], document)
    for name, value in changes.items():
        place = next(place for place in places if name in place)
        place[name] = value
    return encoded(document)


@pytest.mark.parametrize(
    ("signed", "problem"),
    [
        (payload(value="2001"), "another amount"),
        (payload(value="1"), "another amount"),
        (payload(to="0x" + "c" * 40), "another recipient"),
        (payload(accepted=REQUIRED["accepts"][0] | {"amount": "9000"}), "another offer"),
        (payload(accepted={}), "another offer"),
        (payload(resource={"url": "http://attacker.example/token"}), "another resource"),
        (payload(validBefore=str(SIGNED_S + 3_600)), "another time"),
        (payload(validBefore=str(SIGNED_S)), "another time"),
        (payload(validAfter=str(SIGNED_S + 600)), "another time"),
        (payload(nonce="0x00"), "not as expected"),
        (payload(signature="0x"), "not as expected"),
        (payload(value=2000), "not as expected"),
        (payload(x402Version=1), "not as expected"),
        ("", "not as expected"),
        ("A" * (1 << 20), "not as expected"),
        (encoded([]), "not as expected"),
    ],
)
def test_a_payment_for_anything_but_what_was_asked_for_must_not_leave(signed, problem):
    with pytest.raises(UpstreamError, match=problem):
        check_payload(signed, read(ASKED["response"]["headers"]).required, SIGNED_S * 1_000_000)
