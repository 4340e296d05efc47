"""Refusals in the log: each one with its id, and of one asker never so many that they fill a disk."""

import json

import pytest

from briefcase.adapters.telemetry import refusal_log
from briefcase.adapters.telemetry.refusal_log import LINES_A_MINUTE, MAX_ASKERS, OTHERS, RefusalLog
from support.clock import FakeClock


class Lines:
    """A logger that keeps its lines."""

    def __init__(self):
        self.kept = []

    def warning(self, event, **fields):
        self.kept.append((event, fields))


@pytest.fixture
def lines(monkeypatch):
    lines = Lines()
    monkeypatch.setattr(refusal_log, "_log", lines)
    return lines


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def planned():
    return []


@pytest.fixture
def refusals(clock, planned):
    return RefusalLog(clock.monotonic_ns, lambda delay_s, call: planned.append((delay_s, call)))


def counts(lines):
    return [fields for event, fields in lines.kept if event == "refusals were only counted"]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_is_a_line_with_who_what_and_why(lines, refusals, status):
    refusals.note("scout", status, "forbidden", "the role may not", request_id="r-1")
    said = {"asker": "scout", "status": status, "code": "forbidden", "problem": "the role may not", "request_id": "r-1"}
    assert lines.kept == [("refused", said)]


@pytest.mark.parametrize("status", [200, 404, 409, 429, 500])
def test_another_answer_is_none(lines, refusals, status):
    refusals.note("scout", status, "not_found", "nothing is at this path")
    assert refusals.note_unnamed("scout", status, "not_found", "nothing is at this path") == ()
    assert lines.kept == []


def test_an_answer_without_an_id_gets_the_one_of_its_line(lines, refusals):
    ((name, value),) = refusals.note_unnamed("scout", 401, "unauthorized", "who are you")
    assert name == b"x-request-id"
    assert lines.kept[0][1]["request_id"] == value.decode()


def test_a_flood_is_some_lines_and_one_count(lines, refusals, planned, clock):
    for _ in range(LINES_A_MINUTE + 5_000):
        refusals.note("uid 1000", 401, "unauthorized", "the token is not known")
    assert len(lines.kept) == LINES_A_MINUTE
    ((delay_s, end),) = planned
    assert delay_s == 60
    clock.advance(us=60_000_000)
    end()
    assert counts(lines) == [{"asker": "uid 1000", "count": 5_000, "logged": LINES_A_MINUTE}]
    refusals.note("uid 1000", 401, "unauthorized", "the token is not known")
    assert len(lines.kept) == LINES_A_MINUTE + 2


def test_one_askers_flood_takes_no_line_of_another(lines, refusals):
    for _ in range(100):
        refusals.note("scout", 400, "bad_request", "no")
    refusals.note("other", 400, "bad_request", "no")
    assert [fields["asker"] for _, fields in lines.kept[-1:]] == ["other"]


def test_what_was_counted_is_said_when_the_process_stops_and_once(lines, refusals, planned):
    for _ in range(LINES_A_MINUTE + 3):
        refusals.note("scout", 400, "bad_request", "no")
    refusals.close()
    planned[0][1]()
    assert [fields["count"] for fields in counts(lines)] == [3]


def test_more_askers_than_are_told_apart_are_one(lines, refusals):
    for number in range(MAX_ASKERS + 500):
        refusals.note(f"scout{number}", 400, "bad_request", "no")
    assert len(lines.kept) == MAX_ASKERS + LINES_A_MINUTE
    assert {fields["asker"] for _, fields in lines.kept[MAX_ASKERS:]} == {OTHERS}


def test_askers_whose_minute_is_over_make_room(lines, refusals, clock):
    for number in range(MAX_ASKERS):
        refusals.note(f"scout{number}", 400, "bad_request", "no")
    clock.advance(us=60_000_000)
    refusals.note("newcomer", 400, "bad_request", "no")
    assert lines.kept[-1][1]["asker"] == "newcomer"


def test_a_long_sentence_is_cut_short(lines, refusals):
    refusals.note("scout", 400, "bad_request", "x" * 100_000)
    assert len(json.dumps(lines.kept[0])) < 1_000
