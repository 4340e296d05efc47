"""A device's states, and when it asks next."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.fleet.device import (
    MAX_ADVICE_MS,
    MAX_BACKOFF_MS,
    MIN_INTERVAL_MS,
    TRANSITIONS,
    DeviceEvent,
    DeviceState,
    next_state,
    next_sync_ms,
)
from briefcase.model.errors import InternalError

MINUTE_MS = 60_000


def test_every_event_is_known_in_every_state_of_an_enrolled_device_and_only_enrolling_in_the_other():
    enrolled = set(DeviceState) - {DeviceState.NOT_ENROLLED}
    assert set(TRANSITIONS) == {
        *itertools.product(enrolled, DeviceEvent),
        (DeviceState.NOT_ENROLLED, DeviceEvent.ENROL),
    }


@pytest.mark.parametrize("event", set(DeviceEvent) - {DeviceEvent.ENROL})
def test_nothing_but_enrolling_happens_to_a_device_that_is_not_enrolled(event):
    with pytest.raises(InternalError):
        next_state(DeviceState.NOT_ENROLLED, event)


def test_a_revoked_device_stays_so_until_a_sync_goes_well_or_an_operator_acts():
    for event in (DeviceEvent.FAIL, DeviceEvent.EXPIRE, DeviceEvent.DISOWN):
        assert next_state(DeviceState.REVOKED, event) is DeviceState.REVOKED


@pytest.mark.parametrize(
    ("state", "advised_ms", "failures", "expected_ms"),
    [
        (DeviceState.SYNCED, None, 0, MINUTE_MS),
        (DeviceState.SYNCED, 5_000, 0, 5_000),
        (DeviceState.SYNCED, 0, 0, MIN_INTERVAL_MS),
        (DeviceState.SYNCED, 10 * MAX_ADVICE_MS, 0, MAX_ADVICE_MS),
        (DeviceState.FAILING, None, 1, MINUTE_MS),
        (DeviceState.FAILING, None, 3, 4 * MINUTE_MS),
        (DeviceState.FAILING, None, 99, MAX_BACKOFF_MS),
        (DeviceState.REVOKED, None, 1, MAX_BACKOFF_MS),
    ],
)
def test_what_was_advised_or_configured_is_waited_and_failures_double_it(state, advised_ms, failures, expected_ms):
    assert next_sync_ms(state, MINUTE_MS, advised_ms, failures, 0.5) == expected_ms


@given(
    st.sampled_from(DeviceState),
    st.integers(1_000, 604_800_000),
    st.none() | st.integers(0, 1 << 53),
    st.integers(0, 1 << 40),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_has_bounds_whatever_a_control_plane_advises(state, interval_ms, advised_ms, failures, seed):
    wait_ms = next_sync_ms(state, interval_ms, advised_ms, failures, seed)
    assert MIN_INTERVAL_MS <= wait_ms <= 1.2 * max(interval_ms, MAX_ADVICE_MS, MAX_BACKOFF_MS)
