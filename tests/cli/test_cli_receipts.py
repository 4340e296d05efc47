"""Receipts for people and programs: by agent, as they come, in other forms; a word that matches nothing is refused."""

import csv
import io
import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from briefcase.core.receipts.audit import Audit
from briefcase.edges.cli import following
from briefcase.edges.cli.receipt_filters import DECISIONS
from briefcase.edges.diagnostics.audit_page import Subject, audit_page
from briefcase.model.types import Receipt
from support.cli import FakeRoot
from support.cli import run as run_with
from support.daemons import RunningDaemon

MADE = datetime(2026, 11, 29, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m&amp;\"'"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("receipts") / "data") as daemon:
        status, scout = daemon.request("POST", "/v1/agents", {"name": "scout"})
        assert status == 200
        daemon.call("echo", {"text": "mine"})
        daemon.call("echo", {"text": "=1+1"}, token=scout["token"])
        daemon.call("note_add", {"text": HOSTILE}, token=scout["token"])
        daemon.call("nothing", {}, token=scout["token"])
        yield daemon


def cli(daemon, *args):
    return run_with(FakeRoot(daemon.data_dir), "receipts", *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path)


def test_receipts_of_one_agent_are_listed_and_exported(served, tmp_path):
    ran = cli(served, "list", "--agent", "scout", "--json")
    listed = ran.json["receipts"]
    assert {receipt["event"]["principal"] for receipt in listed} == {"scout"}
    out = tmp_path / "scout.jsonl"
    assert cli(served, "export", "--out", str(out), "--agent", "scout").code == 0
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [one["id"] for one in listed[::-1]]


@pytest.mark.parametrize(
    ("option", "word", "said"),
    [
        ("--agent", "scuot", "no agent is called `scuot`: did you mean `scout`?"),
        ("--tool", "ecko", "no tool is called `ecko`: did you mean `echo`?"),
        ("--kind", "denial", "no receipt is of the kind `denial`: did you mean `denied`?"),
    ],
)
@pytest.mark.parametrize("command", ["list", "export", "report"])
def test_a_word_that_matches_nothing_is_refused_with_those_there_are(served, tmp_path, command, option, word, said):
    out = tmp_path / "out"
    ran = cli(served, command, option, word, *([] if command == "list" else ["--out", str(out)]))
    assert (ran.code, said in ran.err, "there are: " in ran.err) == (4, True, True), ran
    assert not out.exists()


def test_words_that_matched_once_and_not_in_this_time_are_no_mistake(served):
    for words in (("--tool", "nothing"), ("--agent", "operator"), ("--kind", "provider_set")):
        ran = cli(served, "list", *words, "--until", "2001-01-01T00:00:00Z")
        assert (ran.code, "no receipts match" in ran.out) == (0, True), ran


def test_a_decision_is_one_of_three_words(served):
    ran = cli(served, "list", "--decision", "denied")
    assert ran.code == 2
    assert all(word in ran.err for word in DECISIONS)


def test_files_name_the_agents_and_tools_that_their_receipts_name(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.call("echo", {"text": "x"})
        daemon.stop()
        ran = cli(daemon, "export", "--out", "-", "--data-dir", str(daemon.data_dir), "--tool", "ecko")
        assert (ran.code, "did you mean `echo`?" in ran.err) == (4, True)
        there = cli(daemon, "export", "--out", "-", "--data-dir", str(daemon.data_dir), "--agent", "operator")
        assert there.out.count("\n") == 2


def test_csv_and_ocsf_are_written_to_files_and_to_the_output(served, tmp_path):
    out = tmp_path / "receipts.csv"
    assert cli(served, "export", "--out", str(out), "--format", "csv").code == 0
    rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode(), newline="")))
    assert [int(row["id"]) for row in rows] == list(range(1, len(rows) + 1))
    assert not (tmp_path / "verify_export.py").exists()
    ran = cli(served, "export", "--out", "-", "--format", "ocsf-1.9", "--agent", "scout")
    events = [json.loads(line) for line in ran.out.splitlines()]
    did = served.request("GET", "/v1/identity")[1]["did"]
    assert {event["attestation"]["authority_uid"] for event in events} == {did}
    assert {event["metadata"]["version"] for event in events} == {"1.9.0"}
    listed = cli(served, "list", "--format", "ocsf", "--limit", "2")
    assert [json.loads(line)["class_uid"] for line in listed.out.splitlines()] == [6003, 6003]


def test_options_that_contradict_each_other_are_refused(served, tmp_path):
    for words in (
        ("list", "--json", "--format", "csv"),
        ("list", "--follow", "--offset", "1"),
        ("export", "--out", str(tmp_path / "x"), "--follow"),
        ("export", "--out", "-", "--follow", "--to-id", "3"),
        ("export", "--out", "-", "--json"),
    ):
        assert cli(served, *words).code == 2, words


def test_following_gives_each_receipt_once_over_a_restart_of_the_daemon(tmp_path, monkeypatch):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.call("echo", {"text": "one"})
        rounds = iter([
            lambda: daemon.call("echo", {"text": "two"}),
            daemon.kill,
            lambda: None,
            daemon.start,
            lambda: daemon.call("echo", {"text": "three"}),
            lambda: None,
        ])  # fmt: skip

        def between_two_looks(_: float) -> None:
            step = next(rounds, None)
            if step is None:
                raise KeyboardInterrupt
            step()

        monkeypatch.setattr(following, "time", SimpleNamespace(sleep=between_two_looks))
        ran = cli(daemon, "export", "--out", "-", "--follow")
        assert ran.code == 130
        ids = [json.loads(line)["id"] for line in ran.out.splitlines()]
        assert ids == list(range(1, ids[-1] + 1))
        assert [json.loads(line)["event"]["kind"] for line in ran.out.splitlines()].count("boot") == 2
        assert (ran.err.count("waiting for the daemon"), ran.err.count("is back")) == (1, 1)
        table = cli(daemon, "list", "--follow", "--limit", "2")
        assert [int(line.split()[0]) for line in table.out.splitlines()] == ids[-2:]
        lines = cli(daemon, "list", "--follow", "--limit", "2", "--json")
        assert [json.loads(line)["id"] for line in lines.out.splitlines()] == ids[-2:]


def test_following_stops_where_an_older_chain_was_put_in_place(run, daemon):
    daemon.answers["GET", "/v1/receipts"] = {"receipts": []}
    ran = run("receipts", "export", "--out", "-", "--follow", "--from-id", "12")
    assert (ran.code, "the chain ends at receipt 0, and receipt 11 was read" in ran.err) == (7, True)


def test_a_daemon_that_does_not_know_a_filter_is_not_believed(run, daemon):
    one = {"id": 1, "ts": "2026-11-29T14:00:00.000000Z", "prev_hash_hex": "0" * 64, "hash_hex": "1" * 64}
    daemon.answers["GET", "/v1/receipts"] = {"receipts": [{**one, "event": {"principal": "ranger"}}]}
    for words in (("list",), ("export", "--out", "-")):
        ran = run("receipts", *words, "--agent", "scout")
        assert (ran.code, "expected receipts that the filter lets pass" in ran.err) == (11, True), ran


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_report_says_what_verified_and_counts_by_agent_and_day(served, tmp_path):
    out = tmp_path / "audit.html"
    ran = cli(served, "report", "--out", str(out), "--json")
    assert (ran.code, ran.json["ok"]) == (0, True)
    page = out.read_text()
    assert f"The chain verifies: {ran.json['receipts']} receipts" in page
    assert f"<h3>{datetime.now(UTC):%Y-%m}" in page
    assert re.search(r'data-head="Agent">scout</td>', page)
    assert "unknown_tool&nbsp;(1)" in page
    assert out.stat().st_mode & 0o777 == 0o600
    assert cli(served, "report", "--out", str(out)).code == 3


def test_the_report_of_a_broken_chain_says_so_first_and_exits_with_7(run, daemon, tmp_path):
    bad = dict.fromkeys(("expected_prev_hash_hex", "found_prev_hash_hex", "expected_hash_hex", "found_hash_hex"), "")
    daemon.answers["POST", "/v1/receipts/verify"] = {
        "ok": False, "checked": 2, "head": {"id": 3, "hash_hex": "1" * 64}, "not_checked": [],
        "first_bad": {"id": 3, "problem": "hash", **bad},
    }  # fmt: skip
    daemon.answers["GET", "/v1/receipts"] = {"receipts": []}
    ran = run("receipts", "report", "--out", str(tmp_path / "audit.html"))
    assert ran.code == 7
    assert "does not verify from receipt 3 on" in (tmp_path / "audit.html").read_text()


def test_whatever_a_receipt_says_is_read_on_the_page_and_never_acts():
    audit, ts = Audit(), "2026-11-29T14:00:00.000000Z"
    names = ("principal", "tool_id", "reason", "status", "by", "agent", "kind", HOSTILE)
    for kind in ("denied", "approval_decided", "intent", HOSTILE):
        for without in ((), ("principal",)):
            event = {name: HOSTILE for name in names if name not in without} | {"kind": kind, "id": 1, "ts": ts}
            audit.add(Receipt(1, HOSTILE[:10] if kind == "denied" else ts, "", "", event))
    subject = Subject(HOSTILE, holds=True, not_excluded=(HOSTILE,), head=HOSTILE, chosen=HOSTILE, made=MADE)
    page = audit_page(audit, subject)
    for acting in ("<script", "\u202e", "\x1b", "&amp;\"'"):
        assert acting not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;U+202E&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href|url)\s*[=(]", page)
