"""The whole way of a paid call, process by process: log in, call, revoke, and the failing call after it."""

import json
import subprocess
import urllib.request

import pytest

from support.commands import await_address, briefcase, command_of, provider_gateway
from support.daemons import RunningDaemon
from support.providers import ADMIN_SECRET
from support.waiting import BOUND_S

QUOTE = ("tools", "call", "quote", "--args-json", '{"symbol":"ACME"}')


@pytest.fixture
def provider(tmp_path):
    with provider_gateway(tmp_path / "provider") as address:
        yield address


@pytest.fixture
def daemon(tmp_path, provider):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(f"[net]\nallow_private = ['{provider.removeprefix('http://')}']\n")
    with RunningDaemon(data_dir) as running:
        yield running


def log_in(daemon):
    """`oauth-login`, with a browser that only follows where it is sent."""
    words = command_of("providers", "oauth-login", "--id", "demo", "--no-browser")
    with subprocess.Popen(words, env=daemon.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        with urllib.request.urlopen(await_address(command), timeout=BOUND_S) as page:
            assert b"is with briefcase now" in page.read()
        out, err = command.communicate(timeout=BOUND_S)
    assert (command.returncode, out.decode()) == (0, "logged in to `demo`\n"), err.decode()


def read_budget(daemon):
    budgets = json.loads(briefcase(daemon, "budgets", "list", "--json").stdout)["budgets"]
    return next(budget for budget in budgets if budget["category"] == "read")


def test_log_in_call_revoke_and_the_failing_call_after_it(daemon, provider):
    # before anything: the tool is listed, and says what is missing
    tools = json.loads(briefcase(daemon, "tools", "list", "--json").stdout)["tools"]
    assert [tool["cost"] for tool in tools if tool["id"] == "quote"] == [{"estimated_usd": 0.002}]
    unknown = briefcase(daemon, *QUOTE)
    assert unknown.returncode == 8
    assert "provider `demo` is not known" in unknown.stderr

    # log in
    assert briefcase(daemon, "providers", "upsert", "demo", provider).returncode == 0
    log_in(daemon)
    (listed,) = json.loads(briefcase(daemon, "providers", "list", "--json").stdout)["providers"]
    assert (listed["has_oauth_refresh"], listed["needs_login"]) == (True, False)

    # call: answered, priced, receipted, budgeted
    called = briefcase(daemon, *QUOTE, "--json")
    answer = json.loads(called.stdout)
    assert (called.returncode, answer["status"], answer["result"]["content"]["symbol"]) == (0, "ok", "ACME")
    provenance = answer["result"]["provenance"]
    assert (provenance["source"], provenance["cost_usd"]) == ("provider:demo", 0.002)
    outcome, intent = json.loads(briefcase(daemon, "receipts", "list", "--json", "--limit", "2").stdout)["receipts"]
    assert (intent["event"]["kind"], outcome["event"]["kind"]) == ("intent", "outcome")
    assert (outcome["event"]["source"], outcome["event"]["cost_microusd"]) == ("provider:demo", 2_000)
    assert (outcome["event"]["intent_id"], provenance["receipt_id"]) == (intent["id"], outcome["id"])
    assert (read_budget(daemon)["spent_microusd"], read_budget(daemon)["reserved_microusd"]) == (2_000, 0)

    # a crash loses neither the log-in nor the key it is bound to
    daemon.kill()
    daemon.start()
    assert briefcase(daemon, *QUOTE).returncode == 0

    # contain, and lift
    assert briefcase(daemon, "providers", "disable", "demo").returncode == 0
    assert "denied: disabled" in briefcase(daemon, *QUOTE).stderr
    assert briefcase(daemon, "providers", "enable", "demo").returncode == 0
    assert briefcase(daemon, "providers", "enable", "nobody").returncode == 4
    for kind in ("control_set", "control_lifted"):  # each with its receipt
        listed = briefcase(daemon, "receipts", "list", "--json", "--kind", kind).stdout
        (receipt,) = json.loads(listed)["receipts"]
        event = receipt["event"]
        assert (event["action"], event["about"], event["by"]) == ("disable", "source:provider:demo", "operator")
    assert briefcase(daemon, *QUOTE).returncode == 0

    # revoke, and the failing call after it, which costs nothing
    revoked = json.loads(briefcase(daemon, "providers", "oauth-revoke", "--id", "demo", "--json").stdout)
    assert revoked == {
        "provider_id": "demo",
        "had_refresh_token": True,
        "remote_revocation_attempted": True,
        "remote_revocation_succeeded": True,
        "has_vc": False,
    }
    failed = briefcase(daemon, *QUOTE)
    assert failed.returncode == 8
    assert "upstream_refused" in failed.stderr
    assert (read_budget(daemon)["spent_microusd"], read_budget(daemon)["reserved_microusd"]) == (6_000, 0)
    (outcome,) = json.loads(briefcase(daemon, "receipts", "list", "--json", "--limit", "1").stdout)["receipts"]
    assert (outcome["event"]["status"], outcome["event"]["cost_microusd"]) == ("error", 0)

    # what was done to the provider is in the chain, each with who did it
    assert briefcase(daemon, "providers", "clear-capabilities", "demo").returncode == 0
    assert daemon.request("POST", "/v1/providers/demo/delete")[0] == 200
    for what in ("set", "login", "revoked", "cleared", "deleted"):
        listed = briefcase(daemon, "receipts", "list", "--json", "--kind", f"provider_{what}").stdout
        (receipt,) = json.loads(listed)["receipts"]
        assert (receipt["event"]["provider"], receipt["event"]["by"]) == ("demo", "operator")
    assert briefcase(daemon, "receipts", "verify").returncode == 0


def test_the_variable_names_the_demonstration_provider_and_a_soak_over_it_meets_its_objectives(tmp_path, provider):
    with RunningDaemon(tmp_path / "data", BRIEFCASE_PROVIDER_BASE_URL=provider) as daemon:
        log_in(daemon)
        report = tmp_path / "soak.json"
        words = ("--duration-secs", "3", "--interval-ms", "200", "--tool", "quote", "--args-json", '{"symbol":"ACME"}')
        soaked = briefcase(daemon, "diagnostics", "soak", *words, "--out", str(report))
        assert soaked.returncode == 0, soaked.stderr
        assert json.loads(report.read_text())["ok"] is True
        health = daemon.request("GET", "/v1/diagnostics/providers")[1]
        (demo,) = health["providers"]
        assert (demo["failures"], demo["replays"]) == (0, 0)
        assert demo["calls"] >= 10
        _, fetched = daemon.request("POST", "/v1/providers/demo/vc/fetch")
        assert fetched["provider_id"] == "demo"


def test_the_harness_is_green_on_our_provider(tmp_path, daemon, provider):
    report = tmp_path / "report.json"
    words = ("conformance", "provider", "--base-url", provider, "--out", str(report), "--admin-secret-stdin")
    ran = briefcase(daemon, *words, stdin=ADMIN_SECRET)
    assert ran.returncode == 0, ran.stdout
    assert "conforms to aacp_v1: 27 passed, 0 failed, 0 skipped" in ran.stdout
    assert json.loads(report.read_text())["ok"] is True

    # the daemon keeps the verdict of a provider it has, over a restart, and `diagnostics check` shows it
    assert briefcase(daemon, "providers", "upsert", "demo", provider).returncode == 0
    ran = briefcase(daemon, *words, stdin=ADMIN_SECRET)
    assert "shows the verdict, for demo" in ran.stderr
    daemon.kill()
    daemon.start()
    log_in(daemon)
    parts = json.loads(briefcase(daemon, "diagnostics", "check", "--json").stdout)["parts"]
    (part,) = [part for part in parts if part["name"] == "providers"]
    finished_at = json.loads(report.read_text())["finished_at"]
    assert (part["colour"], f"harness passed {finished_at}" in part["detail"]) == ("green", True), part


def test_a_provider_that_restarts_takes_the_log_in_and_refuses_no_call(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        state_dir = tmp_path / "provider"
        with provider_gateway(state_dir) as address:
            port = int(address.rpartition(":")[2])
            daemon.stop()
            daemon.environment["BRIEFCASE_PROVIDER_BASE_URL"] = address
            daemon.start()
            log_in(daemon)
            assert daemon.call("quote", {"symbol": "ACME"})["status"] == "ok"
        down = daemon.call("quote", {"symbol": "ACME"})
        assert down["status"] == "error"
        with provider_gateway(state_dir, port):
            assert daemon.call("quote", {"symbol": "ACME"})["status"] == "ok"
