"""Bundles and signed evidence: what is in them, that no secret is, and that every change of a byte is found."""

import base64
import gzip
import io
import json
import os
import signal
import stat
import subprocess
import sys
import warnings
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from diagnostics_rig import briefcase

from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.signed_manifest import BACKUP, EVIDENCE, encode_signature, signed_text
from briefcase.adapters.vault.identity import Identity
from briefcase.edges.diagnostics import bundle
from briefcase.edges.diagnostics.bundle import pack, settings_of, unpack, versions
from briefcase.edges.diagnostics.manifest import Signer, verify_manifest, write_manifest
from support.cli import FakeRoot, run
from support.daemons import RunningDaemon

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIGNER, OTHER = Identity(bytes(32)), Identity(bytes([1]) * 32)
FILES = {"a.json": b"{}", "b.txt": b"hello"}


def signed_by(identity, prefix=EVIDENCE.signed_prefix):
    return Signer(identity.did, lambda sha256_hex: identity.sign(f"{prefix}{sha256_hex}".encode()))


WHOLE = FILES | write_manifest(FILES, signed_by(SIGNER), NOW)


def test_evidence_as_it_was_signed_verifies_and_names_its_signer():
    verdict = verify_manifest(WHOLE, SIGNER.did)
    assert (verdict.problems, verdict.did, verdict.files) == ((), SIGNER.did, 2)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_no_byte_of_any_file_can_change(name):
    for at in range(len(WHOLE[name])):
        data = bytearray(WHOLE[name])
        data[at] ^= 0x01
        assert verify_manifest(WHOLE | {name: bytes(data)}, SIGNER.did).problems, (name, at)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_no_file_can_be_taken_away(name):
    assert verify_manifest({other: data for other, data in WHOLE.items() if other != name}, None).problems


def test_no_file_can_be_added():
    assert verify_manifest(WHOLE | {"c": b""}, None).problems == ("`c` is not in the manifest",)


def test_another_signer_is_told_where_one_is_expected():
    forged = FILES | write_manifest(FILES, signed_by(OTHER), NOW)
    assert verify_manifest(forged, None).problems == ()
    assert "expected" in verify_manifest(forged, SIGNER.did).problems[0]


def test_a_signature_over_something_else_or_none_at_all_is_no_signature():
    assert verify_manifest(FILES | write_manifest(FILES, signed_by(SIGNER, prefix=""), NOW), None).problems
    assert verify_manifest(
        FILES | write_manifest(FILES, signed_by(SIGNER, prefix=BACKUP.signed_prefix), NOW), None
    ).problems
    assert verify_manifest(FILES | write_manifest(FILES, None, NOW), None).problems
    assert verify_manifest(FILES | write_manifest(FILES, Signer(SIGNER.did, lambda _: None), NOW), None).problems
    named = msgspec.json.decode(WHOLE["MANIFEST.json"]) | {"did": OTHER.did}
    assert verify_manifest(WHOLE | {"MANIFEST.json": json.dumps(named).encode()}, None).problems


def test_a_signature_in_another_form_of_the_same_bytes_is_no_signature():
    signature = WHOLE["MANIFEST.sig"]
    last = signature[85:86]  # four of its six bits count for nothing
    other = next(bytes([char]) for char in range(48, 123) if _same_bytes(signature, char) and bytes([char]) != last)
    for changed in (signature.rstrip(b"\n"), signature[:85] + other + signature[86:]):
        assert verify_manifest(WHOLE | {"MANIFEST.sig": changed}, None).problems


def _same_bytes(signature, char):
    changed = signature[:85] + bytes([char]) + signature[86:]
    return chr(char).isalnum() and base64.b64decode(changed) == base64.b64decode(signature)


def test_a_file_that_is_listed_twice_is_a_problem_however_it_was_signed():
    manifest = json.loads(WHOLE["MANIFEST.json"])
    manifest["files"].append(manifest["files"][0])
    text = json.dumps(manifest).encode()
    signature = encode_signature(SIGNER.sign(signed_text(EVIDENCE, text)))
    found = verify_manifest(WHOLE | {"MANIFEST.json": text, "MANIFEST.sig": signature}, SIGNER.did)
    assert found.problems == ("`a.json` is listed twice",)


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"files": 1}', b"\xff\xfe", b"null"])
def test_junk_for_a_manifest_or_a_signature_is_a_problem_and_no_crash(junk):
    assert verify_manifest(WHOLE | {"MANIFEST.json": junk}, None).problems
    assert verify_manifest(WHOLE | {"MANIFEST.sig": junk}, None).problems


def test_a_bundle_packs_and_unpacks_and_is_the_same_each_time():
    assert unpack(pack(WHOLE)) == WHOLE
    assert pack(WHOLE) == pack(dict(reversed(WHOLE.items())))
    with pytest.raises(ValueError, match="no zip"):
        unpack(b"PK no")


def test_a_zip_that_would_fill_the_memory_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(bundle, "MAX_UNPACKED_BYTES", 1 << 20)
    assert unpack(pack({"a": bytes(1 << 20)}))
    with pytest.raises(ValueError, match="more than 1 MiB"):
        unpack(pack({"a": bytes(1 << 20), "b": b"x"}))


def test_a_zip_with_noise_in_it_or_with_two_files_of_one_name_is_no_bundle():
    packed = bytearray(pack({"a": os.urandom(2_000)}))
    packed[1_000:1_030] = b"\xaa" * 30
    with pytest.raises(ValueError, match="no zip"):
        unpack(bytes(packed))
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("check.json", b"forged")
        archive.writestr("check.json", b"signed")
    with pytest.raises(ValueError, match="one name"):
        unpack(twice.getvalue())


def test_what_is_no_plain_file_is_no_bundle(daemon):
    ran = briefcase(daemon.env, "diagnostics", "bundle", "--verify", "/dev/zero")
    assert (ran.code, "expected a plain file" in ran.err) == (2, True), ran


def test_settings_of_secrets_say_only_that_they_are_set():
    told = settings_of({"BRIEFCASE_MASTER_PASSPHRASE": "hunter2", "BRIEFCASE_DATA_DIR": "/d", "HOME": "/h"})
    assert told == {"BRIEFCASE_MASTER_PASSPHRASE": "(set)", "BRIEFCASE_DATA_DIR": "/d"}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("BRIEFCASE_MASTER_PASPHRASE", "hunter2", "(set)"),  # misspelt
        ("BRIEFCASE_CI_TOKEN", "hunter2", "(set)"),
        ("BRIEFCASE_PROVIDER_BASE_URL", "https://ann:hunter2@provider.example", "(set)"),
        ("BRIEFCASE_RISK_CLASSIFIER_URL", "https://risk.example/?key=hunter2", "(set)"),
        ("BRIEFCASE_PROVIDER_BASE_URL", "https://provider.example", "https://provider.example"),
    ],
)
def test_a_setting_that_may_hold_a_secret_says_only_that_it_is_set(name, value, told):
    assert settings_of({name: value}) == {name: told}


def test_versions_name_the_libraries_that_decide():
    assert {"lmdb", "cedarpy", "cryptography"} <= set(versions()["libraries"])


PLANTED = "canary-098f6bcd4621d373"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("bundle") / "data") as running:
        running.request("PUT", "/v1/secrets/crm", {"value": PLANTED})
        for number in range(5):
            running.call("echo", {"text": f"{number}"})
        running.request("POST", "/v1/agents", {"name": "scout"})
        yield running


def test_a_bundle_holds_what_is_needed_later_and_its_receipts_verify_without_this_program(daemon, tmp_path):
    out = tmp_path / "incident.zip"
    ran = briefcase(daemon.env, "diagnostics", "bundle", "--out", str(out), "--log", daemon.log.name, "--receipts", "8")
    assert ran.code == 0, ran.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600

    files = unpack(out.read_bytes())
    assert b"\nbriefcase_ledger_gate_open 1.0\n" in files["metrics.txt"]
    assert {"check.json", "configuration.json", "versions.json", "security.json", "verification.json"} <= set(files)
    assert [name for name in files if name.startswith("logs/")] == ["logs/0-data.log"]
    assert json.loads(files["configuration.json"])["/v1/agents"]["agents"][0]["name"] == "scout"
    assert json.loads(files["verification.json"])["ok"]
    receipts = [json.loads(line) for line in files["receipts.jsonl"].splitlines()]
    assert [r["id"] for r in receipts] == list(range(receipts[0]["id"], receipts[0]["id"] + 8))
    assert PLANTED.encode() not in b"".join(files.values())
    assert daemon.operator_token.encode() not in b"".join(files.values())

    for name in ("receipts.jsonl", "verify_export.py"):
        (tmp_path / name).write_bytes(files[name])
    alone = [sys.executable, "-I", str(tmp_path / "verify_export.py"), str(tmp_path / "receipts.jsonl")]
    assert subprocess.run(alone, check=False, capture_output=True).returncode == 0

    did = daemon.request("GET", "/v1/identity")[1]["did"]
    assert briefcase(daemon.env, "diagnostics", "bundle", "--verify", str(out), "--did", did).code == 0
    assert briefcase(daemon.env, "diagnostics", "bundle", "--verify", str(out), "--did", OTHER.did).code == 7
    out.write_bytes(pack(files | {"check.json": b"[]"}))
    assert briefcase(daemon.env, "diagnostics", "bundle", "--verify", str(out)).code == 7


def test_a_log_with_a_secret_in_it_stops_the_bundle_before_it_is_written(daemon, tmp_path):
    log = tmp_path / "app.log"
    log.write_text(f"authorization: {PLANTED}\n")
    ran = briefcase(daemon.env, "diagnostics", "bundle", "--out", str(tmp_path / "b.zip"), "--log", str(log))
    assert (ran.code, (tmp_path / "b.zip").exists()) == (6, False)
    assert "logs/0-app.log" in ran.err
    assert PLANTED not in ran.out + ran.err


def test_a_secret_in_a_compressed_log_stops_the_bundle_too(daemon, tmp_path):
    (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(f"authorization: {PLANTED}\n".encode() * 9))
    words = ("--out", str(tmp_path / "b.zip"), "--log", str(tmp_path / "app.log.1.gz"))
    ran = briefcase(daemon.env, "diagnostics", "bundle", *words)
    assert (ran.code, (tmp_path / "b.zip").exists()) == (6, False)
    assert PLANTED not in ran.out + ran.err


def test_a_log_that_can_not_be_looked_through_stops_the_bundle(daemon, tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(os.urandom(2_000))[:1_000])
    words = ("--out", str(tmp_path / "b.zip"), "--log", str(tmp_path / "a.gz"))
    ran = briefcase(daemon.env, "diagnostics", "bundle", *words)
    assert (ran.code, (tmp_path / "b.zip").exists(), "logs/0-a.gz" in ran.err) == (6, False, True)


def test_what_is_no_plain_log_or_can_not_be_cut_is_left_out_and_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "big.gz").write_bytes(gzip.compress(b"")[:10] + bytes(bundle.LOG_TAIL_BYTES))
    (tmp_path / os.fsdecode(b"\xff.log")).write_bytes(b"line\n")
    gathering = bundle.Gathering(None, OwnFiles(tmp_path / "absent"))
    for name in ("pipe", "big.gz", os.fsdecode(b"\xff.log")):
        gathering.add_log(tmp_path / name)
    gathering.add_log(Path("/dev/zero"))
    assert (list(gathering.files), len(gathering.missing)) == (["logs/0-\\xff.log"], 3)


def test_a_bundle_never_overwrites(daemon, tmp_path):
    (tmp_path / "b.zip").write_text("evidence")
    ran = briefcase(daemon.env, "diagnostics", "bundle", "--out", str(tmp_path / "b.zip"))
    assert (ran.code, (tmp_path / "b.zip").read_text()) == (3, "evidence")


def test_a_bundle_that_can_not_be_written_says_so(daemon, tmp_path):
    (tmp_path / "file").touch()
    ran = briefcase(daemon.env, "diagnostics", "bundle", "--out", str(tmp_path / "file" / "b.zip"))
    assert (ran.code, "cannot be written" in ran.err) == (9, True), ran.err


def test_without_its_daemon_a_bundle_holds_what_the_files_tell(daemon, tmp_path):
    daemon.stop()
    try:
        ran = briefcase(daemon.env, "diagnostics", "bundle", "--out", str(tmp_path / "b.zip"), "--json")
    finally:
        daemon.start()
    assert ran.code == 0, ran.err
    files = unpack((tmp_path / "b.zip").read_bytes())
    assert "MANIFEST.sig" not in files
    assert "security.json" in json.loads(files["missing.json"])
    assert {part["name"] for part in json.loads(files["check.json"])} == {"daemon", "security", "receipts", "disk"}


def test_beside_a_daemon_that_hangs_nothing_is_written_unsearched_and_what_to_do_is_said(daemon, tmp_path, monkeypatch):
    monkeypatch.setattr("briefcase.edges.cli.evidence.PROBE_TIMEOUT_S", 0.2)  # it never answers, however long
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        ran = run(FakeRoot(daemon.data_dir), "diagnostics", "bundle", "--out", str(tmp_path / "b.zip"), **daemon.env)
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    assert ran.code == 5
    assert "kill it and run this again" in ran.err
    assert not (tmp_path / "b.zip").exists()


def test_soak_evidence_is_signed_and_every_change_of_it_is_found(daemon, tmp_path):
    patient = ("--overhead-p95-ms", "30000")
    soak = (
        "diagnostics",
        "soak",
        "--duration-secs",
        "0.2",
        "--interval-ms",
        "20",
        "--tool",
        "notes_list",
        *patient,
        "--out",
    )
    assert briefcase(daemon.env, *soak, str(tmp_path / "a.json")).code == 0
    assert briefcase(daemon.env, "soak", "summarize", str(tmp_path), *patient).code == 0
    assert briefcase(daemon.env, "soak", "summarize", str(tmp_path), *patient).code == 0  # its own files are no reports
    did = daemon.request("GET", "/v1/identity")[1]["did"]

    good = briefcase(daemon.env, "soak", "verify", str(tmp_path), "--did", did, "--json")
    assert (good.code, good.json["files"], good.json["did"]) == (0, 3, did)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "added.json").touch()
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    os.mkfifo(tmp_path / "pipe")
    added = briefcase(daemon.env, "soak", "verify", str(tmp_path), "--json")
    assert added.code == 7
    assert added.json["problems"] == [f"`{name}` is not in the manifest" for name in ("link", "pipe", "sub/added.json")]
    report = json.loads((tmp_path / "a.json").read_text())
    report["measured"]["append_failures"] = 0
    (tmp_path / "a.json").write_text(json.dumps(report))
    bad = briefcase(daemon.env, "soak", "verify", str(tmp_path))
    assert (bad.code, "`a.json` is not what was signed" in bad.err) == (7, True)
