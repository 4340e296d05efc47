"""`briefcase mcp servers oauth-login` and `oauth-revoke`: what is sent to the daemon, and what never is."""

import pytest

from briefcase.core.wire.servers import ServerSummary
from support.cli import BACK, STATE, AgreeingBrowser, begins_login
from support.wire import example

ISSUER = "https://as.example"
DOCS = "/v1/mcp/servers/docs"
REVOKED = {
    "server_id": "docs",
    "had_refresh_token": True,
    "remote_revocation_attempted": True,
    "remote_revocation_succeeded": True,
}


def starts_login(daemon, page=f"{ISSUER}/authorize"):
    begins_login(daemon, DOCS, {"server_id": "docs"}, page)


def test_a_log_in_waits_on_loopback_and_hands_code_state_and_issuer_to_the_daemon(run, daemon, monkeypatch):
    starts_login(daemon)
    browser = AgreeingBrowser(ISSUER)
    monkeypatch.setattr("webbrowser.open", browser.open)
    ran = run("mcp", "servers", "oauth-login", "docs", "--scope", "read write")
    browser.close()
    assert (ran.code, ran.out) == (0, "logged in to `docs`\n"), ran
    (asked,) = daemon.bodies("POST", f"{DOCS}/oauth/start")
    assert (asked["client_id"], asked["scope"]) == ("", "read write")
    (exchange,) = daemon.bodies("POST", f"{DOCS}/oauth/exchange")
    assert exchange == {"code": "a-code", "state": STATE, "iss": ISSUER}
    assert "a-code" not in ran.out + ran.err


def test_a_pasted_address_will_do_and_an_issuer_that_is_not_there_is_not_invented(run, daemon):
    starts_login(daemon)
    pasted = f"{BACK}?code=a-code&state={STATE}\n".encode()
    ran = run("mcp", "servers", "oauth-login", "docs", "--paste", "--client-id", "app", "--json", stdin=pasted)
    assert (ran.code, ran.json) == (0, {"server_id": "docs"}), ran
    (asked,) = daemon.bodies("POST", f"{DOCS}/oauth/start")
    assert asked == {"client_id": "app", "redirect_uri": BACK, "scope": None}
    assert daemon.bodies("POST", f"{DOCS}/oauth/exchange") == [{"code": "a-code", "state": STATE, "iss": None}]


@pytest.mark.parametrize(
    ("pasted", "code", "says"),
    [
        (f"{BACK}?code=c&state=another", 2, "another log-in"),
        (f"{BACK}?code=c", 2, "another log-in"),
        (f"{BACK}?code=c&code=d&state={STATE}", 2, "once"),
        (f"{BACK}?error=access_denied&state={STATE}", 8, "access_denied"),
        ("just some text", 2, "with its `code`"),
    ],
)
def test_an_answer_that_is_not_this_log_ins_is_never_handed_on(run, daemon, pasted, code, says):
    starts_login(daemon)
    ran = run("mcp", "servers", "oauth-login", "docs", "--paste", stdin=f"{pasted}\n".encode())
    assert ran.code == code, ran
    assert says in ran.err
    assert daemon.bodies("POST", f"{DOCS}/oauth/exchange") == []


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "--flag", "$(touch /tmp/x)"])
def test_a_browser_is_given_nothing_but_a_page(run, daemon, monkeypatch, url):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    starts_login(daemon, url)
    ran = run("mcp", "servers", "oauth-login", "docs", "--timeout-secs", "1")
    assert (ran.code, opened) == (8, []), ran
    assert "another kind" in ran.err


@pytest.mark.parametrize("answer", [{"server_id": "docs"}, {"authorization_url": 5, "state": STATE}])
def test_a_daemon_that_begins_no_log_in_is_not_waited_for(run, daemon, answer):
    daemon.answers["POST", f"{DOCS}/oauth/start"] = answer
    ran = run("mcp", "servers", "oauth-login", "docs", "--timeout-secs", "1")
    assert (ran.code, "`authorization_url`" in ran.err) == (11, True), ran


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "and at its server"),
        ({"remote_revocation_succeeded": False}, "did not confirm"),
        ({"remote_revocation_succeeded": False, "remote_revocation_attempted": False}, "was not asked"),
    ],
)
def test_a_revocation_says_what_became_of_it(run, daemon, changed, says):
    daemon.answers["POST", f"{DOCS}/oauth/revoke"] = REVOKED | changed
    assert says in run("mcp", "servers", "oauth-revoke", "docs").out
    assert run("mcp", "servers", "oauth-revoke", "docs", "--json").json == REVOKED | changed


def test_the_document_to_publish_names_its_own_place_and_a_native_client(run):
    ran = run("mcp", "client-metadata", "https://example.org/briefcase.json")
    assert ran.code == 0, ran
    assert ran.json["client_id"] == "https://example.org/briefcase.json"
    assert (ran.json["application_type"], ran.json["redirect_uris"]) == ("native", ["http://127.0.0.1/callback"])
    assert ran.json["token_endpoint_auth_method"] == "none"


def test_the_client_that_is_registered_by_hand_is_part_of_the_description(run, daemon):
    daemon.answers["POST", DOCS] = example(ServerSummary)
    words = ["--oauth-client-id", "app", "--oauth-client-secret", "app-secret", "--oauth-issuer", ISSUER]
    ran = run("mcp", "servers", "upsert", "docs", "https://docs.example/mcp", *words)
    assert ran.code == 0, ran
    (body,) = daemon.bodies("POST", DOCS)
    assert body["oauth"] == {
        "client_id": "app", "client_secret": "app-secret", "issuer": ISSUER, "client_metadata_url": "",
    }  # fmt: skip


def test_a_servers_own_headers_deadlines_and_sizes_are_sent_as_they_are_named(run, daemon):
    summary = {"id": "docs", "endpoint_url": "https://docs.example/mcp", "has_oauth_refresh": False}
    daemon.answers["POST", "/v1/mcp/servers/docs"] = summary
    words = [
        "--header-secret",
        "X-Api-Key=key",
        "--header-secret",
        "Authorization=token docs",
        "--header",
        "X-Org=acme",
    ]
    words += ["--timeout-secs", "120.5", "--start-timeout-secs", "60", "--max-message-bytes", "1000000"]
    ran = run("mcp", "servers", "upsert", "docs", "https://docs.example/mcp", *words)
    assert ran.code == 0, ran.err
    (body,) = daemon.bodies("POST", "/v1/mcp/servers/docs")
    assert body["header_secrets"] == {
        "X-Api-Key": {"secret": "key", "prefix": ""},
        "Authorization": {"secret": "docs", "prefix": "token "},
    }
    assert body["headers"] == {"X-Org": "acme"}
    assert (body["timeout_ms"], body["start_timeout_ms"], body["max_message_bytes"]) == (120_500, 60_000, 1_000_000)
