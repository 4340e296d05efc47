"""The sign-off gate names what thirty days of evidence leave open."""

import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "diagnostics"))

from sign_off import missing_in, missing_of
from test_diagnostics_pages import report, statement_of

DAY_S = 86_400.0
START_S = 1_700_006_400.0  # a midnight in UTC


def days(count, *, elapsed_s=DAY_S):
    return [report(START_S + day * DAY_S, elapsed_s) for day in range(count)]


def test_thirty_whole_days_leave_nothing_open(tmp_path):
    assert list(missing_in(statement_of(tmp_path, *days(30)))) == []


def test_a_day_too_few_is_said(tmp_path):
    (said,) = missing_in(statement_of(tmp_path, *days(29)))
    assert said.startswith("29 of 30 days")


def test_a_gap_is_said_with_its_place(tmp_path):
    reports = days(31)
    reports[10] = report(START_S + 10 * DAY_S, DAY_S - 3 * 3_600)
    (said,) = [line for line in missing_in(statement_of(tmp_path, *reports)) if "gap" in line]
    assert said.startswith("a gap of 3.0 hours, from ")


def test_an_objective_that_is_not_met_is_said(tmp_path):
    statement = statement_of(tmp_path, *[report(START_S + day * DAY_S, DAY_S, 200_000) for day in range(30)])
    assert [line for line in missing_in(statement) if "overhead" in line]


def test_evidence_that_nobody_signed_is_said(tmp_path):
    (tmp_path / "a.json").write_bytes(msgspec.json.encode({"format": "x"}))
    found = list(missing_of(tmp_path, None))
    assert found[0].startswith("the evidence is not as it was signed")
    assert any(line.startswith("0 of 30 days") for line in found)
