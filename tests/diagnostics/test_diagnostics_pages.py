"""The pages: what they show is text, their figures claim no more than was measured, and a phone reads them."""

import re

import orjson
import pytest
from hdrh.histogram import HdrHistogram

from briefcase.edges.diagnostics import evidence, html_page, html_plot
from briefcase.edges.diagnostics.evidence import summarize
from briefcase.edges.diagnostics.evidence_page import page
from briefcase.edges.diagnostics.slo import Objectives
from briefcase.edges.diagnostics.soak import HIGHEST_US, REPORT_FORMAT, SIGNIFICANT_DIGITS

MIB = float(1 << 20)
DAY_S = 86_400
FIRST_S = 20_000 * DAY_S  # 2024-10-04, a Friday
HOSTILE = "<script>alert(1)</script>\u202e"


def report(started_s, elapsed_s=3_600.0, overhead_us=3_000, **measured):
    histogram = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)
    for _ in range(100):
        histogram.record_value(overhead_us)
    encoded = histogram.encode().decode()
    return {
        "format": REPORT_FORMAT,
        "started_at_unix_s": started_s,
        "elapsed_s": elapsed_s,
        "interrupted": False,
        "measured": {
            "attempted": 100,
            "answered": 100,
            "append_failures": 0,
            "overhead_histogram": encoded,
            "latency_histogram": encoded,
            "by_error": {},
            "by_status": {"ok": 100},
            **measured,
        },
        "after": {},
    }


def write_json(path, document):
    path.write_bytes(orjson.dumps(document))


def statement_of(directory, *reports):
    for number, one in enumerate(reports):
        write_json(directory / f"{number:03}.json", one)
    return summarize(sorted(directory.glob("*.json")), Objectives())


def test_a_day_counts_by_the_hours_that_were_measured(tmp_path):
    whole = [report(FIRST_S + hour * 3_600) for hour in range(24)]
    part = [report(FIRST_S + DAY_S + hour * 3_600) for hour in range(21)]
    twice = report(FIRST_S + DAY_S + 600, 1_800.0)  # within the first hour of that day, which counts once
    over_midnight = report(FIRST_S + 3 * DAY_S - 1_800, 7_200.0)
    statement = statement_of(tmp_path, *whole, *part, twice, over_midnight)
    assert [round(hours, 3) for hours in statement.hours.values()] == [24, 21, 0.5, 1.5]
    assert (statement.days, round(statement.hours_covered, 3)) == (1, 47)
    summary = statement.as_json()
    assert summary["hours_by_day"] == {"2024-10-04": 24.0, "2024-10-05": 21.0, "2024-10-06": 0.5, "2024-10-07": 1.5}
    shown = page(statement)
    assert "1 of 30 days count" in shown
    cells = re.findall(r'<div class="day (\w+)" title="(\S+): ([\d.]+) h">', shown)
    assert len(cells) == 30
    assert cells[-4:] == [
        ("full", "2024-10-04", "24.0"), ("part", "2024-10-05", "21.0"), ("part", "2024-10-06", "0.5"),
        ("part", "2024-10-07", "1.5"),
    ]  # fmt: skip
    assert shown.count("<div></div>") == 6  # the month's first day is a Sunday: the columns are week days


def test_reports_of_more_than_the_month_are_said_to_be_there(tmp_path):
    statement = statement_of(tmp_path, report(FIRST_S), report(FIRST_S + 40 * DAY_S))
    assert "1 day before these had reports, too." in page(statement)


def test_the_objectives_line_is_drawn_and_what_passes_it_is_marked(tmp_path):
    slow = report(FIRST_S + 3_600, overhead_us=210_000)
    shown = page(statement_of(tmp_path, report(FIRST_S), slow))
    assert "150 ms: the objective" in shown
    assert (shown.count('class="dot"'), shown.count('class="dot over"')) == (1, 1)
    assert "The worst report: 210 ms" in shown


@pytest.mark.parametrize(
    ("answered", "shown"), [(100_000, "100%"), (99_899, "99.899%"), (99_999, "99.999%"), (0, "0%")]
)
def test_a_share_that_is_not_reached_is_not_shown_as_reached(tmp_path, answered, shown):
    one = report(FIRST_S, attempted=100_000, answered=answered, by_status={"ok": answered})
    assert f">{shown}</td>" in page(statement_of(tmp_path, one))


def test_memory_and_open_files_have_slopes_in_words(tmp_path):
    reports = [
        report(
            FIRST_S + day * DAY_S,
            memory_bytes={"first": (40 + day) * MIB, "last": (41 + day) * MIB},
            open_files={"first": 30, "last": 30},
        )
        for day in range(4)
    ]
    statement = statement_of(tmp_path, *reports)
    shown = page(statement)
    slope = re.search(r"Private memory: \+([\d.]+) MiB a day", shown)
    assert 0.9 < float(slope[1]) < 1.2
    assert "40 MiB at first, 44 MiB at last" in shown
    assert "Open files: stays as it is" in shown
    summary = statement.as_json()
    assert (summary["open_files"]["per_day"], summary["memory_bytes"]["first"]) == (0.0, 40 * MIB)


@pytest.mark.parametrize("wrong", [{"first": -1}, {"first": 1e308}, {"last": "much"}, 7])
def test_a_slope_that_is_none_is_named(tmp_path, wrong):
    statement = statement_of(tmp_path, report(FIRST_S, memory_bytes=wrong))
    assert len(statement.unreadable) == 1


def test_what_was_not_measured_is_said(tmp_path):
    shown = page(statement_of(tmp_path, report(FIRST_S)))
    assert shown.count("not measured (the soak ran on another host than the daemon)") == 2
    assert "No gap of more than two hours." in shown
    empty = page(summarize([], Objectives()))
    assert "does not meet its objectives" in empty


def test_a_statement_that_is_not_whole_does_not_say_that_every_objective_was_met(tmp_path):
    write_json(tmp_path / "x.json", {})
    shown = page(statement_of(tmp_path, report(FIRST_S)))
    assert "The objectives were met by what was counted. 1 file could not be counted." in shown


def test_the_words_of_a_verdict_and_of_an_answer(tmp_path):
    denied = report(FIRST_S, by_status={"denied": 60, "approval_required": 40})
    shown = page(statement_of(tmp_path, denied))
    assert "Calls were not allowed to run" in shown
    assert ("were denied" in shown, "waited for a person" in shown, "60%" in shown) == (True, True, True)


# --- what pages are made of -------------------------------------------------------------------------------------------


def test_a_page_is_one_file_for_a_phone_and_the_dark_that_nothing_runs_on():
    whole = html_page.page(HOSTILE, [html_page.text(HOSTILE)])
    assert "<script" not in whole
    assert "\u202e" not in whole
    for needed in ("default-src 'none'", "width=device-width", "prefers-color-scheme:dark", "max-width:40rem"):
        assert needed in whole
    assert not re.search(r"(?:src|href|url)\s*[=(]", whole)


def test_every_cell_of_a_table_says_its_column_for_a_narrow_screen():
    shown = html_page.table(("What", ">How many"), [("a", "1"), ("b", "2")])
    assert re.findall(r'data-head="([^"]+)">([^<]+)<', shown) == [
        ("What", "a"), ("How many", "1"), ("What", "b"), ("How many", "2")
    ]  # fmt: skip
    assert html_page.table(("What",), [], empty="Nothing.") == "<p class=soft>Nothing.</p>"


def test_an_id_breaks_behind_its_signs_and_is_escaped():
    assert html_page.code("did:key:z6<b>") == "<code>did:<wbr>key:<wbr>z6&lt;b&gt;</code>"


def test_what_passes_a_limit_depends_on_its_side():
    points = [html_plot.Point(0, 1, "one"), html_plot.Point(1, 3, "three")]
    scale = html_plot.linear_scale([1, 3], "x")
    for is_least, over in ((False, "three"), (True, "one")):
        drawn = html_plot.over_time(points, scale, ("a", "b"), limit=html_plot.Limit(2, "two", is_least=is_least))
        assert re.findall(r'dot over"[^>]*><title>(\w+)', drawn) == [over]


def test_scales_hold_what_they_are_made_for():
    log = html_plot.log_scale([0.5, 210], "ms")
    assert [label for _, label in log.ticks] == ["0.1 ms", "1 ms", "10 ms", "100 ms", "1000 ms"]
    assert (log.height(0.1), log.height(1_000), log.height(0)) == (100, 0, 100)
    assert html_plot.log_scale([], "ms").ticks
    linear = html_plot.linear_scale([0, 0], "")
    assert (linear.height(0), linear.height(99)) == (100, 0)
    assert html_plot.bars(["a"], [("x", [0.0])], "") == ""
    assert html_plot.bars(["<"], [("x", [10.0]), ("y", [0.0])], "µs").count("class=bar>") == 2


def test_the_bounds_of_a_day_that_counts_are_those_of_a_gap():
    assert evidence.MIN_HOURS == 22
