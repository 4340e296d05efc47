"""What the suite of fleet faults believes, tried on histories that no control plane made; and its page.

The suite itself needs a machine of its own (`make fleet-faults`), and is no part of `make test`.
"""

from pathlib import Path

import cluster
import pytest
import run_fleet_faults
from history import Answer, StoredReceipt, longest_gap_s, not_complete, not_linear

PAGE = Path(__file__).parent.parent.parent / "docs" / "faults.md"


def answers(*seen: tuple[float, float, int]) -> list[Answer]:
    return [Answer("bundle", began_s, ended_s, value, 9, "a fault") for began_s, ended_s, value in seen]


@pytest.mark.parametrize(
    "seen",
    [
        answers(),
        answers((0, 1, 1), (2, 3, 1), (4, 5, 2)),
        answers((0, 3, 2), (1, 4, 1)),  # at once: in either order
        answers((0, 9, 1), (1, 2, 2), (3, 4, 2)),  # the first was asked before the second was answered
    ],
)
def test_a_history_of_one_server_is_linear(seen):
    assert not_linear(seen) == []


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (answers((0, 1, 2), (2, 3, 1)), "a fault: bundle was 1 after it was 2"),
        (answers((0, 1, 1), (2, 3, 3), (2, 9, 1), (4, 5, 2)), "a fault: bundle was 2 after it was 3"),
        (answers((0, 1, 10)), "a fault: bundle was 10, and 9 was the most there was"),
    ],
)
def test_an_answer_of_another_server_is_not_linear(seen, problem):
    assert not_linear(seen) == [problem]


def test_registers_are_looked_at_one_by_one():
    two = [Answer("a", 0, 1, 5, 9), Answer("b", 2, 3, 1, 9)]
    assert not_linear(two) == []


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ([(1, "h1"), (2, "h2"), (3, "h3")], []),
        ([(1, "h1"), (2, "h2")], []),
        ([(1, "h1")], ["d: 1 acknowledged receipts are lost, the first is 2"]),
        ([], ["d: 2 acknowledged receipts are lost, the first is 1"]),
        ([(1, "h1"), (2, "h2"), (2, "h2")], ["d: 1 receipts are stored twice"]),
        ([(1, "h1"), (2, "other")], ["d: receipt 2 is not what was sent"]),
        ([(1, "h1"), (2, "h2"), (4, "h4")], ["d: receipt 4 is not what was sent"]),
    ],
)
def test_what_was_acknowledged_is_stored_once_as_it_was_sent(stored, problem):
    receipts = [StoredReceipt(*receipt) for receipt in stored]
    assert not_complete({"d": 2}, {"d": ["h1", "h2", "h3"]}, {"d": receipts}) == problem


def test_a_gap_is_what_no_acknowledgement_lies_in():
    assert longest_gap_s([0.5, 1.5, 2, 7, 9], 1, 8) == 5
    assert longest_gap_s([], 1, 8) == 7


def test_each_fault_is_on_the_page_with_what_its_last_run_found():
    found = PAGE.read_text().split("## A fleet under faults")[1]
    for fault in run_fleet_faults.FAULTS:
        assert f"\n| {fault.what} | {fault.times} | " in found, fault.what


def test_what_is_not_installed_is_said_with_the_way_to_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(run_fleet_faults.sys, "argv", ["run_fleet_faults.py"])
    monkeypatch.setattr(run_fleet_faults.os, "geteuid", lambda: 0)
    monkeypatch.setattr(run_fleet_faults.sys, "platform", "linux")
    monkeypatch.setattr(run_fleet_faults, "missing", lambda: ["patroni", "haproxy"])
    assert run_fleet_faults.main() == 2
    assert "apt-get install patroni haproxy" in capsys.readouterr().err
    assert cluster.binaries_problem(tmp_path) == f"`{tmp_path}` has no `postgres`"
