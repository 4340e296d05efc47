"""Exports verify by themselves, are exact while the daemon writes, and are held against the chain they came from."""

import json
import resource
import subprocess
import sys
import threading

import pytest

from support.cli import FakeRoot, run
from support.daemons import RunningDaemon


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("export") / "data") as daemon:
        for number in range(5):
            daemon.call("echo", {"text": f"é漢{number}"})
        daemon.call("note_add", {"text": "waits"})
        yield daemon


def cli(daemon, *args):
    return run(FakeRoot(daemon.data_dir), "receipts", *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path)


def verified(export, *options):
    script = export.parent / "verify_export.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, export, *options], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def lines_of(export):
    return [json.loads(line) for line in export.read_bytes().splitlines()]


def test_an_export_verifies_with_the_standard_library_alone(served, tmp_path):
    export = tmp_path / "all.jsonl"
    ran = cli(served, "export", "--out", str(export), "--json")
    assert ran.code == 0, ran
    assert [line["id"] for line in lines_of(export)] == list(range(1, ran.json["receipts"] + 1))
    code, said = verified(export, ran.json["head"])
    assert (code, "not checked" in said) == (0, False), said
    assert export.stat().st_mode & 0o777 == 0o600
    again = cli(served, "export", "--out", str(export))
    assert (again.code, "exists" in again.err) == (3, True)


def test_an_export_writes_through_nothing_that_somebody_put_there(served, tmp_path):
    theirs, kept = tmp_path / "theirs", []
    theirs.write_text("theirs")
    theirs.chmod(0o666)
    (tmp_path / "verify_export.py").symlink_to(theirs)
    for name in ("a.jsonl.new", "verify_export.py.new"):
        (tmp_path / name).write_text("waits for ours")
        (tmp_path / name).chmod(0o666)
        kept.append((tmp_path / name).open("rb"))

    assert cli(served, "export", "--out", str(tmp_path / "a.jsonl")).code == 0

    assert theirs.read_text() == "theirs"
    assert [file.read() for file in kept] == [b"waits for ours"] * 2
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("a.jsonl", "verify_export.py")} == {0o600}
    assert verified(tmp_path / "a.jsonl")[0] == 0
    for file in kept:
        file.close()


def test_a_range_is_exact_and_a_filtered_export_says_that_it_has_gaps(served, tmp_path):
    part = tmp_path / "part.jsonl"
    assert cli(served, "export", "--out", str(part), "--from-id", "3", "--to-id", "7").code == 0
    assert [line["id"] for line in lines_of(part)] == [3, 4, 5, 6, 7]
    assert verified(part)[0] == 0
    chosen = tmp_path / "chosen.jsonl"
    ran = cli(served, "export", "--out", str(chosen), "--kind", "outcome")
    assert "--filtered" in ran.err
    assert {line["event"]["kind"] for line in lines_of(chosen)} == {"outcome"}
    assert verified(chosen)[0] == 7
    code, said = verified(chosen, "--filtered")
    assert (code, "gaps" in said) == (0, True)


def test_an_export_is_a_whole_prefix_while_the_daemon_appends(served, tmp_path):
    stop = threading.Event()

    def load():
        while not stop.is_set():
            served.call("echo", {"text": "more"})

    workers = [threading.Thread(target=load) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for number in range(3):
            export = tmp_path / f"{number}.jsonl"
            ran = cli(served, "export", "--out", str(export), "--json")
            assert lines_of(export)[-1]["id"] == ran.json["to_id"] == ran.json["receipts"]
            assert verified(export, ran.json["head"])[0] == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def test_files_alone_give_the_same_export_and_an_import_says_what_a_cut_chain_lacks(tmp_path):
    data_dir, online, offline = tmp_path / "data", tmp_path / "online.jsonl", tmp_path / "offline.jsonl"
    with RunningDaemon(data_dir) as daemon:
        daemon.call("echo", {"text": "one"})
        daemon.kill()
        early = (data_dir / "ledger" / "data.mdb").read_bytes()
        daemon.start()
        daemon.call("echo", {"text": "two"})
        assert cli(daemon, "export", "--out", str(online)).code == 0
        last_id = lines_of(online)[-1]["id"]
        same = cli(daemon, "import", str(online), "--json")
        assert (same.code, same.json["same"], same.json["missing"]) == (0, last_id, [])
        daemon.stop()

    root = FakeRoot(data_dir)
    ran = run(root, "receipts", "export", "--data-dir", str(data_dir), "--out", str(offline), "--to-id", str(last_id))
    assert ran.code == 0, ran
    assert offline.read_bytes() == online.read_bytes()

    (data_dir / "ledger" / "data.mdb").write_bytes(early)  # the whole ledger rolled back
    ran = run(root, "receipts", "import", str(online), "--data-dir", str(data_dir), "--json")
    assert (ran.code, ran.json["links"], ran.json["differ"]) == (0, True, [])
    assert ran.json["missing"][-1] == last_id
    (archive,) = (data_dir / "archive").iterdir()
    assert [line["id"] for line in lines_of(archive)] == ran.json["missing"]
    assert run(root, "receipts", "verify", "--data-dir", str(data_dir), "--json").json["checked"] < last_id

    with RunningDaemon(data_dir) as daemon:  # it goes on from the old end: the chains part
        daemon.call("echo", {"text": "other"})
        ran = cli(daemon, "import", str(online))
        assert ran.code == 7
        assert "the chains parted there" in ran.err


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b"echo", b"ecno"), *lines[3:]], 7),
        (lambda lines: [lines[0], *lines[2:]], 7),
        (lambda lines: [*lines[:2], lines[2][:40]], 7),
        (lambda lines: [*lines[:2], bytes((4 << 20) + 1)], 7),
        (lambda lines: [lines[0][:40], *lines[1:]], 2),
        (lambda lines: [b"[" * 100_000], 2),
        (lambda lines: [b'{"id":1,"ts":"x","prev_hash_hex":"","hash_hex":"","event":{}}'], 2),
        (lambda lines: [], 2),
    ],
)
def test_a_damaged_export_is_refused_and_nothing_is_kept_of_it(served, tmp_path, damage, code):
    export = tmp_path / "all.jsonl"
    cli(served, "export", "--out", str(export))
    export.write_bytes(b"".join(line + b"\n" for line in damage(export.read_bytes().splitlines())))
    ran = cli(served, "import", str(export))
    assert ran.code == code, ran
    assert verified(export)[0] == code
    assert not (served.data_dir / "archive").exists()


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(served, tmp_path):
    export = tmp_path / "all.jsonl"
    cli(served, "export", "--out", str(export))
    for program in (["-m", "briefcase", "receipts", "import"], [str(tmp_path / "verify_export.py")]):
        ran = subprocess.run(
            [sys.executable, *program, "/dev/zero"],
            env=served.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
        )
        assert ran.returncode == 2, ran


@pytest.mark.parametrize(
    "change",
    [
        {"id": "1"},
        {"id": True},
        {"id": "\x1b[2K5000 receipts verify"},
        {"hash_hex": "\x1b[2K5000 receipts verify"},
        {"hash_hex": 7},
    ],
)
def test_a_hostile_export_neither_passes_nor_writes_to_the_terminal_of_who_verifies_it(served, tmp_path, change):
    export = tmp_path / "all.jsonl"
    cli(served, "export", "--out", str(export))
    first, *rest = export.read_bytes().splitlines()
    receipt = json.loads(first) | change
    if "id" in change:
        receipt["event"]["id"] = change["id"]
    export.write_bytes(b"\n".join([json.dumps(receipt).encode(), *rest]))
    code, said = verified(export)
    assert code in {2, 7}, said
    assert "\x1b" not in said
