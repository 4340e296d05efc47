"""Signers only: no token decides, and nothing gets wider without a signature of an operator's paired device."""

import json
from pathlib import Path

import pytest

from briefcase.edges.api.effects import CHANGES, UNSIGNED
from support.cli import FakeRoot
from support.cli import run as run_with
from support.daemons import RunningDaemon

ANYTHING = "permit (principal, action, resource);"
ONLY = "[approvals]\noperator_token = false\n"


def cli(daemon, *args, stdin=b""):
    return run_with(FakeRoot(daemon.data_dir), *args, stdin=stdin, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path)


def paired(daemon, key: Path, *, signs: tuple[str, ...] = ()):
    assert cli(daemon, "signer", "init", "--key", str(key)).code == 0
    line = cli(daemon, *signs, "signers", "pair", "--json")
    assert line.code == 0, line.err
    return cli(daemon, "signer", "pair", "--key", str(key), stdin=line.out.encode())


@pytest.fixture(scope="module")
def only(tmp_path_factory):
    """A daemon that takes signers only, and the key of one that is paired."""
    place = tmp_path_factory.mktemp("only")
    with RunningDaemon(place / "data") as daemon:
        daemon.key = place / "signer.json"
        assert paired(daemon, daemon.key).code == 0
        daemon.agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        daemon.stop()
        (daemon.data_dir / "briefcase.toml").write_text(ONLY)
        daemon.start()
        yield daemon


def kinds(daemon):
    return [one["event"]["kind"] for one in daemon.request("GET", "/v1/receipts?limit=50")[1]["receipts"]]


def test_the_switch_has_its_receipt_once(only):
    events = [one["event"] for one in daemon_receipts(only, "signers_only_set")]
    assert [(one["is_on"], one["by"]) for one in events] == [(True, "configuration")]
    only.stop()
    only.start()
    assert len(daemon_receipts(only, "signers_only_set")) == 1


def daemon_receipts(daemon, kind):
    return daemon.request("GET", f"/v1/receipts?kind={kind}&limit=50")[1]["receipts"]


def test_a_token_approves_nothing_not_even_what_needs_no_signer_and_may_say_no(only):
    asked = only.call("note_add", {"text": "hi"}, token=only.agent)["approval"]
    assert asked["kind"] == "local"
    status, refused = only.request("POST", f"/v1/approvals/{asked['id']}/approve")
    assert (status, refused["code"]) == (403, "signer_required")
    digest = cli(only, "signer", "show", asked["id"], "--key", str(only.key)).out.splitlines()[-1]
    assert cli(only, "signer", "approve", asked["id"], "--digest", digest, "--key", str(only.key)).code == 0
    other = only.call("note_add", {"text": "ho"}, token=only.agent)["approval"]
    assert only.request("POST", f"/v1/approvals/{other['id']}/deny")[0] == 200


WIDER = [
    ("PUT", "/v1/policy", {"policy_text": ANYTHING}),
    ("POST", "/v1/policy/rollback", {"policy_hash_hex": "0" * 64}),
    ("POST", "/v1/policy/proposals/3f2504e0-4f89-41d3-9a0c-0305e82c3301/apply", {}),
    ("POST", "/v1/signer/pair/start", None),
    ("POST", "/v1/signers/3f2504e0-4f89-41d3-9a0c-0305e82c3301/revoke", None),
    ("POST", "/v1/operators", {"name": "ann", "role": "approver"}),
    ("POST", "/v1/agents", {"name": "other"}),
    ("POST", "/v1/budgets/read", {"daily_limit_microusd": 1}),
    ("POST", "/v1/controls/lift", {"id": "x"}),
    ("POST", "/v1/mcp/servers/docs", {"endpoint_url": "https://docs.example"}),
    ("POST", "/v1/mcp/servers/docs/accept", {"digest_hex": "0" * 64}),
    ("POST", "/v1/control-plane/enroll", {"base_url": "https://x.example", "admin_token": "t", "device_name": "d"}),
    ("PUT", "/v1/secrets/key", {"value": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), WIDER, ids=[f"{method} {path}" for method, path, _ in WIDER])
def test_nothing_gets_wider_by_a_token_alone(only, method, path, body):
    status, refused = only.request(method, path, body)
    assert (status, refused["code"]) == (403, "signer_required")


def test_every_change_is_signed_but_those_that_only_tighten_or_are_signed_themselves():
    assert UNSIGNED <= CHANGES
    assert not [operation for operation in UNSIGNED if operation[0] == "PUT"]
    widen = {
        ("POST", path) for path in ("/v1/policy/rollback", "/v1/policy/proposals/{id}/apply", "/v1/signer/pair/start")
    }
    assert widen <= CHANGES - UNSIGNED
    assert not {(method, path) for method, path, _ in WIDER} & UNSIGNED


def test_what_tightens_takes_no_signature(only):
    assert cli(only, "freeze").code == 0
    assert cli(only, "thaw").code == 6
    assert cli(only, "--sign-with", str(only.key), "thaw").code == 0


def test_with_a_signature_it_is_done_and_both_have_their_receipts(only, tmp_path):
    policy = tmp_path / "policy.cedar"
    policy.write_text('@id("all") ' + ANYTHING)
    assert cli(only, "policy", "set", str(policy)).code == 6
    ran = cli(only, "--sign-with", str(only.key), "policy", "set", str(policy))
    assert ran.code == 0, ran.err
    assert kinds(only)[:2] == ["policy_set", "signer_authorized"]
    event = daemon_receipts(only, "signer_authorized")[0]["event"]
    assert (event["operation"], event["owner"]) == ("PUT /v1/policy", "operator")


def test_a_second_device_is_paired_by_the_first_and_the_last_one_is_not_revoked(only, tmp_path):
    first = json.loads(only.key.read_text())["signer_id"]
    ran = cli(only, "--sign-with", str(only.key), "signers", "revoke", first)
    assert (ran.code, "the last" in ran.err) == (3, True)
    assert paired(only, tmp_path / "second.json", signs=("--sign-with", str(only.key))).code == 0
    second = json.loads((tmp_path / "second.json").read_text())["signer_id"]
    assert cli(only, "--sign-with", str(only.key), "signers", "revoke", second).code == 0


def test_a_passkey_is_registered_only_with_the_code_of_a_signed_pairing(only):
    wanted = {"origin": "http://localhost:8787"}
    assert only.request("POST", "/v1/signers/passkeys/registration", wanted)[1]["code"] == "pairing_not_found"
    opened = cli(only, "--sign-with", str(only.key), "signers", "pair", "--json")
    code = json.loads(opened.out)["pairing_code"]
    for guessed in ("", code[:-1], "\ud800"):
        answer = only.request("POST", "/v1/signers/passkeys/registration", {**wanted, "pairing_code": guessed})[1]
        assert answer["code"] in {"pairing_not_found", "bad_request"}
    wanted["pairing_code"] = code
    assert only.request("POST", "/v1/signers/passkeys/registration", wanted)[0] == 200


def test_without_a_paired_signer_the_daemon_does_not_start_so(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.stop()
        (daemon.data_dir / "briefcase.toml").write_text(ONLY)
        with pytest.raises(AssertionError, match="operator_token"):
            daemon.start()


def test_a_signed_change_is_its_signers_whoevers_token_came_with_it(only, tmp_path):
    signs, policy = ("--sign-with", str(only.key)), tmp_path / "policy.cedar"
    assert cli(only, *signs, "operators", "add", "ann", "--role", "operator").code == 0
    line = cli(only, *signs, "signers", "pair", "--owner", "ann", "--json")
    hers = tmp_path / "ann.json"
    assert cli(only, "signer", "init", "--key", str(hers)).code == 0
    assert cli(only, "signer", "pair", "--key", str(hers), stdin=line.out.encode()).code == 0
    policy.write_text('@approvers_exclude("author") permit (principal, action == Action::"Call", resource);')
    assert cli(only, "--sign-with", str(hers), "policy", "set", str(policy)).code == 0  # with the token of `auth_token`
    assert daemon_receipts(only, "policy_set")[0]["event"]["by"] == "ann"
    asked = only.call("note_add", {"text": "for ann"}, token=only.agent)["approval"]["id"]
    for key, code in ((hers, 6), (only.key, 0)):
        digest = cli(only, "signer", "show", asked, "--key", str(key)).out.splitlines()[-1]
        assert cli(only, "signer", "approve", asked, "--digest", digest, "--key", str(key)).code == code
    assert only.request("POST", "/v1/operators/ann/revoke")[0] == 200  # and her device: the others know of one


def test_a_person_who_has_the_last_device_is_not_revoked_by_a_token(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.request("POST", "/v1/operators", {"name": "ann", "role": "operator"})[0] == 200
        assert daemon.request("POST", "/v1/operators", {"name": "bo", "role": "operator"})[0] == 200
        line, key = cli(daemon, "signers", "pair", "--owner", "ann", "--json"), tmp_path / "ann.json"
        assert cli(daemon, "signer", "init", "--key", str(key)).code == 0
        assert cli(daemon, "signer", "pair", "--key", str(key), stdin=line.out.encode()).code == 0
        daemon.stop()
        (daemon.data_dir / "briefcase.toml").write_text(ONLY)
        daemon.start()
        status, refused = daemon.request("POST", "/v1/operators/ann/revoke")
        assert (status, refused["code"], "the last" in refused["message"]) == (409, "conflict", True)
        assert daemon.request("POST", "/v1/operators/bo/revoke")[0] == 200
        daemon.stop()
        daemon.start()


def test_grants_that_tokens_gave_end_with_the_switch(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        assert paired(daemon, tmp_path / "signer.json").code == 0
        agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        path = f"/v1/approvals/{daemon.call('note_add', {'text': 'hi'}, token=agent)['approval']['id']}"
        wanted = {"args": "exact", "max_uses": 100}
        said = {"shown_digest_hex": daemon.request("GET", path)[1]["shown_digest_hex"], "grant": wanted}
        said["grant_digest_hex"] = daemon.request("POST", f"{path}/grant", wanted)[1]["grant_digest_hex"]
        assert daemon.request("POST", f"{path}/approve", said)[0] == 200
        assert daemon.call("note_add", {"text": "hi"}, token=agent)["status"] == "ok"
        daemon.stop()
        (daemon.data_dir / "briefcase.toml").write_text(ONLY)
        daemon.start()
        assert daemon.call("note_add", {"text": "hi"}, token=agent)["status"] == "approval_required"
        assert [one["event"]["by"] for one in daemon_receipts(daemon, "grant_revoked")] == ["configuration"]
        assert cli(daemon, "receipts", "verify", "--state").code == 0
