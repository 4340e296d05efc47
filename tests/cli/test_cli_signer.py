"""The reference device at a running daemon: it signs what it shows, and nothing else."""

import json
import stat

import pytest

from support.cli import FakeRoot
from support.cli import run as run_with
from support.daemons import RunningDaemon

NEEDS_SIGNER = '@id("signed") permit (principal, action == Action::"Call", resource);'


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("signers") / "data") as daemon:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": NEEDS_SIGNER})[0] == 200
        yield daemon


def cli(daemon, *args, words="signer", **environment):
    return run_with(
        FakeRoot(daemon.data_dir), words, *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path, **environment
    )


@pytest.fixture
def device(served, tmp_path):
    """A paired device's key file."""
    key = tmp_path / "keys" / "signer.json"
    assert cli(served, "init", "--key", str(key)).code == 0
    line = cli(served, "pair", "--json", words="signers").out
    ran = cli(served, "pair", "--key", str(key), "--name", "laptop", stdin=line.encode())
    assert ran.code == 0, ran.err
    return key


def ask(daemon, text="hi"):
    return daemon.call("note_add", {"text": text})["approval"]["id"]


def test_a_device_is_paired_lists_shows_and_says_yes_to_what_it_showed(served, device):
    assert stat.S_IMODE(device.stat().st_mode) == 0o600
    listed = cli(served, "list", "--json", words="signers").json["signers"]
    assert [listed[-1][name] for name in ("name", "form", "owner")] == ["laptop", "bound", "operator"]
    approval = ask(served, "from the device")
    assert approval[:8] in cli(served, "list", "--key", str(device)).out
    shown = cli(served, "show", approval[:8], "--key", str(device)).out
    assert "from the device" in shown
    digest = shown.splitlines()[-1]
    said = cli(served, "approve", approval[:8], "--digest", digest, "--key", str(device))
    assert said.code == 0, said.err
    assert said.out.startswith(approval)
    token = said.out.strip()
    assert served.call("note_add", {"text": "from the device"}, approval_token=token)["status"] == "ok"


def test_a_yes_without_a_terminal_names_what_was_read(served, device):
    approval = ask(served, "nobody looks")
    ran = cli(served, "approve", approval, "--key", str(device))
    assert (ran.code, "nobody looks" in ran.err, "--digest" in ran.err) == (3, True, True)
    ran = cli(served, "approve", approval, "--digest", "0" * 64, "--key", str(device))
    assert (ran.code, "not as it was shown" in ran.err) == (3, True)
    assert served.request("GET", f"/v1/approvals/{approval}")[1]["status"] == "pending"


def test_a_no_is_signed_and_says_why(served, device):
    approval = ask(served, "wrong")
    assert approval in cli(served, "show", approval, "--json", "--key", str(device)).out
    assert cli(served, "deny", approval[:8], "--reason", "wrong customer", "--key", str(device)).code == 0
    told = served.request("GET", f"/v1/approvals/{approval}")[1]
    assert (told["status"], told["decision_reason"]) == ("rejected", "wrong customer")


def test_a_revoked_device_sees_nothing(served, device):
    signer_id = json.loads(device.read_text())["signer_id"]
    assert cli(served, "revoke", signer_id, words="signers").code == 0
    ran = cli(served, "list", "--key", str(device))
    assert (ran.code, "no signer has this id" in ran.err) == (4, True)


def test_a_list_of_another_daemon_gets_no_signature(served, device):
    kept = json.loads(device.read_text())
    device.write_text(json.dumps({**kept, "device_did": "did:key:z" + "6" * 46}))
    for command in (("list",), ("approve", ask(served), "--digest", "0" * 64)):
        ran = cli(served, *command, "--key", str(device))
        assert (ran.code, "expected the daemon" in ran.err) == (6, True)


def test_a_key_is_made_once_and_a_file_that_is_none_is_said_to_be_so(served, tmp_path):
    key = tmp_path / "signer.json"
    assert "run `briefcase signer init`" in cli(served, "list", "--key", str(key)).err
    assert cli(served, "init", "--key", str(key)).code == 0
    assert cli(served, "init", "--key", str(key)).code == 3
    assert "not paired" in cli(served, "list", "--key", str(key)).err
    key.write_text("{}")
    assert cli(served, "list", "--key", str(key)).code == 9


def test_a_pairing_that_is_none_or_of_another_code_is_refused(served, tmp_path):
    key = tmp_path / "signer.json"
    cli(served, "init", "--key", str(key))
    assert cli(served, "pair", "--key", str(key), stdin=b"{}").code == 2
    line = cli(served, "pair", "--json", words="signers").json
    wrong = {**line, "pairing_code": "A" * 43}
    ran = cli(served, "pair", "--key", str(key), stdin=json.dumps(wrong).encode())
    assert (ran.code, "code" in ran.err) == (2, True)
    assert cli(served, "pair", "--key", str(key), stdin=json.dumps(line).encode()).code == 0


def test_a_pairing_is_shown_as_a_code_to_scan_and_as_a_line(served):
    out = cli(served, "pair", words="signers").out
    assert "█" in out or "▄" in out
    line = json.loads(out.splitlines()[-1])
    assert set(line) == {"base_url", "pairing_id", "pairing_code", "device_did"}
