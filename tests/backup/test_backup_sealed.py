"""An encrypted backup, with real daemons: nothing readable leaves the data directory, and nothing foreign is opened."""

import base64
import json
import shutil
import stat
import subprocess

import pytest
from backup_rig import cli, derive_seal_key, kinds, offline, resign

from briefcase.adapters.backup.age import WRAPPED_MAGIC
from briefcase.adapters.backup.manifest import MANIFEST_NAME, SIGNATURE_NAME, STAGING_DIR, Manifest, parse_manifest
from briefcase.adapters.backup.sealed import pack_backup
from briefcase.adapters.backup.sealing import SealWriter
from support.daemons import RunningDaemon

PASSPHRASE = "correct horse battery staple"
SAID = "a text that a call was made with"


def sealed_by(daemon, out, *options, passphrase=PASSPHRASE):
    return cli(
        daemon, "backup", "create", "--encrypt", "--out", str(out), *options, BRIEFCASE_BACKUP_PASSPHRASE=passphrase
    )


def unsealed(top, *args, passphrase=PASSPHRASE):
    return offline(top, "backup", *args, BRIEFCASE_BACKUP_PASSPHRASE=passphrase)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    top = tmp_path_factory.mktemp("sealed")
    with RunningDaemon(top / "data") as daemon:
        for number in range(3):
            daemon.call("echo", {"text": f"{SAID} {number}"})
        ran = sealed_by(daemon, top / "one.sealed", "--with-key", "--json")
        assert ran.code == 0, ran
        plain = cli(daemon, "backup", "create", "--out", str(top / "plain"), "--with-key", "--json")
        assert plain.code == 0, plain
        yield daemon, top / "one.sealed", ran.json


@pytest.fixture
def backup(made, tmp_path):
    return shutil.copy(made[1], tmp_path / "b")


def test_nothing_in_it_can_be_read_without_the_passphrase(made):
    daemon, path, _ = made
    readable = b"".join(file.read_bytes() for file in (path.parent / "plain").rglob("*") if file.is_file())
    sealed = path.read_bytes()
    for secret in (SAID, daemon.operator_token, "briefcase-backup", "SQLite format 3"):
        assert secret.encode() in readable, f"the control: {secret}"
        assert secret.encode() not in sealed.removeprefix(WRAPPED_MAGIC)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not (daemon.data_dir / STAGING_DIR).exists()
    assert [found.name for found in path.parent.iterdir() if found.name.endswith(".new")] == []


def test_it_verifies_and_restores_to_a_daemon_that_starts_a_new_epoch(made, tmp_path):
    _, path, record = made
    anchor = f"{record['head_id']}:{record['head_hash_hex']}"
    ran = unsealed(tmp_path, "verify", str(path), "--did", record["did"], "--anchor", anchor, "--json")
    assert (ran.code, ran.json["head_id"]) == (0, record["head_id"]), ran
    options = ("--data-dir", str(tmp_path / "new"), "--did", record["did"])
    ran = unsealed(tmp_path, "restore", str(path), *options)
    assert ran.code == 0, ran
    assert not (tmp_path / "new.restoring").exists()
    with RunningDaemon(tmp_path / "new") as daemon:
        assert daemon.request("GET", "/v1/identity")[1]["did"] == record["did"]
        assert cli(daemon, "receipts", "verify", "--anchor", anchor).code == 0
        assert kinds(daemon).count("restored") == 1


def flip(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[: len(data) // 2], "sealed backup"),
        (lambda data: data[:-1], "cut off"),
        (lambda data: data + b"x", "damaged"),
        (lambda data: flip(data, len(data) // 2), "damaged"),
        (lambda data: flip(data, len(WRAPPED_MAGIC) + 40), "sealed backup"),
        (lambda data: flip(data, 0), "no sealed backup"),
        (lambda _: b"", "no sealed backup"),
        (lambda _: b"PK\3\4" * 10_000, "no sealed backup"),
    ],
)
def test_damage_is_found_before_anything_is_opened(made, backup, tmp_path, monkeypatch, damage, said):
    backup.write_bytes(damage(backup.read_bytes()))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the ledger was opened"))
    ran = unsealed(tmp_path, "verify", str(backup))
    assert (ran.code, said in ran.err) == (7, True), ran
    options = ("--data-dir", str(tmp_path / "new"), "--did", made[2]["did"])
    assert unsealed(tmp_path, "restore", str(backup), *options).code == 7
    assert sorted(found.name for found in tmp_path.iterdir()) == ["b"]


def test_the_wrong_passphrase_is_refused_and_said(backup, tmp_path):
    ran = unsealed(tmp_path, "verify", str(backup), passphrase="another one entirely")
    assert (ran.code, "the passphrase is not the one that the backup was sealed under" in ran.err) == (7, True), ran
    assert PASSPHRASE not in ran.err


def foreign(directory, **changes) -> tuple[str, Manifest]:
    did = resign(directory, **changes)
    return did, parse_manifest((directory / MANIFEST_NAME).read_bytes(), (directory / SIGNATURE_NAME).read_bytes(), did)


def test_one_that_somebody_else_signed_under_the_same_passphrase_is_foreign(made, tmp_path, monkeypatch):
    shutil.copytree(made[1].parent / "plain", tmp_path / "plain")
    _, manifest = foreign(tmp_path / "plain")
    pack_backup(tmp_path / "plain", manifest, tmp_path / "f", derive_seal_key(PASSPHRASE.encode()))
    assert unsealed(tmp_path, "verify", str(tmp_path / "f")).code == 0
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the ledger was opened"))
    ran = unsealed(tmp_path, "verify", str(tmp_path / "f"), "--did", made[2]["did"])
    assert (ran.code, "expected `did:key:" in ran.err) == (7, True), ran
    options = ("--data-dir", str(tmp_path / "new"), "--did", made[2]["did"])
    assert unsealed(tmp_path, "restore", str(tmp_path / "f"), *options).code == 7
    assert not (tmp_path / "new").exists()


def test_one_that_was_prepared_with_a_path_of_its_own_writes_nothing(made, tmp_path):
    shutil.copytree(made[1].parent / "plain", tmp_path / "plain")
    did, manifest = foreign(tmp_path / "plain")
    (tmp_path / "escaped").write_text("x")
    listed = json.loads((tmp_path / "plain" / MANIFEST_NAME).read_bytes())["files"]
    resign(tmp_path / "plain", files=[*listed, {"path": "../escaped", "bytes": 1, "sha256_hex": "0" * 64}])
    pack_backup(tmp_path / "plain", manifest, tmp_path / "f", derive_seal_key(PASSPHRASE.encode()))
    ran = unsealed(tmp_path, "restore", str(tmp_path / "f"), "--data-dir", str(tmp_path / "new"), "--did", did)
    assert (ran.code, "no backup holds" in ran.err or "expected `did:key:" in ran.err) == (7, True), ran
    assert sorted(found.name for found in tmp_path.iterdir()) == ["escaped", "f", "plain"]


def test_a_file_that_is_not_the_one_whose_digest_was_signed_is_refused(made, tmp_path, monkeypatch):
    shutil.copytree(made[1].parent / "plain", tmp_path / "plain")
    did, manifest = foreign(tmp_path / "plain")
    with (tmp_path / "f").open("wb") as file:
        writer = SealWriter(file, derive_seal_key(PASSPHRASE.encode()))
        for name in (MANIFEST_NAME, SIGNATURE_NAME):
            data = (tmp_path / "plain" / name).read_bytes()
            writer.write(len(data).to_bytes(4, "big") + data)
        for listed in manifest.files:
            data = (tmp_path / "plain" / listed.path).read_bytes()
            writer.write(flip(data, 0) if listed.path == "briefcase.sqlite" else data)
        writer.finish()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the ledger was opened"))
    ran = unsealed(tmp_path, "restore", str(tmp_path / "f"), "--data-dir", str(tmp_path / "new"), "--did", did)
    assert (ran.code, "`briefcase.sqlite` has SHA-256" in ran.err) == (7, True), ran
    assert not (tmp_path / "new").exists()


def test_a_target_that_appears_meanwhile_is_not_replaced(made, tmp_path):
    plain = made[1].parent / "plain"
    (tmp_path / "taken").write_text("kept")
    manifest = parse_manifest((plain / MANIFEST_NAME).read_bytes(), (plain / SIGNATURE_NAME).read_bytes(), None)
    with pytest.raises(FileExistsError):
        pack_backup(plain, manifest, tmp_path / "taken", derive_seal_key(PASSPHRASE.encode()))
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("taken", "kept")]


def test_a_link_in_the_place_of_the_file_is_refused(made, tmp_path):
    (tmp_path / "link").symlink_to(made[1])
    assert unsealed(tmp_path, "verify", str(tmp_path / "link")).code == 7
    assert unsealed(tmp_path, "verify", str(tmp_path / "absent")).code == 4


def test_the_passphrase_comes_from_the_environment_or_standard_input_never_from_the_command_line(made, tmp_path):
    daemon, path, _ = made
    ran = offline(tmp_path, "backup", "verify", str(path))
    assert (ran.code, "got nothing" in ran.err) == (2, True), ran
    assert offline(tmp_path, "backup", "verify", str(path), stdin=PASSPHRASE.encode() + b"\n").code == 0
    for option in ("--passphrase", "--password", "--key"):
        assert cli(daemon, "backup", "create", "--encrypt", "--out", str(tmp_path / "x"), option, PASSPHRASE).code == 2
    ran = sealed_by(daemon, tmp_path / "x", passphrase="too short")
    assert (ran.code, "at least 12" in ran.err, "too short" in ran.err) == (2, True, False), ran
    assert not (tmp_path / "x").exists()


def test_a_backup_is_never_overwritten_and_leaves_no_part_of_itself(made, tmp_path):
    daemon = made[0]
    (tmp_path / "taken").write_text("kept")
    ran = sealed_by(daemon, tmp_path / "taken")
    assert (ran.code, "exists" in ran.err) == (3, True), ran
    assert (tmp_path / "taken").read_text() == "kept"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["taken"]
    assert not (daemon.data_dir / STAGING_DIR).exists()


def test_a_backup_is_not_written_into_a_file_that_waits_for_it(made, tmp_path):
    waiting = tmp_path / "x.new"
    waiting.write_text("waits for ours")
    with waiting.open("rb") as theirs:
        assert sealed_by(made[0], tmp_path / "x").code == 0
        assert theirs.read() == b"waits for ours"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"out_dir": "/x", "out_file": "/y"},
        {"out_file": "/tmp/y"},
        {"out_dir": "/x", "seal": {"n": 1 << 17, "salt_b64": "AA==", "key_b64": "AA=="}},
        {"out_file": "/tmp/y", "seal": {"n": 1 << 17, "salt_b64": "AA==", "key_b64": "AA=="}},
        {"out_file": "/tmp/y", "seal": {"n": 1 << 40, "salt_b64": base64.b64encode(bytes(16)).decode(), "key_b64": ""}},
        {"out_file": "/tmp/y", "seal": {"n": 1 << 17, "salt_b64": "?", "key_b64": "?"}},
    ],
)
def test_a_request_that_is_neither_a_plain_nor_a_sealed_backup_is_refused(made, body):
    status, answer = made[0].request("POST", "/v1/backups", body)
    assert (status, answer["code"]) == (400, "bad_request"), answer


def test_what_a_crash_left_of_a_staged_copy_is_removed_at_the_next_start(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.kill()
        left = daemon.data_dir / STAGING_DIR
        left.mkdir()
        (left / "auth_token").write_text("x")
        daemon.start()
        assert not left.exists()
