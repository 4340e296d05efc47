"""`briefcase providers`, `provider-gateway` and `conformance` from the command line."""

import json

import pytest

from support.cli import BACK, STATE, AgreeingBrowser, begins_login

ISSUER = "https://provider.example"
DEMO = "/v1/providers/demo"
SUMMARY = {
    "id": "demo",
    "base_url": ISSUER,
    "has_oauth_refresh": True,
    "has_vc": True,
    "vc_expires_at_rfc3339": "2026-01-02T00:00:00.000000Z",
    "is_enabled": True,
    "max_stale_s": 0,
    "needs_login": False,
}
REVOKED = {
    "provider_id": "demo",
    "had_refresh_token": True,
    "remote_revocation_attempted": True,
    "remote_revocation_succeeded": True,
    "has_vc": False,
}


def starts_login(daemon, *, requires_iss=False):
    begins_login(
        daemon, DEMO, {"provider_id": "demo"}, f"{ISSUER}/oauth/authorize",
        issuer=ISSUER, requires_iss=requires_iss,
    )  # fmt: skip


def test_the_list_shows_what_is_held_and_never_a_token(run, daemon):
    other = SUMMARY | {"id": "off", "is_enabled": False, "has_vc": False, "needs_login": True}
    daemon.answers["GET", "/v1/providers"] = {"providers": [SUMMARY, other]}
    ran = run("providers", "list")
    _, demo, off = ran.out.splitlines()
    assert demo.split() == ["demo", "active", "held", "2026-01-02", "00:00:00Z", ISSUER]
    assert off.split() == ["off", "disabled", "needed", ISSUER]
    assert run("providers", "list", "--json").json == {"providers": [SUMMARY, other]}
    daemon.answers["GET", "/v1/providers"] = {"providers": []}
    assert "providers upsert ID URL" in run("providers", "list").out


@pytest.mark.parametrize(
    ("words", "path", "answer", "body", "says"),
    [
        (
            ["upsert", "demo", ISSUER],
            DEMO,
            SUMMARY,
            {"base_url": ISSUER, "max_stale_s": None},
            "`demo` is https://provider.example",
        ),
        (
            ["upsert", "demo", ISSUER, "--max-stale-secs", "60"],
            DEMO,
            SUMMARY,
            {"base_url": ISSUER, "max_stale_s": 60},
            "`demo`",
        ),
        (["delete", "demo"], f"{DEMO}/delete", {"provider_id": "demo"}, None, "removed `demo`"),
        (["enable", "demo"], f"{DEMO}/enable", SUMMARY, None, "may be called"),
        (["disable", "demo"], f"{DEMO}/disable", SUMMARY, None, "sent nothing"),
        (["clear-capabilities", "demo"], f"{DEMO}/clear-capabilities", {"provider_id": "demo"}, None, "dropped"),
        (
            ["vc-fetch", "--id", "demo"],
            f"{DEMO}/vc/fetch",
            {"provider_id": "demo", "expires_at_rfc3339": "2026-01-02T00:00:00.000000Z"},
            None,
            "until 2026-01-02",
        ),
        (["oauth-revoke", "--id", "demo"], f"{DEMO}/oauth/revoke", REVOKED, None, "here, and at its server"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_command_asks_the_daemon_and_says_what_was_done(run, daemon, words, path, answer, body, says):
    daemon.answers["POST", path] = answer
    ran = run("providers", *words)
    assert (ran.code, daemon.bodies("POST", path)) == (0, [body])
    assert says in ran.out
    assert run("providers", *words, "--json").json == answer


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"remote_revocation_succeeded": False}, "did not confirm"),
        ({"remote_revocation_succeeded": False, "remote_revocation_attempted": False}, "was not asked"),
        ({"has_vc": True}, "providers disable demo"),
    ],
)
def test_a_revocation_says_what_is_left(run, daemon, changed, says):
    daemon.answers["POST", f"{DEMO}/oauth/revoke"] = REVOKED | changed
    ran = run("providers", "oauth-revoke", "--id", "demo")
    assert says in ran.out + ran.err


def test_a_log_in_waits_on_loopback_and_hands_the_code_to_the_daemon(run, daemon, monkeypatch):
    starts_login(daemon)
    browser = AgreeingBrowser(ISSUER)
    monkeypatch.setattr("webbrowser.open", browser.open)
    ran = run("providers", "oauth-login", "--id", "demo", "--scope", "quote")
    browser.close()
    assert (ran.code, ran.out) == (0, "logged in to `demo`\n"), ran
    (asked,) = daemon.bodies("POST", f"{DEMO}/oauth/start")
    assert (asked["client_id"], asked["scope"]) == ("briefcase", "quote")
    (exchange,) = daemon.bodies("POST", f"{DEMO}/oauth/exchange")
    assert exchange == {
        "code": "a-code",
        "state": STATE,
        "iss": ISSUER,
    }
    assert "a-code" not in ran.out + ran.err


def test_a_log_in_that_nobody_answers_ends_and_names_the_other_way(run, daemon):
    starts_login(daemon)
    ran = run("providers", "oauth-login", "--id", "demo", "--no-browser", "--timeout-secs", "1")
    assert ran.code == 5
    assert "paste" in ran.err
    assert daemon.bodies("POST", f"{DEMO}/oauth/exchange") == []


def test_the_address_one_was_sent_back_to_may_be_pasted(run, daemon):
    starts_login(daemon)
    pasted = f"{BACK}?code=a-code&state={STATE}\n"
    ran = run("providers", "oauth-login", "--id", "demo", "--paste", stdin=pasted.encode())
    assert ran.code == 0, ran
    (asked,) = daemon.bodies("POST", f"{DEMO}/oauth/start")
    (exchange,) = daemon.bodies("POST", f"{DEMO}/oauth/exchange")
    assert (asked["redirect_uri"], exchange) == (BACK, {"code": "a-code", "state": STATE, "iss": None})


@pytest.mark.parametrize(
    ("pasted", "code", "says"),
    [
        (f"{BACK}?code=c&state=another", 2, "another log-in"),
        (f"{BACK}?code=c", 2, "another log-in"),
        (f"{BACK}?code=c&code=d&state={STATE}", 2, "once"),
        (f"{BACK}?code=c&state={STATE}", 2, "names no issuer"),
        (f"{BACK}?code=c&state={STATE}&iss=https://attacker.example", 2, "`iss` differs"),
        (f"{BACK}?error=access_denied&state={STATE}&iss={ISSUER}", 8, "access_denied"),
        ("just some text", 2, "with its `code`"),
    ],
)
def test_an_answer_that_is_not_this_log_ins_is_never_exchanged(run, daemon, pasted, code, says):
    starts_login(daemon, requires_iss=True)
    ran = run("providers", "oauth-login", "--id", "demo", "--paste", stdin=f"{pasted}\n".encode())
    assert ran.code == code, ran
    assert says in ran.err
    assert daemon.bodies("POST", f"{DEMO}/oauth/exchange") == []


def test_a_log_in_without_a_terminal_to_paste_at_ends(run, daemon):
    starts_login(daemon)
    assert run("providers", "oauth-login", "--id", "demo", "--paste").code == 130


@pytest.mark.parametrize("name", ["../agents", "a/b", "", "--"])
def test_an_id_that_names_nothing_never_reaches_the_daemon(run, daemon, name):
    ran = run("providers", "oauth-revoke", "--id", name)
    assert ran.code == 2
    assert daemon.seen == []


def test_the_harness_fails_where_nothing_answers_and_writes_its_report(run, tmp_path):
    report = tmp_path / "new" / "report.json"
    ran = run("conformance", "provider", "--base-url", "http://127.0.0.1:9/", "--out", str(report))
    assert ran.code == 7
    assert "does not conform" in ran.out
    written = json.loads(report.read_text())
    assert (written["ok"], written["passed"], written["subject"]) == (False, 0, "http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["provider.example", "https://scout:hunter2@provider.example", "file:///etc/passwd"])
def test_the_harness_wants_a_plain_address(run, tmp_path, url):
    ran = run("conformance", "provider", "--base-url", url, "--out", str(tmp_path / "r.json"))
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])
    assert "--base-url" in ran.err
    assert "hunter2" not in ran.err


def test_the_provider_gateway_listens_on_loopback_only(run, tmp_path):
    state = tmp_path / "state"
    ran = run("provider-gateway", "--host", "0.0.0.0", "--port", "0", "--state-dir", str(state))
    assert ran.code == 6
    assert "loopback" in ran.err


def test_an_admin_secret_that_is_asked_for_and_not_given_is_no_empty_one(run, tmp_path):
    ran = run("provider-gateway", "--port", "0", "--admin-secret-stdin", "--state-dir", str(tmp_path / "state"))
    assert ran.code == 2
    assert "got nothing" in ran.err
