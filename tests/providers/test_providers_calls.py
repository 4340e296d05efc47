"""Calls to providers: capabilities ready before they are needed, and every refusal taken for what it is."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from briefcase.core.jose.base64url import decode_base64url
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import CallContext, HttpResponse
from briefcase.model.types import format_rfc3339
from support.providers import ADMIN_SECRET, BASE_URL, send

S = 1_000_000


async def settled():
    """Let what runs in the background run to its end."""
    for _ in range(50):
        await asyncio.sleep(0)


def word(caught):
    return caught.value.message, caught.value.sent


async def test_a_log_in_a_call_a_revocation_and_the_failing_call_after_it(open_desk):
    desk = open_desk(opens={"is_ga": True})
    await desk.log_in()
    result = await desk.quote()
    assert result.content.keys() == {"symbol", "price", "ts"}
    assert result.source == "provider:demo"
    assert result.cost_microusd == 2_000
    revoked = await desk.service.revoke("demo")
    assert (
        revoked.had_refresh_token,
        revoked.remote_revocation_attempted,
        revoked.remote_revocation_succeeded,
    ) == (True, True, True)
    with pytest.raises(UpstreamError, match="nothing entitles") as caught:
        await desk.quote()
    assert caught.value.sent is False
    assert "oauth-login --id demo" in caught.value.hint
    again = await desk.service.revoke("demo")
    assert (again.had_refresh_token, again.remote_revocation_attempted) == (False, False)


async def test_in_steady_state_no_call_waits_for_a_token(open_desk):
    desk = open_desk(max_calls=40, capability_ttl_s=120)
    await desk.log_in()
    await settled()
    for _ in range(500):
        await desk.quote()
        await settled()
        desk.clock.advance(us=3 * S)
    assert desk.service.token_waits == 0
    assert desk.capabilities.minted > 5
    assert desk.client.health("demo").failures == 0


async def test_a_thousand_calls_at_once_share_one_minting(open_desk):
    desk = open_desk(max_calls=2_000)
    await desk.log_in()
    await settled()
    desk.service.clear_capabilities("demo")
    before = desk.asked("/token")
    results = await asyncio.gather(*(desk.quote(f"S{number}") for number in range(1_000)))
    assert len({result.content["symbol"] for result in results}) == 1_000
    assert desk.asked("/token") == before + 1


async def test_a_call_that_comes_between_the_end_of_a_minting_and_its_news_is_served(desk):
    await desk.log_in()
    await settled()
    desk.service.clear_capabilities("demo")
    minted, send = asyncio.get_running_loop().create_future(), desk.outbound.request

    async def when_told(request):
        response = await send(request)
        if urlsplit(request.url).path == "/token":
            await minted
        return response

    async def once_minted():
        await minted  # woken after the minting, which ends in that turn of the loop, and before its callbacks
        return await desk.quote("B")

    desk.outbound.request = when_told
    first = asyncio.create_task(desk.quote("A"))
    await settled()
    second = asyncio.create_task(once_minted())
    await settled()
    minted.set_result(None)
    assert [(await task).content["symbol"] for task in (first, second)] == ["A", "B"]


async def test_calls_beyond_a_capabilitys_count_mint_the_next_one_and_none_is_refused(open_desk):
    desk = open_desk(max_calls=7)
    await desk.log_in()
    await asyncio.gather(*(desk.quote() for _ in range(100)))
    assert desk.client.health("demo").refusals == 0


async def test_every_request_carries_a_proof_of_its_own(desk):
    await desk.log_in()
    await asyncio.gather(*(desk.quote() for _ in range(50)))
    proofs = [request.headers["dpop"] for request in desk.outbound.sent if "dpop" in request.headers]
    claims = [json.loads(decode_base64url(proof.split(".")[1])) for proof in proofs]
    assert len({claim["jti"] for claim in claims}) == len(proofs) > 50
    assert all(("ath" in claim) == claim["htu"].endswith("/api/quote") for claim in claims)


async def test_a_nonce_costs_one_more_request_and_then_none(open_desk):
    desk = open_desk(requires_nonce=True)
    await desk.log_in()
    await settled()
    assert desk.asked("/token") == 2
    await desk.quote()
    await desk.quote()
    assert desk.asked("/api/quote") == 2
    desk.clock.advance(us=130 * S)
    await desk.quote()
    assert desk.asked("/api/quote") == 4


async def test_a_capability_the_provider_has_ended_is_replaced_once(desk):
    await desk.log_in()
    await desk.quote()
    held = desk.capabilities._slots["demo"].held
    desk.gateway.authority.revoke(desk.gateway.authority.jti_of(held.token))
    assert (await desk.quote()).content["symbol"] == "ACME"
    assert desk.asked("/api/quote") == 3


@pytest.mark.parametrize(
    ("status", "answered", "message"),
    [
        (409, {"x-briefcase-error": "replay_detected"}, "replay_detected"),
        (403, {"x-briefcase-error": "capability_revoked"}, "capability_revoked"),
        (401, {"x-briefcase-error": "invalid_dpop_proof"}, "answered with 401 (`invalid_dpop_proof`)"),
        (500, {}, "answered with 500"),
        (302, {"location": "https://attacker.example/"}, "answered with 302"),
        (200, {}, "no JSON"),
    ],
)
async def test_a_refusal_ends_in_its_word_and_repeats_nothing_else(desk, status, answered, message):
    def answer(request):
        if "/api/quote" in request.url:
            return HttpResponse(status, answered, b'not json: {"error":"canary-5511"')
        return None

    await desk.log_in()
    desk.outbound.answer = answer
    with pytest.raises(UpstreamError) as caught:
        await desk.quote()
    assert message in caught.value.message
    assert "canary" not in f"{caught.value.message}{caught.value.hint}{caught.value.detail}"
    assert desk.client.health("demo").failures == 1
    assert desk.client.health("demo").replays == (answered.get("x-briefcase-error") == "replay_detected")


def htu_of(request):
    return json.loads(decode_base64url(request.headers["dpop"].split(".")[1]))["htu"]


def quotes(desk):
    return [htu_of(request) for request in desk.outbound.sent if "/api/quote" in request.url]


async def test_a_provider_that_compares_htu_with_the_query_is_asked_twice_once_and_then_as_it_wants(desk):
    def compares_text(request):
        if "/api/quote" not in request.url or htu_of(request) == request.url:
            return None
        return HttpResponse(401, {}, b'{"error":"invalid_dpop"}')

    await desk.log_in()
    await settled()
    desk.outbound.answer = compares_text
    desk.outbound.apps["provider"] = lambda scope, receive, send: json_answer(scope, send)
    for _ in range(3):
        assert (await desk.quote()).content == {"price": 1}
    with_query, without = f"{BASE_URL}/api/quote?symbol=ACME", f"{BASE_URL}/api/quote"
    assert quotes(desk) == [without, with_query, with_query, with_query]


async def json_answer(_scope, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'{"price":1}'})


@pytest.mark.parametrize(
    ("status", "headers", "word", "asked"),
    [
        (401, {}, "invalid_dpop", 2),  # it was not that: the refusal stands
        (401, {"dpop-nonce": "known"}, "invalid_dpop", 1),
        (403, {}, "invalid_dpop", 1),
        (401, {}, "invalid_dpop_proof", 1),
    ],
)
async def test_a_refusal_that_is_not_for_the_spelling_of_htu_is_one_and_nothing_is_remembered_of_it(
    desk, status, headers, word, asked
):
    body = json.dumps({"error": word}).encode()
    await desk.log_in()
    desk.outbound.answer = lambda request: HttpResponse(status, headers, body) if "/api/quote" in request.url else None
    with pytest.raises(UpstreamError, match=f"answered with {status}"):
        await desk.quote()
    assert len(quotes(desk)) == asked
    desk.outbound.answer = None
    await desk.quote()
    assert quotes(desk)[asked:] == [f"{BASE_URL}/api/quote"]


async def test_a_disabled_provider_is_sent_nothing_until_it_is_enabled(desk):
    await desk.log_in()
    await desk.quote()
    await settled()
    desk.disabled.add("provider:demo")
    desk.service.clear_capabilities("demo")
    before = len(desk.outbound.sent)
    with pytest.raises(UpstreamError, match="is disabled") as caught:
        await desk.quote()
    assert caught.value.sent is False
    desk.open()
    with pytest.raises(UpstreamError, match="is disabled"):
        await desk.quote()
    await settled()
    assert len(desk.outbound.sent) == before
    desk.disabled.clear()
    await desk.quote()


async def test_an_unknown_provider_is_refused_without_a_request(desk):
    with pytest.raises(UpstreamError, match="is not known") as caught:
        await desk.quote()
    assert caught.value.sent is False
    assert desk.outbound.sent == []


# --- outages ----------------------------------------------------------------------------------------------------


def down(_request):
    return UpstreamError("the upstream cannot be reached", sent=False)


async def test_while_a_provider_is_down_a_read_fails_unless_the_operator_allowed_a_remembered_answer(desk):
    await desk.log_in()
    fresh = await desk.quote()
    desk.outbound.cut = down
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await desk.quote()
    desk.outbound.cut = None
    await desk.service.upsert("demo", BASE_URL, max_stale_s=60)
    fresh = await desk.quote()
    desk.outbound.cut = down
    desk.clock.advance(us=60 * S)
    stale = await desk.quote()
    assert stale.content == fresh.content
    assert stale.source.startswith("provider:demo remembered from 2026-")
    assert stale.cost_microusd == 0
    with pytest.raises(UpstreamError):
        await desk.quote("OTHER")
    desk.clock.advance(us=1)
    with pytest.raises(UpstreamError):
        await desk.quote()
    assert desk.client.health("demo").served_stale == 1


@pytest.mark.parametrize("is_ga", [True, False])
async def test_an_outage_never_stands_in_for_a_log_in(open_desk, is_ga):
    desk = open_desk(opens={"is_ga": is_ga})
    await desk.log_in()
    await desk.service.upsert("demo", BASE_URL, max_stale_s=600)
    await desk.quote()
    await settled()
    desk.outbound.cut = down
    assert (await desk.quote()).source != "provider:demo"
    await desk.service.revoke("demo")
    with pytest.raises(UpstreamError):
        await desk.quote()


async def test_a_provider_that_comes_back_is_called_again(desk):
    await desk.log_in()
    desk.service.clear_capabilities("demo")
    await settled()
    desk.outbound.cut = down
    for _ in range(3):
        with pytest.raises(UpstreamError):
            await desk.quote()
    desk.outbound.cut = None
    await desk.quote()


# --- the tool and its surroundings ------------------------------------------------------------------------------


async def test_quote_is_a_paid_read_that_checks_its_symbol(desk):
    quote = desk.parts.quote
    assert (quote.spec.id, quote.spec.category, quote.spec.cost_microusd) == ("quote", "read", 2_000)
    assert quote.check_args({"symbol": "ACME"}) is None
    for args in (
        {},
        {"symbol": ""},
        {"symbol": "A&B"},
        {"symbol": "x" * 17},
        {"symbol": 5},
        {"symbol": "A", "b": 1},
    ):
        assert quote.check_args(args)
    await desk.log_in()
    context = context_of(desk, quote.spec)
    assert (await quote.execute({"symbol": "ACME"}, context)).content["symbol"] == "ACME"


def context_of(desk, spec):
    """A call that was decided on by a definition."""
    deadline_ns = desk.clock.monotonic_ns() + 10**10
    return CallContext("call", "scout", "request", deadline_ns, tool_digest_hex=spec.digest_hex)


async def test_a_call_that_was_decided_on_before_its_provider_moved_goes_nowhere(desk):
    await desk.log_in()
    quote = desk.parts.quote
    context = context_of(desk, quote.spec)
    await desk.service.upsert("demo", "https://elsewhere.example")
    asked = len(desk.outbound.sent)
    with pytest.raises(UpstreamError, match="`quote` has changed since the call was decided on") as caught:
        await quote.execute({"symbol": "ACME"}, context)
    assert (caught.value.sent, len(desk.outbound.sent)) == (False, asked)


async def test_no_credential_is_in_what_prints_and_each_is_known_to_the_redactor(desk):
    await desk.log_in()
    await desk.service.fetch_credential("demo")
    await desk.quote()
    custody = desk.service._custody
    login, entitlement = await custody.login("demo"), await custody.entitlement("demo")
    held = desk.capabilities._slots["demo"].held
    values = [login.access_token, login.refresh_token, entitlement.credential_jwt, held.token]
    shown = repr([login, entitlement, held, await desk.service.list(), desk.client.health("demo")])
    for value in values:
        assert value not in shown
        assert value.encode() in desk.vault.redaction_set()
    desk.open()
    await desk.service.start()
    assert {value.encode() for value in values[:3]} <= desk.vault.redaction_set()


async def test_an_agents_answer_holds_no_token_even_if_the_provider_echoes_it(desk):
    """The redactor's job; what is shown here is that the token is known to it before the answer comes."""

    await desk.log_in()
    seen = []

    def echo(request):
        if "/api/quote" not in request.url:
            return None
        token = request.headers["authorization"].removeprefix("DPoP ")
        seen.append(token.encode() in desk.vault.redaction_set())
        return HttpResponse(200, {}, json.dumps({"echo": token}).encode())

    desk.outbound.answer = echo
    await desk.quote()
    assert seen == [True]


async def test_an_answer_of_another_profile_is_refused_in_ga(open_desk):
    def other(request):
        if request.url.endswith("/token") and "/oauth" not in request.url:
            body = {"token": "t", "expires_at_rfc3339": "2030-01-01T00:00:00Z", "max_calls": 5}
            return HttpResponse(200, {}, json.dumps(body).encode())
        return None

    desk = open_desk(opens={"is_ga": True})
    desk.outbound.answer = other
    await desk.log_in()
    with pytest.raises(UpstreamError, match="does not announce `aacp_v1`"):
        await desk.quote()


@pytest.mark.parametrize(
    "changed",
    [
        {"max_calls": 0}, {"max_calls": -1}, {"max_calls": 2**53}, {"max_calls": "5"}, {"max_calls": True},
        {"expires_at_rfc3339": "2020-01-01T00:00:00Z"}, {"expires_at_rfc3339": "soon"}, {"expires_at_rfc3339": None},
        {"token": "é"}, {"token": None},
    ],
)  # fmt: skip
async def test_a_capability_that_cannot_be_used_is_refused(desk, changed):
    body = {"token": "t", "expires_at_rfc3339": "2030-01-01T00:00:00Z", "max_calls": 5} | changed

    def other(request):
        if request.url.endswith("/token") and "/oauth" not in request.url:
            return HttpResponse(200, {}, json.dumps(body).encode())
        return None

    await desk.log_in()
    await settled()
    desk.service.clear_capabilities("demo")
    desk.outbound.answer = other
    with pytest.raises(UpstreamError) as caught:
        await desk.quote()
    assert caught.value.sent is False


async def test_a_capability_that_would_be_minted_again_for_the_same_call_is_refused(desk):
    def other(request):
        if request.url.endswith("/token") and "/oauth" not in request.url:
            expires = format_rfc3339(desk.clock.now_us() + 6 * S)  # less than a second more than its margin
            return HttpResponse(
                200, {}, json.dumps({"token": "t", "expires_at_rfc3339": expires, "max_calls": 5}).encode()
            )
        return None

    await desk.log_in()
    await settled()
    desk.service.clear_capabilities("demo")
    desk.outbound.answer = other
    with pytest.raises(UpstreamError, match="is of no use"):
        await desk.quote()


async def test_a_revoked_token_at_the_gateway_is_signalled(desk):
    await desk.log_in()
    await desk.quote()
    token = desk.capabilities._slots["demo"].held.token
    headers = {"x-aag-admin-secret": ADMIN_SECRET}
    answer = await send(desk.gateway, "POST", "/api/revoke", headers, json.dumps({"token": token}).encode())
    assert answer.json["revoked"] is True


@pytest.mark.parametrize(("held_back", "later_us"), [("/token", 0), ("/oauth/token", 3_600 * S)])
async def test_what_was_under_way_when_the_log_in_ended_brings_nothing_back(open_desk, held_back, later_us):
    desk = open_desk(opens={"is_ga": True})
    await desk.log_in()
    await settled()
    desk.service.clear_capabilities("demo")
    desk.clock.advance(us=later_us)
    reached, go, send = asyncio.Event(), asyncio.Event(), desk.outbound.request

    async def slowly(request):
        response = await send(request)
        if urlsplit(request.url).path == held_back:
            reached.set()
            await go.wait()
        return response

    desk.outbound.request = slowly
    await desk.capabilities.warm(desk.service._providers.get("demo"))
    await reached.wait()
    revoking = asyncio.create_task(desk.service.revoke("demo"))
    await settled()
    go.set()
    assert (await revoking).remote_revocation_succeeded
    await settled()
    assert [provider.needs_login for provider in await desk.service.list()] == [True]
    with pytest.raises(UpstreamError, match="nothing entitles"):
        await desk.quote()
