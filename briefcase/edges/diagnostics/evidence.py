"""Evidence: periodic soak reports joined into one statement, as JSON and as one page a person can read.

A statement says what was covered and what was not: days with at least one report, gaps longer than `GAP_S`, runs that
were interrupted, more than one policy or daemon in between. Percentiles come from the merged histograms, never from an
average of percentiles. What cannot be read, or is of a run that was read already, is named and counts as a gap, not as
success.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from hdrh.histogram import HdrHistogram

from briefcase.edges.diagnostics.slo import Finding, Measured, Objectives, judge, verdict_of
from briefcase.edges.diagnostics.soak import HIGHEST_US, REPORT_FORMAT, SIGNIFICANT_DIGITS, percentiles_ms
from briefcase.model.types import JsonObject

GAP_S: Final = 2 * 3600
SECONDS_A_DAY: Final = 86_400
LAST_UNIX_S: Final = 253_402_300_799  # the end of the year 9999
MAX_REPORT_BYTES: Final = 4 << 20
MAX_HISTOGRAM_CHARS: Final = 1 << 18
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


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
    days: int
    gaps: tuple[tuple[float, float], ...]

    @property
    def ok(self) -> bool:
        """Whether every objective was met and every report could be read."""
        return all(finding.ok for finding in self.findings) and not self.unreadable

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
            "from": _utc(self.reports[0].started_s) if self.reports else None,
            "to": _utc(max(report.ended_s for report in self.reports)) if self.reports else None,
            "days_covered": self.days,
            "gaps": [{"from": _utc(start), "to": _utc(end)} for start, end in self.gaps],
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
        days=len({int(at // SECONDS_A_DAY) for report in reports for at in _days_of(report)}),
        gaps=_gaps(reports),
    )


def page(statement: Statement) -> str:
    """The statement as one self-contained HTML page."""
    verdict = "meets its objectives" if statement.ok else "does not meet its objectives"
    summary = statement.as_json()
    return "".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8><title>briefcase soak evidence</title>",
            f"<style>{_STYLE}</style><h1>Soak evidence</h1>",
            f"<p class={'ok' if statement.ok else 'bad'}>This run {verdict}.</p>",
            f"<p>{_counted(len(statement.reports), 'report')} over {_counted(statement.days, 'day')},",
            f" from {summary['from']} to {summary['to']};",
            f" {_counted(statement.measured.attempted, 'call')}.</p>",
            _findings_table(statement),
            "<h2>p95 of the overhead, report by report</h2>",
            _plot([(r.started_s, r.overhead.get_value_at_percentile(95) / 1_000) for r in statement.reports]),
            "<h2>Percentiles</h2>",
            _percentile_table(summary),
            "<h2>Answers by status</h2>",
            _rows(("status", "count"), [(status, f"{count:,}") for status, count in _items(summary["statuses"])]),
            "<h2>Errors by code</h2>",
            _rows(("code", "count"), [(code, f"{count:,}") for code, count in _items(summary["errors"])]),
            "<h2>What ran</h2>",
            _rows(("what", "which"), _what_ran(summary)),
            "<h2>Gaps and files that were not counted</h2>",
            _rows(("from", "to"), [(_utc(start), _utc(end)) for start, end in statement.gaps]),
            _rows(("file",), [(name,) for name in statement.unreadable]),
            "</html>",
        ]
    )


def _what_ran(summary: JsonObject) -> list[tuple[str, str]]:
    head = summary["receipt_head"]
    ended_on = f"{head.get('id')}:{head.get('hash_hex')}" if isinstance(head, dict) else "not known"
    listed = {
        "modes": "profile modes",
        "versions": "versions",
        "policies": "policies",
        "daemons": "daemons",
        "interrupted": "interrupted runs",
    }
    named = [(shown, ", ".join(map(str, found))) for key, shown in listed.items() if (found := _list(summary[key]))]
    max_sync_ms = summary["max_sync_ms"]
    slowest = f"{max_sync_ms:,.1f} ms" if isinstance(max_sync_ms, float) else "not known"
    return [*named, ("receipts ended on", ended_on), ("slowest commit of the disk", slowest)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #d1d9e0;text-align:left}
.ok{color:#1a7f37;font-weight:600}.bad{color:#cf222e;font-weight:600}svg{width:100%}svg text{font:12px system-ui}
"""


def _findings_table(statement: Statement) -> str:
    rows = [
        (
            finding.objective,
            "not measured" if finding.value is None else f"{finding.value:.6g}",
            f"{finding.target:g}",
            "met" if finding.ok else "not met",
        )
        for finding in statement.findings
    ]
    return _rows(("objective", "measured", "target", ""), rows)


def _percentile_table(summary: JsonObject) -> str:
    overhead = dict(_items(summary["overhead_ms"]))
    rows = [(name, f"{value:,.3f}", f"{overhead[name]:,.3f}") for name, value in _items(summary["latency_ms"])]
    return _rows(("percentile", "whole call, ms", "overhead without upstream, ms"), rows)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p>None.</p>"
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in rows)
    return "<table><tr>" + "".join(f"<th>{html.escape(name)}" for name in head) + f"{cells}</table>"


def _plot(points: Sequence[tuple[float, float]]) -> str:
    if not points:
        return "<p>None.</p>"
    first, last = points[0][0], points[-1][0]
    top = max(value for _, value in points) * 1.1 or 1
    marks = ""
    for at, value in points:
        x, y = 60 + 820 * (at - first) / ((last - first) or 1), 150 - 130 * value / top
        marks += f"<circle r=3 fill=#0969da cx={x:.1f} cy={y:.1f}><title>{_utc(at)}: {value:.3f} ms</title></circle>"
    line = "<line x1=60 x2=880 y1=150 y2=150 stroke=#d1d9e0 />"
    axis = f"{line}<text x=0 y=24>{top:.2f} ms</text><text x=0 y=154>0</text>"
    return f'<svg viewBox="0 0 900 180" role=img>{axis}{marks}<text x=60 y=172>{_utc(first)}</text></svg>'


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _days_of(report: SoakReport) -> list[float]:
    starts = range(int(report.elapsed_s // SECONDS_A_DAY) + 2)
    return [min(report.started_s + SECONDS_A_DAY * day, report.ended_s) for day in starts]


def _gaps(reports: Sequence[SoakReport]) -> tuple[tuple[float, float], ...]:
    gaps = []
    covered_to = reports[0].ended_s if reports else 0.0
    for report in reports[1:]:
        if report.started_s - covered_to > GAP_S:
            gaps.append((covered_to, report.started_s))
        covered_to = max(covered_to, report.ended_s)
    return tuple(gaps)


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
