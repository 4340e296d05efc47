"""Evidence: periodic soak reports joined into one statement; `evidence_page` makes it a page a person can read.

A statement says what was covered and what was not: hours that were measured, days of which enough hours were
(`MIN_HOURS`), gaps longer than `GAP_S`, runs that were interrupted, more than one policy or daemon in between.
Percentiles come from the merged histograms, never from an average of percentiles. What cannot be read, or is of a run
that was read already, is named and counts as a gap, not as success.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from hdrh.histogram import HdrHistogram

from briefcase.edges.diagnostics.slo import Finding, Measured, Objectives, judge, verdict_of
from briefcase.edges.diagnostics.soak import HIGHEST_US, REPORT_FORMAT, SIGNIFICANT_DIGITS, Trend, percentiles_ms
from briefcase.model.types import JsonObject

SECONDS_AN_HOUR: Final = 3_600
HOURS_A_DAY: Final = 24
SECONDS_A_DAY: Final = 86_400
GAP_S: Final = 2 * SECONDS_AN_HOUR
MIN_HOURS: Final = HOURS_A_DAY - GAP_S // SECONDS_AN_HOUR  # of a day that counts: but for one gap that is none
WANTED_DAYS: Final = 30
LAST_UNIX_S: Final = 253_402_300_799  # the end of the year 9999
MAX_REPORT_BYTES: Final = 4 << 20
MAX_HISTOGRAM_CHARS: Final = 1 << 18
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Amount = Annotated[float, msgspec.Meta(ge=0, lt=1 << 53)]


class TrendReport(msgspec.Struct, frozen=True):
    """What a report says of a figure over its time: nothing where the daemon was on another host."""

    first: _Amount | None = None
    last: _Amount | None = None


class Growth(msgspec.Struct, frozen=True):
    """A figure over all reports: its first and last value, a straight line's slope, and the samples (Unix s, value)."""

    first: float
    last: float
    per_day: float
    samples: tuple[tuple[float, float], ...]


class SoakReport(msgspec.Struct, frozen=True):
    """One report file, as far as the statement needs it."""

    name: str
    started_s: float
    elapsed_s: float
    interrupted: bool
    attempted: int
    answered: int
    append_failures: int
    overhead: HdrHistogram
    latency: HdrHistogram
    errors: dict[str, int]
    statuses: dict[str, int]
    policy: str | None
    daemon: str | None
    mode: str | None
    version: str | None
    head: JsonObject | None
    max_sync_ms: float | None
    memory_bytes: TrendReport
    open_files: TrendReport

    @property
    def ended_s(self) -> float:
        """When it ended, Unix seconds."""
        return self.started_s + self.elapsed_s

    @property
    def succeeded(self) -> int:
        """Calls that gave a result."""
        return min(self.statuses.get("ok", 0), self.answered)

    @property
    def allowed(self) -> int:
        """Calls that were allowed to run, whatever came of it."""
        return min(self.succeeded + self.statuses.get("error", 0), self.answered)


class Statement(msgspec.Struct, frozen=True):
    """What all reports together show."""

    reports: tuple[SoakReport, ...]
    unreadable: tuple[str, ...]
    measured: Measured
    findings: tuple[Finding, ...]
    verdict: str
    overhead: HdrHistogram
    latency: HdrHistogram
    hours: dict[date, float]
    memory: Growth | None
    open_files: Growth | None
    gaps: tuple[tuple[float, float], ...]

    @property
    def ok(self) -> bool:
        """Whether every objective was met and every report could be read."""
        return all(finding.ok for finding in self.findings) and not self.unreadable

    @property
    def hours_covered(self) -> float:
        """The hours that were measured."""
        return sum(self.hours.values(), 0.0)

    @property
    def days(self) -> int:
        """The days that count: enough of their hours were measured."""
        return sum(hours >= MIN_HOURS for hours in self.hours.values())

    def as_json(self) -> JsonObject:
        """The statement for programs."""
        errors: Counter[str] = Counter()
        statuses: Counter[str] = Counter()
        for report in self.reports:
            errors.update(report.errors)
            statuses.update(report.statuses)
        return {
            "format": f"{REPORT_FORMAT}-summary",
            "ok": self.ok,
            "reports": len(self.reports),
            "unreadable": list(self.unreadable),
            "interrupted": [report.name for report in self.reports if report.interrupted],
            "from": utc(self.reports[0].started_s) if self.reports else None,
            "to": utc(max(report.ended_s for report in self.reports)) if self.reports else None,
            "days_covered": self.days,
            "hours_covered": round(self.hours_covered, 2),
            "hours_by_day": {str(day): round(hours, 2) for day, hours in self.hours.items()},
            "memory_bytes": _wire_growth(self.memory),
            "open_files": _wire_growth(self.open_files),
            "gaps": [{"from": utc(start), "to": utc(end)} for start, end in self.gaps],
            "verdict": self.verdict,
            "attempted": self.measured.attempted,
            "findings": [msgspec.to_builtins(finding) for finding in self.findings],
            "overhead_ms": percentiles_ms(self.overhead),
            "latency_ms": percentiles_ms(self.latency),
            "statuses": dict(statuses),
            "errors": dict(errors),
            "policies": [*sorted({report.policy for report in self.reports if report.policy})],
            "daemons": [*sorted({report.daemon for report in self.reports if report.daemon})],
            "modes": [*sorted({report.mode for report in self.reports if report.mode})],
            "versions": [*sorted({report.version for report in self.reports if report.version})],
            "receipt_head": self.reports[-1].head if self.reports else None,
            "max_sync_ms": max((x.max_sync_ms for x in self.reports if x.max_sync_ms is not None), default=None),
        }


class _Measured(msgspec.Struct):
    attempted: _Count
    answered: _Count
    append_failures: _Count
    overhead_histogram: Annotated[str, msgspec.Meta(max_length=MAX_HISTOGRAM_CHARS)]
    latency_histogram: Annotated[str, msgspec.Meta(max_length=MAX_HISTOGRAM_CHARS)]
    by_error: dict[str, _Count]
    by_status: dict[str, _Count] = {}
    memory_bytes: TrendReport = TrendReport()
    open_files: TrendReport = TrendReport()


class _Identity(msgspec.Struct):
    did: str | None = None
    profile_mode: str | None = None
    version: str | None = None


class _After(msgspec.Struct):
    identity: _Identity = msgspec.field(default_factory=_Identity)
    policy_hash_hex: str | None = None
    receipt_head: dict[str, Any] | None = None
    max_sync_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None


class _Document(msgspec.Struct):
    """A report as it is written (`soak.py`)."""

    format: str
    started_at_unix_s: Annotated[float, msgspec.Meta(ge=0, le=LAST_UNIX_S)]
    elapsed_s: Annotated[float, msgspec.Meta(ge=0, le=366 * SECONDS_A_DAY)]
    interrupted: bool
    measured: _Measured
    after: _After


def read_report(path: Path) -> SoakReport:
    """Read one report file.

    Raises:
        ValueError: it is no soak report; the message says what was expected.
    """
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise ValueError(f"expected at most {MAX_REPORT_BYTES} bytes")  # noqa: TRY301 - as all below
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
        measured, after = document.measured, document.after
        _check_document(document)
        overhead, latency = _histogram(measured.overhead_histogram), _histogram(measured.latency_histogram)
    except (OSError, ValueError) as error:
        raise ValueError(f"`{path}` is no soak report: {error}") from error
    return SoakReport(
        name=path.name,
        started_s=document.started_at_unix_s,
        elapsed_s=document.elapsed_s,
        interrupted=document.interrupted,
        attempted=measured.attempted,
        answered=measured.answered,
        append_failures=measured.append_failures,
        overhead=overhead,
        latency=latency,
        errors=measured.by_error,
        statuses=measured.by_status,
        policy=after.policy_hash_hex,
        daemon=after.identity.did,
        mode=after.identity.profile_mode,
        version=after.identity.version,
        head=after.receipt_head,
        max_sync_ms=after.max_sync_ms,
        memory_bytes=measured.memory_bytes,
        open_files=measured.open_files,
    )


def _check_document(document: _Document) -> None:
    measured = document.measured
    if document.format != REPORT_FORMAT:
        raise ValueError(f"expected format `{REPORT_FORMAT}`, got `{document.format}`")
    if measured.answered > measured.attempted:
        raise ValueError(f"{measured.answered} answers to {measured.attempted} calls")


def _histogram(text: str) -> HdrHistogram:
    try:
        found = HdrHistogram.decode(text)
    except Exception as error:
        raise ValueError(f"a histogram cannot be read: {type(error).__name__}") from error
    if (found.highest_trackable_value, found.significant_figures) != (HIGHEST_US, SIGNIFICANT_DIGITS):
        raise ValueError("a histogram is not of the kind that a soak writes")
    return found


def summarize(paths: Sequence[Path], objectives: Objectives) -> Statement:
    """Join report files into one statement. Files that are no report are named in it."""
    reports: list[SoakReport] = []
    unreadable: list[str] = []
    runs: dict[tuple[str | None, float], str] = {}
    for path in paths:
        try:
            report = read_report(path)
        except ValueError as error:
            unreadable.append(str(error))
            continue
        same = runs.setdefault((report.daemon, report.started_s), report.name)
        if same == report.name:
            reports.append(report)
        else:
            unreadable.append(f"`{path}` is of the same run as `{same}`: it is counted once")
    reports.sort(key=lambda report: report.started_s)
    overhead = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)
    latency = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)
    for report in reports:
        overhead.add(report.overhead)
        latency.add(report.latency)
    measured = Measured(
        attempted=sum(report.attempted for report in reports),
        answered=sum(report.answered for report in reports),
        allowed=sum(report.allowed for report in reports),
        succeeded=sum(report.succeeded for report in reports),
        append_failures=sum(report.append_failures for report in reports),
        overhead_p95_ms=overhead.get_value_at_percentile(95) / 1_000 if overhead.total_count else None,
    )
    return Statement(
        reports=tuple(reports),
        unreadable=tuple(unreadable),
        measured=measured,
        findings=judge(measured, objectives),
        verdict=verdict_of(measured, objectives),
        overhead=overhead,
        latency=latency,
        hours=_hours_of(reports),
        memory=_growth_of([at for report in reports for at in _samples(report, report.memory_bytes)]),
        open_files=_growth_of([at for report in reports for at in _samples(report, report.open_files)]),
        gaps=_gaps(reports),
    )


def _wire_growth(growth: Growth | None) -> JsonObject | None:
    return None if growth is None else {"first": growth.first, "last": growth.last, "per_day": round(growth.per_day, 3)}


def _samples(report: SoakReport, trend: TrendReport) -> list[tuple[float, float]]:
    """A report's first and last value, and when."""
    both = ((report.started_s, trend.first), (report.ended_s, trend.last))
    return [(at, value) for at, value in both if value is not None]


def _hours_of(reports: Sequence[SoakReport]) -> dict[date, float]:
    """How many hours of each day (UTC) were measured; time in which two reports ran counts once."""
    hours: dict[date, float] = {}
    covered_to = 0.0
    for report in reports:
        at = max(report.started_s, covered_to)
        covered_to = max(covered_to, report.ended_s)
        while at < report.ended_s:
            day = int(at // SECONDS_A_DAY)
            until = min(report.ended_s, float((day + 1) * SECONDS_A_DAY))
            date_of = datetime.fromtimestamp(day * SECONDS_A_DAY, UTC).date()
            hours[date_of] = hours.get(date_of, 0.0) + (until - at) / SECONDS_AN_HOUR
            at = until
    return hours


def _growth_of(samples: Sequence[tuple[float, float]]) -> Growth | None:
    """The straight line through samples in order of time."""
    if not samples:
        return None
    trend, start = Trend(), samples[0][0]
    for at, value in samples:
        trend.add(at - start, value)
    per_hour = trend.report()["per_hour"]
    per_day = per_hour * HOURS_A_DAY if isinstance(per_hour, float) else 0.0
    return Growth(samples[0][1], samples[-1][1], per_day, tuple(samples))


def _gaps(reports: Sequence[SoakReport]) -> tuple[tuple[float, float], ...]:
    gaps = []
    covered_to = reports[0].ended_s if reports else 0.0
    for report in reports[1:]:
        if report.started_s - covered_to > GAP_S:
            gaps.append((covered_to, report.started_s))
        covered_to = max(covered_to, report.ended_s)
    return tuple(gaps)


def utc(at_s: float) -> str:
    """A moment as the wire writes it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
