"""Daemons of the contract that were not written here: each command works with the fields that the contract names.

The answers are the contract's, written out by hand: none is made of our own structs, and nothing more is in them.
"""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from test_cli_tree import TREE

from briefcase.core.jose.pkce import challenge_of
from briefcase.core.receipts.canonical import canonical_bytes
from support.cli import BACK, AgreeingBrowser

APPROVAL = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
DEVICE = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
TIME = "2026-01-01T00:00:00Z"
POLICY = "permit (principal, action, resource);"
ZEROS = "0" * 64
EVENT = {"id": 1, "kind": "tool_call", "ts": TIME}
HASH = hashlib.sha256(ZEROS.encode() + canonical_bytes(EVENT)).hexdigest()
RECEIPT = {"id": 1, "ts": TIME, "prev_hash_hex": ZEROS, "hash_hex": HASH, "event": EVENT}
TOOL = {
    "id": "echo",
    "name": "Echo",
    "description": "Says it again",
    "input_schema": {"type": "object"},
    "output_schema": {"type": "object"},
    "category": "read",
    "cost": {"estimated_usd": 0.0},
    "output_firewall": {"mode": "allow_all"},
}
ASKED = {
    "id": APPROVAL,
    "created_at": TIME,
    "expires_at": TIME,
    "tool_id": "echo",
    "reason": "approval_by_policy",
    "kind": "local",
    "summary": "Echo {}",
}
SHOWN = {
    **ASKED,
    "status": "pending",
    "args_text": "{}",
    "tool": {"name": "Echo", "description": "", "category": "read", "cost": {"estimated_usd": 0.0}},
    "risk": [],
    "policy_ids": [],
    "reasons": ["approval_by_policy"],
    "last_approved": None,
}
RAN = {
    "status": "ok",
    "result": {
        "content": {"text": "x"},
        "provenance": {"source": "builtin", "cost_usd": 0.0, "timestamp": TIME, "receipt_id": 1},
    },
}
PROVIDER = {
    "id": "demo",
    "base_url": "https://provider.example",
    "has_oauth_refresh": False,
    "has_vc": False,
    "vc_expires_at_rfc3339": None,
}
REVOKED = {"had_refresh_token": True, "remote_revocation_attempted": True, "remote_revocation_succeeded": False}
SERVER = {"id": "docs", "endpoint_url": "https://docs.example/mcp", "has_oauth_refresh": False}
ENROLLED = {
    "status": "enrolled",
    "base_url": "https://fleet.example",
    "device_id": DEVICE,
    "policy_signing_pubkey_b64": "A" * 43,
    "last_policy_bundle_id": 1,
    "last_receipt_upload_id": None,
    "last_sync_at_rfc3339": None,
    "last_error": None,
    "updated_at_rfc3339": TIME,
}
CHECKS = {
    "mode": "reference",
    "compatibility_profile": "aacp_v1",
    "checks": [{"name": "files", "ok": True, "detail": "all private"}],
}
ANSWERS = {
    ("GET", "/health"): {"status": "ok", "ts": TIME},
    ("GET", "/ready"): {"status": "ready"},
    ("GET", "/v1/identity"): {"did": "did:key:z6Mk", "profile_mode": "ga", "compatibility_profile": "aacp_v1"},
    ("GET", "/v1/profile"): {"mode": "ga", "compatibility_profile": "aacp_v1", "strict_enforcement": True},
    ("GET", "/v1/diagnostics/compat"): CHECKS,
    ("GET", "/v1/diagnostics/security"): CHECKS,
    ("GET", "/v1/tools"): {"tools": [TOOL]},
    ("POST", "/v1/tools/call"): RAN,
    ("GET", "/v1/approvals"): {"approvals": [ASKED]},
    ("GET", f"/v1/approvals/{APPROVAL}"): SHOWN,
    ("POST", f"/v1/approvals/{APPROVAL}/approve"): {"approval_id": APPROVAL, "approval_token": "a-token"},
    ("POST", f"/v1/approvals/{APPROVAL}/deny"): {"approval_id": APPROVAL, "status": "rejected"},
    ("GET", "/v1/receipts"): {"receipts": [RECEIPT]},
    ("POST", "/v1/receipts/verify"): {
        "ok": True,
        "checked": 1,
        "head": {"id": 1, "hash_hex": HASH},
        "not_checked": ["tail_truncation"],
    },
    ("GET", "/v1/budgets"): {"budgets": [{"category": "read", "daily_limit_microusd": 3_000_000}]},
    ("POST", "/v1/budgets/read"): {"category": "read", "daily_limit_microusd": 1_000_000},
    ("GET", "/v1/policy"): {"policy_text": POLICY, "policy_hash_hex": ZEROS, "updated_at_rfc3339": TIME},
    ("PUT", "/v1/policy"): {"policy_text": POLICY, "policy_hash_hex": ZEROS, "updated_at_rfc3339": TIME},
    ("GET", "/v1/providers"): {"providers": [PROVIDER]},
    ("POST", "/v1/providers/demo"): PROVIDER,
    ("POST", "/v1/providers/demo/delete"): {"provider_id": "demo"},
    ("POST", "/v1/providers/demo/oauth/exchange"): {"provider_id": "demo"},
    ("POST", "/v1/providers/demo/oauth/revoke"): {"provider_id": "demo", **REVOKED},
    ("POST", "/v1/providers/demo/vc/fetch"): {"provider_id": "demo", "expires_at_rfc3339": TIME},
    ("GET", "/v1/mcp/servers"): {"servers": [SERVER]},
    ("POST", "/v1/mcp/servers/docs"): SERVER,
    ("POST", "/v1/mcp/servers/docs/delete"): {"server_id": "docs"},
    ("POST", "/v1/mcp/servers/docs/oauth/start"): {
        "server_id": "docs",
        "authorization_url": "https://login.example/authorize",
        "state": "text",
    },
    ("POST", "/v1/mcp/servers/docs/oauth/exchange"): {"server_id": "docs"},
    ("POST", "/v1/mcp/servers/docs/oauth/revoke"): {"server_id": "docs", **REVOKED},
    ("GET", "/v1/control-plane"): ENROLLED,
    ("POST", "/v1/control-plane/enroll"): ENROLLED,
    ("POST", "/v1/control-plane/sync"): {"status": "synced", "policy_applied": True, "receipts_uploaded": 0},
}
WORK = (
    "tools list",
    "tools show echo",
    "tools call echo",
    "approvals list",
    f"approvals show {APPROVAL}",
    f"approvals approve {APPROVAL}",
    f"approvals deny {APPROVAL[:8]}",
    "receipts list",
    "receipts show 1",
    "receipts verify",
    "receipts export --out {new}",
    "budgets list",
    "budgets set --daily-limit-usd 1 read",
    "policy show",
    "policy check {policy}",
    "policy diff {policy}",
    "policy backtest {policy}",
    "identity show",
    "providers list",
    "providers upsert demo https://provider.example",
    "providers delete demo",
    "providers vc-fetch --id demo",
    "providers oauth-revoke --id demo",
    "mcp servers list",
    "mcp servers upsert docs https://docs.example/mcp",
    "mcp servers delete docs",
    "mcp servers oauth-login docs --paste",
    "mcp servers oauth-revoke docs",
    "control-plane status",
    "control-plane enroll https://fleet.example laptop",
    "control-plane sync",
    "diagnostics soak --duration-secs 0.2 --interval-ms 50 --tool echo --out {new}",
    "slo check --duration-secs 0.2",
)
OURS = {  # what they ask for is not in the contract: each is refused with a sentence
    "tools reload": "tools reload",
    "receipts archive": "receipts archive",
    "receipts checkpoint": "receipts checkpoint --out {new}",
    "receipts prove": "receipts prove 1",
    "backup create": "backup create --out {new}",
    "secrets set": "secrets set text",
    "secrets bind": "secrets bind text --host text",
    "secrets list": "secrets list",
    "secrets delete": "secrets delete text",
    "agents add": "agents add text",
    "agents list": "agents list",
    "agents revoke": "agents revoke text",
    "tighten require-approval": "tighten require-approval --tool echo",
    "tighten disable": "tighten disable --tool echo",
    "tighten list": "tighten list",
    "tighten lift": "tighten lift text",
    "freeze": "freeze",
    "thaw": "thaw",
    "providers enable": "providers enable demo",
    "providers disable": "providers disable demo",
    "providers clear-capabilities": "providers clear-capabilities demo",
    "mcp servers show": "mcp servers show docs",
    "mcp servers diff": "mcp servers diff docs",
    "mcp servers accept": "mcp servers accept docs digest",
    "control-plane leave": "control-plane leave",
    "control-plane remove-mandatory": "control-plane remove-mandatory",
}


@pytest.fixture
def other(daemon, monkeypatch):
    """A daemon that has what the contract names, and answers 404 with nothing to anything else."""

    class Offered(dict):
        def get(self, key, default=None):
            return super().get(key, (404, b""))

    daemon.answers = Offered(ANSWERS)
    monkeypatch.setattr("briefcase.edges.cli.watch.time.sleep", leave)
    return daemon


def leave(_):
    raise KeyboardInterrupt


@pytest.fixture
def files(tmp_path):
    (tmp_path / "policy").write_text(POLICY)
    return {name: tmp_path / name for name in ("policy", "new")}


def ask(run, words, files, **options):
    return run(*(word.format(**files) for word in words.split()), **options)


def test_the_tables_name_commands_that_there_are():
    assert {words for words in WORK if not any(words.startswith(name) for name in TREE)} == set()
    assert OURS.keys() <= TREE.keys()


@pytest.mark.parametrize("words", WORK)
def test_a_command_works_with_the_fields_that_the_contract_names(run, other, files, words):
    stdin = b"a-secret" if "enroll" in words else f"{BACK}?code=c&state=text\n".encode()
    ran = ask(run, words, files, stdin=stdin)
    assert ran.code == 0, ran


@pytest.mark.parametrize("words", OURS.values())
def test_a_command_of_ours_alone_says_what_the_daemon_does_not_offer(run, other, files, words):
    ran = ask(run, words, files, stdin=b"value")
    assert ran.code == 4, ran
    assert re.search(r"the daemon does not offer `[A-Z]+ /v1/[a-z/-]+", ran.err), ran


def test_a_policy_is_set_over_the_contracts_fields(run, other, files):
    assert ask(run, "policy set {policy}", files).code == 0
    assert other.bodies("PUT", "/v1/policy") == [{"policy_text": POLICY}]


def test_a_yes_carries_the_digest_of_what_was_shown_though_the_daemon_names_none(run, other, files):
    assert ask(run, f"approvals approve {APPROVAL}", files).code == 0
    (said,) = other.bodies("POST", f"/v1/approvals/{APPROVAL}/approve")
    assert said == {"shown_digest_hex": hashlib.sha256(canonical_bytes(SHOWN)).hexdigest()}


def test_what_waits_is_written_as_it_came(run, other, files):
    ran = ask(run, "approvals watch --json", files)
    assert json.loads(ran.out) == ASKED


def test_a_call_that_is_approved_without_a_token_goes_on_with_the_bare_id(run, other, files):
    answers = iter([{"status": "approval_required", "approval": ASKED}, RAN])
    other.answers["POST", "/v1/tools/call"] = lambda: next(answers)
    other.answers["GET", f"/v1/approvals/{APPROVAL}"] = SHOWN | {"status": "approved"}
    assert ask(run, "tools call echo --wait", files).code == 0
    assert [asked["call"].get("approval_token") for asked in other.bodies("POST", "/v1/tools/call")] == [None, APPROVAL]


def test_a_receipt_is_found_by_its_place_where_a_daemon_only_lists(run, other, files):
    def page():
        asked = dict(pair.split("=") for pair in other.seen[-1][1].partition("?")[2].split("&"))
        newest_first = [RECEIPT | {"id": number} for number in (3, 2, 1)]
        start = int(asked.get("offset", 0))
        return {"receipts": newest_first[start : start + int(asked["limit"])]}

    other.answers["GET", "/v1/receipts"] = page
    assert ask(run, "receipts show 2 --json", files).json == RECEIPT | {"id": 2}
    for missing in ("4", "99"):
        assert ask(run, f"receipts show {missing}", files).code == 4


def test_a_log_in_is_begun_here_where_a_daemon_only_finishes_them(run, other, files, monkeypatch):
    browser, opened = AgreeingBrowser("https://provider.example"), []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or browser.open(url))
    ran = ask(run, "providers oauth-login --id demo --scope quote", files)
    browser.close()
    assert ran.code == 0, ran
    (page,) = opened
    asked = {name: value for name, (value,) in parse_qs(urlsplit(page).query).items()}
    (said,) = other.bodies("POST", "/v1/providers/demo/oauth/exchange")
    assert page.startswith("https://provider.example/oauth/authorize?")
    assert said | {"code": "a-code", "redirect_uri": asked["redirect_uri"], "client_id": "briefcase"} == said
    assert (asked["code_challenge"], asked["scope"]) == (challenge_of(said["code_verifier"]), "quote")
    assert said["code_verifier"] not in ran.out + ran.err + page


def test_an_answer_to_another_log_in_is_not_handed_on(run, other, files):
    stdin = f"{BACK}?code=a-code&state=other\n".encode()
    ran = ask(run, "providers oauth-login --id demo --paste", files, stdin=stdin)
    assert (ran.code, other.bodies("POST", "/v1/providers/demo/oauth/exchange")) == (2, []), ran


def test_a_log_in_at_a_provider_that_nobody_named_is_begun_nowhere(run, other, files):
    ran = ask(run, "providers oauth-login --id other --paste", files)
    assert (ran.code, "authorize" in ran.err) == (4, False), ran


def test_a_check_judges_what_it_is_told_and_calls_nothing_red_that_the_daemon_does_not_have(run, other, files):
    ran = ask(run, "diagnostics check --json", files)
    assert ran.code == 0, ran
    colours = {part["name"]: part["colour"] for part in ran.json["parts"]}
    assert {name for name, colour in colours.items() if colour == "green"} >= {"compat", "security", "controls"}
    assert "red" not in colours.values()
