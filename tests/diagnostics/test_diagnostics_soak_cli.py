"""`diagnostics soak`, `soak summarize` and `slo check` as the operations guide types them, against a real daemon."""

import json
import os
import signal
import subprocess
import sys

import pytest
from diagnostics_rig import briefcase

from briefcase import __version__
from support.daemons import RunningDaemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("soak") / "data") as running:
        yield running


PATIENT = ("--overhead-p95-ms", "30000")  # how slow the disk is while other tests run is not the question


def soak_words(out, *more):
    return ("diagnostics", "soak", "--interval-ms", "20", "--tool", "notes_list", "--out", str(out), *PATIENT, *more)


def test_a_soak_as_the_guide_types_it_writes_its_report_and_exits_by_its_verdict(daemon, tmp_path):
    ran = briefcase(daemon.env, *soak_words("dist/soak-report.json", "--duration-secs", "0.5"), cwd=tmp_path)
    report = json.loads((tmp_path / "dist" / "soak-report.json").read_text())

    assert ran.code == 0, ran.err
    assert report["ok"]
    assert report["measured"]["by_status"] == {"ok": 25}
    assert report["after"]["identity"]["did"].startswith("did:key:")
    assert report["after"]["receipt_head"]["id"] >= report["before"]["receipt_head"]["id"] + 50
    assert report["after"]["max_sync_ms"] > 0
    assert report["host"]["cpus"] >= 1
    assert report["after"]["identity"]["version"] == report["client"]["briefcase"] == __version__
    assert "availability" in ran.out


def test_a_missed_objective_is_in_the_exit_code(daemon, tmp_path):
    words = soak_words(tmp_path / "r.json", "--duration-secs", "0.2", "--overhead-p95-ms", "0.001")
    assert briefcase(daemon.env, *words).code == 7
    assert json.loads((tmp_path / "r.json").read_text())["ok"] is False


def test_the_guides_own_soak_of_calls_that_are_all_denied_is_not_green(daemon, tmp_path):
    words = ("diagnostics", "soak", "--interval-ms", "20", "--tool", "quote", "--out", str(tmp_path / "r.json"))
    ran = briefcase(daemon.env, *words, *PATIENT, "--duration-secs", "0.2")
    report = json.loads((tmp_path / "r.json").read_text())

    assert set(report["measured"]["by_status"]) == {"denied"}
    assert ran.code == 7
    assert (report["ok"], report["verdict"]) == (False, "calls_not_allowed")
    assert "verdict: calls_not_allowed (" in ran.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_soak_still_writes_its_report(daemon, tmp_path, number):
    out = tmp_path / "r.json"
    command = [sys.executable, "-m", "briefcase", *soak_words(out, "--duration-secs", "600")]
    before = daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
    with subprocess.Popen(command, env=daemon.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as soak:
        while daemon.request("GET", f"/v1/receipts?after_id={before}")[1]["receipts"] == []:
            assert soak.poll() is None
        soak.send_signal(number)
        code = soak.wait(timeout=120)

    report = json.loads(out.read_text())
    assert code == 0
    assert report["interrupted"]
    assert report["measured"]["answered"] > 0


def test_reports_are_joined_into_a_page_and_a_statement(daemon, tmp_path):
    for name in ("a.json", "b.json"):
        assert briefcase(daemon.env, *soak_words(tmp_path / name, "--duration-secs", "0.2")).code == 0

    ran = briefcase(daemon.env, "soak", "summarize", str(tmp_path), *PATIENT, "--json")

    assert ran.code == 0, ran.err
    assert (ran.json["reports"], len(ran.json["hours_by_day"]), ran.json["gaps"]) == (2, 1, [])
    assert json.loads((tmp_path / "evidence.json").read_text()) == ran.json
    assert "meets its objectives" in (tmp_path / "evidence.html").read_text()


def test_a_report_whose_name_is_no_text_is_named(daemon, tmp_path):
    (tmp_path / os.fsdecode(b"\xff.json")).touch()
    ran = briefcase(daemon.env, "soak", "summarize", str(tmp_path))
    assert (ran.code, "`\\xff.json`" in ran.err) == (2, True), ran.err


def test_evidence_that_can_not_be_written_says_so(daemon, tmp_path):
    (tmp_path / "evidence.html").mkdir()
    ran = briefcase(daemon.env, "soak", "summarize", str(tmp_path))
    assert (ran.code, "cannot be written" in ran.err) == (9, True), ran.err


def test_a_deployment_is_held_against_its_objectives(daemon):
    met = briefcase(daemon.env, "slo", "check", "--duration-secs", "0.3", *PATIENT, "--json")
    missed = briefcase(daemon.env, "slo", "check", "--duration-secs", "0.3", "--overhead-p95-ms", "0.001")

    assert (met.code, met.json["ok"]) == (0, True)
    assert (missed.code, "overhead_p95_ms" in missed.out) == (7, True)


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ((), 2, "--interval-ms or --rate"),
        (("--rate", "5", "--interval-ms", "5"), 2, "--interval-ms or --rate"),
        (("--rate", "5", "--args-json", "[]"), 2, "JSON object"),
        (("--rate", "5", "--duration-secs", "nan"), 2, "no number"),
        (("--rate", "5", "--duration-secs", "inf"), 2, "not in the range"),
        (("--rate", "1000000"), 2, "not in the range"),
        (("--interval-ms", "nan"), 2, "no number"),
        (("--rate", "5", "--overhead-p95-ms", "nan"), 2, "no number"),
        (("--rate", "5", "--overhead-p95-ms", "inf"), 2, "no number"),
    ],
)
def test_a_soak_that_makes_no_sense_says_so_before_it_begins(daemon, tmp_path, more, code, says):
    words = ("diagnostics", "soak", "--duration-secs", "1", "--tool", "echo", "--out", str(tmp_path / "r"))
    ran = briefcase(daemon.env, *words, *more)
    assert (ran.code, says in ran.err) == (code, True), ran.err
    assert not (tmp_path / "r").exists()


def test_a_report_that_can_not_be_written_is_told_before_anything_is_called(daemon, tmp_path):
    (tmp_path / "file").touch()
    before = daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
    ran = briefcase(daemon.env, *soak_words(tmp_path / "file" / "r.json", "--duration-secs", "600"))
    assert (ran.code, "cannot be written" in ran.err) == (9, True), ran.err
    assert daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"] == before


def test_without_a_daemon_nothing_is_measured_and_the_exit_code_says_unreachable(tmp_path):
    env = {**os.environ, "BRIEFCASE_DATA_DIR": str(tmp_path / "data"), "BRIEFCASE_AUTH_TOKEN": "t" * 43}
    ran = briefcase(env, *soak_words(tmp_path / "r.json", "--duration-secs", "1"))
    assert ran.code == 5
    assert not (tmp_path / "r.json").exists()
