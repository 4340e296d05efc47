"""One self-contained HTML page from the benchmark JSON of a directory: `python bench/report.py DIRECTORY`.

It shows the figures against their budgets, the latency of decisions against the machine's own floor, every benchmark
with its median and spread, and each ratio over time when earlier runs lie beside the newest. No script, nothing
fetched.
"""

from __future__ import annotations

import sys
from pathlib import Path

from results import Budget, Run, budgets_for, read_runs

from briefcase.edges.diagnostics import html_page, html_plot
from briefcase.edges.diagnostics.html_page import styled, table, text

ABOUT_FLOOR = (
    "Each decision is answered after its receipt is synced to disk. The floor is a bare echo server in the same run; at"
    " one connection the fair comparison is that echo plus one synced commit of"
)


def page(runs: list[Run]) -> str:
    """The whole page for runs that are sorted oldest first."""
    run = runs[-1]
    budgets = budgets_for(run)
    broken = [b for b in budgets if b.name not in run.figures or not b.holds(run.figures[b.name].value)]
    verdict = (
        f"<p class='bad strong'>{len(broken)} of {len(budgets)} budgets are broken or were not measured.</p>"
        if broken
        else f"<p class='good strong'>All {len(budgets)} budgets hold.</p>"
    )
    return html_page.page(
        f"briefcase benchmarks, {run.at[:16]}",
        [
            f"<h1>briefcase benchmarks</h1><p class=soft>{text(machine_of(run))}</p>{verdict}",
            "<h2>Against the budgets</h2>",
            budget_table(run, budgets),
            "<h2>Durable decisions against the floor</h2>",
            f"<p class=soft>{ABOUT_FLOOR} {value_of(run, 'floor.commit_us'):,.0f} µs. Bars are logarithmic.</p>",
            decision_plots(run),
            *over_time(runs, budgets),
            "<h2>Every benchmark</h2>",
            benchmark_table(run),
        ],
        html_plot.STYLE,
    )


def machine_of(run: Run) -> str:
    """One line that describes where the run was made."""
    machine = run.machine
    cpu = machine.get("cpu", {})
    return (
        f"{run.at[:19]} · {cpu.get('brand_raw', 'unknown processor')}, {cpu.get('count', '?')} cores"
        f" · Linux {machine.get('kernel', '?')} · {machine.get('filesystem', '?')}"
        f" · Python {machine.get('python_version', '?')}"
        f" · LMDB {machine.get('lmdb', '?')}"
    )


def value_of(run: Run, name: str) -> float:
    """A figure's value, zero where it was not measured."""
    figure = run.figures.get(name)
    return figure.value if figure else 0.0


def budget_table(run: Run, budgets: list[Budget]) -> str:
    """Figure, measured, budget, and why."""
    rows = []
    for budget in budgets:
        figure = run.figures.get(budget.name)
        good = figure is not None and budget.holds(figure.value)
        shown = f"{figure.value:,.3g} {figure.unit}" if figure and figure.value < 100 else ""
        if figure and not shown:
            shown = f"{figure.value:,.0f} {figure.unit}"
        verdict = styled("✓ holds", "good nowrap") if good else styled("✗ broken", "bad strong nowrap")
        rows.append(
            (html_page.code(budget.name), text(shown or "not measured"), text(str(budget)), verdict, text(budget.why))
        )
    return table(("Figure", ">Measured", ">Budget", "Verdict", "Why"), rows)


def decision_plots(run: Run) -> str:
    """Latency and throughput by connection count, ours beside the echo."""
    counts = [1, 8, 64, 256]
    labels = [f"{count} connection{'s' if count > 1 else ''}" for count in counts]
    drawn = []
    for title, ending, unit in (
        ("Half of them answered within", "p50_us", "µs"),
        ("95 of 100 answered within", "p95_us", "µs"),
        ("Answered a second", "per_second", ""),
    ):
        series = [
            ("durable decision", [value_of(run, f"decision.{count}.{ending}") for count in counts]),
            ("bare echo", [value_of(run, f"floor.echo.{count}.{ending}") for count in counts]),
        ]
        drawn.append(f"<h3>{title}</h3>{html_plot.bars(labels, series, unit)}")
    return "".join(drawn)


def over_time(runs: list[Run], budgets: list[Budget]) -> list[str]:
    """One small line for each ratio that more than one run measured."""
    drawn = []
    for budget in budgets:
        measured = [(run.at[:16], run.figures[budget.name].value) for run in runs if budget.name in run.figures]
        if budget.is_ratio and len(measured) > 1:
            value = budget.at_most or budget.at_least or 0.0
            limit = html_plot.Limit(value, f"budget {value:g}", is_least=budget.at_most is None)
            points = [html_plot.Point(place, value, f"{at}: {value:g}") for place, (at, value) in enumerate(measured)]
            scale = html_plot.linear_scale([*(value for _, value in measured), limit.value], "")
            ends = (measured[0][0][:10], f"{measured[-1][0][:10]}: {measured[-1][1]:.4g}")
            lines = html_plot.over_time(points, scale, ends, limit=limit, is_line=True)
            drawn.append(f"<h3>{text(budget.name)}</h3>{lines}")
    return ["<h2>Ratios over time</h2>", *drawn] if drawn else []


def benchmark_table(run: Run) -> str:
    """What pytest-benchmark timed: median, interquartile range, rounds."""
    rows = []
    for benchmark in run.benchmarks:
        stats = benchmark["stats"]
        figures = (duration(stats["median"]), duration(stats["iqr"]), f"{stats['rounds']:,}")
        rows.append((html_page.code(benchmark["name"]), *figures))
    return table(("Benchmark", ">Median", ">Interquartile range", ">Rounds"), rows)


def duration(seconds: float) -> str:
    """A time in the unit a person would use."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:,.2f} {unit}"
    return f"{seconds / 1e-9:,.0f} ns"


def main() -> int:
    """Write `index.html` beside the JSON and name it."""
    directory = Path(sys.argv[1])
    runs = read_runs(directory)
    if not runs:
        print(f"no benchmark JSON in `{directory}`: run `make bench` first", file=sys.stderr)
        return 2
    target = directory / "index.html"
    target.write_text(page(runs))
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
