"""A backup that is not as it was made is refused before it is opened, by name, with exit code 7."""

import shutil
import stat

import lmdb
import pytest
from backup_rig import cli, offline, resign, take_backup

from briefcase.adapters.backup.manifest import MAX_MANIFEST_BYTES
from support.daemons import RunningDaemon


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    top = tmp_path_factory.mktemp("hostile")
    with RunningDaemon(top / "data") as daemon:
        for number in range(5):
            daemon.call("echo", {"text": str(number)})
        yield daemon, top / "backup", take_backup(daemon, top / "backup")


@pytest.fixture
def backup(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "backup")
    return tmp_path / "backup"


def flip(path, at) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def truncate(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def link(path) -> None:
    kept = path.with_name("kept")
    path.rename(kept)
    path.symlink_to(kept)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda b: truncate(b / "ledger/data.mdb"), "bytes, expected"),
        (lambda b: flip(b / "ledger/data.mdb", 9_000), "SHA-256"),
        (lambda b: flip(b / "briefcase.sqlite", 30), "SHA-256"),
        (lambda b: (b / "auth_token").unlink(), "cannot be read"),
        (lambda b: link(b / "auth_token"), "no plain file"),
        (lambda b: (b / "extra").write_text("x"), "not of this backup"),
        (lambda b: flip(b / "manifest.json", 60), "manifest"),
        (lambda b: truncate(b / "manifest.json"), "no manifest"),
        (lambda b: (b / "manifest.json").unlink(), "is no backup"),
        (lambda b: (b / "manifest.sig").unlink(), "is no backup"),
        (lambda b: (b / "manifest.sig").write_text("AAAA"), "is not the signature"),
        (lambda b: (b / "manifest.json").write_bytes(b"[" * 200_000), "no manifest"),
        (lambda b: (b / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1)), "no plain file"),
    ],
)
def test_damage_is_found_and_named_and_nothing_is_restored(made, backup, tmp_path, damage, said):
    damage(backup)
    ran = offline(tmp_path, "backup", "verify", str(backup))
    assert (ran.code, said in ran.err) == (7, True), ran
    options = ("--data-dir", str(tmp_path / "new"), "--did", made[2]["did"])
    assert offline(tmp_path, "backup", "restore", str(backup), *options).code == 7
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.restoring").exists()


def test_a_backup_that_somebody_else_signed_is_foreign(made, backup, tmp_path):
    other = resign(backup)
    ran = offline(tmp_path, "backup", "verify", str(backup), "--did", made[2]["did"])
    assert (ran.code, "expected `did:key:" in ran.err) == (7, True)
    options = ("--data-dir", str(tmp_path / "new"), "--did", made[2]["did"])
    assert offline(tmp_path, "backup", "restore", str(backup), *options).code == 7
    taken = offline(tmp_path, "backup", "verify", str(backup))
    assert (taken.code, "another daemon" in taken.err) == (0, True)
    assert offline(tmp_path, "backup", "verify", str(backup), "--did", other).code == 0


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "tools/../x", "tools/.hidden", "ledger/lock.mdb"])
def test_a_manifest_can_not_name_a_path_outside_of_the_backup(backup, tmp_path, path):
    files = [
        {"path": name, "bytes": 1, "sha256_hex": "0" * 64} for name in ("ledger/data.mdb", "briefcase.sqlite", path)
    ]
    resign(backup, files=files)
    ran = offline(tmp_path, "backup", "verify", str(backup))
    assert (ran.code, "which no backup holds" in ran.err) == (7, True), ran


@pytest.mark.parametrize(
    "damage", [truncate, lambda path: path.write_bytes(b"\xff" * 40_000), lambda p: p.write_bytes(b"")]
)
def test_a_data_file_that_was_prepared_and_signed_harms_only_the_process_that_looks_at_it(backup, tmp_path, damage):
    damage(backup / "ledger" / "data.mdb")
    resign(backup)
    ran = offline(tmp_path, "backup", "verify", str(backup))
    assert ran.code == 7, ran


def test_a_chain_that_was_edited_and_signed_again_does_not_verify(backup, tmp_path):
    with lmdb.open(str(backup / "ledger"), max_dbs=16, lib_version=0) as environment:
        receipts = environment.open_db(b"receipts")
        with environment.begin(write=True, db=receipts) as transaction:
            key = (3).to_bytes(8, "big")
            transaction.put(key, transaction.get(key).replace(b"echo", b"ecno"))
    (backup / "ledger" / "lock.mdb").unlink()
    resign(backup)
    ran = offline(tmp_path, "backup", "verify", str(backup))
    assert (ran.code, "receipt 3 does not verify" in ran.err) == (7, True), ran


def test_an_anchor_finds_an_older_backup_and_another_chain(made, tmp_path):
    _, backup, record = made
    later = f"{record['head_id'] + 1}:{'0' * 64}"
    ran = offline(tmp_path, "backup", "verify", str(backup), "--anchor", later)
    assert (ran.code, "older" in ran.err) == (7, True)
    ran = offline(tmp_path, "backup", "verify", str(backup), "--anchor", f"0:{'1' * 64}")
    assert (ran.code, "names 1111" in ran.err) == (7, True), ran
    assert offline(tmp_path, "backup", "verify", str(backup), "--anchor", f"0:{'0' * 64}").code == 0
    ran = offline(tmp_path, "backup", "verify", str(backup), "--anchor", f"2:{'0' * 64}")
    assert (ran.code, "another chain" in ran.err) == (7, True)


def test_everything_in_a_backup_is_its_owners_alone(made):
    for path in (made[1], *made[1].rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize(
    ("place", "said"),
    [("taken", "exists"), ("data/inside", "in the data directory"), ("absent/x", "whose parent exists")],
)
def test_a_backup_goes_to_a_new_directory_elsewhere(made, place, said):
    daemon, backup, _ = made
    (backup.parent / "taken").mkdir(exist_ok=True)
    ran = cli(daemon, "backup", "create", "--out", str(backup.parent / place))
    assert ran.code != 0
    assert said in ran.err, ran


def test_only_the_operator_makes_backups(made, tmp_path):
    daemon = made[0]
    auditor = (daemon.data_dir / "auditor_token").read_text().strip()
    body = {"out_dir": str(tmp_path / "x")}
    assert daemon.request("POST", "/v1/backups", body, token=auditor)[0] == 403
    assert not (tmp_path / "x").exists()


def test_a_target_that_holds_something_is_left_alone(made, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "kept").write_text("x")
    options = ("--data-dir", str(tmp_path / "new"), "--did", made[2]["did"])
    ran = offline(tmp_path, "backup", "restore", str(made[1]), *options)
    assert (ran.code, "is not empty" in ran.err) == (3, True)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kept"]
