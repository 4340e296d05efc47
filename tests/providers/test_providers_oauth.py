"""Logging in: hostile servers, other people's answers, renewals at once and killed in between."""

import asyncio
import json
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import pytest

from briefcase.adapters.oauth.client import Begun, check_answer
from briefcase.adapters.oauth.flow import MAX_PENDING, check_redirect_uri
from briefcase.adapters.oauth.loopback import LoopbackListener, parse_answer
from briefcase.adapters.oauth.metadata import ServerMetadata, check_metadata, metadata_url
from briefcase.core.jose.pkce import challenge_of
from briefcase.core.operator.providers import Exchange
from briefcase.model.errors import CallerError, StoreError, UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse
from support.providers import BASE_URL, REDIRECT

S = 1_000_000
GOOD = {
    "issuer": BASE_URL,
    "authorization_endpoint": f"{BASE_URL}/oauth/authorize",
    "token_endpoint": f"{BASE_URL}/oauth/token",
    "code_challenge_methods_supported": ["S256"],
}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"issuer": "https://attacker.example"}, "another issuer"),
        ({"issuer": BASE_URL + "/x"}, "another issuer"),
        ({"code_challenge_methods_supported": []}, "S256"),
        ({"code_challenge_methods_supported": ["plain"]}, "S256"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "plain URL"),
        ({"authorization_endpoint": "file:///etc/passwd"}, "plain URL"),
        ({"authorization_endpoint": "--flag"}, "plain URL"),
        ({"authorization_endpoint": "$(touch /tmp/x)"}, "plain URL"),
        ({"authorization_endpoint": f"{BASE_URL}/$(id)`id`"}, "plain URL"),
        ({"authorization_endpoint": "https://u:p@provider.example/a"}, "plain URL"),
        ({"authorization_endpoint": "https://provider.example\\@attacker.example/"}, "plain URL"),
        ({"authorization_endpoint": "https://attacker.example/authorize"}, "another host"),
        ({"authorization_endpoint": "http://provider.example/authorize"}, "another host"),
        ({"token_endpoint": "https://169.254.169.254/latest"}, "another host"),
        ({"revocation_endpoint": "https://provider.example:8443/revoke"}, "another host"),
    ],
)
def test_metadata_that_is_not_the_issuers_own_is_not_used(changed, problem):
    with pytest.raises(UpstreamError, match=problem) as caught:
        check_metadata(msgspec.convert(GOOD | changed, ServerMetadata), BASE_URL)
    assert caught.value.code == "upstream_refused"


async def test_a_server_without_metadata_is_taken_to_be_one_of_the_contract(desk):
    desk.outbound.answer = lambda r: HttpResponse(404, {}, b"") if "/.well-known/" in r.url else None
    await desk.log_in()
    assert desk.asked("/.well-known/oauth-authorization-server") == 1  # the answer is held to the same
    assert desk.asked("/.well-known/openid-configuration") == 1
    await desk.quote()


@pytest.mark.parametrize("status", [301, 401, 500])
async def test_metadata_that_can_not_be_had_is_no_reason_to_guess(desk, status):
    await desk.service.upsert("demo", BASE_URL)
    desk.outbound.answer = lambda _: HttpResponse(status, {}, b"")
    with pytest.raises(UpstreamError, match=f"answered with {status}"):
        await desk.service.start_login("demo", "c", REDIRECT, None)


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://a.example", "https://a.example/.well-known/n"),
        ("https://a.example:8443/tenant/1", "https://a.example:8443/.well-known/n/tenant/1"),
    ],
)
def test_metadata_is_between_an_issuers_host_and_its_path(issuer, url):
    assert metadata_url(issuer, "n") == url


STARTED = Begun(f"{BASE_URL}/oauth/authorize", "state-1", BASE_URL, requires_iss=True)


@pytest.mark.parametrize(
    ("state", "iss"),
    [
        (None, BASE_URL),
        ("", BASE_URL),
        ("state-2", BASE_URL),
        ("é", BASE_URL),
        ("state-1", None),
        ("state-1", ""),
        ("state-1", "https://attacker.example"),
        ("state-1", BASE_URL + ".attacker.example"),
    ],
)
def test_an_answer_of_another_log_in_or_another_server_is_refused(state, iss):
    with pytest.raises(CallerError):
        check_answer(STARTED, state, iss)


def test_the_answer_of_this_log_in_is_taken():
    check_answer(STARTED, "state-1", BASE_URL)


@pytest.mark.parametrize(
    "uri",
    [
        "https://attacker.example/",
        "http://attacker.example/",
        "http://localhost:1/",
        "https://127.0.0.1/",
        "http://u@127.0.0.1/",
        "x",
        "http://127.0.0.1/#f",
    ],
)
def test_a_log_in_comes_back_to_loopback_only(uri):
    with pytest.raises(CallerError):
        check_redirect_uri(uri)


async def test_each_log_in_has_its_own_state_and_verifier(desk):
    await desk.service.upsert("demo", BASE_URL)
    begun = [await desk.service.start_login("demo", "c", REDIRECT, "quote") for _ in range(20)]
    queries = [parse_qs(urlsplit(one.authorization_url).query) for one in begun]
    assert len({one.state for one in begun}) == len({query["code_challenge"][0] for query in queries}) == 20
    assert queries[0]["code_challenge_method"] == ["S256"]


async def test_the_verifier_of_a_log_in_stays_here(desk):
    verifiers = []
    token = desk.service._oauth._entropy.token
    desk.service._oauth._entropy.token = lambda: verifiers.append(token()) or verifiers[-1]
    await desk.service.upsert("demo", BASE_URL)
    begun = await desk.service.start_login("demo", "c", REDIRECT, "quote")
    state, verifier = verifiers
    assert begun.state == state
    assert verifier not in repr(msgspec.structs.asdict(begun))
    assert verifier not in repr(desk.service._flow._pending)


@pytest.mark.parametrize(
    "changed",
    [{"state": "x" * 43}, {"iss": None}, {"iss": "https://attacker.example"}, {"code_verifier": "v" * 43}, {"code": ""},
     {"code": "c" * 2_049}],
)  # fmt: skip
async def test_an_answer_to_no_log_in_that_was_begun_here_is_sent_nowhere(desk, changed):
    await desk.service.upsert("demo", BASE_URL)
    begun = await desk.service.start_login("demo", "c", REDIRECT, None)
    with pytest.raises(CallerError):
        await desk.service.exchange(
            "demo", Exchange(**({"code": "c", "state": begun.state, "iss": BASE_URL} | changed))
        )
    assert desk.asked("/oauth/token") == 0


async def test_an_answer_is_of_use_once_for_its_provider_at_its_address_and_not_for_long(desk):
    await desk.log_in()
    for spoil in ("used", "other provider", "moved", "revoked", "late"):
        begun = await desk.service.start_login("demo", "briefcase", REDIRECT, None)
        provider_id = "demo"
        if spoil == "used":
            with pytest.raises(UpstreamError):
                await desk.service.exchange("demo", Exchange("wrong", state=begun.state, iss=BASE_URL))
        elif spoil == "other provider":
            provider_id = "other"
            await desk.service.upsert("other", BASE_URL)
        elif spoil == "moved":
            await desk.service.upsert("demo", f"{BASE_URL}/elsewhere")
            await desk.service.upsert("demo", BASE_URL)
        elif spoil == "revoked":
            await desk.service.revoke("demo")
        else:
            desk.clock.advance(us=600 * S)
        before = desk.asked("/oauth/token")
        with pytest.raises(CallerError, match="no log-in that is waited for") as caught:
            await desk.service.exchange(provider_id, Exchange("c", state=begun.state, iss=BASE_URL))
        assert caught.value.hint == f"start again with `briefcase providers oauth-login --id {provider_id}`"
        assert desk.asked("/oauth/token") == before, spoil


async def test_log_ins_that_are_begun_and_never_finished_are_bounded(desk):
    await desk.service.upsert("demo", BASE_URL)
    begun = [await desk.service.start_login("demo", "c", REDIRECT, None) for _ in range(MAX_PENDING + 6)]
    assert len(desk.service._flow._pending) == MAX_PENDING
    assert set(desk.service._flow._pending) == {one.state for one in begun[6:]}


async def test_a_log_in_that_its_owner_began_brings_a_verifier_of_its_own(desk):
    await desk.service.upsert("demo", BASE_URL)
    answer = await desk.outbound.request(
        HttpRequest("GET", f"{BASE_URL}/oauth/authorize?" + urlencode({
            "response_type": "code", "client_id": "own", "redirect_uri": REDIRECT, "state": "s",
            "code_challenge": challenge_of("v" * 43), "code_challenge_method": "S256",
        }))
    )  # fmt: skip
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    await desk.service.exchange("demo", Exchange(code, REDIRECT, "own", "v" * 43))
    assert (await desk.service.list())[0].needs_login is False


@pytest.mark.parametrize("name", ["code", "redirect_uri", "client_id", "code_verifier"])
@pytest.mark.parametrize("value", ["", "x" * 2_049])
async def test_a_parameter_out_of_bounds_is_sent_nowhere(desk, name, value):
    fields = {"code": "c", "redirect_uri": REDIRECT, "client_id": "c", "code_verifier": "v" * 43} | {name: value}

    await desk.service.upsert("demo", BASE_URL)
    with pytest.raises(CallerError):
        await desk.service.exchange("demo", Exchange(**fields))
    assert desk.outbound.sent == []


async def test_a_refused_code_leaves_the_old_log_in_as_it_was(desk):
    await desk.log_in()
    before = await desk.service._custody.login("demo")
    with pytest.raises(UpstreamError, match=r"answered with 400 \(`invalid_grant`: "):
        await desk.service.exchange("demo", Exchange("wrong", REDIRECT, "briefcase", "v" * 43))
    assert await desk.service._custody.login("demo") == before


# --- renewal ----------------------------------------------------------------------------------------------------


async def test_a_log_in_is_renewed_ahead_of_its_end_and_once_for_all_who_need_it(desk):
    await desk.log_in()
    first = await desk.service._custody.login("demo")
    desk.clock.advance(us=(3_600 - 60) * S)
    provider = desk.service._providers.get("demo")
    before = desk.asked("/oauth/token")
    logins = await asyncio.gather(*(desk.capabilities.fresh_login(provider) for _ in range(50)))
    assert desk.asked("/oauth/token") == before + 1
    assert {login.refresh_token for login in logins} == {(await desk.service._custody.login("demo")).refresh_token}
    assert logins[0].refresh_token != first.refresh_token
    assert (await desk.quote()).content["symbol"] == "ACME"


async def test_a_kill_before_the_new_pair_is_kept_leaves_the_old_pair_whole(open_desk):
    desk = open_desk(opens={"is_ga": True})
    await desk.log_in()
    old = await desk.service._custody.login("demo")
    desk.clock.advance(us=3_600 * S)

    async def killed(_name, _value):
        raise StoreError("killed here")

    desk.service._custody._secrets.put = killed
    with pytest.raises(StoreError):
        await desk.capabilities.fresh_login(desk.service._providers.get("demo"))
    await desk.service.close()
    desk.open()
    assert await desk.service._custody.login("demo") == old
    with pytest.raises(UpstreamError, match="invalid_grant"):
        await desk.quote()
    assert (await desk.service.list())[0].needs_login is True
    with pytest.raises(UpstreamError, match="nothing entitles"):
        await desk.quote()
    await desk.log_in()
    assert (await desk.service.list())[0].needs_login is False
    await desk.quote()


async def test_a_renewal_that_fails_on_the_way_keeps_the_log_in(desk):
    await desk.log_in()
    desk.clock.advance(us=3_600 * S)
    desk.outbound.cut = lambda _: UpstreamError("down", sent=False)
    with pytest.raises(UpstreamError):
        await desk.quote()
    desk.outbound.cut = None
    (listed,) = await desk.service.list()
    assert listed.has_oauth_refresh is True
    assert listed.problem == "the log-in could not be renewed: down"
    await desk.quote()
    assert (await desk.service.list())[0].problem == ""


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"access_token":5,"token_type":"Bearer"}', b'{"access_token":"a","token_type":"mac"}',
     b'{"access_token":"","token_type":"Bearer"}', b'{"access_token":"a\\r\\nb","token_type":"Bearer"}',
     b'{"access_token":"\\u00e9","token_type":"Bearer"}',
     b'{"access_token":"a","access_token":"b","token_type":"Bearer"}', b'{"token_type":"Bearer"}', b"\xff"],
)  # fmt: skip
async def test_an_answer_that_is_no_token_is_not_kept(desk, body):
    await desk.log_in()
    before = await desk.service._custody.login("demo")
    desk.clock.advance(us=3_600 * S)
    desk.outbound.answer = lambda request: HttpResponse(200, {}, body) if request.url.endswith("/oauth/token") else None
    with pytest.raises(UpstreamError):
        await desk.quote()
    assert await desk.service._custody.login("demo") == before


@pytest.mark.parametrize(("lifetime", "expected_s"), [(-5, 0), (0, 0), (10**12, 86_400), (60, 60)])
async def test_the_life_of_a_token_is_bounded(desk, lifetime, expected_s):
    body = json.dumps({"access_token": "tZ4mQ9bX1cV7nK2pR8sW", "token_type": "Bearer", "expires_in": lifetime}).encode()

    await desk.service.upsert("demo", BASE_URL)
    desk.outbound.answer = lambda request: HttpResponse(200, {}, body) if "token" in request.url else None
    await desk.service.exchange("demo", Exchange("c", REDIRECT, "briefcase", "v" * 43))
    login = await desk.service._custody.login("demo")
    assert login.expires_us == desk.clock.now_us() + expected_s * S


async def test_a_revocation_that_the_server_did_not_hear_of_ends_the_log_in_here(desk):
    await desk.log_in()
    desk.outbound.cut = lambda _: UpstreamError("down", sent=False)
    revoked = await desk.service.revoke("demo")
    assert (
        revoked.had_refresh_token,
        revoked.remote_revocation_attempted,
        revoked.remote_revocation_succeeded,
    ) == (True, True, False)
    assert await desk.service._custody.login("demo") is None


# --- the registry -----------------------------------------------------------------------------------------------


async def test_providers_are_there_after_a_restart_and_gone_after_deletion(desk):
    await desk.log_in()
    await desk.service.close()
    desk.open()
    summary = (await desk.service.list())[0]
    assert (summary.id, summary.base_url, summary.has_oauth_refresh, summary.has_vc) == (
        "demo",
        BASE_URL,
        True,
        False,
    )
    await desk.service.delete("demo")
    assert await desk.service.list() == []
    assert await desk.vault.compartment("providers").names() == []
    with pytest.raises(CallerError) as caught:
        desk.service.check_known("demo")
    assert caught.value.code == "not_found"


async def test_moving_a_provider_ends_what_was_held_for_the_old_address(desk):
    await desk.log_in()
    await desk.service.upsert("demo", BASE_URL + "/")
    assert (await desk.service.list())[0].has_oauth_refresh is True
    await desk.service.upsert("demo", "https://other.example")
    assert (await desk.service.list())[0].has_oauth_refresh is False
    assert await desk.vault.compartment("providers").names() == []


async def test_two_providers_see_two_keys(desk):
    for name in ("one", "two"):
        await desk.service.upsert(name, BASE_URL)
    keys = {(await desk.capabilities.signer(desk.service._providers.get(name))).jkt for name in ("one", "two")}
    assert len(keys) == 2


@pytest.mark.parametrize("provider_id", ["", "A", "-a", "a/b", "a.b", "x" * 49, "é"])
async def test_a_provider_id_that_is_not_plain_is_refused(desk, provider_id):
    with pytest.raises(CallerError):
        await desk.service.upsert(provider_id, BASE_URL)
    assert await desk.service.list() == []


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a/", "https://a.example?x", "https://u@a.example", "https://a.example/#", "javascript:x"]
)
async def test_a_base_url_that_is_not_plain_is_refused(desk, url):
    with pytest.raises(CallerError):
        await desk.service.upsert("demo", url)
    assert await desk.service.list() == []


# --- where the browser brings the code --------------------------------------------------------------------------


async def browse(listener, target, method="GET"):
    port = urlsplit(listener.redirect_uri).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_the_listener_takes_the_answer_of_its_own_log_in_and_no_other():
    async def scenario():
        async with LoopbackListener("right") as listener:
            for target, method in (
                ("/", "GET"), ("/callback", "GET"), ("/callback?code=c", "GET"),
                ("/callback?code=c&state=wrong", "GET"),
                ("/callback?code=a&code=b&state=right", "GET"), ("/callback?code=c&state=right", "POST"),
                ("/callback?code=<script>&state=wrong", "GET"),
            ):  # fmt: skip
                answer = await browse(listener, target, method)
                assert not answer.startswith(b"HTTP/1.1 200")
                assert b"<script>" not in answer
            with pytest.raises(CallerError, match="no answer came"):
                await listener.wait(0.01)
            answer = await browse(listener, "/callback?code=c&state=right&iss=i")
            assert answer.startswith(b"HTTP/1.1 200")
            await browse(listener, "/callback?code=later&state=right")
            return await listener.wait(1)

    answer = await scenario()
    assert (answer.code, answer.state, answer.iss, answer.error) == ("c", "right", "i", None)
    assert "'c'" not in repr(answer)


async def test_the_listener_is_not_held_up_by_who_says_nothing_or_too_much():
    async def scenario():
        async with LoopbackListener("right") as listener:
            port = urlsplit(listener.redirect_uri).port
            _, silent = await asyncio.open_connection("127.0.0.1", port)
            _, loud = await asyncio.open_connection("127.0.0.1", port)
            loud.write(b"GET /callback?" + b"x" * 100_000)
            await browse(listener, "/callback?error=access_denied&state=right")
            answer = await listener.wait(1)
            for writer in (silent, loud):
                writer.close()
            return answer

    assert (await scenario()).error == "access_denied"


@pytest.mark.parametrize(
    "address", ["", "x", "http://127.0.0.1/callback", "?code=a&error=b", "?code=a&code=b", "http://[::1", "?state=s"]
)
def test_a_pasted_address_that_is_no_answer_is_refused(address):
    with pytest.raises(CallerError):
        parse_answer(address)


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:1/callback?code=c&state=s&iss=i", " /callback?code=c&state=s&iss=i\n", "?code=c&state=s&iss=i"],
)
def test_a_pasted_address_is_read_whole_or_in_part(address):
    answer = parse_answer(address)
    assert (answer.code, answer.state, answer.iss) == ("c", "s", "i")
