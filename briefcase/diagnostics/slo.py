"""The service level objectives, and the verdict on a measured run.

Recommended objectives for `ga`: availability 99.9% a month, policy and approval overhead (upstream excluded) p95 at
most 150 ms, receipt append success 99.99%. A run that measured nothing meets nothing.
"""

from __future__ import annotations

import msgspec


class Objectives(msgspec.Struct, frozen=True):
    """What is promised. Shares are of one; a gate may be stricter than the product's own figure."""

    availability: float = 0.999
    overhead_p95_ms: float = 150.0
    append_success: float = 0.9999


class Measured(msgspec.Struct, frozen=True):
    """What a run counted. `answered` were answered by the daemon, whatever the verdict on the call was."""

    attempted: int
    answered: int
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
    )
