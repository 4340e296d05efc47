"""Providers over the API: the contract's rows, the operator's own, and what each refuses."""

from urllib.parse import parse_qs, urlsplit

import pytest

from briefcase.edges.api.providers import ROUTES
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpRequest
from briefcase.model.types import Role
from support.api import AGENT_TOKEN, AUDITOR_TOKEN, Rig
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.outbound import AsgiOutbound
from support.providers import BASE_URL, REDIRECT, open_gateway

DEMO = "/v1/providers/demo"


class Desk:
    """A served API over real providers, which talk to a reference gateway without sockets."""

    def __init__(self, rig, outbound):
        self.rig = rig
        self.outbound = outbound

    async def ask(self, method, path, body=None, **who):
        status, _, answer = await self.rig.ask(method, path, body, **who)
        return status, answer

    async def begin(self):
        await self.ask("POST", DEMO, {"base_url": BASE_URL})
        _, started = await self.ask("POST", f"{DEMO}/oauth/start", {"client_id": "briefcase", "redirect_uri": REDIRECT})
        answer = await self.outbound.request(HttpRequest("GET", started["authorization_url"]))
        fields = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        assert fields["state"] == started["state"]
        assert set(started) == {"provider_id", "authorization_url", "state", "issuer", "requires_iss"}
        return {"code": fields["code"], "state": fields["state"], "iss": fields.get("iss")}

    async def log_in(self):
        return await self.ask("POST", f"{DEMO}/oauth/exchange", await self.begin())


@pytest.fixture
async def desk(tmp_path):
    (tmp_path / "gateway").mkdir(mode=0o700)
    gateway = open_gateway(tmp_path / "gateway", FakeClock(), FakeEntropy())
    outbound = AsgiOutbound(provider=gateway)
    async with Rig(tmp_path, outbound=outbound) as rig:
        yield Desk(rig, outbound)
    gateway.facts.close()


async def test_a_provider_is_added_moved_listed_and_removed(desk):
    summary = {
        "id": "demo",
        "base_url": BASE_URL,
        "has_oauth_refresh": False,
        "has_vc": False,
        "vc_expires_at_rfc3339": None,
        "is_enabled": True,
        "max_stale_s": 0,
        "needs_login": True,
        "problem": "",
    }
    assert await desk.ask("POST", DEMO, {"base_url": BASE_URL + "/"}) == (200, summary)
    assert await desk.ask("POST", DEMO, {"base_url": BASE_URL, "max_stale_s": 60}) == (
        200,
        summary | {"max_stale_s": 60},
    )
    await desk.ask("POST", "/v1/providers/another", {"base_url": BASE_URL})
    _, listed = await desk.ask("GET", "/v1/providers")
    assert [provider["id"] for provider in listed["providers"]] == ["another", "demo"]
    assert await desk.ask("POST", f"{DEMO}/delete") == (200, {"provider_id": "demo"})
    assert (await desk.ask("POST", f"{DEMO}/delete"))[0] == 404


async def test_a_log_in_a_credential_and_a_revocation_answer_as_the_contract_says(desk):
    assert await desk.log_in() == (200, {"provider_id": "demo"})
    status, fetched = await desk.ask("POST", f"{DEMO}/vc/fetch")
    assert (status, fetched.keys()) == (200, {"provider_id", "expires_at_rfc3339"})
    _, listed = await desk.ask("GET", "/v1/providers")
    (provider,) = listed["providers"]
    assert (provider["has_oauth_refresh"], provider["has_vc"], provider["needs_login"]) == (True, True, False)
    assert provider["vc_expires_at_rfc3339"] == fetched["expires_at_rfc3339"]
    revoked = {
        "provider_id": "demo",
        "had_refresh_token": True,
        "remote_revocation_attempted": True,
        "remote_revocation_succeeded": True,
        "has_vc": True,
    }
    assert await desk.ask("POST", f"{DEMO}/oauth/revoke") == (200, revoked)
    nothing = dict.fromkeys(revoked, False) | {"provider_id": "demo", "has_vc": True}
    assert await desk.ask("POST", f"{DEMO}/oauth/revoke") == (200, nothing)


async def test_a_code_is_good_once_and_with_its_own_verifier(desk):
    exchange = await desk.begin()
    wrong = {
        "code": exchange["code"],
        "redirect_uri": REDIRECT,
        "client_id": "briefcase",
        "code_verifier": "x" * 43,
    }
    status, answer = await desk.ask("POST", f"{DEMO}/oauth/exchange", wrong)
    assert (status, answer["code"]) == (502, "upstream_refused")
    exchange = await desk.begin()
    assert (await desk.ask("POST", f"{DEMO}/oauth/exchange", exchange))[0] == 200
    assert (await desk.ask("POST", f"{DEMO}/oauth/exchange", exchange))[0] == 400
    assert (await desk.ask("POST", f"{DEMO}/oauth/exchange", wrong | {"code": exchange["code"]}))[0] == 502


async def test_a_credential_without_a_log_in_says_what_to_do(desk):
    await desk.ask("POST", DEMO, {"base_url": BASE_URL})
    status, answer = await desk.ask("POST", f"{DEMO}/vc/fetch")
    assert (status, answer["code"]) == (502, "upstream_refused")
    assert "oauth-login --id demo" in answer["hint"]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v1/providers/Demo", {"base_url": BASE_URL}, "provider id"),
        (DEMO, {}, "base_url"),
        (DEMO, {"base_url": "ftp://provider.example"}, "https://"),
        (DEMO, {"base_url": "https://user:secret@provider.example"}, "userinfo"),
        (DEMO, {"base_url": "https://provider.example?x=1"}, "without a query"),
        (DEMO, {"base_url": BASE_URL, "max_stale_s": -1}, "max_stale_s"),
        (DEMO, {"base_url": BASE_URL, "max_stale_s": 1.5}, "int"),
        (f"{DEMO}/oauth/start", {"client_id": "briefcase", "redirect_uri": "https://attacker.example/"}, "loopback"),
        (f"{DEMO}/oauth/start", {"client_id": "briefcase", "redirect_uri": "http://127.0.0.1.evil.example/"}, ""),
        (f"{DEMO}/oauth/start", {"client_id": "briefcase", "redirect_uri": "javascript:alert(1)"}, ""),
        (f"{DEMO}/oauth/start", {"client_id": "briefcase"}, "redirect_uri"),
        (
            f"{DEMO}/oauth/exchange",
            {"code": "", "redirect_uri": REDIRECT, "client_id": "c", "code_verifier": "v"},
            "1 to",
        ),
        (
            f"{DEMO}/oauth/exchange",
            {"code": "c" * 2_049, "redirect_uri": REDIRECT, "client_id": "c", "code_verifier": "v"},
            "1 to",
        ),
    ],
)
async def test_a_bad_request_is_refused_with_what_was_expected(desk, path, body, says):
    await desk.ask("POST", DEMO, {"base_url": BASE_URL})
    status, answer = await desk.ask("POST", path, body)
    assert (status, answer["code"]) == (400, "bad_request")
    assert says in answer["message"]
    assert "secret" not in answer["message"]


@pytest.mark.parametrize("action", ["delete", "enable", "disable", "clear-capabilities", "oauth/revoke", "vc/fetch"])
async def test_what_is_asked_of_an_unknown_provider_is_not_found(desk, action):
    status, answer = await desk.ask("POST", f"/v1/providers/nobody/{action}")
    assert (status, answer["code"]) == (404, "not_found")
    assert "providers list" in answer["hint"]


async def test_an_incident_is_contained_and_lifted_and_health_tells_of_it(desk):
    await desk.log_in()
    client = desk.rig.services.providers._client
    await client.read("demo", "/api/quote", {"symbol": "ACME"}, timeout_ms=60_000)
    assert (await desk.ask("POST", f"{DEMO}/clear-capabilities"))[1] == {"provider_id": "demo"}
    _, disabled = await desk.ask("POST", f"{DEMO}/disable")
    assert disabled["is_enabled"] is False
    sent = len(desk.outbound.sent)
    with pytest.raises(UpstreamError, match="disabled"):
        await client.read("demo", "/api/quote", {"symbol": "ACME"}, timeout_ms=60_000)
    assert len(desk.outbound.sent) == sent
    assert (await desk.ask("POST", f"{DEMO}/enable"))[1]["is_enabled"] is True
    await client.read("demo", "/api/quote", {"symbol": "ACME"}, timeout_ms=60_000)
    status, health = await desk.ask("GET", "/v1/diagnostics/providers", token=AUDITOR_TOKEN)
    (demo,) = health["providers"]
    assert (status, demo["calls"], demo["failures"], demo["is_enabled"]) == (200, 2, 0, True)
    assert demo["last_ok_at"] is not None
    assert health["token_waits"] >= 1


VERDICT = {
    "base_url": BASE_URL, "ok": False, "passed": 26, "failed": 1, "skipped": 0,
    "finished_at": "2026-11-26T20:00:00.000000Z", "failing": ["replay.token"],
}  # fmt: skip


async def test_the_harnesss_verdict_is_kept_for_its_address_and_for_no_other(desk):
    path, health = "/v1/diagnostics/providers/verdict", "/v1/diagnostics/providers"
    assert await desk.ask("POST", path, VERDICT) == (200, {"providers": []})
    await desk.ask("POST", DEMO, {"base_url": BASE_URL})
    assert (await desk.ask("GET", health))[1]["providers"][0]["verdict"] is None
    assert await desk.ask("POST", path, VERDICT | {"base_url": f"{BASE_URL}/"}) == (200, {"providers": ["demo"]})
    kept = {name: value for name, value in VERDICT.items() if name != "base_url"}
    assert (await desk.ask("GET", health))[1]["providers"][0]["verdict"] == kept
    await desk.ask("POST", f"{DEMO}/disable")
    assert (await desk.ask("GET", health))[1]["providers"][0]["verdict"] == kept
    await desk.ask("POST", DEMO, {"base_url": "https://moved.example"})
    assert (await desk.ask("GET", health))[1]["providers"][0]["verdict"] is None
    later = VERDICT | {"base_url": "https://moved.example", "ok": True, "failed": 0, "failing": []}
    assert (await desk.ask("POST", path, later))[0] == 200
    await desk.ask("POST", DEMO, {"base_url": BASE_URL})
    assert (await desk.ask("GET", health))[1]["providers"][0]["verdict"] is None, "let go of with the address"


@pytest.mark.parametrize(
    "changed",
    [
        {"finished_at": "yesterday"},
        {"passed": -1},
        {"failing": ["<script>"]},
        {"failing": ["x" * 65]},
        {"failing": ["x"] * 65},
        {"ok": "yes"},
        {"base_url": None},
    ],
    ids=str,
)
async def test_a_verdict_that_is_none_is_refused(desk, changed):
    await desk.ask("POST", DEMO, {"base_url": BASE_URL})
    status, answer = await desk.ask("POST", "/v1/diagnostics/providers/verdict", VERDICT | changed)
    assert (status, answer["code"]) == (400, "bad_request")


async def test_only_an_operator_may_touch_providers(desk):
    for route in ROUTES:
        path = route.path.format(id="demo")
        expected = {AGENT_TOKEN: 403, AUDITOR_TOKEN: 200 if Role.AUDITOR in route.roles else 403}
        for token, status in expected.items():
            assert (await desk.ask(route.method, path, token=token))[0] == status, (path, token)


async def test_no_answer_holds_a_token_or_a_key(desk):
    await desk.log_in()
    await desk.ask("POST", f"{DEMO}/vc/fetch")
    held = [
        header.removeprefix(scheme)
        for request in desk.outbound.sent
        for name, header in request.headers.items()
        for scheme in ("Bearer ", "DPoP ")
        if name == "authorization"
    ]
    assert held
    for path in ("/v1/providers", "/v1/diagnostics/providers"):
        text = str(await desk.ask("GET", path))
        assert not any(token in text for token in held)
        assert "eyJ" not in text
