"""A policy asked for in words at the terminal: shown, applied by its digest, dropped; and a command that writes one."""

import json
import sys

import pytest

from support.cli import FakeRoot
from support.cli import run as run_with
from support.daemons import RunningDaemon

PROGRAM = "import json, sys; print(json.load(sys.stdin)['policy_text'] + '// seen')"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    data = tmp_path_factory.mktemp("proposals") / "data"
    data.mkdir(mode=0o700)
    command = json.dumps([sys.executable, "-c", PROGRAM + "; print('permit(principal, action, resource);')"])
    config = data / "briefcase.toml"
    config.write_text(f"[policy]\nprompt_command = {command}\n")
    config.chmod(0o600)
    with RunningDaemon(data) as running:
        yield running


def cli(daemon, *args):
    return run_with(FakeRoot(daemon.data_dir), "policy", *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path)


def test_a_policy_is_proposed_shown_and_applied_as_it_was_shown(daemon):
    before = daemon.request("GET", "/v1/policy")[1]["policy_hash_hex"]
    made = cli(daemon, "propose", "let scout call note_add without asking", "--backtest")
    assert made.code == 0, made.err
    for said in ("added `proposal-", '+   principal == Agent::"scout",', "people asked", "nothing is set"):
        assert said in made.out + made.err
    (waiting,) = cli(daemon, "proposals", "--json").json["proposals"]
    digest = made.out.split("digest")[-1].strip().split()[0]
    assert waiting["shown_digest_hex"] == digest
    proposal_id = waiting["id"]
    assert "let scout call note_add" in cli(daemon, "proposals").out
    assert digest in cli(daemon, "proposals", proposal_id[:8]).out
    assert "expected `--digest`" in cli(daemon, "apply", proposal_id).err
    assert "not as it was shown" in cli(daemon, "apply", proposal_id, "--digest", "0" * 64).err
    unseen = daemon.request("POST", f"/v1/policy/proposals/{proposal_id}/apply")[1]
    assert (unseen["status"], unseen["shown_digest_hex"]) == ("approval_required", digest)
    said = {"shown_digest_hex": "0" * 64}
    assert daemon.request("POST", f"/v1/policy/proposals/{proposal_id}/apply", said)[1]["status"] == "denied"
    assert daemon.request("GET", "/v1/policy")[1]["policy_hash_hex"] == before

    assert cli(daemon, "apply", proposal_id[:8], "--digest", digest).code == 0
    assert daemon.request("GET", "/v1/policy")[1]["policy_hash_hex"] == waiting["proposed_policy_hash_hex"]
    assert "nothing is proposed" in cli(daemon, "proposals").out


def test_what_a_command_answers_is_only_proposed_and_may_be_dropped(daemon):
    before = daemon.request("GET", "/v1/policy")[1]["policy_hash_hex"]
    made = cli(daemon, "propose", "something that only it understands", "--json").json["proposal"]
    assert made["proposed_policy_text"].endswith("permit(principal, action, resource);\n")
    assert cli(daemon, "drop", made["id"][:8]).code == 0
    assert cli(daemon, "drop", made["id"][:8]).code == 4
    assert daemon.request("GET", "/v1/policy")[1]["policy_hash_hex"] == before
