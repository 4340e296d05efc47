"""Entitlements and payments: what a status decides, what a budget allows, what is never guessed."""

import asyncio
import json
import zlib
from urllib.parse import urlsplit

import pytest

from briefcase.adapters.ledger import Ledger
from briefcase.core.jose.base64url import JoseError, encode_base64url
from briefcase.core.jose.credentials import read_credential
from briefcase.core.jose.jws import Signer, did_of, generate_key
from briefcase.core.jose.status_lists import read_status_list
from briefcase.model.effects import Entry, SetBudgetLimit
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpResponse, ReceiptFilter, SignallingTool
from support.providers import BASE_URL

S = 1_000_000
NOW_S = 1_767_225_600
ISSUER = generate_key("EdDSA")
HOLDER = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
LIST_URI = "https://provider.example/vc/status"


GA = {"is_ga": True}
STRICT = {"is_ga": True, "denies_unknown_status": True}


async def entitled(desk):
    """With a credential and without a log-in."""
    await desk.log_in()
    await desk.service.fetch_credential("demo")
    await desk.service._custody.delete_login("demo")
    await desk.service.close()
    desk.open()


def lists_cut(request):
    return UpstreamError("down", sent=False) if request.url.endswith("/vc/status") else None


async def test_a_credential_alone_opens_capabilities(open_desk):
    desk = open_desk(opens=GA)
    await entitled(desk)
    assert (await desk.service.list())[0].has_vc is True
    assert (await desk.service.list())[0].vc_expires_at_rfc3339.startswith("2026-01-02")
    await desk.quote()
    assert all("authorization" not in r.headers for r in desk.outbound.sent[-2:] if r.url.endswith("/token"))


async def test_a_revoked_credential_opens_nothing(open_desk):
    desk = open_desk(opens=GA)
    await entitled(desk)
    entitlement = await desk.service._custody.entitlement("demo")
    desk.gateway._credentials.revoke(desk.gateway._credentials.jti_of(entitlement.credential_jwt))
    with pytest.raises(UpstreamError, match="nothing entitles"):
        await desk.quote()


async def test_a_status_list_is_asked_for_once_in_its_time(open_desk):
    desk = open_desk(opens=GA)
    await entitled(desk)
    for _ in range(5):
        desk.service.clear_capabilities("demo")
        await desk.quote()
    assert desk.asked("/vc/status") == 1
    desk.clock.advance(us=301 * S)
    desk.service.clear_capabilities("demo")
    await desk.quote()
    assert desk.asked("/vc/status") == 2


async def test_an_unknown_status_waits_for_a_person_and_a_yes_is_good_for_one_call(open_desk):
    desk = open_desk(opens=GA)
    await entitled(desk)
    assert isinstance(desk.parts.quote, SignallingTool)
    desk.outbound.cut = lists_cut
    with pytest.raises(UpstreamError, match="vc_status_unknown") as caught:
        await desk.quote()
    assert caught.value.sent is False
    assert desk.parts.quote.signals() == ("vc_status_unknown",)
    await desk.quote(is_approved=True)
    with pytest.raises(UpstreamError, match="vc_status_unknown"):
        await desk.quote()
    desk.outbound.cut = None
    desk.clock.advance(us=11 * S)
    await desk.quote()
    assert desk.parts.quote.signals() == ()


async def test_an_unknown_status_is_denied_where_the_operator_says_so(open_desk):
    desk = open_desk(opens=STRICT)
    await entitled(desk)
    desk.outbound.cut = lists_cut
    for is_approved in (False, True):
        with pytest.raises(UpstreamError, match="vc_status_unknown"):
            await desk.quote(is_approved=is_approved)
    assert desk.parts.quote.signals() == ()


async def test_a_credential_with_a_bitstring_status_opens_capabilities_until_it_is_revoked(open_desk):
    desk = open_desk(opens=GA, status_list="bitstring")
    await entitled(desk)
    await desk.quote()
    assert (desk.asked("/vc/bitstring"), desk.asked("/vc/status")) == (1, 0)
    entitlement = await desk.service._custody.entitlement("demo")
    desk.gateway._credentials.revoke(desk.gateway._credentials.jti_of(entitlement.credential_jwt))
    desk.clock.advance(us=301 * S)
    desk.service.clear_capabilities("demo")
    with pytest.raises(UpstreamError, match="nothing entitles"):
        await desk.quote()
    assert desk.asked("/vc/bitstring") == 2


async def test_a_credential_needs_a_log_in(desk):
    await desk.service.upsert("demo", BASE_URL)
    with pytest.raises(UpstreamError, match="there is no log-in"):
        await desk.service.fetch_credential("demo")


# --- credentials and lists that must not be believed ------------------------------------------------------------


def credential(key=ISSUER, **changed):
    claims = {"iss": did_of(key.public), "sub": HOLDER, "exp": NOW_S + 60, "jti": "j",
              "status": {"status_list": {"idx": 9, "uri": LIST_URI}}} | changed  # fmt: skip
    return Signer(key, "vc+jwt").sign({name: value for name, value in claims.items() if value is not None})


def status_list(key=ISSUER, bits=b"\0\0", **changed):
    claims = {"iss": did_of(key.public), "sub": LIST_URI, "exp": NOW_S + 60,
              "status_list": {"bits": 1, "lst": encode_base64url(zlib.compress(bits))}} | changed  # fmt: skip
    return Signer(key, "statuslist+jwt").sign(claims)


def list_of(jwt, credential_jwt=None):
    read = read_credential(credential_jwt or credential(), HOLDER, NOW_S * S)
    return read_status_list(jwt, read, read.status_entries[0], NOW_S * S)


def test_a_good_credential_and_list_are_read():
    assert list_of(status_list()).is_valid(9)
    assert not list_of(status_list(bits=b"\0\2")).is_valid(9)
    assert list_of(status_list(bits=b"\0\1")).is_valid(9)
    assert not list_of(status_list()).is_valid(16)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_list_of_any_width_is_read_by_its_own(bits):
    data = bytearray(16)
    data[9 * bits // 8] |= 1 << 9 * bits % 8
    lst = {"bits": bits, "lst": encode_base64url(zlib.compress(bytes(data)))}
    found = list_of(status_list(status_list=lst))
    assert [found.is_valid(index) for index in (8, 9, 10)] == [True, False, True]


@pytest.mark.parametrize(
    "jwt",
    [
        "", "x", credential(sub="did:key:other"), credential(exp=NOW_S), credential(exp="soon"), credential(exp=None),
        credential(iss=did_of(generate_key("EdDSA").public)),
        credential(iss=None), credential(iss="https://provider.example"),
        credential(status={"status_list": {"idx": -1, "uri": LIST_URI}}),
        credential(status={"status_list": {"idx": 0}}),
        f"{credential().rpartition('.')[0]}.{credential(jti='k').rpartition('.')[2]}", Signer(ISSUER, "JWT").sign({}),
    ],
)  # fmt: skip
def test_a_credential_that_does_not_verify_is_refused(jwt):
    with pytest.raises(JoseError):
        read_credential(jwt, HOLDER, NOW_S * S)


BOMB = encode_base64url(zlib.compress(b"\0" * (9 << 20)))
TAILED = encode_base64url(zlib.compress(b"\0") + zlib.compress(b"\0"))


@pytest.mark.parametrize(
    "jwt",
    [
        "", status_list(sub="https://other.example"), status_list(exp=NOW_S), status_list(key=generate_key("EdDSA")),
        status_list(status_list={"bits": 3, "lst": ""}), status_list(status_list={"bits": 1, "lst": "AAAA"}),
        status_list(status_list={"bits": 1, "lst": BOMB}), status_list(status_list={"bits": 1, "lst": "="}),
        status_list(status_list={"bits": 1, "lst": TAILED}),
        status_list(iss=did_of(generate_key("EdDSA").public)), "a" * (2 << 20), credential(),
    ],
)  # fmt: skip
def test_a_list_that_does_not_verify_or_bursts_is_refused(jwt):
    with pytest.raises(JoseError):
        list_of(jwt)


async def test_a_credential_that_does_not_verify_is_not_kept(desk):
    await desk.log_in()
    body = json.dumps({"vc_jwt": credential(sub="did:key:other"), "expires_at_rfc3339": "2030-01-01T00:00:00Z"})
    desk.outbound.answer = lambda r: HttpResponse(200, {}, body.encode()) if "/vc/issue" in r.url else None
    with pytest.raises(UpstreamError, match="credential is not good"):
        await desk.service.fetch_credential("demo")
    assert await desk.service._custody.entitlement("demo") is None


# --- credentials that nobody but their issuer can verify --------------------------------------------------------


def opaque(header=None, expires="2026-06-01T00:00:00Z"):
    parts = [json.dumps(part).encode() for part in (header or {"typ": "JWT", "alg": "HS256"}, {"sub": HOLDER})]
    jwt = ".".join(map(encode_base64url, [*parts, b"m" * 32]))
    return HttpResponse(200, {}, json.dumps({"vc_jwt": jwt, "expires_at_rfc3339": expires}).encode())


async def issues(desk, answer):
    await desk.log_in()
    desk.outbound.answer = lambda request: answer if "/vc/issue" in request.url else None
    return await desk.service.fetch_credential("demo")


async def test_a_credential_that_only_its_issuer_can_verify_is_not_kept_unless_the_operator_says_so(desk):
    with pytest.raises(UpstreamError, match="credential is not good") as caught:
        await issues(desk, opaque())
    assert "opaque_credentials" in caught.value.hint
    assert await desk.service._custody.entitlement("demo") is None


@pytest.mark.parametrize("denies", [False, True])
async def test_one_that_is_kept_has_an_unknown_status_and_the_operators_choice_holds(open_desk, denies):
    desk = open_desk(opens={"opaque_from": frozenset({"demo"}), "denies_unknown_status": denies})
    assert await issues(desk, opaque()) == "2026-06-01T00:00:00.000000Z"
    await desk.service._custody.delete_login("demo")
    desk.service.clear_capabilities("demo")
    with pytest.raises(UpstreamError, match="vc_status_unknown") as caught:
        await desk.quote()
    assert caught.value.sent is False
    assert desk.parts.quote.signals() == (() if denies else ("vc_status_unknown",))
    sent = len(desk.outbound.sent)
    with pytest.raises(UpstreamError):  # the reference gateway issued none such: it is asked, and refuses it
        await desk.quote(is_approved=True)
    carried = [request for request in desk.outbound.sent[sent:] if "x-vc-jwt" in request.headers]
    assert len(carried) == (0 if denies else 1)


async def test_one_that_has_expired_or_is_no_longer_taken_is_as_good_as_none(open_desk):
    desk = open_desk(opens={"opaque_from": frozenset({"demo"})})
    await issues(desk, opaque(expires="2026-01-01T00:00:10Z"))
    await desk.service._custody.delete_login("demo")
    desk.clock.advance(us=11 * S)
    desk.service.clear_capabilities("demo")
    with pytest.raises(UpstreamError, match=r"nothing entitles|does not allow"):
        await desk.quote()
    desk.clock.advance(us=-5 * S)
    await desk.service.close()
    desk.open(opaque_from=frozenset())
    with pytest.raises(UpstreamError, match=r"nothing entitles|does not allow"):
        await desk.quote(is_approved=True)


@pytest.mark.parametrize(
    "answer",
    [
        opaque({"typ": "JWT", "alg": "none"}),
        opaque({"typ": "JWT", "alg": "RS256"}),
        opaque({"typ": "vc+jwt", "alg": "EdDSA"}),  # it could be verified, and does not verify
        HttpResponse(200, {}, b'{"vc_jwt":"a.b","expires_at_rfc3339":"2026-06-01T00:00:00Z"}'),
        opaque(expires="soon"),
    ],
)
async def test_what_could_be_verified_and_does_not_verify_is_never_taken_for_opaque(open_desk, answer):
    desk = open_desk(opens={"opaque_from": frozenset({"demo"})})
    with pytest.raises(UpstreamError, match="credential is not good"):
        await issues(desk, answer)


# --- payments ---------------------------------------------------------------------------------------------------


def allow(desk, microusd):
    desk.ledger.limits["payments"] = microusd


def kinds(desk):
    return [receipt.event["kind"] for receipt in desk.ledger.chain]


async def test_a_payment_is_made_within_its_budget_and_receipted_like_any_spend(open_desk):
    desk = open_desk(capability_ttl_s=86_400)
    await desk.service.upsert("demo", BASE_URL)
    allow(desk, 200_000)
    for _ in range(100):
        await desk.quote()
    assert kinds(desk) == ["payment_intent", "payment_outcome"]
    day = desk.ledger.budget("payments", "2026-01-01")
    assert (day.spent_microusd, day.reserved_microusd) == (200_000, 0)
    desk.service.clear_capabilities("demo")
    with pytest.raises(UpstreamError, match="the budget `payments` does not allow it") as caught:
        await desk.quote()
    assert caught.value.sent is False
    assert desk.asked("/pay") == 1


async def test_a_payment_cut_off_half_way_counts_as_spent_at_the_next_start(desk, tmp_path):
    desk.ledger = Ledger.open(tmp_path / "ledger", desk.clock)
    await desk.ledger.commit(Entry({"kind": "budget_set"}, (SetBudgetLimit("payments", 600_000),)))
    service = desk.open()
    await service.upsert("demo", BASE_URL)
    await desk.quote()

    desk.service.clear_capabilities("demo")
    reached, send = asyncio.Event(), desk.outbound.request

    async def hang(request):
        response = await send(request)
        if urlsplit(request.url).path == "/pay":
            reached.set()
            await asyncio.Event().wait()
        return response

    desk.outbound.request = hang
    call = asyncio.create_task(desk.quote())
    await reached.wait()
    await service.close()
    await asyncio.gather(call, return_exceptions=True)
    await desk.ledger.close()

    desk.ledger = Ledger.open(tmp_path / "ledger", desk.clock)
    try:
        receipts = await desk.ledger.receipts(ReceiptFilter(limit=10, oldest_first=True))
        told = [receipt.event for receipt in receipts if receipt.event["kind"] not in {"boot", "budget_set"}]
        assert [event["kind"] for event in told] == [
            "payment_intent",
            "payment_outcome",
            "payment_intent",
            "outcome_unknown",
        ]
        assert (told[1]["intent_id"], told[3]["intent_id"]) == (told[0]["id"], told[2]["id"])
        (line,) = [line for line in desk.ledger.budgets("2026-01-01") if line.category == "payments"]
        assert (line.spent_microusd, line.reserved_microusd) == (400_000, 0)
        assert (await desk.ledger.verify()).ok
    finally:
        await desk.ledger.close()


async def test_without_a_budget_nothing_is_paid(desk):
    await desk.service.upsert("demo", BASE_URL)
    with pytest.raises(UpstreamError, match="does not allow it"):
        await desk.quote()
    assert desk.asked("/pay") == 0
    assert kinds(desk) == []


async def test_in_ga_nothing_is_ever_paid(open_desk):
    desk = open_desk(opens={"is_ga": True})
    await desk.service.upsert("demo", BASE_URL)
    allow(desk, 10**9)
    with pytest.raises(UpstreamError, match="nothing entitles"):
        await desk.quote()
    assert desk.outbound.sent == []


@pytest.mark.parametrize(("sent", "spent"), [(True, 200_000), (False, 0)])
async def test_a_payment_in_doubt_is_spent(desk, sent, spent):
    await desk.service.upsert("demo", BASE_URL)
    allow(desk, 10**9)
    desk.outbound.cut = lambda r: UpstreamError("lost", sent=sent) if r.url.endswith("/pay") else None
    with pytest.raises(UpstreamError, match="lost"):
        await desk.quote()
    assert desk.ledger.budget("payments", "2026-01-01").spent_microusd == spent
    assert desk.ledger.chain[-1].event["status"] == "error"
    assert desk.ledger.open_intents == {}


@pytest.mark.parametrize("amount", [0, -1, 10**15, "5", None, True])
async def test_an_amount_that_is_no_price_is_not_paid(desk, amount):
    body = json.dumps({"rail": "x402", "payment_id": "p", "amount_microusd": amount}).encode()

    await desk.service.upsert("demo", BASE_URL)
    allow(desk, 10**15)
    desk.outbound.answer = lambda r: HttpResponse(402, {}, body) if r.url.endswith("/token") else None
    with pytest.raises(UpstreamError):
        await desk.quote()
    assert kinds(desk) == []


async def test_l402_is_paid_too(desk):
    await desk.service.upsert("demo", BASE_URL)
    allow(desk, 10**9)
    challenge = ask_l402(desk)
    desk.outbound.answer = lambda r: (
        HttpResponse(402, {}, challenge) if r.url.endswith("/token") and "authorization" not in r.headers else None
    )
    await desk.quote()
    assert desk.asked("/l402/pay") == 1


def ask_l402(desk):
    return json.dumps(desk.gateway._payments.challenge("l402")).encode()
