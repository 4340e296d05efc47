"""Backups sealed with age: to public keys, so that nobody needs to be there, and under a passphrase that stays here."""

import base64
import json
import subprocess

import pyrage
import pytest
from backup_rig import cli, derive_seal_key, offline
from pyrage import x25519

from briefcase.adapters.backup.age import AGE_MAGIC, WRAPPED_MAGIC
from support.cli import CannedDaemon, FakeRoot, run
from support.daemons import RunningDaemon

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """A key that `backup keygen` made: its file, and its public half."""
    top = tmp_path_factory.mktemp("key")
    ran = offline(top, "backup", "keygen", "--out", str(top / "key.txt"), "--json")
    assert ran.code == 0, ran
    assert (top / "key.txt").stat().st_mode & 0o777 == 0o600
    return top / "key.txt", ran.json["recipient"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, key):
    """A daemon, a backup to that key and another one, and what was said of it."""
    top = tmp_path_factory.mktemp("age")
    other = pyrage.x25519.Identity.generate()
    with RunningDaemon(top / "data") as daemon:
        daemon.call("echo", {"text": "hi"})
        options = ("--recipient", key[1], "--recipient", str(other.to_public()), "--with-key", "--json")
        ran = cli(daemon, "backup", "create", "--out", str(top / "b.age"), *options)
        assert ran.code == 0, ran
        yield daemon, top / "b.age", ran.json, other


def test_an_unattended_backup_needs_no_secret_and_opens_with_the_identity(made, key, tmp_path):
    _, path, record, _ = made
    ran = offline(tmp_path, "backup", "verify", str(path), "--identity", str(key[0]), "--did", record["did"], "--json")
    assert (ran.code, ran.json["head_id"]) == (0, record["head_id"]), ran
    options = ("--identity", str(key[0]), "--did", record["did"], "--data-dir", str(tmp_path / "new"))
    ran = offline(tmp_path, "backup", "restore", str(path), *options)
    assert ran.code == 0, ran
    with RunningDaemon(tmp_path / "new") as daemon:
        assert daemon.request("GET", "/v1/identity")[1]["did"] == record["did"]


def test_any_age_opens_a_backup_to_public_keys_and_each_recipient_alone(made, key):
    _, path, _, other = made
    data = path.read_bytes()
    assert data.startswith(AGE_MAGIC)
    identity = pyrage.x25519.Identity.from_str(key[0].read_text().splitlines()[1])
    opened = pyrage.decrypt(data, [identity])
    assert opened == pyrage.decrypt(data, [other])
    size = int.from_bytes(opened[:4], "big")
    assert json.loads(opened[4 : 4 + size])["format"] == "briefcase-backup"


def test_another_identity_none_and_one_that_is_no_key_are_refused_and_said(made, tmp_path):
    _, path, _, _ = made
    (tmp_path / "other").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    (tmp_path / "none").write_text("# nothing\n")
    for name in ("other", "none"):
        (tmp_path / name).chmod(0o600)
    for options, code, said in (
        (("--identity", str(tmp_path / "other")), 7, "sealed to other keys than the identities"),
        (("--identity", str(tmp_path / "none")), 2, "AGE-SECRET-KEY-1"),
        (("--identity", str(tmp_path / "missing")), 4, "no file"),
        ((), 2, "expected an identity"),
    ):
        ran = offline(tmp_path, "backup", "verify", str(path), *options)
        assert (ran.code != 0, said in ran.err) == (True, True), (code, ran)


def test_a_beginning_that_is_damaged_is_told_from_another_identity(made, key, tmp_path):
    whole = made[1].read_bytes()
    mac = whole.index(b"\n---")
    changed = bytes([whole[mac - 5] ^ 1])
    for data in (whole[: mac - 5] + changed + whole[mac - 4 :], whole[:mac], whole[:40]):
        (tmp_path / "b").write_bytes(data)
        ran = offline(tmp_path, "backup", "verify", str(tmp_path / "b"), "--identity", str(key[0]))
        assert (ran.code, "beginning is damaged" in ran.err) == (7, True), ran


def test_damage_of_a_backup_to_a_key_is_found_before_anything_is_opened(made, key, tmp_path, monkeypatch):
    whole = made[1].read_bytes()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the ledger was opened"))
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for data in (bytes(changed), whole[:-1], whole[: len(whole) // 2], whole + b"x", whole[: len(AGE_MAGIC) + 20]):
        (tmp_path / "b").write_bytes(data)
        ran = offline(tmp_path, "backup", "verify", str(tmp_path / "b"), "--identity", str(key[0]))
        assert (ran.code, "sealed backup" in ran.err) == (7, True), ran


def test_the_passphrase_and_the_identity_stay_with_the_command(tmp_path):
    answer = {"files": 1, "bytes": 1, "head_id": 1, "head_hash_hex": "0" * 64, "did": "did:key:z", "left_out": []}
    answer |= {"out_dir": "", "out_file": str(tmp_path / "x")}
    with CannedDaemon() as daemon:
        daemon.answers["POST", "/v1/backups"] = answer
        command = ("backup", "create", "--encrypt", "--out", str(tmp_path / "x"))
        socket = {"BRIEFCASE_DAEMON_UNIX_SOCKET": str(daemon.socket_path)}
        ran = run(FakeRoot(daemon.data_dir), *command, BRIEFCASE_BACKUP_PASSPHRASE=PASSPHRASE, **socket)
        assert ran.code == 0, ran
        [body] = daemon.bodies("POST", "/v1/backups")
    text = json.dumps(body)
    assert (PASSPHRASE in text, "AGE-SECRET-KEY" in text) == (False, False)
    wrapped = base64.b64decode(body["wrapped_identity_b64"])
    identity = pyrage.x25519.Identity.from_str(pyrage.passphrase.decrypt(wrapped, PASSPHRASE).decode())
    assert body["recipients"] == [str(identity.to_public())]


def test_age_by_hand_opens_a_backup_under_a_passphrase(made, tmp_path):
    command = ("backup", "create", "--encrypt", "--out", str(tmp_path / "b"))
    assert cli(made[0], *command, BRIEFCASE_BACKUP_PASSPHRASE=PASSPHRASE).code == 0
    magic, wrapped, age = (tmp_path / "b").read_bytes().split(b"\n", 2)
    assert magic + b"\n" == WRAPPED_MAGIC
    identity = pyrage.passphrase.decrypt(base64.b64decode(wrapped), PASSPHRASE).decode()
    assert b'"briefcase-backup"' in pyrage.decrypt(age, [pyrage.x25519.Identity.from_str(identity)])


def test_a_file_that_asks_for_more_memory_than_may_be_is_refused_before_scrypt_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(pyrage.passphrase, "decrypt", lambda *_: pytest.fail("scrypt ran"), raising=False)
    wrapped = AGE_MAGIC + b"-> scrypt 6ch+y7xBtiSeGfFK+9vUjw 21\nhB56\n--- x\n"
    (tmp_path / "b").write_bytes(WRAPPED_MAGIC + base64.b64encode(wrapped) + b"\n")
    ran = offline(tmp_path, "backup", "verify", str(tmp_path / "b"), BRIEFCASE_BACKUP_PASSPHRASE=PASSPHRASE)
    assert (ran.code, "more memory" in ran.err) == (7, True), ran


def test_a_recipient_that_is_no_public_key_is_refused_by_the_command_and_by_the_daemon(made, tmp_path):
    ran = cli(made[0], "backup", "create", "--recipient", "age1nothing", "--out", str(tmp_path / "b"))
    assert (ran.code, "age1nothing" in ran.err) == (2, True), ran
    body = {"out_file": str(tmp_path / "b"), "recipients": ["age1nothing"]}
    assert made[0].request("POST", "/v1/backups", body)[0] == 400
    assert list(tmp_path.iterdir()) == []


def test_the_secret_half_that_is_given_as_a_recipient_is_shown_nowhere(made, tmp_path):
    secret = str(x25519.Identity.generate())
    ran = cli(made[0], "backup", "create", "--recipient", secret, "--out", str(tmp_path / "b"))
    assert (ran.code, secret[20:40] in ran.out + ran.err) == (2, False), ran
    body = {"out_file": str(tmp_path / "b"), "recipients": [secret]}
    status, answer = made[0].request("POST", "/v1/backups", body)
    assert (status, secret[20:40] in json.dumps(answer)) == (400, False), answer
    assert secret[20:40] not in made[0].logged()


def test_an_older_command_line_is_served_and_what_it_made_opens(made, tmp_path):
    key = derive_seal_key(PASSPHRASE.encode())
    seal = {"n": key.n, "salt_b64": base64.b64encode(key.salt).decode(), "key_b64": base64.b64encode(key.key).decode()}
    status, record = made[0].request("POST", "/v1/backups", {"out_file": str(tmp_path / "b"), "seal": seal})
    assert status == 200, record
    options = ("--did", record["did"], "--json")
    ran = offline(tmp_path, "backup", "verify", str(tmp_path / "b"), *options, BRIEFCASE_BACKUP_PASSPHRASE=PASSPHRASE)
    assert (ran.code, ran.json["head_id"]) == (0, record["head_id"]), ran
