"""For whom an agent may ask decisions."""

import pytest

from briefcase.core.calls.subjects import may_ask_for, principal_of
from briefcase.model.types import Principal, Role
from support.agents import FakeAgents

GATE = Principal("gate", Role.AGENT, decides_for="team-*")
ALICE = Principal("team-alice", Role.AGENT, ("crew",), identity="team-alice#1.5")


@pytest.mark.parametrize(
    ("pattern", "name", "may"),
    [
        ("*", "anyone", True),
        ("team-*", "team-alice", True),
        ("team-*", "team-", True),
        ("team-*", "a-team-alice", False),
        ("team-*", "team-alice\n", True),  # no agent has such a name
        ("*-ro", "team-ro", True),
        ("*-ro", "team-row", False),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a.c", "abc", False),
        ("a**c", "abc", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("", "team-alice", False),
    ],
)
def test_a_pattern_matches_whole_names_and_only_its_star_stands_for_others(pattern, name, may):
    assert may_ask_for(Principal("gate", Role.AGENT, decides_for=pattern), name) is may


def test_a_pattern_with_many_stars_is_matched_at_once():
    assert may_ask_for(Principal("gate", Role.AGENT, decides_for="*a" * 32), "a" * 31 + "b" * 33) is False


def test_whom_it_asks_for_keeps_its_own_rights_and_its_receipts_name_the_asker():
    agents = FakeAgents(t=ALICE)
    found = principal_of(GATE, "team-alice", agents)
    assert (found.name, found.groups, found.owner, found.asked_by) == ("team-alice", ("crew",), ALICE.owner, "gate")
    assert principal_of(ALICE, "team-alice", agents) is ALICE
    assert principal_of(ALICE, "gate", agents) is None
    assert principal_of(GATE, "team-nobody", agents) is None
    assert principal_of(Principal("auditor", Role.AUDITOR), "team-alice", agents) is None
    assert principal_of(Principal("operator", Role.OPERATOR), "team-alice", agents).asked_by == "operator"
