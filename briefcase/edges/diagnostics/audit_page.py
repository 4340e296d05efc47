"""The audit report as one page: what was verified, the figures, each agent, each day, decisions, changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from briefcase.core.receipts.audit import Audit, Change, Day, Decision
from briefcase.edges.diagnostics import html_page
from briefcase.edges.diagnostics.html_page import counted, styled, table, text
from briefcase.model.types import MICROUSD_PER_USD

MAX_TOOLS: Final = 8  # of one agent's day, and so many reasons
MAX_DAYS: Final = 366

_COUNTS: Final = (">Allowed", ">Denied", ">Waited", ">Succeeded", ">Failed", ">Unknown", ">Spent")
_STATUS_STYLES: Final = {"approved": "good", "rejected": "bad", "expired": "warn"}
_STYLE: Final = """
.figures{display:flex;flex-wrap:wrap;gap:.6rem 2.2rem;margin:1.2rem 0}
.figures b{display:block;font-size:1.5rem;line-height:1.2;font-variant-numeric:tabular-nums}
"""


class Subject(NamedTuple):
    """What a report is of.

    `verdict` is one sentence about the chain and `holds` whether it verified; `not_excluded` are phrases; `head` is
    `ID:HASH`; `chosen` is the filter in words, empty for every receipt.
    """

    verdict: str
    holds: bool
    not_excluded: tuple[str, ...]
    head: str
    chosen: str
    made: datetime


def audit_page(audit: Audit, subject: Subject) -> str:
    """The page."""
    dates = sorted({date for date, _ in audit.days}, reverse=True)
    return html_page.page(
        f"briefcase audit, {subject.made:%Y-%m-%d}",
        [
            "<h1>What agents asked for, and what came of it</h1>",
            *_opening(audit, subject),
            *_figures(_sum_of(audit.days.values())),
            "<h2>By agent</h2>",
            _agents(audit),
            "<h2>Day by day</h2>",
            *(_day(audit, date) for date in dates[:MAX_DAYS]),
            _left_out(len(dates), MAX_DAYS, "day"),
            "<h2>What people decided</h2>",
            table(("Time", "Who", "Decision", "Agent", "Tool", "Why"), map(_decision, reversed(audit.decisions))),
            _left_out(audit.decided, len(audit.decisions), "earlier decision"),
            "<h2>What was changed</h2>",
            table(("Time", "Who", "What", "About"), map(_change, reversed(audit.changes))),
            _left_out(audit.changed, len(audit.changes), "earlier change"),
        ],
        _STYLE,
    )


def _opening(audit: Audit, subject: Subject) -> Iterator[str]:
    yield f"<p class='strong {'good' if subject.holds else 'bad'}'>{text(subject.verdict)}</p>"
    of_which = f"those with {subject.chosen}" if subject.chosen else "all there are"
    made = f"Made {subject.made:%Y-%m-%d %H:%M}Z; days are UTC."
    yield f"<p>{counted(audit.receipts, 'receipt')}: {text(of_which)}. {made}</p>"
    yield f"<p class=soft>The chain ends on receipt {html_page.code(subject.head)}.</p>"
    for phrase in subject.not_excluded:
        yield f"<p class=soft>Not excluded: {text(phrase)}.</p>"
    if audit.not_counted:
        missing = counted(audit.not_counted, "receipt")
        yield f"<p class='bad strong'>{missing} of further agents and days are left out.</p>"


def _figures(total: Day) -> Iterator[str]:
    figures = (
        (f"{total.allowed:,}", "calls allowed"),
        (f"{total.denied:,}", "denied"),
        (f"{total.waiting:,}", "waited for a person"),
        (f"{total.failed:,}", "failed"),
        (f"{total.unknown:,}", "of unknown outcome"),
        (_money(total.spent_microusd), "spent"),
    )
    yield "<div class=figures>"
    yield from (f"<div><b>{figure}</b><span class=soft>{what}</span></div>" for figure, what in figures)
    yield "</div>"


def _agents(audit: Audit) -> str:
    rows = []
    for agent in sorted({agent for _, agent in audit.days}):
        days = [day for (_, name), day in audit.days.items() if name == agent]
        rows.append((text(agent), str(len(days)), *_counts(_sum_of(days))))
    return table(("Agent", ">Days", *_COUNTS), rows, empty="No agent asked for anything.")


def _day(audit: Audit, date: str) -> str:
    agents = sorted(agent for on, agent in audit.days if on == date)
    rows = [
        (text(agent), *_counts(day := audit.days[date, agent]), _ranked(day.tools), _ranked(day.reasons))
        for agent in agents
    ]
    return f"<h3>{text(date)}</h3>" + table(("Agent", *_COUNTS, "Tools", "Denied for"), rows)


def _counts(day: Day) -> tuple[str, ...]:
    return (
        f"{day.allowed:,}",
        styled(f"{day.denied:,}", "bad") if day.denied else "0",
        f"{day.waiting:,}",
        f"{day.ok:,}",
        styled(f"{day.failed:,}", "bad") if day.failed else "0",
        styled(f"{day.unknown:,}", "warn") if day.unknown else "0",
        _money(day.spent_microusd),
    )


def _ranked(counter: Counter[str]) -> str:
    """The most frequent names with how often, and how many more there are."""
    named = [f"{text(name)}&nbsp;({count:,})" for name, count in counter.most_common(MAX_TOOLS)]
    more = len(counter) - len(named)
    return ", ".join([*named, *([styled(f"{more} more", "soft")] if more > 0 else [])])


def _decision(one: Decision) -> tuple[str, ...]:
    return (
        text(_to_the_second(one.ts)),
        text(one.by),
        styled(one.status, _STATUS_STYLES.get(one.status, "")),
        text(one.agent),
        text(one.tool_id),
        text(one.reason),
    )


def _change(one: Change) -> tuple[str, ...]:
    return text(_to_the_second(one.ts)), text(one.by), text(one.kind), text(one.about)


def _left_out(there_are: int, shown: int, noun: str) -> str:
    return f"<p class=soft>{counted(there_are - shown, noun)} left out.</p>" if there_are > shown else ""


def _sum_of(days: Iterable[Day]) -> Day:
    total = Day()
    for day in days:
        total.allowed += day.allowed
        total.denied += day.denied
        total.waiting += day.waiting
        total.ok += day.ok
        total.failed += day.failed
        total.unknown += day.unknown
        total.spent_microusd += day.spent_microusd
    return total


def _to_the_second(ts: str) -> str:
    return f"{ts[:19].replace('T', ' ')}Z"


def _money(microusd: int) -> str:
    return f"${microusd / MICROUSD_PER_USD:,.6f}".rstrip("0").rstrip(".") if microusd else "$0"
