"""`receipts archive` with a real daemon: every command finds what was archived, and so do backups."""

import shutil
import subprocess
import sys
import threading

import pytest

from briefcase.core.receipts import verify_export
from support.cli import FakeRoot, run
from support.daemons import RunningDaemon

CALLS = 704


def cli(daemon, *args, **environment):
    return run(FakeRoot(daemon.data_dir), *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path, **environment)


def make_calls(daemon, count, workers=8) -> None:
    def some():
        for number in range(count // workers):
            daemon.call("echo", {"text": str(number)})

    threads = [threading.Thread(target=some) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    """A daemon that archived its oldest receipts; what `archive` said, and receipt 5 as it was before."""
    top = tmp_path_factory.mktemp("archived")
    with RunningDaemon(top / "data") as daemon:
        make_calls(daemon, CALLS)
        daemon.stop()
        daemon.start()  # what a start needs is short right after one
        before = daemon.request("GET", "/v1/receipts/5")[1]
        ran = cli(daemon, "receipts", "archive", "--keep", "1000", "--json")
        assert ran.code == 0, ran
        assert ran.json["receipts"] > 100
        yield daemon, ran.json, before


def test_show_list_verify_export_and_prove_go_on_to_find_them(archived, tmp_path):
    daemon, done, before = archived
    assert cli(daemon, "receipts", "show", "5", "--json").json == before
    listed = cli(daemon, "receipts", "list", "--limit", "1000", "--offset", "900", "--json").json["receipts"]
    assert [receipt for receipt in listed if receipt["id"] == 5] == [before]
    ran = cli(daemon, "receipts", "verify", "--anchor", f"5:{before['hash_hex']}", "--json")
    assert (ran.code, ran.json["ok"], ran.json["archived"]) == (0, True, done["through"]["id"])
    assert f"({done['receipts']:,} of them archived)" in cli(daemon, "receipts", "verify").out
    ran = cli(daemon, "receipts", "export", "--out", str(tmp_path / "all.jsonl"))
    assert ran.code == 0, ran
    checked = subprocess.run(
        [sys.executable, verify_export.__file__, str(tmp_path / "all.jsonl")], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert len((tmp_path / "all.jsonl").read_bytes().splitlines()) > 2 * CALLS
    ran = cli(daemon, "receipts", "prove", "5", "--out", str(tmp_path / "5.json"))
    assert ran.code == 0, ran
    assert cli(daemon, "receipts", "prove", "--check", str(tmp_path / "5.json")).code == 0


def test_each_move_is_a_receipt_and_a_second_run_has_nothing_to_do(archived):
    daemon, done, _ = archived
    told = daemon.request("GET", "/v1/receipts?kind=receipts_archived")[1]["receipts"]
    assert (len(told), told[0]["event"]["to_hash"]) == (done["segments"], done["through"]["hash_hex"])
    assert cli(daemon, "receipts", "archive").out == "nothing to archive\n"
    assert cli(daemon, "receipts", "archive", "--before", "5000d").out == "nothing to archive\n"


@pytest.mark.parametrize("sealed", [False, True])
def test_a_backup_holds_them_and_a_restored_daemon_verifies_them(archived, tmp_path, sealed):
    daemon, done, before = archived
    phrase = {"BRIEFCASE_BACKUP_PASSPHRASE": "correct horse battery"}
    option = ("--encrypt",) if sealed else ()
    made = cli(daemon, "backup", "create", "--out", str(tmp_path / "b"), "--with-key", *option, "--json", **phrase)
    assert made.code == 0, made
    assert run(FakeRoot(tmp_path), "backup", "verify", str(tmp_path / "b"), **phrase).code == 0
    options = ("--data-dir", str(tmp_path / "new"), "--did", made.json["did"])
    ran = run(FakeRoot(tmp_path), "backup", "restore", str(tmp_path / "b"), *options, **phrase)
    assert ran.code == 0, ran
    offline = run(FakeRoot(tmp_path), "receipts", "verify", "--data-dir", str(tmp_path / "new"), "--json")
    assert (offline.json["ok"], offline.json["archived"]) == (True, done["through"]["id"])
    with RunningDaemon(tmp_path / "new") as restored:
        assert cli(restored, "receipts", "show", "5", "--json").json == before
        assert cli(restored, "receipts", "verify", "--anchor", f"5:{before['hash_hex']}").code == 0


def test_a_missing_segment_is_named_by_verify_and_by_what_needs_it(archived, tmp_path):
    daemon = archived[0]
    made = cli(daemon, "backup", "create", "--out", str(tmp_path / "b"), "--with-key", "--json")
    shutil.rmtree(tmp_path / "b" / "ledger" / "archive")
    ran = run(FakeRoot(tmp_path), "backup", "verify", str(tmp_path / "b"))
    assert (ran.code, "segment-" in ran.err) == (7, True), ran
    ran = run(FakeRoot(tmp_path), "receipts", "verify", "--data-dir", str(tmp_path / "b"))
    assert (ran.code, "receipt 1 is wrong: it is missing" in ran.err, "ledger/archive" in ran.err) == (7, True, True), (
        ran
    )
    root = FakeRoot(tmp_path / "b")
    ran = run(root, "receipts", "export", "--data-dir", str(tmp_path / "b"), "--out", str(tmp_path / "x"))
    assert (ran.code, "no archive segment" in ran.err, (tmp_path / "x").exists()) == (7, True, False), ran
    assert made.code == 0


@pytest.mark.parametrize("body", [{"keep": 999}, {"keep": -1}, {"keep": "1000"}, {"before": "yesterday"}])
def test_a_request_out_of_bounds_is_refused(archived, body):
    assert archived[0].request("POST", "/v1/receipts/archive", body)[0] == 400


def test_only_the_operator_archives(archived):
    daemon = archived[0]
    auditor = (daemon.data_dir / "auditor_token").read_text().strip()
    assert daemon.request("POST", "/v1/receipts/archive", {}, token=auditor)[0] == 403
