"""The service level objectives, and the verdict on a measured run.

Recommended objectives for `ga`: availability 99.9% a month, policy and approval overhead (upstream excluded) p95 at
most 150 ms, receipt append success 99.99%. A run that measured nothing meets nothing, and a run whose calls were denied
measured a refusal: it says little of the calls that a user makes, and meets nothing either.
"""

from __future__ import annotations

from typing import Final

import msgspec

MET: Final = "met"
CALLS_NOT_ALLOWED: Final = "calls_not_allowed"
CALLS_FAILED: Final = "calls_failed"
NOT_MET: Final = "objectives_not_met"


class Objectives(msgspec.Struct, frozen=True):
    """What is promised. Shares are of one; a gate may be stricter than the product's own figure."""

    availability: float = 0.999
    overhead_p95_ms: float = 150.0
    append_success: float = 0.9999
    call_success: float = 0.999


class Measured(msgspec.Struct, frozen=True):
    """What a run counted.

    `answered` were answered by the daemon, whatever the verdict on the call was; `allowed` of them were allowed to run,
    and `succeeded` gave a result.
    """

    attempted: int
    answered: int
    allowed: int
    succeeded: int
    append_failures: int
    overhead_p95_ms: float | None

    @property
    def availability(self) -> float:
        """The share of calls that were answered."""
        return self.answered / self.attempted if self.attempted else 0.0

    @property
    def append_success(self) -> float:
        """The share of calls whose receipt could be made durable."""
        return 1 - self.append_failures / self.attempted if self.attempted else 0.0

    @property
    def call_success(self) -> float:
        """The share of calls that were allowed and gave a result."""
        return self.succeeded / self.attempted if self.attempted else 0.0


class Finding(msgspec.Struct, frozen=True):
    """One objective, held against what was measured. `value` is None where nothing was measured."""

    objective: str
    target: float
    value: float | None
    ok: bool


def judge(measured: Measured, objectives: Objectives) -> tuple[Finding, ...]:
    """One finding for each objective, in a fixed order."""
    overhead = measured.overhead_p95_ms
    return (
        Finding(
            "availability",
            objectives.availability,
            measured.availability,
            measured.availability >= objectives.availability,
        ),
        Finding(
            "overhead_p95_ms",
            objectives.overhead_p95_ms,
            overhead,
            overhead is not None and overhead <= objectives.overhead_p95_ms,
        ),
        Finding(
            "append_success",
            objectives.append_success,
            measured.append_success,
            measured.append_success >= objectives.append_success,
        ),
        Finding(
            "call_success",
            objectives.call_success,
            measured.call_success,
            measured.attempted > 0 and measured.call_success >= objectives.call_success,
        ),
    )


def verdict_of(measured: Measured, objectives: Objectives) -> str:
    """One word for a run.

    Returns:
        `met`; `calls_not_allowed` where what was answered was not allowed to run (denied, or waiting for a person);
        `calls_failed` where what was allowed gave no result; `objectives_not_met` for everything else.
    """
    if all(finding.ok for finding in judge(measured, objectives)):
        return MET
    if measured.answered and measured.allowed < objectives.call_success * measured.answered:
        return CALLS_NOT_ALLOWED
    if measured.allowed and measured.succeeded < objectives.call_success * measured.allowed:
        return CALLS_FAILED
    return NOT_MET
