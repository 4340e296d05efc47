"""Data directories, exports, backups and evidence of an older version open and verify (`fixtures/d957ca1`)."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from backup_rig import cli, offline

from briefcase.core.receipts import verify_export
from support.daemons import RunningDaemon

MADE = Path(__file__).parent.parent / "fixtures" / "d957ca1"
DID = "did:key:z6MkqmvUqAjnvmemNwE2XNKAEaitQaUne1bGLHtnC86EZ4gf"
PASSPHRASE = "correct horse battery staple"
HEAD_9 = "9:d080443bf50e36f74daedf1a05be384c7e6449f2a6338e08e3fdd1f2b409ae21"
HEAD_10 = "10:aabfd84fe98f343da22456dbfe61766408f23a65b7783a493856be973e1b3720"


def unpacked(name: str, top: Path) -> Path:
    with tarfile.open(MADE / f"{name}.tar.gz") as archive:
        archive.extractall(top, filter="tar")
    return top / name


@pytest.fixture(params=["backup.sealed", "backup"])
def backup(request, tmp_path):
    """A sealed backup and a plain one, each with the head that was noted when it was made."""
    if request.param == "backup":
        return unpacked("backup", tmp_path), HEAD_10
    return shutil.copy(MADE / request.param, tmp_path / request.param), HEAD_9


def test_a_data_directory_opens_with_its_identity_secrets_and_receipts(tmp_path):
    with RunningDaemon(unpacked("data", tmp_path)) as daemon:
        assert daemon.request("GET", "/v1/identity")[1]["did"] == DID
        ran = cli(daemon, "receipts", "verify", "--anchor", HEAD_10)
        assert ran.code == 0, ran
        assert daemon.call("echo", {"text": "and goes on"})["status"] == "ok"


def test_an_export_verifies_by_the_program_that_is_shipped_now():
    ran = subprocess.run(
        [sys.executable, verify_export.__file__, MADE / "receipts.jsonl"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran
    assert HEAD_9.partition(":")[2] in ran.stdout


def test_an_export_is_all_in_the_chain_it_was_made_of(tmp_path):
    data_dir = unpacked("data", tmp_path)
    ran = offline(tmp_path, "receipts", "import", str(MADE / "receipts.jsonl"), "--data-dir", str(data_dir), "--json")
    assert (ran.code, ran.json["same"], ran.json["missing"], ran.json["differ"]) == (0, 9, [], []), ran


def test_a_backup_verifies_with_the_identity_and_the_head_noted_then(backup, tmp_path):
    path, head = backup
    options = ("--did", DID, "--anchor", head, "--json")
    ran = offline(tmp_path, "backup", "verify", str(path), *options, BRIEFCASE_BACKUP_PASSPHRASE=PASSPHRASE)
    assert (ran.code, f"{ran.json['head_id']}:{ran.json['head_hash_hex']}") == (0, head), ran


def test_a_backup_restores_to_a_daemon_of_the_same_identity(backup, tmp_path):
    path, head = backup
    options = ("--did", DID, "--data-dir", str(tmp_path / "new"))
    ran = offline(tmp_path, "backup", "restore", str(path), *options, BRIEFCASE_BACKUP_PASSPHRASE=PASSPHRASE)
    assert ran.code == 0, ran
    with RunningDaemon(tmp_path / "new") as daemon:
        assert daemon.request("GET", "/v1/identity")[1]["did"] == DID
        assert cli(daemon, "receipts", "verify", "--anchor", head).code == 0


def test_a_bundle_and_the_evidence_of_a_soak_verify_as_signed(tmp_path):
    ran = offline(tmp_path, "diagnostics", "bundle", "--verify", str(MADE / "incident.zip"), "--did", DID, "--json")
    assert (ran.code, json.loads(ran.out)["did"]) == (0, DID), ran
    ran = offline(tmp_path, "soak", "verify", str(unpacked("soak", tmp_path)), "--did", DID, "--json")
    assert (ran.code, json.loads(ran.out)["files"]) == (0, 3), ran
