"""The evidence as one page a person reads: the verdict in a sentence, then what it rests on.

In the order of the questions: is it good, how long was it measured, how far from the objective, does the daemon grow,
what happened to the calls, what ran.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from briefcase.edges.diagnostics import html_page, html_plot
from briefcase.edges.diagnostics.evidence import (
    HOURS_A_DAY,
    MIN_HOURS,
    SECONDS_A_DAY,
    WANTED_DAYS,
    Growth,
    SoakReport,
    Statement,
    utc,
)
from briefcase.edges.diagnostics.html_page import code, counted, styled, table, text
from briefcase.edges.diagnostics.html_plot import Limit, Point, linear_scale, log_scale, over_time
from briefcase.edges.diagnostics.slo import CALLS_FAILED, CALLS_NOT_ALLOWED, MET, NOT_MET, Finding
from briefcase.edges.diagnostics.soak import percentiles_ms

MIB: Final = 1 << 20
MS_A_SECOND: Final = 1_000

_VERDICTS: Final = {
    MET: "Every objective was met.",
    CALLS_NOT_ALLOWED: "Calls were not allowed to run: this says little of the calls that a user makes.",
    CALLS_FAILED: "Calls that were allowed gave no result.",
    NOT_MET: "Not every objective was met.",
}
_OBJECTIVES: Final = {
    "availability": "Calls that the daemon answered",
    "overhead_p95_ms": "Time that 95 of 100 calls spent at most in policy, approval and receipts",
    "append_success": "Calls whose receipt was durable",
    "call_success": "Calls that gave a result",
}
_PERCENTILES: Final = {
    "p50": "half of the calls",
    "p90": "90 of 100",
    "p95": "95 of 100",
    "p99": "99 of 100",
    "p99.9": "999 of 1,000",
    "p100": "the slowest",
}
_STATUSES: Final = {
    "ok": "gave a result",
    "error": "failed at their tool",
    "denied": "were denied",
    "approval_required": "waited for a person",
}
_STYLE: Final = (
    html_plot.STYLE
    + """
.verdict{font-size:1.15rem;margin:.8rem 0 .3rem}
.month{display:grid;grid-template-columns:repeat(7,1fr);gap:.3rem;max-width:40rem;margin:.6rem 0}
.month .week{color:var(--soft);font-size:.8rem;text-align:center}
.month .day{border-radius:6px;padding:.3rem .2rem;background:var(--none);text-align:center;line-height:1.25;min-width:0;
font-variant-numeric:tabular-nums;white-space:nowrap}
.month .day small{display:block;font-size:.72rem;opacity:.9}
.month .full{background:var(--good);color:var(--page)}
.month .part{background:color-mix(in srgb,var(--warn) 30%,var(--page));outline:1px solid var(--warn);
outline-offset:-1px}
.month .none{color:var(--soft)}
"""
)


def page(statement: Statement) -> str:
    """The statement as one self-contained HTML page."""
    return html_page.page(
        "briefcase soak evidence",
        [
            "<h1>Soak evidence</h1>",
            *_opening(statement),
            "<h2>Against the objectives</h2>",
            table(("Objective", ">Measured", ">Promised", "Verdict"), map(_finding, statement.findings)),
            f"<h2>The last {WANTED_DAYS} days</h2>",
            *_calendar(statement),
            "<h2>What the daemon added, report by report</h2>",
            _overhead(statement),
            "<h2>Whether it grows</h2>",
            *_growth(statement),
            "<h2>How long calls took</h2>",
            _percentiles(statement),
            "<h2>What became of the calls</h2>",
            *_outcomes(statement),
            "<h2>What ran</h2>",
            table(("What", "Which"), _what_ran(statement)),
            "<h2>What was not measured</h2>",
            *_missing(statement),
        ],
        _STYLE,
    )


def _opening(statement: Statement) -> Iterator[str]:
    style = "good" if statement.ok else "bad"
    verdict = "meets its objectives" if statement.ok else "does not meet its objectives"
    yield f"<p class='verdict strong {style}'>This run {verdict}.</p>"
    reports = statement.reports
    if reports:
        unread = f" {counted(len(statement.unreadable), 'file')} could not be counted." if statement.unreadable else ""
        is_met = statement.verdict == MET
        why = "The objectives were met by what was counted." if is_met and unread else _VERDICTS[statement.verdict]
        yield f"<p>{text(why + unread)}</p>"
        ended = max(report.ended_s for report in reports)
        yield f"<p class=soft>From {utc(reports[0].started_s)} to {utc(ended)}.</p>"
    measured = f"{_hours(statement.hours_covered)} on {counted(len(statement.hours), 'day')}"
    calls = counted(statement.measured.attempted, "call")
    yield f"<p>{counted(len(reports), 'report')} over {text(measured)}; {calls}.</p>"


def _finding(finding: Finding) -> tuple[str, ...]:
    is_time = finding.objective.endswith("_ms")
    measured = "not measured" if finding.value is None else _ms(finding.value) if is_time else _share(finding.value)
    promised = f"at most {_ms(finding.target)}" if is_time else f"at least {_share(finding.target)}"
    verdict = styled("met", "good strong") if finding.ok else styled("not met", "bad strong")
    return text(_OBJECTIVES[finding.objective]), text(measured), text(promised), verdict


def _calendar(statement: Statement) -> Iterator[str]:
    last = max(statement.hours, default=None)
    if last is None:
        yield "<p class=soft>None.</p>"
        return
    first = last - timedelta(days=WANTED_DAYS - 1)
    days = [first + timedelta(days=number) for number in range(WANTED_DAYS)]
    counting = sum(statement.hours.get(day, 0.0) >= MIN_HOURS for day in days)
    yield (
        f"<p>{counting} of {WANTED_DAYS} days count: a day counts where at least {MIN_HOURS} of its {HOURS_A_DAY} hours"
        " (UTC) were measured.</p>"
    )
    names = "".join(f"<div class=week>{name}</div>" for name in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
    before = "<div></div>" * days[0].weekday()
    yield f"<div class=month>{names}{before}{''.join(_cell(day, statement.hours.get(day, 0.0)) for day in days)}</div>"
    if earlier := sum(day < first for day in statement.hours):
        yield f"<p class=soft>{counted(earlier, 'day')} before these had reports, too.</p>"


def _cell(day: date, hours: float) -> str:
    style = "full" if hours >= MIN_HOURS else "part" if hours else "none"
    shown = f"{day.day}" if day.day > 1 else f"{day:%b} 1"
    return f'<div class="day {style}" title="{day}: {hours:.1f} h">{shown}<small>{text(_hours(hours))}</small></div>'


def _overhead(statement: Statement) -> str:
    reports = [report for report in statement.reports if report.overhead.total_count]
    if not reports:
        return "<p class=soft>None.</p>"
    target = next(one.target for one in statement.findings if one.objective == "overhead_p95_ms")
    values = [report.overhead.get_value_at_percentile(95) / 1_000 for report in reports]
    points = [
        Point(report.started_s, value, f"{utc(report.started_s)}: {_ms(value)}")
        for report, value in zip(reports, values, strict=True)
    ]
    scale = log_scale([*values, target], "ms")
    limit = Limit(target, f"{target:g} ms: the objective")
    worst = f"<p>95 of 100 calls stayed below the dot. The worst report: {_ms(max(values))}.</p>"
    return worst + over_time(points, scale, _ends(reports), limit=limit)


def _growth(statement: Statement) -> Iterator[str]:
    yield from _one_growth("Private memory", statement.reports, statement.memory, "MiB", MIB)
    yield from _one_growth("Open files", statement.reports, statement.open_files, "", 1)


def _one_growth(name: str, reports: Sequence[SoakReport], growth: Growth | None, unit: str, size: int) -> Iterator[str]:
    if growth is None:
        yield f"<p class=soft>{name}: not measured (the soak ran on another host than the daemon).</p>"
        return
    per_day = growth.per_day / size
    trend = (
        "stays as it is" if abs(per_day) < _flat(growth) / size else f"{per_day:+,.2f} {unit} a day".replace("  ", " ")
    )
    first, last = (f"{value / size:,.4g} {unit}".strip() for value in (growth.first, growth.last))
    yield f"<h3>{name}: {text(trend)}</h3><p class=soft>{text(first)} at first, {text(last)} at last.</p>"
    points = [Point(at, value / size, f"{utc(at)}: {value / size:,.4g} {unit}".strip()) for at, value in growth.samples]
    yield over_time(points, linear_scale([point.value for point in points], unit), _ends(reports), is_line=True)


def _flat(growth: Growth) -> float:
    """How much a day is nothing: a thousandth of what there is."""
    return abs(growth.last) / 1_000


def _percentiles(statement: Statement) -> str:
    whole, overhead = percentiles_ms(statement.latency), percentiles_ms(statement.overhead)
    rows = []
    for name, value in whole.items():
        added = overhead[name]
        cells = (_ms(one) if isinstance(one, int | float) else "not measured" for one in (value, added))
        rows.append((text(_PERCENTILES.get(name, name)), *cells))
    return table(("Of the calls", ">The whole call, at most", ">In the daemon, at most"), rows)


def _outcomes(statement: Statement) -> Iterator[str]:
    summary = statement.as_json()
    statuses, errors = summary["statuses"], summary["errors"]
    total = statement.measured.attempted or 1
    if isinstance(statuses, dict):
        rows = [
            (text(_STATUSES.get(word, word)), f"{count:,}", _share(count / total))
            for word, count in statuses.items()
            if isinstance(count, int)
        ]
        yield table(("Calls that", ">How many", ">Of all"), rows, empty="No call was answered.")
    if isinstance(errors, dict) and errors:
        yield "<h3>Errors</h3>"
        yield table(("Code", ">How many"), [(code(str(word)), f"{count:,}") for word, count in errors.items()])


def _what_ran(statement: Statement) -> list[tuple[str, str]]:
    summary = statement.as_json()
    listed = {
        "modes": "Profile modes",
        "versions": "Versions",
        "policies": "Policies",
        "daemons": "Daemons",
        "interrupted": "Interrupted runs",
    }
    rows = []
    for key, shown in listed.items():
        found = summary[key]
        if isinstance(found, list) and found:
            rows.append((shown, ", ".join(code(str(one)) for one in found)))
    head, max_sync_ms = summary["receipt_head"], summary["max_sync_ms"]
    ended_on = code(f"{head.get('id')}:{head.get('hash_hex')}") if isinstance(head, dict) else "not known"
    slowest = _ms(max_sync_ms) if isinstance(max_sync_ms, float) else "not known"
    return [*rows, ("Receipts ended on", ended_on), ("Slowest commit of the disk", slowest)]


def _missing(statement: Statement) -> Iterator[str]:
    gaps = [(utc(start), utc(end), _duration(end - start)) for start, end in statement.gaps]
    yield table(("From", "To", ">For"), gaps, empty="No gap of more than two hours.")
    if statement.unreadable:
        yield "<h3>Files that were not counted</h3>"
        yield table(("Why",), [(text(why),) for why in statement.unreadable])


def _ends(reports: Sequence[SoakReport]) -> tuple[str, str]:
    first, last = reports[0].started_s, reports[-1].started_s
    form = "%Y-%m-%d" if last - first >= SECONDS_A_DAY else "%Y-%m-%d %H:%M"
    begin, end = (datetime.fromtimestamp(at, UTC).strftime(form) for at in (first, last))
    return begin, end if len(reports) > 1 else ""


def _ms(value: float) -> str:
    """A time as a person says it."""
    if value < 1:
        return f"{value * 1_000:,.0f} µs"
    return f"{value:,.3g} ms" if value < MS_A_SECOND else f"{value / MS_A_SECOND:,.3g} s"


def _share(value: float) -> str:
    """A share in per cent, cut and not rounded: what is not reached is not shown as reached."""
    cut = math.floor(value * 100_000 + 1e-9) / 1_000
    return f"{cut:.3f}".rstrip("0").rstrip(".") + "%"


def _hours(hours: float) -> str:
    """Whole hours, cut; between hourly runs a few minutes go by, so six minutes short of an hour are not seen."""
    return "< 1 h" if 0 < hours < 1 else f"{math.floor(hours + 0.1):,} h"


def _duration(seconds: float) -> str:
    hours = seconds / 3_600
    return f"{hours:,.1f} h" if hours < 2 * HOURS_A_DAY else f"{hours / HOURS_A_DAY:,.1f} days"
