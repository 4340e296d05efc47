"""The reference provider: every answer marked, every refusal in its stable word."""

import asyncio
import json
import socket
from urllib.parse import urlsplit

import pytest

from briefcase.core.jose.base64url import decode_base64url
from briefcase.edges.provider_gateway.serving import GatewayServer
from briefcase.edges.provider_gateway.settings import GatewaySettings
from briefcase.model.errors import ConfigError
from support.entropy import FakeEntropy
from support.providers import ADMIN_SECRET, Holder, ask

S = 1_000_000


def test_a_bound_capability_with_a_fresh_proof_buys_a_quote(holder):
    answer = holder.call(holder.mint())
    assert answer.status == 200
    assert answer.json.keys() == {"symbol", "price", "ts"}
    assert answer.headers["x-cost-microusd"] == "2000"


def test_a_token_answer_is_that_of_the_contract(holder, clock):
    access = holder.log_in()
    assert access.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert access["token_type"] == "Bearer"
    answer = ask(holder.gateway, "POST", "/token", {
        "authorization": f"Bearer {access['access_token']}", "dpop": holder.proof("POST", "/token")})  # fmt: skip
    assert answer.json.keys() == {"token", "expires_at_rfc3339", "max_calls", "compatibility_profile"}
    assert answer.json["compatibility_profile"] == "aacp_v1"
    claims = json.loads(decode_base64url(answer.json["token"].split(".")[1]))
    assert claims.keys() == {"iss", "iat", "exp", "jti", "scope", "max_calls", "cost_microusd", "cnf"}
    assert claims["cnf"] == {"jkt": holder.signer.jkt}


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/health"),
        ("GET", "/nothing"),
        ("POST", "/health"),
        ("POST", "/token"),
        ("GET", "/api/quote"),
        ("GET", "/api/quote?symbol=A&symbol=B"),
        ("POST", "/api/revoke"),
        ("GET", "/oauth/authorize"),
        ("POST", "/oauth/token"),
        ("POST", "/oauth/revoke"),
        ("POST", "/vc/issue"),
        ("GET", "/vc/status"),
        ("POST", "/pay"),
        ("POST", "/l402/pay"),
    ],
)
def test_every_answer_carries_the_profile_and_every_refusal_its_word(gateway, method, target):
    answer = ask(gateway, method, target)
    assert answer.headers["x-briefcase-compatibility-profile"] == "aacp_v1"
    assert (answer.status < 400) == (answer.error is None)


# --- protected calls --------------------------------------------------------------------------------------------


def test_refusals_of_protected_calls_are_the_stable_words(holder, clock):
    token, unbound, other = holder.mint(), holder.mint(bound=False), Holder(holder.gateway, clock)
    proof = holder.proof(token=token)
    table = [
        ("no credentials", ask(holder.gateway, "GET", "/api/quote?symbol=A"), 401, "invalid_token"),
        ("bound, no proof", holder.call(token, proof=""), 401, "invalid_dpop_proof"),
        ("bound, as bearer", holder.call(token, scheme="Bearer"), 401, "invalid_token"),
        ("bound, as bearer, no proof", holder.call(token, scheme="Bearer", proof=""), 401, "invalid_token"),
        ("unbound, as DPoP", holder.call(unbound, scheme="DPoP"), 401, "invalid_token"),
        ("another's key", other.call(token), 401, "invalid_token"),
        ("another method", holder.call(token, proof=holder.proof("POST", token=token)), 401, "invalid_dpop_proof"),
        ("another path", holder.call(token, proof=holder.proof(path="/token", token=token)), 401, "invalid_dpop_proof"),
        ("no ath", holder.call(token, proof=holder.proof()), 401, "invalid_dpop_proof"),
        ("ath of another token", holder.call(token, proof=holder.proof(token="x")), 401, "invalid_dpop_proof"),
        ("garbage", holder.call("garbage"), 401, "invalid_token"),
        ("an access token", holder.call(holder.log_in()["access_token"]), 401, "invalid_token"),
        ("fresh", holder.call(token, proof=proof), 200, None),
        ("replayed", holder.call(token, proof=proof), 409, "replay_detected"),
        ("unbound, as bearer", holder.call(unbound, scheme="Bearer", proof=""), 200, None),
    ]
    assert [(name, answer.status, answer.error) for name, answer, *_ in table] == [
        (name, status, error) for name, _, status, error in table
    ]


def test_a_stale_and_a_future_proof_are_refused(holder, clock):
    token = holder.mint()
    proof = holder.proof(token=token)
    clock.advance(us=61 * S)
    assert holder.call(token, proof=proof).error == "invalid_dpop_proof"
    future = holder.proof(token=token)
    clock.advance(us=-6 * S)
    assert holder.call(token, proof=future).error == "invalid_dpop_proof"


def test_two_authorization_or_two_dpop_headers_are_refused(holder):
    token = holder.mint()
    auth, dpop = ("authorization", f"DPoP {token}"), ("dpop", holder.proof(token=token))
    for headers in ([auth, auth, dpop], [auth, dpop, dpop], [auth, dpop, ("dpop", holder.proof(token=token))]):
        assert ask(holder.gateway, "GET", "/api/quote?symbol=A", headers).status == 401
    assert ask(holder.gateway, "GET", "/api/quote?symbol=A", [auth, dpop]).status == 200


def test_a_capability_is_good_for_its_calls_and_its_time(opened, clock):
    holder = Holder(opened(max_calls=3), clock)
    token = holder.mint()
    assert [holder.call(token).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert holder.call(token).error == "max_calls_exceeded"
    token = holder.mint()
    clock.advance(us=600 * S)
    assert holder.call(token).error == "invalid_token"


def test_a_refused_call_uses_none_of_the_calls(opened, clock):
    holder = Holder(opened(max_calls=1), clock)
    token = holder.mint()
    for proof in ("", holder.proof("POST", token=token), "garbage"):
        assert holder.call(token, proof=proof).status == 401
    assert holder.call(token).status == 200


def test_a_revoked_capability_is_refused_at_once_and_after_a_restart(opened, clock):
    holder = Holder(opened(), clock)
    token, other = holder.mint(), holder.mint()
    answer = ask(
        holder.gateway,
        "POST",
        "/api/revoke",
        {"x-aag-admin-secret": ADMIN_SECRET},
        json.dumps({"token": token}).encode(),
    )
    assert answer.json["revoked"] is True
    for _ in range(2):
        assert (holder.call(token).status, holder.call(token).error) == (403, "capability_revoked")
        assert holder.call(other).status == 200
        holder.gateway = opened()


@pytest.mark.parametrize("secret", [None, "", "wrong", ADMIN_SECRET + "x"])
def test_revoking_needs_the_administrators_secret(holder, secret):
    token = holder.mint()
    headers = {} if secret is None else {"x-aag-admin-secret": secret}
    assert ask(holder.gateway, "POST", "/api/revoke", headers, json.dumps({"token": token}).encode()).status == 401
    assert holder.call(token).status == 200


def test_without_a_configured_secret_nobody_revokes(opened):
    answer = ask(opened(admin_secret=""), "POST", "/api/revoke", {"x-aag-admin-secret": ""}, b'{"jti":"x"}')
    assert answer.status == 401


def test_a_replay_is_told_from_a_fresh_proof_across_a_restart_and_a_step_back(opened, clock):
    holder = Holder(opened(), clock)
    token = holder.mint()
    proof, minting = holder.proof(token=token), holder.proof("POST", "/token")
    access = holder.log_in()["access_token"]
    assert holder.call(token, proof=proof).status == 200
    assert ask(holder.gateway, "POST", "/token", {"authorization": f"Bearer {access}", "dpop": minting}).status == 200
    for move_s in (0, 30, -30, -5):
        clock.advance(us=move_s * S)
        holder.gateway = opened()
        assert (holder.call(token, proof=proof).status, holder.call(token, proof=proof).error) == (
            409,
            "replay_detected",
        )
        again = ask(holder.gateway, "POST", "/token", {"authorization": f"Bearer {access}", "dpop": minting})
        assert (again.status, again.error) == (409, "replay_detected")


def test_calls_are_counted_across_restarts(opened, clock):
    holder = Holder(opened(max_calls=2), clock)
    token = holder.mint()
    assert holder.call(token).status == 200
    holder.gateway = opened(max_calls=2)
    assert [holder.call(token).status for _ in range(2)] == [200, 429]


def test_a_full_replay_cache_refuses_and_recovers(opened, clock):
    holder = Holder(opened(max_replay_entries=3), clock)
    token = holder.mint()
    assert [holder.call(token).status for _ in range(4)] == [200, 200, 503, 503]
    clock.advance(us=61 * S)
    assert holder.call(token).status == 200


def test_a_nonce_is_asked_for_and_its_period_outlived(opened, clock):
    holder = Holder(opened(requires_nonce=True), clock)
    access = holder.log_in()["access_token"]
    asked = ask(
        holder.gateway, "POST", "/token", {"authorization": f"Bearer {access}", "dpop": holder.proof("POST", "/token")}
    )
    assert (asked.status, asked.error) == (401, "use_dpop_nonce")
    nonce = asked.headers["dpop-nonce"]
    clock.advance(us=59 * S)
    for expected in (200, 401):
        proof = holder.proof("POST", "/token", nonce=nonce)
        assert (
            ask(holder.gateway, "POST", "/token", {"authorization": f"Bearer {access}", "dpop": proof}).status
            == expected
        )
        clock.advance(us=61 * S)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/API/QUOTE?symbol=ACME", (404, "not_found")),
        ("GET", "/api/quote/?symbol=ACME", (404, "not_found")),
        ("GET", "/HEALTH", (404, "not_found")),
        ("GET", "/health/", (404, "not_found")),
        ("GET", "/h%65alth", (404, "not_found")),
        ("POST", "/health", (405, "method_not_allowed")),
        ("GET", "/api/quote?symbol=ACME", (401, "invalid_token")),
        ("GET", "/health", (200, None)),
    ],
)
def test_exactly_one_path_leads_to_each_thing_so_that_none_goes_around_the_guard(gateway, method, path, expected):
    answer = ask(gateway, method, path)
    assert (answer.status, answer.error) == expected
    assert answer.headers["x-briefcase-compatibility-profile"] == "aacp_v1"


def test_a_fault_inside_shows_nothing_of_itself_whatever_the_environment_asks(opened, monkeypatch):
    monkeypatch.setenv("APP_SHOW_ERROR_DETAILS", "1")
    gateway = opened()

    def fail():
        raise RuntimeError("secret detail")

    monkeypatch.setattr(gateway._oauth, "metadata", fail)
    answer = ask(gateway, "GET", "/.well-known/oauth-authorization-server")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body


# --- over a socket ----------------------------------------------------------------------------------------------


async def test_it_serves_on_loopback_and_a_second_on_the_same_directory_is_refused(tmp_path, clock):
    async def scenario():
        settings = GatewaySettings("", tmp_path / "state")
        server = GatewayServer(settings, "127.0.0.1", 0, clock, FakeEntropy())
        await server.start()
        with pytest.raises(ConfigError, match="in use by process"):
            GatewayServer(settings, "127.0.0.1", 0, clock, FakeEntropy())
        port = urlsplit(server.base_url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        await server.stop()
        return answer, port

    answer, port = await scenario()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"x-briefcase-compatibility-profile: aacp_v1" in answer
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass


def test_it_listens_nowhere_but_on_loopback(tmp_path, clock):
    with pytest.raises(ConfigError, match="loopback"):
        GatewayServer(GatewaySettings("", tmp_path / "state"), "0.0.0.0", 0, clock, FakeEntropy())
