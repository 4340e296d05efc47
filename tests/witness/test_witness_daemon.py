"""A daemon and its witnesses over real sockets: added, listed, verified, proven, away, and a log that was put back."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from briefcase.core.receipts.note_keys import parse_vkey
from support.cli import FakeRoot, run
from support.daemons import RunningDaemon, UnixConnection
from support.waiting import wait_until
from support.witnesses import CosignerKey, FakeWitness, WitnessServer

ED = CosignerKey("ed.example/w", seed=50)
MLDSA = CosignerKey("ml.example/w", seed=51, is_mldsa=True)
CONFIG = """
[net]
allow_private = [{hosts}]
[receipts]
witness_interval_s = 1
{more}
"""


def cli(daemon, *args):
    return run(FakeRoot(daemon.data_dir), *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path)


def offline(data_dir, *args):
    return run(FakeRoot(data_dir), *args)


def configure(data_dir: Path, *servers: WitnessServer, more: str = "") -> None:
    data_dir.mkdir(mode=0o700, exist_ok=True)
    hosts = ", ".join(f'"{server.address}"' for server in servers)
    (data_dir / "briefcase.toml").write_text(CONFIG.format(hosts=hosts, more=more))


def server_of(*cosigners: CosignerKey) -> WitnessServer:
    return WitnessServer(FakeWitness(list(cosigners), now_s=int(time.time())))


def witnessed_size(daemon) -> int:
    witnesses = daemon.request("GET", "/v1/witnesses")[1]["witnesses"]
    return min((one["size"] for one in witnesses), default=0)


def head_id(daemon) -> int:
    return daemon.request("POST", "/v1/receipts/verify")[1]["head"]["id"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A daemon with two witnesses, one of each kind, and a policy that asks for both."""
    top = tmp_path_factory.mktemp("witnessed")
    policy = top / "policy"
    policy.write_text(f"witness e {ED.public.vkey}\nwitness m {MLDSA.public.vkey}\ngroup both all e m\nquorum both\n")
    with server_of(ED) as first, server_of(MLDSA) as second:
        configure(top / "data", first, second, more=f'witness_policy = "{policy}"')
        with RunningDaemon(top / "data") as daemon:
            log = parse_vkey(daemon.request("GET", "/v1/witnesses")[1]["log_vkey"])
            for server, cosigner in ((first, ED), (second, MLDSA)):
                server.witness.know(log)
                ran = cli(daemon, "witness", "add", server.url, "--key", cosigner.public.vkey)
                assert (ran.code, f"added `{cosigner.public.name}`" in ran.out) == (0, True), ran
            for number in range(5):
                daemon.call("echo", {"text": str(number)})
            wanted = head_id(daemon)
            wait_until(lambda: witnessed_size(daemon) >= wanted)
            yield daemon, policy, top


def test_the_list_says_how_far_each_has_cosigned_and_this_logs_own_key(scene):
    daemon, _, _ = scene
    ran = cli(daemon, "witness", "list")
    assert ran.code == 0
    assert f"{ED.public.label}" in ran.out
    assert "ml-dsa-44" in ran.out
    assert "`both` of the policy file" in ran.out
    listed = cli(daemon, "witness", "list", "--json").json
    assert {one["state"] for one in listed["witnesses"]} == {"ok"}
    assert listed["log_vkey"].startswith(daemon.request("GET", "/v1/identity")[1]["did"] + "+")
    auditor = (daemon.data_dir / "auditor_token").read_text().strip()
    status, document = daemon.request("GET", "/v1/witnesses", token=auditor)
    assert (status, document["witnesses"] != []) == (200, True)


def test_verify_says_which_quorum_vouches_for_how_many_receipts_and_what_that_excludes(scene):
    daemon, policy, _ = scene
    said = daemon.request("POST", "/v1/receipts/verify")[1]
    witnessed = said["witnessed"]
    assert (witnessed["quorum_met"], witnessed["by"]) == (True, sorted([ED.public.label, MLDSA.public.label]))
    assert witnessed["excludes"] == f"another history of receipts 1 to {witnessed['size']}"
    assert "tail_truncation" not in said["not_checked"]
    assert "tail_truncation_after_witnessed" in said["not_checked"]
    assert "rollback" not in said["not_checked"]
    for options in ((), ("--witness-policy", str(policy))):
        ran = cli(daemon, "receipts", "verify", *options)
        assert ran.code == 0, ran
        assert f"by {ED.public.label}, {MLDSA.public.label}" in ran.out
        assert "another history of receipts 1 to" in ran.out
        assert "after those that are witnessed" in ran.err


def test_a_stranger_to_the_policy_vouches_for_nothing(scene, tmp_path):
    daemon, _, _ = scene
    other = CosignerKey("other.example", seed=99)
    (tmp_path / "policy").write_text(f"witness o {other.public.vkey}\nquorum o\n")
    ran = cli(daemon, "receipts", "verify", "--witness-policy", str(tmp_path / "policy"), "--json")
    assert (ran.code, ran.json["witnessed"]["quorum_met"]) == (0, False)
    assert "tail_truncation" in ran.json["not_checked"]
    (tmp_path / "policy").write_text("quorum nobody\n")
    ran = cli(daemon, "receipts", "verify", "--witness-policy", str(tmp_path / "policy"))
    assert (ran.code, "line 1: expected a witness or a group" in ran.err) == (9, True)


def test_a_tlog_proof_needs_no_daemon_and_names_who_cosigned(scene, tmp_path):
    daemon, policy, _ = scene
    proof = tmp_path / "2.tlog-proof"
    ran = cli(daemon, "receipts", "prove", "2", "--format", "tlog-proof", "--out", str(proof))
    assert ran.code == 0, ran
    text = proof.read_text()
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert "\nindex 1\n" in text
    ran = offline(tmp_path, "receipts", "prove", "--check", str(proof), "--witness-policy", str(policy))
    assert (ran.code, "receipt 2 is among" in ran.out, MLDSA.public.label in ran.out) == (0, True, True), ran
    assert "another history" not in ran.err
    bare = offline(tmp_path, "receipts", "prove", "--check", str(proof))
    assert (bare.code, "not excluded: another history" in bare.err) == (0, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("\nindex 1\n", "\nindex 2\n"), "is not in the tree"),
        (lambda text: text.replace("— ml.example/w", "— ml.example/x"), "expected cosignatures for the quorum"),
        (lambda text: text.replace("extra ", "extra !"), "expected base64"),
        (lambda text: "\n".join(text.split("\n")[:1] + text.split("\n")[2:]), "expected the receipt as JSON"),
    ],
)
def test_a_tlog_proof_that_was_changed_is_not_good(scene, tmp_path, change, said):
    daemon, policy, _ = scene
    made = cli(daemon, "receipts", "prove", "2", "--format", "tlog-proof").out
    (tmp_path / "bad").write_text(change(made))
    ran = offline(tmp_path, "receipts", "prove", "--check", str(tmp_path / "bad"), "--witness-policy", str(policy))
    assert (ran.code, said in ran.err) == (7, True), ran


def test_the_metrics_and_the_check_say_that_all_is_well(scene):
    daemon, _, _ = scene
    connection = UnixConnection(daemon.socket_path)
    connection.request("GET", "/metrics", headers={"authorization": f"Bearer {daemon.operator_token}"})
    text = connection.getresponse().read().decode()
    connection.close()
    assert "briefcase_witnesses 2" in text
    assert "briefcase_witnesses_failing 0" in text
    parts = {part["name"]: part for part in cli(daemon, "diagnostics", "check", "--json").json["parts"]}
    assert parts["witnesses"]["colour"] == "green", parts["witnesses"]


def test_a_log_that_is_put_back_is_found_by_its_files_and_by_the_witness(tmp_path):
    with server_of(ED) as witness:
        data = tmp_path / "data"
        configure(data, witness)
        with RunningDaemon(data) as mine:
            mine.stop()
            early = tmp_path / "early"
            shutil.copytree(data, early)
            mine.start()
            witness.witness.know(parse_vkey(mine.request("GET", "/v1/witnesses")[1]["log_vkey"]))
            assert cli(mine, "witness", "add", witness.url, "--key", ED.public.vkey).code == 0
            for number in range(9):
                mine.call("echo", {"text": str(number)})
            wanted = head_id(mine)
            wait_until(lambda: witnessed_size(mine) >= wanted)
            mine.stop()
            (tmp_path / "policy").write_text(f"witness e {ED.public.vkey}\nquorum e\n")
            options = ("--data-dir", str(data), "--witness-policy", str(tmp_path / "policy"))
            assert offline(tmp_path, "receipts", "verify", *options).code == 0
            # the ledger alone is put back: the file beside it says so
            shutil.copyfile(early / "ledger" / "data.mdb", data / "ledger" / "data.mdb")
            ran = offline(tmp_path, "receipts", "verify", *options)
            assert (ran.code, "not the one that witnesses cosigned" in ran.err) == (7, True), ran
            # the whole directory is put back: the witness says so, and calls go on
            shutil.rmtree(data)
            shutil.copytree(early, data)
            mine.start()
            assert cli(mine, "witness", "add", witness.url, "--key", ED.public.vkey).code == 0
            wait_until(lambda: mine.request("GET", "/v1/witnesses")[1]["witnesses"][0]["state"] == "alarm")
            assert mine.call("echo", {"text": "still"})["status"] == "ok"
            problem = mine.request("GET", "/v1/witnesses")[1]["witnesses"][0]["problem"]
            assert "receipts of this log, and there are" in problem
            parts = {part["name"]: part for part in cli(mine, "diagnostics", "check", "--json").json["parts"]}
            assert parts["witnesses"]["colour"] == "red"
            assert "rolled back" in parts["witnesses"]["hint"]
            assert "a witness did not cosign" in mine.logged()


def test_a_witness_that_is_away_stops_no_call_and_is_said(tmp_path):
    with server_of(ED) as witness:
        witness.is_down = True
        configure(tmp_path / "data", witness)
        with RunningDaemon(tmp_path / "data") as daemon:
            ran = cli(daemon, "witness", "add", witness.url, "--key", ED.public.vkey, "--json")
            assert (ran.code, ran.json["state"]) == (0, "new")
            wait_until(lambda: daemon.request("GET", "/v1/witnesses")[1]["witnesses"][0]["state"] != "new")
            assert daemon.call("echo", {"text": "x"})["status"] == "ok"
            said = cli(daemon, "witness", "list")
            assert "answered with 503" in said.err
            parts = {part["name"]: part for part in cli(daemon, "diagnostics", "check", "--json").json["parts"]}
            assert parts["witnesses"]["colour"] in {"yellow", "red"}
            assert daemon.request("POST", "/v1/receipts/verify")[1]["witnessed"]["quorum_met"] is False
            removed = cli(daemon, "witness", "remove", ED.public.name)
            assert (removed.code, "removed" in removed.out) == (0, True)
            kinds = [one["event"]["kind"] for one in daemon.request("GET", "/v1/receipts?limit=9")[1]["receipts"]]
            assert {"witness_added", "witness_removed"} <= set(kinds)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"url": "https://w.example", "key": "nonsense"}, "expected a verifier key"),
        ({"url": "http://w.example", "key": ED.public.vkey}, "expected https"),
        ({"url": "https://w.example"}, "key"),
        ({"url": "https://w.example", "key": ED.public.vkey.replace("ed.example", "other")}, "expected the id"),
    ],
)
def test_what_is_no_witness_is_refused(scene, body, said):
    status, answer = scene[0].request("POST", "/v1/witnesses", body)
    assert (status, said in answer["message"]) == (400, True), answer


def test_only_an_operator_adds_and_removes(scene):
    auditor = (scene[0].data_dir / "auditor_token").read_text().strip()
    for path in ("/v1/witnesses", "/v1/witnesses/remove"):
        assert scene[0].request("POST", path, {}, token=auditor)[0] == 403


@pytest.mark.parametrize(
    ("text", "said"), [("quorum\n", "line 1: expected `quorum NAME`"), (None, "cannot be read"), ("log", "newline")]
)
def test_a_policy_file_that_is_not_as_expected_stops_the_start(tmp_path, text, said):
    if text is not None:
        (tmp_path / "policy").write_text(text)
    configure(tmp_path / "data", more=f'witness_policy = "{tmp_path / "policy"}"')
    daemon = RunningDaemon(tmp_path / "data")
    with pytest.raises(AssertionError) as ended:
        daemon.start()
    daemon.__exit__()
    assert "witness_policy" in str(ended.value)
    assert said in str(ended.value)
