"""Commands that work on files: the chain without a daemon, tool manifests, policy tests."""

import hashlib
import json
import os

import lmdb
import pytest

from briefcase.core.wire.receipts import ReceiptRecord
from briefcase.edges.cli import policy_trials
from briefcase.edges.client.reply import Reply
from support.cli import CannedDaemon, FakeRoot, run
from support.daemons import RunningDaemon
from support.wire import example, reply_of

RECEIPTS = 6


@pytest.fixture(scope="module")
def ledger_files(tmp_path_factory):
    """The files of a daemon that made some receipts and left, by their names in the data directory."""
    data_dir = tmp_path_factory.mktemp("offline") / "data"
    with RunningDaemon(data_dir) as daemon:
        for number in range(RECEIPTS // 2):
            daemon.call("echo", {"text": str(number)})
        head = daemon.request("POST", "/v1/receipts/verify")[1]["head"]
        while_running = run(FakeRoot(data_dir), "receipts", "verify", "--data-dir", str(data_dir))
        assert daemon.stop() == 0
    files = {path.relative_to(data_dir): path.read_bytes() for path in (data_dir / "ledger").iterdir()}
    return files, head, while_running


@pytest.fixture
def data_dir(ledger_files, tmp_path):
    """A copy of those files."""
    (tmp_path / "ledger").mkdir()
    for name, data in ledger_files[0].items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def verify(data_dir, *options):
    return run(FakeRoot(data_dir), "receipts", "verify", "--data-dir", str(data_dir), *options)


def digests(data_dir) -> dict:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (data_dir / "ledger").iterdir()}


def edit(data_dir, change) -> None:
    """Change the receipts behind the daemon's back: `change(transaction, table)`."""
    with lmdb.open(str(data_dir / "ledger"), max_dbs=16, lib_version=0) as environment:
        table = environment.open_db(b"receipts")
        with environment.begin(write=True) as transaction:
            change(transaction, table)


def key(receipt_id: int) -> bytes:
    return receipt_id.to_bytes(8, "big")


def test_a_chain_verifies_from_its_files_alone_and_they_stay_as_they_are(data_dir, ledger_files):
    before = digests(data_dir)
    ran = verify(data_dir, "--json")
    assert (ran.code, ran.json["ok"]) == (0, True)
    assert ran.json["head"]["id"] >= ledger_files[1]["id"] >= RECEIPTS
    assert "tail_truncation" in ran.json["not_checked"]
    assert digests(data_dir) == before


def test_a_copy_without_its_lock_files_on_a_read_only_disk_will_do(data_dir):
    for name in ("lock.mdb", "ledger.lock"):
        (data_dir / "ledger" / name).unlink(missing_ok=True)
    (data_dir / "ledger" / "data.mdb").chmod(0o400)
    (data_dir / "ledger").chmod(0o500)
    assert verify(data_dir).code == 0
    assert sorted(path.name for path in (data_dir / "ledger").iterdir()) == ["data.mdb", "reserve"]
    (data_dir / "ledger").chmod(0o700)


def test_a_running_daemon_is_left_to_verify_itself(ledger_files):
    while_running = ledger_files[2]
    assert while_running.code == 9
    assert "a daemon is running" in while_running.err


@pytest.mark.parametrize("receipt_id", range(1, RECEIPTS + 1))
def test_a_changed_byte_is_found_where_it_is(data_dir, receipt_id):
    def flip(transaction, table):
        record = bytearray(transaction.get(key(receipt_id), db=table))
        record[-2] ^= 1
        transaction.put(key(receipt_id), bytes(record), db=table)

    edit(data_dir, flip)
    ran = verify(data_dir)
    assert ran.code == 7
    assert f"receipt {receipt_id} is wrong: its hash is not that of its link and event" in ran.err
    assert verify(data_dir, "--json").json["first_bad"]["id"] == receipt_id


def test_a_receipt_that_is_gone_is_found(data_dir):
    edit(data_dir, lambda transaction, table: transaction.delete(key(3), db=table))
    ran = verify(data_dir, "--json")
    assert (ran.code, ran.json["first_bad"]["id"], ran.json["first_bad"]["problem"]) == (7, 3, "id_sequence")


def test_a_cut_end_is_found_with_an_anchor_and_named_without(data_dir, ledger_files):
    head = ledger_files[1]

    def cut(transaction, table):
        with transaction.cursor(table) as cursor:
            while cursor.last() and int.from_bytes(cursor.key(), "big") >= head["id"]:
                cursor.delete()

    edit(data_dir, cut)
    assert verify(data_dir).code == 0
    anchored = verify(data_dir, "--anchor", f"{head['id']}:{head['hash_hex']}")
    assert anchored.code == 7
    assert "the chain ends before the anchor" in anchored.err


@pytest.mark.parametrize("kept", [0, 100, 4_096, 12_288])
def test_a_file_that_was_cut_short_is_an_error_and_no_crash(data_dir, kept):
    os.truncate(data_dir / "ledger" / "data.mdb", kept)
    ran = verify(data_dir)
    assert ran.code == 7
    assert "is damaged" in ran.err


def test_a_file_of_noise_is_an_error_and_no_crash(data_dir):
    (data_dir / "ledger" / "data.mdb").write_bytes(b"\xaa" * 65_536)
    assert verify(data_dir).code == 7


def test_a_directory_without_receipts_is_not_found(tmp_path):
    ran = verify(tmp_path)
    assert (ran.code, "no receipts" in ran.err) == (4, True)


# --- manifests --------------------------------------------------------------------------------------------------

OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "Tickets", "version": "1"},
    "servers": [{"url": "https://desk.example.com/api"}],
    "paths": {
        "/tickets/{number}": {
            "get": {
                "operationId": "showTicket",
                "summary": "One ticket\u202e",
                "parameters": [
                    {"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}},
                ],
                "responses": {"200": {"description": "it"}},
            },
        },
        "/tickets": {"get": {"operationId": "listTickets", "responses": {"200": {"description": "them"}}}},
    },
}


@pytest.fixture
def document(tmp_path):
    file = tmp_path / "tickets.json"
    file.write_text(json.dumps(OPENAPI))
    return file


def test_an_import_without_a_choice_lists_what_can_be_chosen(tmp_path, document):
    ran = run(FakeRoot(tmp_path), "tools", "import", "openapi", str(document))
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["OPERATION", "showTicket", "listTickets"]
    assert "\u202e" not in ran.out
    assert not (tmp_path / "tools").exists()


def test_an_import_writes_manifests_that_check_and_replaces_none_unasked(tmp_path, document):
    root = FakeRoot(tmp_path)
    command = ["tools", "import", "openapi", str(document), "--operation", "showTicket"]
    ran = run(root, *command)
    written = tmp_path / "tools" / "showTicket.json"
    assert (ran.code, ran.out) == (0, f"wrote {written}\n")
    assert written.stat().st_mode & 0o777 == 0o600
    checked = run(root, "tools", "check", str(written), "--json")
    assert checked.json == {"ok": True, "tools": ["showTicket"]}

    written.write_text("mine")
    refused = run(root, *command, "--operation", "listTickets")
    assert (refused.code, written.read_text()) == (3, "mine")
    assert not (tmp_path / "tools" / "listTickets.json").exists()
    assert run(root, *command, "--force").code == 0
    assert written.read_text() != "mine"


@pytest.mark.parametrize(
    ("text", "operation", "said"),
    [
        ("{", "showTicket", "syntax error"),
        ('{"openapi": "2.0"}', "showTicket", "3.0"),
        (json.dumps(OPENAPI), "nothing", "no operation `nothing` among 2"),
        (json.dumps(OPENAPI), "showTickets", "did you mean `showTicket` or `listTickets`?"),
        ("openapi: [3.1.0", "showTicket", "YAML"),
        ("openapi: 3.1.0", "showTicket", "no operation"),
    ],
)
def test_what_can_not_be_imported_is_refused_and_writes_nothing(tmp_path, text, operation, said):
    (tmp_path / "api.json").write_text(text)
    ran = run(FakeRoot(tmp_path), "tools", "import", "openapi", str(tmp_path / "api.json"), "--operation", operation)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "tools").exists()


def test_an_import_of_all_names_what_it_leaves_out_and_writes_nothing_when_it_is_dry(tmp_path, document):
    root = FakeRoot(tmp_path)
    changed = json.loads(document.read_text())
    changed["paths"]["/tickets"]["get"]["parameters"] = [{"name": "x", "in": "nowhere", "required": True}]
    changed["components"] = {"securitySchemes": {"k": {"type": "apiKey", "in": "query", "name": "key"}}}
    changed["security"] = [{"k": []}]
    document.write_text(json.dumps(changed))

    dry = run(root, "tools", "import", "openapi", str(document), "--all", "--dry-run")
    assert (dry.code, dry.out) == (0, f"would write {tmp_path / 'tools' / 'showTicket.json'}\n")
    assert "left out: `GET /tickets`" in dry.err
    assert "briefcase secrets set tickets --host desk.example.com" in dry.err
    assert not (tmp_path / "tools").exists()

    shown = run(root, "tools", "import", "openapi", str(document), "--all", "--dry-run", "--json").json
    assert [tool["manifest"]["id"] for tool in shown["tools"]] == ["showTicket"]
    assert [each["operation"] for each in shown["refused"]] == ["GET /tickets"]
    assert shown["secrets"] == [{"name": "tickets", "host": "desk.example.com"}]
    assert run(root, "tools", "import", "openapi", str(document), "--all", "--json").json["written"] == [
        str(tmp_path / "tools" / "showTicket.json")
    ]


LOADED = {"tools": 1, "added": ["showTicket"], "changed": [], "removed": []}


def test_an_import_is_loaded_by_a_daemon_that_runs_and_a_removal_too(document):
    with CannedDaemon() as daemon:
        daemon.answers["POST", "/v1/tools/reload"] = LOADED
        root = FakeRoot(daemon.data_dir)
        imported = run(root, "tools", "import", "openapi", str(document), "--operation", "showTicket")
        assert imported.code == 0
        assert "loaded: 1 added" in imported.err
        assert (daemon.data_dir / "tools" / "showTicket.json").exists()

        daemon.answers["POST", "/v1/tools/reload"] = (400, {"code": "invalid_manifest", "message": "`bad.json`: no"})
        refused = run(root, "tools", "remove", "showTicket")
        assert refused.code == 2
        assert "not loaded: `bad.json`: no" in refused.err
        assert "briefcase tools reload" in refused.err
        assert not (daemon.data_dir / "tools" / "showTicket.json").exists()

        daemon.answers["POST", "/v1/tools/reload"] = {**LOADED, "tools": 0, "added": [], "removed": ["showTicket"]}
        assert run(root, "tools", "reload").out == "removed showTicket\n"
        assert run(root, "tools", "reload", "--json").json["removed"] == ["showTicket"]


def test_a_tool_is_removed_whose_file_declares_no_other(tmp_path, document):
    root = FakeRoot(tmp_path)
    run(root, "tools", "import", "openapi", str(document), "--all")
    removed = run(root, "tools", "remove", "listTickets", "--json")
    assert removed.json == {"removed": [str(tmp_path / "tools" / "listTickets.json")], "loaded": None}
    unknown = run(root, "tools", "remove", "showTickets")
    assert (unknown.code, "did you mean `showTicket`?" in unknown.err) == (4, True)

    two = json.loads((tmp_path / "tools" / "showTicket.json").read_text())
    two["tools"].append({**two["tools"][0], "id": "other"})
    (tmp_path / "tools" / "showTicket.json").write_text(json.dumps(two))
    kept = run(root, "tools", "remove", "showTicket")
    assert (kept.code, "declares `other` too" in kept.err) == (3, True)
    assert run(root, "tools", "remove", "showTicket", "other").code == 0
    assert list((tmp_path / "tools").iterdir()) == []
    assert run(root, "tools", "remove", "echo").code == 4


def test_two_apis_have_their_ids_apart(tmp_path, document):
    root = FakeRoot(tmp_path)
    command = ["tools", "import", "openapi", str(document), "--operation", "showTicket"]
    assert run(root, *command).code == 0

    document.write_text(json.dumps({**OPENAPI, "info": {"title": "Other Desk", "version": "1"}}))
    other = run(root, *command)
    assert other.out == f"wrote {tmp_path / 'tools' / 'other-desk_showTicket.json'}\n"
    assert "the id `showTicket` is another tool's: ids begin with `other-desk_`" in other.err
    named = run(root, *command, "--name", "desk 2")
    assert named.out == f"wrote {tmp_path / 'tools' / 'desk-2_showTicket.json'}\n"
    assert run(root, *command, "--name", "…").code == 2


def test_a_document_of_swagger_2_is_named_as_one(tmp_path):
    paths = {"/a": {"get": {"operationId": "echo", "responses": {}}}}
    file = tmp_path / "api.json"
    file.write_text(
        json.dumps({"swagger": "2.0", "info": {"title": "A", "version": "1"}, "host": "a.example", "paths": paths})
    )
    ran = run(FakeRoot(tmp_path), "tools", "import", "openapi", str(file), "--operation", "echo")
    assert ran.out == f"wrote {tmp_path / 'tools' / 'a_echo.json'}\n"  # `echo` is the daemon's own
    assert "the document is Swagger 2.0" in ran.err


def test_a_wrong_manifest_is_named_with_its_file_tool_and_key(tmp_path):
    (tmp_path / "bad.toml").write_text('[[tools]]\nid = "x"\nurl = "http://169.254.169.254/"\n')
    ran = run(FakeRoot(tmp_path), "tools", "check", str(tmp_path / "bad.toml"))
    assert ran.code == 2
    assert "bad.toml" in ran.err
    assert run(FakeRoot(tmp_path), "tools", "check", str(tmp_path / "missing.toml")).code == 9
    assert run(FakeRoot(tmp_path), "tools", "check").code == 2


# --- policy tests -----------------------------------------------------------------------------------------------


def write_policy_test(directory, decision: str):
    (directory / "p.cedar").write_text('@id("all")\npermit(principal, action == Action::"Call", resource);\n')
    file = directory / "p.test.json"
    request = {
        "description": "scout calls echo",
        "principal": {"type": "Agent", "id": "scout"},
        "action": {"type": "Action", "id": "Call"},
        "resource": {"type": "Tool", "id": "echo"},
        "context": {},
        "decision": decision,
    }
    file.write_text(json.dumps({"policies": "p.cedar", "entities": [], "requests": [request]}))
    return file


def test_policy_tests_pass_or_show_the_difference(tmp_path):
    root = FakeRoot(tmp_path)
    passed = run(root, "policy", "test", str(write_policy_test(tmp_path, "allow")))
    assert (passed.code, passed.out.split()[0]) == (0, "ok")
    failed = run(root, "policy", "test", str(write_policy_test(tmp_path, "deny")))
    assert (failed.code, failed.out.split()[0]) == (3, "failed")
    assert "scout calls echo" in failed.out
    assert run(root, "policy", "test", str(tmp_path / "missing.json")).code == 2
    assert run(root, "policy", "test", str(tmp_path / "p.cedar")).code == 2


class Pages:
    """A daemon that holds receipts with these times, and gets one more before every page."""

    def __init__(self, times: list[str]) -> None:
        self.receipts = [example(ReceiptRecord, id=number, ts=ts) for number, ts in enumerate(times, 1)]

    def get(self, path, kind, *, limit, offset, since, until) -> Reply:
        found = [one for one in reversed(self.receipts) if until is None or one["ts"] <= until]
        self.receipts.append(example(ReceiptRecord, id=len(self.receipts) + 1, ts="9"))
        return reply_of(kind, {"receipts": found[offset : offset + limit]}, path)


@pytest.mark.parametrize("times", ["", "1", "111", "123", "1223334444", "1" * 20, "1" + "2" * 20 + "3"])
def test_every_receipt_is_replayed_once_whatever_arrives_meanwhile(monkeypatch, times):
    monkeypatch.setattr(policy_trials, "PAGE_RECEIPTS", 3)
    pages = policy_trials._pages(Pages(list(times)), None)
    assert [one.id for page in pages for one in page] == list(range(len(times), 0, -1))
