"""Every lifecycle is a whole table, and a step that it does not have raises."""

import itertools

import pytest

from briefcase.adapters.ledger import gate
from briefcase.adapters.servers import connection
from briefcase.core.approvals import lifecycle as approvals
from briefcase.model.errors import InternalError

LIFECYCLES = [approvals.LIFECYCLE, gate.LIFECYCLE, connection.LIFECYCLE]


@pytest.mark.parametrize("lifecycle", LIFECYCLES)
def test_each_state_has_its_row_and_some_state_ends_it(lifecycle):
    states = set(type(next(iter(lifecycle.steps))))
    assert set(lifecycle.steps) == states
    assert any(not lifecycle.steps[state] for state in states)


@pytest.mark.parametrize("lifecycle", LIFECYCLES)
def test_a_forbidden_step_raises_and_names_both_states(lifecycle):
    for now, to in itertools.product(lifecycle.steps, repeat=2):
        if lifecycle.may(now, to):
            lifecycle.check_step(now, to)
        else:
            with pytest.raises(InternalError, match=f"`{now}` to `{to}`"):
                lifecycle.check_step(now, to)
