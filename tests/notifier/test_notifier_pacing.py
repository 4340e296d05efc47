"""When a target is told: at once, then once in its time, and what quiet hours hold back."""

import calendar

import pytest
from test_notifier_wording import event

from briefcase.edges.notifier.pacing import GATHER_S, due
from briefcase.edges.notifier.settings import Quiet, Target

NIGHT = calendar.timegm((2026, 1, 1, 23, 30, 0))
DAY = calendar.timegm((2026, 1, 1, 12, 0, 0))
LOW, HIGH = event(1, severity="low"), event(2, severity="high")


def told(target, waiting, now_s, *, oldest_s=0.0, last_sent_s=-100.0, wall_s=DAY):
    return due(target, waiting, now_s, oldest_s=oldest_s, last_sent_s=last_sent_s, wall_s=wall_s)


def test_the_first_event_is_told_after_a_burst_had_time_to_gather():
    target = Target(url="x://y")
    assert told(target, [LOW], 0.0) == ((), GATHER_S)
    assert told(target, [LOW, HIGH], GATHER_S).events == (LOW, HIGH)


def test_what_comes_within_the_pace_is_told_together_when_it_is_over():
    target = Target(url="x://y", every_s=10)
    assert told(target, [LOW], 5.0, oldest_s=4.0, last_sent_s=1.0) == ((), 6.0)
    assert told(target, [LOW, HIGH], 11.0, oldest_s=4.0, last_sent_s=1.0).events == (LOW, HIGH)


def test_a_burst_that_does_not_end_holds_nothing_up():
    assert told(Target(url="x://y"), [LOW] * 1_000, GATHER_S + 0.01, oldest_s=0.0).events


def test_quiet_hours_hold_back_what_does_not_break_through():
    target = Target(url="x://y", quiet=Quiet("22:00", "07:00"))
    assert told(target, [LOW, HIGH], 5.0, wall_s=NIGHT).events == (HIGH,)
    assert told(target, [LOW], 5.0, wall_s=NIGHT).events == ()
    assert told(target, [LOW], 5.0, wall_s=DAY).events == (LOW,)


@pytest.mark.parametrize(
    ("quiet", "wall_s", "is_quiet"),
    [
        (Quiet("22:00", "07:00"), NIGHT, True),
        (Quiet("22:00", "23:30"), NIGHT, False),
        (Quiet("23:30", "23:31"), NIGHT, True),
        (Quiet("07:00", "22:00"), NIGHT, False),
        (Quiet("00:00", "01:00", zone="Europe/Berlin"), NIGHT, True),
        (Quiet("12:00", "12:00"), DAY, False),
    ],
)
def test_quiet_hours_go_over_midnight_and_hold_in_their_zone(quiet, wall_s, is_quiet):
    assert quiet.holds(wall_s) is is_quiet


@pytest.mark.parametrize(
    ("target", "is_wanted"),
    [
        (Target(url="x://y"), True),
        (Target(url="x://y", severity="high"), False),
        (Target(url="x://y", severity="medium"), True),
        (Target(url="x://y", agents=("scout",)), True),
        (Target(url="x://y", agents=("other", "sc*")), True),
        (Target(url="x://y", agents=("other",)), False),
        (Target(url="x://y", tools=("mail.*",)), False),
        (Target(url="x://y", tools=("note_*",), agents=("scout",)), True),
    ],
)
def test_a_target_is_told_of_what_it_wants(target, is_wanted):
    assert target.wants(event(agent="scout", tool="note_add")) is is_wanted
