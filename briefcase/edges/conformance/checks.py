"""What every harness is made of: a table of checks, tried in order, each with its verdict.

A check raises `BrokenError` with what it found, `SkipError` with why it could not be made, or `NotOfferedError` where
the contract leaves a feature to the server and this one has it not. One that cannot even get to its question fails:
what was not shown does not hold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from briefcase.core.json.strict import parse as parse_json
from briefcase.edges.conformance.report import CheckResult, Report, Status, make_report
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock, HttpResponse
from briefcase.model.types import JsonObject, format_rfc3339

S = TypeVar("S")


class BrokenError(Exception):
    """The server did not do what the check expects; the text is for the report."""


class SkipError(Exception):
    """A check could not be made here; the text says why."""


class NotOfferedError(Exception):
    """The server does not have what the check is about, and need not; the text names it."""


class Check(msgspec.Struct, Generic[S], frozen=True):
    """One rule of the contract and how it is tried on a subject."""

    name: str
    expectation: str
    run: Callable[[S], Awaitable[None]]


async def run_checks(
    base_url: str,
    subject: S,
    checks: Iterable[Check[S]],
    clock: Clock,
    progress: Callable[[CheckResult], None] | None = None,
) -> Report:
    """Try checks in their order.

    Args:
        base_url: the server's address, for the report.
        subject: what each check is tried on.
        checks: the table.
        clock: stamps and durations.
        progress: told of each result as it is known.
    """
    started_at = format_rfc3339(clock.now_us())
    results = []
    for check in checks:
        results.append(await _run(check, subject, clock))
        if progress is not None:
            progress(results[-1])
    return make_report(base_url, started_at, format_rfc3339(clock.now_us()), results)


async def _run(check: Check[S], subject: S, clock: Clock) -> CheckResult:
    begun_ns = clock.monotonic_ns()
    status, detail = Status.PASSED, ""
    try:
        await check.run(subject)
    except SkipError as reason:
        status, detail = Status.SKIPPED, str(reason)
    except NotOfferedError as what:
        status, detail = Status.NOT_OFFERED, str(what)
    except BrokenError as problem:
        status, detail = Status.FAILED, str(problem)
    duration_ms = (clock.monotonic_ns() - begun_ns) // 1_000_000
    return CheckResult(check.name, check.expectation, status, detail, duration_ms)


def body_of(response: HttpResponse, status: int, what: str) -> JsonObject:
    """The JSON object of an answer with a status."""
    if response.status != status:
        raise BrokenError(f"expected {what} to answer {status}, got {response.status}")
    try:
        value = parse_json(response.body)
    except CallerError as error:
        raise BrokenError(f"{what}: {error.message}") from None
    if not isinstance(value, dict):
        raise BrokenError(f"expected {what} to answer with a JSON object")
    return value


def text_of(answer: JsonObject, name: str) -> str:
    """A text member of an answer."""
    value = answer.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise BrokenError(f"expected a text `{name}` in the answer")
    return value
