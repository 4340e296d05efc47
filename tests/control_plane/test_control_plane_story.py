"""A fleet from an empty directory, with the commands its operators type: two daemons, and a control plane of its own.

Enrol, publish to a canary, a gate that holds, roll back, go on to all, export, revoke.
"""

import json
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest

from support.daemons import RunningDaemon

TOKEN = "an-admin-token-of-a-test"
NO_ECHO = 'permit(principal, action, resource);\nforbid(principal, action, resource == Tool::"echo");'
PLAIN = "permit(principal, action, resource);"


def run(environ, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "briefcase", *args]
    return subprocess.run(command, env=environ, input=stdin, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def served(directory, environ):
    """`briefcase control-plane serve --embedded`, until the block ends; gives its address."""
    command = [sys.executable, "-m", "briefcase", "control-plane", "serve", "--embedded", "--listen", "127.0.0.1:0"]
    own = {"BRIEFCASE_DATA_DIR": str(directory), "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": TOKEN}
    with subprocess.Popen(command, env=environ | own, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                found = re.search(r'"url": "(http://[0-9.:]+)"', line)
                if found:
                    yield found[1]
                    break
            else:
                pytest.fail("it did not start")
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
    assert process.returncode == 0


class Operator:
    """Types `briefcase fleet` commands."""

    def __init__(self, url: str, environ) -> None:
        self._environ = environ | {"BRIEFCASE_FLEET_URL": url, "BRIEFCASE_FLEET_TOKEN": TOKEN}

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return run(self._environ, "fleet", *args)

    def json(self, *args: str):
        ran = self.run(*args, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)


class Member:
    """A daemon of the fleet, and the shell beside it."""

    def __init__(self, directory, url: str) -> None:
        directory.mkdir(mode=0o700)
        config = directory / "briefcase.toml"
        config.write_text(f'[net]\nallow_private = ["{url.removeprefix("http://")}"]\n')
        config.chmod(0o600)
        self.daemon = RunningDaemon(directory, BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS="3600")

    def sync(self) -> str:
        ran = run(self.daemon.env, "control-plane", "sync")
        return ran.stdout + ran.stderr

    def policy(self) -> str:
        return self.daemon.request("GET", "/v1/policy")[1]["policy_text"]


@pytest.mark.slow
def test_a_fleet_from_an_empty_directory(tmp_path, tmp_path_factory):
    environ = {"PATH": "/usr/bin:/bin"}
    with ExitStack() as stack:
        url = stack.enter_context(served(tmp_path_factory.mktemp("cp"), environ))
        members = [Member(tmp_path / name, url) for name in ("one", "two")]
        for member in members:
            stack.enter_context(member.daemon)
            enrolled = run(member.daemon.env, "control-plane", "enroll", url, "member", stdin=f"{TOKEN}\n")
            assert enrolled.returncode == 0, enrolled.stderr
            assert member.daemon.call("echo", {"text": "hello"})["status"] == "ok"
            member.sync()
        operator = Operator(url, environ)
        devices = operator.json("devices")["devices"]
        assert [device["status"] for device in devices] == ["enrolled", "enrolled"]
        assert all(device["last_receipt_id"] > 0 for device in devices)

        searched = operator.json("receipts", "list", "--tool", "echo", "--since", "1h")["receipts"]
        assert {receipt["device_id"] for receipt in searched} == {device["device_id"] for device in devices}
        assert "echo" in operator.run("receipts", "list").stdout

        # a policy that forbids what was called goes to a canary, and is held there
        policy = tmp_path / "policy.cedar"
        policy.write_text(NO_ECHO)
        before = members[0].policy()
        assert operator.run("policy", "show").stdout == f"{before}\n"
        begun = begin_with_one(operator, policy, "--gate", "max-flips=0")
        for member in members:
            member.sync()
        assert sorted(member.policy() for member in members) == sorted([before, NO_ECHO])
        held = operator.run("rollout", "advance", str(begun))
        assert held.returncode == 3
        assert "max-flips" in held.stderr
        operator.json("rollout", "rollback", str(begun))
        for member in members:
            member.sync()
        assert [member.policy() for member in members] == [before, before]

        # another goes to all
        policy.write_text(PLAIN)
        begun = begin_with_one(operator, policy)
        for state in ("active", "done"):
            for member in members:
                member.sync()
            assert operator.json("rollout", "advance", str(begun))["state"] == state
        assert [member.policy() for member in members] == [PLAIN, PLAIN]

        # the receipts of a device are what its daemon has
        status = members[0].daemon.request("GET", "/v1/control-plane")[1]
        export = tmp_path / "receipts.jsonl"
        assert operator.run("receipts", "export", status["device_id"], "--out", str(export)).returncode == 0
        imported = run(members[0].daemon.env, "receipts", "import", str(export))
        assert imported.returncode == 0, imported.stderr

        # a revoked device gets nothing
        operator.json("devices", "revoke", status["device_id"])
        members[0].sync()
        assert members[0].daemon.request("GET", "/v1/control-plane")[1]["state"] == "revoked"
        acts = [act["event"]["act"] for act in operator.json("acts")["acts"]]
        assert acts[0] == "device_revoked"
        assert {"device_enrolled", "rollout_begun", "rollout_rolled_back", "rollout_advanced"} <= set(acts)


def begin_with_one(operator: Operator, policy, *gates: str) -> int:
    """Begin a rollout whose canary is one device of the two: each rollout chooses anew."""
    while True:
        begun = operator.json("policy", "publish", str(policy), "--canary", "50", *gates)
        if begun["evidence"]["devices"] == 1:
            return begun["rollout_id"]
        operator.json("rollout", "rollback", str(begun["rollout_id"]))
