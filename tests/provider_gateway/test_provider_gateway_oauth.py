"""The authorization server: a code is good once and for its own client, and a stolen refresh token ends its family."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from briefcase.core.jose.pkce import challenge_of
from support.providers import BASE_URL, REDIRECT, VERIFIER, Holder, ask

S = 1_000_000


def authorize(gateway, **changed):
    query = {
        "response_type": "code", "client_id": "c", "redirect_uri": REDIRECT, "state": "s",
        "code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256", "scope": "quote",
    } | changed  # fmt: skip
    return ask(gateway, "GET", "/oauth/authorize?" + urlencode({k: v for k, v in query.items() if v is not None}))


def answer_of(answer):
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def exchange(gateway, code, **changed):
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "client_id": "c",
        "code_verifier": VERIFIER,
    }
    return ask(gateway, "POST", "/oauth/token", body=form | changed)


def test_an_authorization_comes_back_with_code_state_and_issuer(gateway):
    answer = authorize(gateway)
    assert answer.status == 307
    assert answer.headers["location"].startswith(REDIRECT + "?")
    assert answer_of(answer).keys() == {"code", "state", "iss"}
    assert answer_of(answer)["state"] == "s"
    assert answer_of(answer)["iss"] == BASE_URL


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"state": None}, "invalid_request"),
        ({"scope": "admin"}, "invalid_scope"),
    ],
)
def test_a_wrong_authorization_request_comes_back_as_an_error(gateway, changed, error):
    answer = answer_of(authorize(gateway, **changed))
    assert answer["error"] == error
    assert "code" not in answer


@pytest.mark.parametrize(
    "uri",
    [
        None, "", "https://attacker.example/", "http://127.0.0.1.attacker.example/", "http://user@127.0.0.1/",
        "http://127.0.0.1/#x", "javascript:alert(1)", "http://127.0.0.1\\@attacker.example/", "https://127.0.0.1/",
        "http://[::1", "http://127.0.0.1/\r\nset-cookie: a=b",
    ],
)  # fmt: skip
def test_an_address_that_is_not_the_clients_is_never_redirected_to(gateway, uri):
    answer = authorize(gateway, redirect_uri=uri)
    assert answer.status == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": REDIRECT + "x"},
        {"client_id": "d"},
        {"code": "x"},
    ],
)
def test_a_code_is_of_no_use_to_anyone_else(gateway, changed):
    code = answer_of(authorize(gateway))["code"]
    answer = exchange(gateway, changed.pop("code", code), **changed)
    assert (answer.status, answer.error) == (400, "invalid_grant")


def test_a_code_expires(gateway, clock):
    code = answer_of(authorize(gateway))["code"]
    clock.advance(us=60 * S)
    assert exchange(gateway, code).error == "invalid_grant"


def test_a_code_used_twice_ends_what_it_gave(gateway):
    code = answer_of(authorize(gateway))["code"]
    access = exchange(gateway, code).json["access_token"]
    assert exchange(gateway, code).error == "invalid_grant"
    assert ask(gateway, "POST", "/token", {"authorization": f"Bearer {access}"}).error == "invalid_token"


def refresh(gateway, token):
    return ask(
        gateway,
        "POST",
        "/oauth/token",
        body={"grant_type": "refresh_token", "refresh_token": token, "client_id": "briefcase"},
    )


def test_a_refresh_token_is_rotated_and_an_old_one_ends_the_family_across_restarts(opened, clock):
    gateway = opened()
    first = Holder(gateway, clock).log_in()
    second = refresh(gateway, first["refresh_token"]).json
    assert second["refresh_token"] != first["refresh_token"]
    gateway = opened()
    third = refresh(gateway, second["refresh_token"]).json
    gateway = opened()
    assert refresh(gateway, second["refresh_token"]).error == "invalid_grant"
    assert refresh(gateway, third["refresh_token"]).error == "invalid_grant"
    assert ask(gateway, "POST", "/token", {"authorization": f"Bearer {third['access_token']}"}).error == "invalid_token"


@pytest.mark.parametrize("which", ["refresh_token", "access_token"])
def test_a_revoked_grant_refreshes_nothing_and_mints_nothing(gateway, clock, which):
    tokens = Holder(gateway, clock).log_in()
    assert ask(gateway, "POST", "/oauth/revoke", body={"token": tokens[which]}).status == 200
    assert refresh(gateway, tokens["refresh_token"]).error == "invalid_grant"
    answer = ask(gateway, "POST", "/token", {"authorization": f"Bearer {tokens['access_token']}"})
    assert answer.error == "invalid_token"
    assert ask(gateway, "POST", "/oauth/revoke", body={"token": "unknown"}).status == 200
