"""The command line as a program against the real daemon: the approval story, exit codes, up, a real terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from support.commands import briefcase as run_beside
from support.commands import run_command
from support.daemons import RunningDaemon
from support.terminal import Terminal
from support.waiting import BOUND_S

NOTE = '{"text":"rotate the keys"}'


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("cli") / "data") as running:
        yield running


@pytest.fixture
def briefcase(daemon):
    return partial(run_beside, daemon)


def test_the_whole_approval_story(briefcase):
    asked = briefcase("tools", "call", "note_add", "--args-json", NOTE)
    assert asked.returncode == 10
    assert "approval_required" in asked.stdout
    (waiting,) = json.loads(briefcase("approvals", "list", "--json").stdout)["approvals"]

    approved = briefcase("approvals", "approve", waiting["id"][:8])
    assert approved.returncode == 0
    token = approved.stdout.strip()

    other = briefcase("tools", "call", "note_add", "--args-json", '{"text":"other"}', "--approval-token", token)
    assert (other.returncode, other.stderr.splitlines()[0]) == (3, "denied: invalid_or_expired_approval")

    done = briefcase("tools", "call", "note_add", "--args-json", NOTE, "--approval-token", token)
    assert done.returncode == 0
    again = briefcase("tools", "call", "note_add", "--args-json", NOTE, "--approval-token", token)
    assert again.returncode == 3

    notes = json.loads(briefcase("tools", "call", "notes_list").stdout)
    assert json.dumps(notes).count("rotate the keys") == 1
    recorded = json.loads(briefcase("receipts", "list", "--approval", waiting["id"], "--json").stdout)["receipts"]
    assert [receipt["event"]["kind"] for receipt in reversed(recorded)][:2] == ["approval_required", "approval_decided"]
    assert briefcase("receipts", "verify").returncode == 0


def test_a_denied_call_stays_denied(briefcase):
    asked = briefcase("tools", "call", "note_add", "--args-json", '{"text":"deny me"}', "--json")
    approval_id = json.loads(asked.stdout)["approval"]["id"]
    assert briefcase("approvals", "deny", approval_id, "--reason", "no").returncode == 0
    late = briefcase("approvals", "approve", approval_id)
    assert late.returncode == 3
    assert "rejected" in late.stderr
    shown = briefcase("approvals", "show", approval_id)
    assert "rejected" in shown.stdout


def test_an_approval_given_on_the_live_screen_lets_the_repeated_call_run(daemon, briefcase):
    args = '{"text":"from the live screen"}'
    with Terminal(daemon.env, "approvals", "watch") as terminal:
        terminal.wait_for("nothing waits")
        assert briefcase("tools", "call", "note_add", "--args-json", args).returncode == 10
        terminal.wait_for("from the live screen")
        time.sleep(1)  # what arrives by itself takes no key at once: a person looks first
        terminal.press("a")
        terminal.wait_for("approved")
        terminal.wait_for("nothing waits")
        terminal.press("q")
        assert terminal.leave() == 0
    repeated = briefcase("tools", "call", "note_add", "--args-json", args)
    assert repeated.returncode == 0, repeated.stderr


def test_the_live_screen_names_a_daemon_that_hangs_and_says_when_it_is_back(daemon, briefcase):
    asked = briefcase("tools", "call", "note_add", "--args-json", '{"text":"still waits"}', "--json")
    with Terminal(daemon.env, "approvals", "watch") as terminal:
        terminal.wait_for("waiting for you")
        os.kill(daemon.process.pid, signal.SIGSTOP)
        try:
            hung = terminal.frame("the daemon did not answer in time; trying again")
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
        assert "what waits for approval is not known" in hung
        assert "nothing waits" not in hung
        back = terminal.frame("waiting for you")
        assert "the daemon is back" in back
        assert "did not answer" not in back
        terminal.press("q")
        assert terminal.leave() == 0
    assert briefcase("approvals", "deny", json.loads(asked.stdout)["approval"]["id"]).returncode == 0


def test_the_live_screen_gives_the_terminal_back_when_interrupted(daemon):
    with Terminal(daemon.env, "approvals", "watch") as terminal:
        terminal.wait_for("nothing waits")
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for(re.escape("\x1b[?1049l"))
        assert terminal.leave() == 130


def test_a_waiting_call_goes_on_when_it_is_approved(daemon, briefcase):
    args = '{"text":"waiting"}'
    command = [sys.executable, "-m", "briefcase", "tools", "call", "note_add", "--args-json", args, "--wait"]
    call = subprocess.Popen(command, env=daemon.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    approval_id = re.search(r"approval ([0-9a-f-]{36})", call.stderr.readline())[1]
    assert briefcase("approvals", "approve", approval_id).returncode == 0
    out, _ = call.communicate(timeout=BOUND_S)
    assert call.returncode == 0
    assert json.loads(out)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["tools", "call", "ech"], 4, "did you mean `echo`?"),
        (["tools", "call", "echo", "--args-json", '{"wrong":1}'], 2, "denied: invalid_args"),
        (["tools", "call", "echo", "--args-json", '{"text"'], 2, "column"),
        (["approvals", "show", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"], 4, "no approval"),
        (["receipts", "show", "999999"], 4, "no receipt"),
        (["receipts", "list", "--since", "now"], 2, "how long ago"),
        (["receipts", "verify", "--anchor", f"1:{'0' * 64}"], 7, "wrong"),
        (["budgets", "set", "--daily-limit-usd", "-1", "read"], 2, "plain decimal"),
        (["agents", "add", "Not A Name"], 2, "expected a"),
        (["agents", "add", "operator"], 2, "reserved"),
        (["agents", "revoke", "nobody"], 4, "nobody"),
        (["secrets", "set", "Bad Name"], 2, "expected a name"),
        (["secrets", "delete", "../agents"], 2, "expected a name"),
        (["budgets", "set", "--daily-limit-usd", "1", "a/b"], 2, "expected a name"),
        (["secrets", "delete", "nothing"], 4, "nothing"),
        (["policy", "set", "/nonexistent"], 2, "no such file"),
    ],
)
def test_what_can_not_be_done_says_why_and_exits_by_its_kind(briefcase, arguments, code, said):
    ran = briefcase(*arguments, stdin="x")
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr + ran.stdout
    assert "Traceback" not in ran.stderr


def test_a_policy_that_is_none_is_refused_with_its_place_and_the_old_one_stays(briefcase):
    before = briefcase("policy", "show").stdout
    refused = briefcase("policy", "set", "-", stdin="permit(principal, action, resource);\npermit(")
    assert refused.returncode == 2
    assert "line 2" in refused.stderr
    assert briefcase("policy", "show").stdout == before
    kept = briefcase("policy", "set", "-", stdin=before)
    assert kept.returncode == 0
    assert "already" in kept.stdout
    assert briefcase("policy", "check", "-", stdin=before).returncode == 0


def test_a_stricter_policy_is_tried_on_what_was_recorded(briefcase):
    assert briefcase("tools", "call", "echo", "--args-json", '{"text":"recorded"}').returncode == 0
    strict = '@id("nothing") forbid(principal, action == Action::"Call", resource == Tool::"echo");'
    before = briefcase("policy", "show").stdout
    same = json.loads(briefcase("policy", "backtest", "-", "--json", stdin=before).stdout)
    assert same["flips"] == []
    assert same["replayed"] > 0
    tried = json.loads(briefcase("policy", "backtest", "-", "--json", stdin=before + strict).stdout)
    flips = {(flip["flip"]["tool_id"], flip["flip"]["before"], flip["flip"]["after"]) for flip in tried["flips"]}
    assert flips == {("echo", "allow", "deny")}
    assert "echo" in briefcase("policy", "backtest", "-", stdin=before + strict).stdout
    assert briefcase("policy", "show").stdout == before


def test_an_agent_gets_a_token_that_calls_but_never_approves(briefcase):
    token = briefcase("agents", "add", "scout", "--group", "research").stdout.strip()
    args = ("--args-json", '{"text":"as scout"}')
    asked = briefcase("tools", "call", "note_add", *args, "--json", BRIEFCASE_AUTH_TOKEN=token)
    approval = json.loads(asked.stdout)["approval"]
    assert approval["principal"] == "scout"
    assert briefcase("approvals", "approve", approval["id"], BRIEFCASE_AUTH_TOKEN=token).returncode == 6
    assert briefcase("receipts", "list", BRIEFCASE_AUTH_TOKEN=token).returncode == 6
    assert "research" in briefcase("agents", "list").stdout
    assert briefcase("agents", "add", "scout").returncode == 3
    assert briefcase("agents", "revoke", "scout").returncode == 0
    assert briefcase("tools", "list", BRIEFCASE_AUTH_TOKEN=token).returncode == 6


def test_a_secret_is_kept_and_never_comes_back(briefcase, daemon):
    canary = "canary-8d1f0c2a97"
    assert briefcase("secrets", "set", "tickets", stdin=canary + "\n").returncode == 0
    listed = briefcase("secrets", "list")
    assert "tickets" in listed.stdout
    assert canary not in listed.stdout + listed.stderr + daemon.logged()
    assert briefcase("secrets", "delete", "tickets").returncode == 0


def test_a_secret_is_asked_for_on_a_terminal_without_an_echo(daemon, briefcase):
    with Terminal(daemon.env, "secrets", "set", "asked") as terminal:
        terminal.wait_for("value")
        terminal.press("canary-1\n")
        terminal.wait_for("again")
        terminal.press("canary-1\n")
        terminal.wait_for("stored")
        assert terminal.leave() == 0
        assert "canary" not in terminal.shown
    assert "asked" in briefcase("secrets", "list").stdout


def test_a_budget_is_set_and_listed_to_the_micro_dollar(briefcase):
    assert briefcase("budgets", "set", "--daily-limit-usd", "2.000001", "read").returncode == 0
    assert "$2.000001" in briefcase("budgets", "list").stdout


def test_a_reader_that_leaves_early_is_no_error(daemon):
    command = f"{sys.executable} -m briefcase receipts list --limit 1000 --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], env=daemon.env, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    assert ran.returncode in {0, 141}


@pytest.mark.parametrize("command", [("tools", "list"), ("diagnostics", "check"), ("tools", "list", "--json")])
def test_whatever_writes_to_a_reader_that_has_left_ends_as_the_signal_would(daemon, command):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        program = [sys.executable, "-m", "briefcase", *command]
        ran = subprocess.run(program, env=daemon.env, stdout=gone, stderr=subprocess.PIPE, check=False)
    assert (ran.returncode, ran.stderr) == (141, b"")


def test_a_full_disk_under_the_output_is_said(daemon):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "briefcase", "tools", "list"]
        ran = subprocess.run(command, env=daemon.env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert "Traceback" not in ran.stderr


def own_environment(data_dir: Path) -> dict[str, str]:
    """The environment of somebody who set nothing but the data directory."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("BRIEFCASE_")}
    return {**others, "BRIEFCASE_DATA_DIR": str(data_dir), "BRIEFCASE_SECRET_BACKEND": "file"}


def test_up_once_shows_one_call_and_leaves(tmp_path):
    ran = run_command(own_environment(tmp_path / "data"), "up", "--once")
    assert ran.returncode == 0, ran.stderr
    for shown in ("decision", "allow", "receipts", "intent", "outcome", "where the time went", "policy", "µs"):
        assert shown in ran.stdout
    assert not (tmp_path / "data" / "briefcased.sock").exists()


@pytest.mark.parametrize("ends", ["Ctrl-C", "the terminal is closed"])
def test_up_stays_until_interrupted_and_its_next_step_works_when_pasted(tmp_path, ends):
    data_dir = tmp_path / "with space"
    env = own_environment(data_dir)
    command = [sys.executable, "-m", "briefcase", "up"]
    up = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        shown = []
        while "approvals watch" not in (line := up.stdout.readline()):
            assert line or up.poll() is None, up.stderr.read()
            shown.append(line)
        (step,) = [line.strip() for line in shown if "tools call note_add" in line]
        stranger = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        pasted = subprocess.run(["bash", "-c", step], env=stranger, capture_output=True, text=True, check=False)
        assert pasted.returncode == 10, pasted.stderr
        second = run_command(env, "up", "--once")
        assert (second.returncode, second.stdout) == (9, "")
        up.send_signal(signal.SIGINT if ends == "Ctrl-C" else signal.SIGHUP)
        assert up.wait(timeout=BOUND_S) == 0
    finally:
        up.kill()
        up.communicate()
