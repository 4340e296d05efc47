"""The report of a harness: one line a check, fit to be attached to a ticket. It holds no token and no key."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from briefcase.model.types import COMPATIBILITY_PROFILE

FORMAT: Final = "briefcase-conformance/1"


class Status(StrEnum):
    """How a check ended.

    `SKIPPED` says in its detail why it was not made, `NOT_OFFERED` what the server has not and need not have; neither
    fails the run.
    """

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_OFFERED = "not_offered"


class CheckResult(msgspec.Struct, frozen=True):
    """One check. `expectation` is the rule in words, `detail` what was found where it did not hold."""

    name: str
    expectation: str
    status: Status
    detail: str
    duration_ms: int

    @property
    def ok(self) -> bool:
        """Whether this check stands in nobody's way."""
        return self.status is not Status.FAILED


class Report(msgspec.Struct, frozen=True):
    """One run. `first_broken` is the first check that failed, empty where none did."""

    subject: str
    started_at: str
    finished_at: str
    ok: bool
    passed: int
    failed: int
    skipped: int
    checks: Sequence[CheckResult]
    not_offered: int = 0
    first_broken: str = ""
    compatibility_profile: str = COMPATIBILITY_PROFILE
    format: str = FORMAT


def make_report(subject: str, started_at: str, finished_at: str, checks: Sequence[CheckResult]) -> Report:
    """Count the checks of a run: it is good when something passed and nothing failed."""
    count = {status: sum(check.status is status for check in checks) for status in Status}
    return Report(
        subject,
        started_at,
        finished_at,
        count[Status.FAILED] == 0 and count[Status.PASSED] > 0,
        count[Status.PASSED],
        count[Status.FAILED],
        count[Status.SKIPPED],
        checks,
        count[Status.NOT_OFFERED],
        next((check.name for check in checks if check.status is Status.FAILED), ""),
    )
