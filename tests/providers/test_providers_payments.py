"""Payments over a helper: paid once, for one call, within what a person or a budget allows; and hostile providers."""

import asyncio
import json
from pathlib import Path

import pytest

from briefcase.adapters.ledger import Ledger
from briefcase.adapters.providers.payments import PaymentSettings
from briefcase.model.effects import Entry, SetBudgetLimit
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import CallContext, HttpResponse, ReceiptFilter
from support.paid import OFFER, PAY_TO, TRANSACTION, PaidProvider, Wallet
from support.providers import BASE_URL

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "provider_payments.json").read_text())
DAY = "2026-01-01"
PRICE = 2_000


@pytest.fixture
async def desk(open_desk):
    """A desk whose provider wants to be paid, whose wallet can, and whose budget has room for a thousand payments."""
    return await opened(open_desk)


async def opened(open_desk, *, budget=1_000 * PRICE, **options):
    desk = open_desk()
    desk.wallet = Wallet(desk.clock)
    desk.provider = desk.outbound.answer = PaidProvider(BASE_URL, desk.clock)
    desk.open(helper=desk.wallet, **options)
    await desk.service.upsert("demo", BASE_URL)
    desk.ledger.limits["payments"] = budget
    return desk


def paid(desk):
    """What the provider was paid, and what the ledger says was spent."""
    line = desk.ledger.budget("payments", DAY)
    assert line.reserved_microusd == 0
    assert desk.ledger.open_intents == {}
    return len(desk.provider.payments), line.spent_microusd


def payments(desk):
    return [receipt.event for receipt in desk.ledger.chain if receipt.event["kind"].startswith("payment_")]


async def settled():
    for _ in range(50):
        await asyncio.sleep(0)


# --- as it should be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_ga", [False, True])
async def test_a_payment_within_the_budget_is_made_once_for_many_calls_and_receipted_with_its_terms(open_desk, is_ga):
    desk = await opened(open_desk, is_ga=is_ga)
    for _ in range(5):
        await desk.quote()
        await settled()
    intent, outcome = payments(desk)
    told = {
        "provider_id": "demo", "rail": "x402_v2", "amount_microusd": PRICE, "amount": "2000",
        "asset": OFFER["asset"].lower(), "network": "eip155:84532", "pay_to": PAY_TO.lower(),
        "resource": f"{BASE_URL}/token", "call_id": "call-1", "call_intent_id": 1, "is_approved": False,
    }  # fmt: skip
    assert intent | told | {"kind": "payment_intent"} == intent
    assert outcome | told | {"kind": "payment_outcome", "status": "ok", "spent_microusd": PRICE} == outcome
    assert (outcome["transaction"], outcome["intent_id"]) == (TRANSACTION, intent["id"])
    assert paid(desk) == (1, PRICE)


async def test_the_helper_is_asked_and_the_provider_paid_in_the_recorded_form(desk):
    await desk.quote()
    (asked,) = desk.wallet.asked
    recorded = RECORDED[1]["helper_stdin"]
    assert asked.keys() == recorded.keys()
    assert asked["provider_base_url"] == f"{BASE_URL}/"
    assert asked["payment_required"]["accepts"] == recorded["payment_required"]["accepts"]
    (sent,) = [request for request in desk.outbound.sent if "payment-signature" in request.headers]
    assert (sent.method, sent.url, "dpop" in sent.headers) == ("POST", f"{BASE_URL}/token", True)
    assert desk.provider.payments[0].keys() == RECORDED[2]["payment_payload_decoded"].keys()


async def test_nothing_is_paid_ahead_of_need_and_the_call_that_needs_it_pays(desk):
    for _ in range(5):
        await desk.quote()
        await settled()
    assert paid(desk)[0] == 1  # a new capability was asked for before the last call, and was not paid for
    assert desk.parts.quote.signals() == ()
    await desk.quote()
    assert paid(desk) == (2, 2 * PRICE)


async def test_without_a_helper_nothing_is_paid_in_ga_and_version_2_nowhere(open_desk):
    desk = await opened(open_desk, is_ga=True)
    desk.open(helper=None)
    with pytest.raises(UpstreamError, match="nothing entitles"):
        await desk.quote()
    desk.open(is_ga=False)
    with pytest.raises(UpstreamError, match="not as expected"):
        await desk.quote()
    assert payments(desk) == []


@pytest.mark.parametrize(
    ("rail", "asked", "proof"),
    [
        ("x402", {"payment_id", "payment_url", "amount_microusd"}, "X402 proof-1"),
        ("l402", {"invoice", "amount_microusd"}, "L402 "),
    ],
)
async def test_the_older_rails_go_over_the_helper_too_and_l402_is_asked_for_where_it_is_wanted(
    open_desk, rail, asked, proof
):
    settings = PaymentSettings(prefers_l402=rail == "l402")
    desk = await opened(open_desk, budget=10**9, payment_settings=settings)
    desk.outbound.answer = None  # the reference gateway, which knows no such proof
    with pytest.raises(UpstreamError, match="401"):
        await desk.quote()
    (told,) = desk.wallet.asked
    assert told.keys() == asked | {"rail", "provider_base_url"}
    assert told["rail"] == rail
    first, second = [request for request in desk.outbound.sent if request.url == f"{BASE_URL}/token"]
    assert first.headers.get("x-accept-payment-rail") == ("l402" if rail == "l402" else None)
    assert second.headers["authorization"].startswith(proof)
    assert (payments(desk)[1]["status"], payments(desk)[1]["reason"]) == ("error", "outcome_unknown")


# --- a person's yes ---------------------------------------------------------------------------------------------


async def test_past_the_budget_nothing_is_paid_until_a_person_approves_just_these_terms(open_desk):
    desk = await opened(open_desk, budget=PRICE - 1)
    before = desk.parts.quote.spec.digest_hex
    with pytest.raises(UpstreamError, match="does not allow it") as caught:
        await desk.quote(is_approved=True)  # of something else
    assert (caught.value.sent, desk.wallet.asked, payments(desk)) == (False, [], [])

    terms = desk.parts.quote.payment
    assert (terms.amount_microusd, terms.pay_to, terms.network) == (PRICE, PAY_TO.lower(), "eip155:84532")
    assert desk.parts.quote.signals() == ("payment_due",)
    asked_for = desk.parts.quote.spec.digest_hex
    assert asked_for != before

    await desk.quote(approved=terms, is_approved=True)
    assert paid(desk) == (1, PRICE)
    assert payments(desk)[0]["is_approved"] is True
    assert (desk.parts.quote.signals(), desk.parts.quote.payment) == ((), None)
    assert desk.parts.quote.spec.digest_hex == before


async def test_a_call_pays_what_its_definition_said_when_it_was_approved_and_nothing_else(open_desk):
    desk = await opened(open_desk, budget=0)
    with pytest.raises(UpstreamError):
        await desk.quote()
    decided = desk.parts.quote.spec.digest_hex
    desk.provider.offer["amount"] = "3000"
    with pytest.raises(UpstreamError, match="does not allow it"):
        await desk.quote()
    context = CallContext("c", "p", "r", 60 * 10**9, is_approved=True, tool_digest_hex=decided)
    with pytest.raises(UpstreamError, match="has changed since"):
        await desk.parts.quote.execute({"symbol": "ACME"}, context)
    assert paid(desk) == (0, 0)


async def test_an_approved_call_does_not_fail_with_one_that_was_not(open_desk):
    desk = await opened(open_desk, budget=0)
    with pytest.raises(UpstreamError):
        await desk.quote()
    terms = desk.parts.quote.payment
    answers = await asyncio.gather(desk.quote(), desk.quote(approved=terms), return_exceptions=True)
    assert [isinstance(answer, UpstreamError) for answer in answers] == [True, False]
    assert paid(desk) == (1, PRICE)


async def test_a_log_in_takes_the_question_away(open_desk):
    desk = await opened(open_desk, budget=0)
    with pytest.raises(UpstreamError):
        await desk.quote()
    assert desk.parts.quote.signals() == ("payment_due",)
    desk.outbound.answer = None
    await desk.log_in()
    assert desk.parts.quote.signals() == ()


# --- hostile providers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": "2001"},
        {"amount": "1"},
        {"payTo": "0x" + "c" * 40},
        {"network": "eip155:8453", "asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"},
    ],
    ids=["a higher price", "a lower price", "another recipient", "another network"],
)
@pytest.mark.parametrize("budget", [0, 10**9], ids=["past the budget", "within it"])
async def test_what_is_asked_for_after_the_approval_is_not_paid_but_asked_about_anew(open_desk, changed, budget):
    desk = await opened(open_desk, budget=0)
    with pytest.raises(UpstreamError):
        await desk.quote()
    approved = desk.parts.quote.payment
    desk.provider.offer |= changed
    desk.ledger.limits["payments"] = budget
    with pytest.raises(UpstreamError, match="another payment than the one that was approved") as caught:
        await desk.quote(approved=approved)
    assert (caught.value.sent, desk.wallet.asked, paid(desk)) == (False, [], (0, 0))
    desk.ledger.limits["payments"] = 0
    assert desk.parts.quote.payment not in (None, approved)


async def test_a_provider_that_asks_again_after_it_was_paid_is_paid_once_and_then_a_person_is_asked(desk):
    desk.provider.takes = lambda _: desk.provider.asks()
    with pytest.raises(UpstreamError, match="paid again for what was just paid"):
        await desk.quote()
    assert paid(desk) == (1, PRICE)
    assert payments(desk)[1] | {"status": "error", "reason": "outcome_unknown"} == payments(desk)[1]
    for _ in range(3):
        with pytest.raises(UpstreamError, match="nobody knows what became of the last payment"):
            await desk.quote()
    assert paid(desk) == (1, PRICE)
    assert desk.parts.quote.signals() == ("payment_due", "payment_in_doubt")

    desk.provider.takes = lambda _: None
    await desk.quote(approved=desk.parts.quote.payment)
    assert paid(desk) == (2, 2 * PRICE)
    desk.service.clear_capabilities("demo")
    await desk.quote()  # nothing is in doubt any more
    assert paid(desk) == (3, 3 * PRICE)


async def test_a_provider_that_ends_what_was_just_paid_for_is_not_paid_twice_for_one_call(desk):
    desk.provider.revokes = True
    with pytest.raises(UpstreamError, match="paid twice for one call"):
        await desk.quote()
    assert paid(desk) == (1, PRICE)


async def test_a_payment_for_another_resource_is_not_made(desk):
    desk.provider.resource = "https://attacker.example/token"
    with pytest.raises(UpstreamError, match="another resource"):
        await desk.quote()
    assert (desk.wallet.asked, payments(desk)) == ([], [])


async def test_a_giant_header_is_not_read(desk):
    giant = HttpResponse(402, {"payment-required": "A" * (8 << 20)}, b"")
    desk.outbound.answer = lambda _: giant
    with pytest.raises(UpstreamError, match="at most"):
        await desk.quote()
    assert (desk.wallet.asked, payments(desk)) == ([], [])


async def test_the_same_challenge_is_paid_once_whatever_asks_for_it_again(open_desk):
    desk = await opened(open_desk)
    body = json.dumps({"rail": "x402", "payment_id": "one-and-the-same", "amount_microusd": PRICE}).encode()
    desk.outbound.answer = lambda _: HttpResponse(402, {}, body)
    with pytest.raises(UpstreamError, match="paid again"):
        await desk.quote()
    assert len(desk.wallet.asked) == 1
    desk.ledger.settings.clear()  # even where nothing were in doubt
    with pytest.raises(UpstreamError, match="paid before"):
        await desk.quote()
    with pytest.raises(UpstreamError, match="paid before"):
        await desk.quote(approved=desk.capabilities._slots["demo"].due)
    assert len(desk.wallet.asked) == 1
    assert [event["kind"] for event in payments(desk)] == ["payment_intent", "payment_outcome"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda _: HttpResponse(500, {}, b""), "500"),
        (lambda _: HttpResponse(401, {}, b'{"error":"invalid_token"}'), "401"),
        (lambda _: HttpResponse(402, {}, b'{"error":"replay_detected"}'), "paid again"),
        (lambda _: HttpResponse(200, {}, b"{}"), "not as expected"),
    ],
)
async def test_a_paid_provider_that_gives_nothing_for_it_has_the_money_and_the_next_payment_needs_a_person(
    desk, answer, problem
):
    desk.provider.takes = answer
    with pytest.raises(UpstreamError, match=problem):
        await desk.quote()
    assert paid(desk) == (1, PRICE)


@pytest.mark.parametrize(("sent", "spent"), [(True, PRICE), (False, 0)])
async def test_a_signature_that_never_left_costs_nothing_and_one_that_did_is_spent(desk, sent, spent):
    desk.outbound.cut = lambda r: UpstreamError("cut", sent=sent) if "payment-signature" in r.headers else None
    with pytest.raises(UpstreamError, match="cut"):
        await desk.quote()
    assert paid(desk) == (0, spent)
    desk.outbound.cut = None
    if sent:
        with pytest.raises(UpstreamError, match="nobody knows"):
            await desk.quote()
    else:
        await desk.quote()


# --- a helper that cannot be trusted to be right ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "value", "problem"),
    [
        ("value", "2001", "another amount"),
        ("to", "0x" + "c" * 40, "another recipient"),
        ("validBefore", "9999999999", "another time"),
    ],
)
async def test_a_helper_that_signs_more_than_was_asked_for_sends_nothing(desk, where, value, problem):
    desk.wallet.spoil = lambda signed: signed["payload"]["authorization"].update({where: value})
    with pytest.raises(UpstreamError, match=problem):
        await desk.quote()
    assert paid(desk) == (0, 0)
    assert payments(desk)[1]["status"] == "error"
    desk.wallet.spoil = lambda _: None
    await desk.quote()  # nothing had left: nothing is in doubt


@pytest.mark.parametrize("answer", [{}, {"payment_signature_b64": 5}, {"payment_signature_b64": "x" * 99_999}])
async def test_a_helper_that_answers_garbage_sends_nothing(desk, answer):
    desk.wallet.answer = {"rail": "x402_v2"} | answer
    with pytest.raises(UpstreamError, match="not as expected"):
        await desk.quote()
    assert paid(desk) == (0, 0)


@pytest.mark.parametrize(("sent", "spent"), [(True, 200_000), (False, 0)])
async def test_a_helper_that_moves_money_itself_and_fails_half_way_has_spent_it(open_desk, sent, spent):
    desk = await opened(open_desk, budget=10**9)
    desk.outbound.answer = None
    desk.wallet.fails = UpstreamError("the payment helper failed: it exited with 1", sent=sent)
    with pytest.raises(UpstreamError, match="exited with 1"):
        await desk.quote()
    assert paid(desk) == (0, spent)
    assert ("reason" in payments(desk)[1]) == sent


@pytest.mark.parametrize("proof", ["", "a b", "line\nfeed", "ü", "x" * 20_000])
async def test_a_proof_that_cannot_stand_in_a_header_goes_nowhere(open_desk, proof):
    desk = await opened(open_desk, budget=10**9)
    desk.outbound.answer = None
    desk.wallet.answer = {"rail": "x402", "proof": proof}
    with pytest.raises(UpstreamError, match="not as expected"):
        await desk.quote()
    assert all("authorization" not in request.headers for request in desk.outbound.sent)


# --- crashes ----------------------------------------------------------------------------------------------------


async def test_a_payment_that_a_crash_cut_off_is_spent_and_never_made_again_by_itself(open_desk, tmp_path):
    desk = await opened(open_desk)
    desk.ledger = Ledger.open(tmp_path / "ledger", desk.clock)
    await desk.ledger.commit(Entry({"kind": "budget_set"}, (SetBudgetLimit("payments", 10**9),)))
    desk.open()
    reached, send = asyncio.Event(), desk.outbound.request

    async def hang(request):
        response = await send(request)
        if "payment-signature" in request.headers:
            reached.set()
            await asyncio.Event().wait()
        return response

    desk.outbound.request = hang
    call = asyncio.create_task(desk.quote())
    await reached.wait()
    await desk.service.close()
    await asyncio.gather(call, return_exceptions=True)
    await desk.ledger.close()
    desk.outbound.request = send

    desk.ledger = Ledger.open(tmp_path / "ledger", desk.clock)
    try:
        desk.open()
        with pytest.raises(UpstreamError, match="nobody knows what became of the last payment"):
            await desk.quote()
        assert len(desk.provider.payments) == 1
        receipts = await desk.ledger.receipts(ReceiptFilter(limit=9, kind="outcome_unknown"))
        (line,) = [line for line in desk.ledger.budgets(DAY) if line.category == "payments"]
        assert (len(receipts), line.spent_microusd, line.reserved_microusd) == (1, PRICE, 0)
        await desk.quote(approved=desk.parts.quote.payment)
        assert len(desk.provider.payments) == 2
        assert (await desk.ledger.verify()).ok
    finally:
        await desk.service.close()
        await desk.ledger.close()


async def test_a_challenge_stays_claimed_over_a_restart(open_desk, tmp_path):
    desk = await opened(open_desk)
    body = json.dumps({"rail": "x402", "payment_id": "one-and-the-same", "amount_microusd": PRICE}).encode()
    desk.outbound.answer = lambda _: HttpResponse(402, {}, body)
    for _ in range(2):
        desk.ledger = Ledger.open(tmp_path / "ledger", desk.clock)
        try:
            await desk.ledger.commit(Entry({"kind": "budget_set"}, (SetBudgetLimit("payments", 10**9),)))
            desk.open()
            with pytest.raises(UpstreamError):
                await desk.quote()
            with pytest.raises(UpstreamError, match="paid before"):
                await desk.quote(approved=desk.capabilities._slots["demo"].due)
        finally:
            await desk.service.close()
            await desk.ledger.close()
    assert len(desk.wallet.asked) == 1
