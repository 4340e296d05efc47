"""Incident controls: each concerns what it names, ends when it says, and never allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.controls import Control, apply_controls
from briefcase.core.operator.controls import SUBJECTS
from briefcase.model.types import Allow, ApprovalKind, Deny, NeedsApproval
from support.clock import START_US
from support.principals import AGENT, OTHER_AGENT
from support.tools import spec

TOOL = spec("tickets.close", category="write", source="http")
ALLOW, DENY = Allow(("p",)), Deny("policy_denied", ("f",))
ASK = NeedsApproval(ApprovalKind.MOBILE_SIGNER, "approval_by_policy")


def control(action="require_approval", subject="tool", name="tickets.close", until_us=None) -> Control:
    return Control("c1", action, subject, name, "operator", START_US, until_us)


@pytest.mark.parametrize(
    ("held", "verdict", "expected"),
    [
        (control("freeze", "all", ""), ALLOW, "frozen"),
        (control("freeze", "all", ""), ASK, "frozen"),
        (control("freeze", "all", ""), DENY, "policy_denied"),
        (control("disable", "tool"), ALLOW, "disabled"),
        (control("disable", "source", "http"), ALLOW, "disabled"),
        (control("require_approval", "tool"), ALLOW, "tightened"),
        (control("require_approval", "category", "write"), ALLOW, "tightened"),
        (control("require_approval", "agent", "scout"), ALLOW, "tightened"),
        (control("require_approval", "source", "http"), ALLOW, "tightened"),
        (control("require_approval", "tool"), ASK, "approval_by_policy"),
    ],
)
def test_a_control_tightens_what_it_is_about(held, verdict, expected):
    assert apply_controls(verdict, [held], AGENT, TOOL, START_US).reason == expected


@pytest.mark.parametrize(
    "held",
    [
        control("disable", "tool", "tickets.list"),
        control("require_approval", "agent", "ranger"),
        control("require_approval", "category", "read"),
        control("disable", "source", "mcp:files"),
        control("freeze", "all", "", until_us=START_US),
    ],
)
def test_a_control_leaves_everything_else_and_ends_at_its_time(held):
    assert apply_controls(ALLOW, [held], AGENT, TOOL, START_US) is ALLOW


STRICTNESS = {Allow: 0, NeedsApproval: 1, Deny: 2}
any_control = st.sampled_from(sorted(SUBJECTS)).flatmap(
    lambda action: st.builds(
        control,
        st.just(action),
        st.sampled_from(sorted(SUBJECTS[action])),
        st.sampled_from(["", "tickets.close", "write", "scout", "http", "other"]),
        st.sampled_from([None, START_US - 1, START_US, START_US + 1]),
    )
)


@given(st.lists(any_control, max_size=5), st.sampled_from([ALLOW, ASK, DENY]), st.sampled_from([AGENT, OTHER_AGENT]))
def test_no_set_of_controls_ever_loosens_a_verdict(held, verdict, principal):
    after = apply_controls(verdict, held, principal, TOOL, START_US)

    assert STRICTNESS[type(after)] >= STRICTNESS[type(verdict)]
