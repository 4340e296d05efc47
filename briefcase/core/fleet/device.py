"""A device's standing with its control plane, and when it asks next. A literal table; pure.

| state | means |
|---|---|
| not_enrolled | no control plane manages this daemon |
| enrolled | enrolled, and not yet synced since |
| synced | the last sync went well |
| failing | the last sync did not; the last good policy decides |
| stale | it did not, and the word that the running bundle is the present one has expired |
| revoked | the control plane knows this device no more; only an operator can enrol it again |

What a device does in a state other than `synced` differs in one thing: when it asks next. No state stops a call.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from briefcase.model.errors import InternalError

MS_PER_S: Final = 1_000
MIN_INTERVAL_MS: Final = 1 * MS_PER_S
MAX_ADVICE_MS: Final = 3_600 * MS_PER_S
MAX_BACKOFF_MS: Final = 900 * MS_PER_S
JITTER: Final = 0.2  # either way: devices that were started together do not stay together
_MAX_DOUBLINGS: Final = 10


class DeviceState(StrEnum):
    """How a device stands with its control plane."""

    NOT_ENROLLED = "not_enrolled"
    ENROLLED = "enrolled"
    SYNCED = "synced"
    FAILING = "failing"
    STALE = "stale"
    REVOKED = "revoked"


class DeviceEvent(StrEnum):
    """What happens to a device."""

    ENROL = "enrol"
    SYNC = "sync"
    FAIL = "fail"
    EXPIRE = "expire"
    DISOWN = "disown"
    LEAVE = "leave"


_S, _E = DeviceState, DeviceEvent
TRANSITIONS: Final[dict[tuple[DeviceState, DeviceEvent], DeviceState]] = {
    (_S.NOT_ENROLLED, _E.ENROL): _S.ENROLLED,
    (_S.ENROLLED, _E.ENROL): _S.ENROLLED,
    (_S.ENROLLED, _E.SYNC): _S.SYNCED,
    (_S.ENROLLED, _E.FAIL): _S.FAILING,
    (_S.ENROLLED, _E.EXPIRE): _S.STALE,
    (_S.ENROLLED, _E.DISOWN): _S.REVOKED,
    (_S.ENROLLED, _E.LEAVE): _S.NOT_ENROLLED,
    (_S.SYNCED, _E.ENROL): _S.ENROLLED,
    (_S.SYNCED, _E.SYNC): _S.SYNCED,
    (_S.SYNCED, _E.FAIL): _S.FAILING,
    (_S.SYNCED, _E.EXPIRE): _S.STALE,
    (_S.SYNCED, _E.DISOWN): _S.REVOKED,
    (_S.SYNCED, _E.LEAVE): _S.NOT_ENROLLED,
    (_S.FAILING, _E.ENROL): _S.ENROLLED,
    (_S.FAILING, _E.SYNC): _S.SYNCED,
    (_S.FAILING, _E.FAIL): _S.FAILING,
    (_S.FAILING, _E.EXPIRE): _S.STALE,
    (_S.FAILING, _E.DISOWN): _S.REVOKED,
    (_S.FAILING, _E.LEAVE): _S.NOT_ENROLLED,
    (_S.STALE, _E.ENROL): _S.ENROLLED,
    (_S.STALE, _E.SYNC): _S.SYNCED,
    (_S.STALE, _E.FAIL): _S.STALE,
    (_S.STALE, _E.EXPIRE): _S.STALE,
    (_S.STALE, _E.DISOWN): _S.REVOKED,
    (_S.STALE, _E.LEAVE): _S.NOT_ENROLLED,
    (_S.REVOKED, _E.ENROL): _S.ENROLLED,
    (_S.REVOKED, _E.SYNC): _S.SYNCED,
    (_S.REVOKED, _E.FAIL): _S.REVOKED,
    (_S.REVOKED, _E.EXPIRE): _S.REVOKED,
    (_S.REVOKED, _E.DISOWN): _S.REVOKED,
    (_S.REVOKED, _E.LEAVE): _S.NOT_ENROLLED,
}


def next_state(state: DeviceState, event: DeviceEvent) -> DeviceState:
    """The state after an event.

    Raises:
        InternalError: the event does not happen in that state.
    """
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise InternalError(f"a device that is `{state}` cannot `{event}`")
    return after


def next_sync_ms(state: DeviceState, interval_ms: int, advised_ms: int | None, failures: int, seed: float) -> int:
    """How long to wait before the next sync.

    Args:
        state: the device's.
        interval_ms: what the operator configured.
        advised_ms: what the control plane advised with its last answer, if it did; bounded here, whatever it says.
        failures: how many syncs in a row went wrong; each doubles the time, up to a quarter of an hour.
        seed: a random number from 0 up to 1.

    Returns:
        Milliseconds, at least a second.
    """
    base = interval_ms if advised_ms is None else min(advised_ms, MAX_ADVICE_MS)
    if state is DeviceState.REVOKED:
        base = max(base, MAX_BACKOFF_MS)
    elif failures:
        base = min(base << min(failures - 1, _MAX_DOUBLINGS), max(base, MAX_BACKOFF_MS))
    return max(MIN_INTERVAL_MS, int(base * (1 - JITTER + 2 * JITTER * seed)))
