"""One self-contained HTML page from the benchmark JSON of a directory: `python bench/report.py DIRECTORY`.

It shows the figures against their budgets, the latency of decisions against the machine's own floor, every benchmark
with its median and spread, and each ratio over time when earlier runs lie beside the newest. No script, nothing
fetched.
"""

from __future__ import annotations

import html
import sys
from pathlib import Path

from plots import bars, line
from results import Budget, Run, budgets_for, read_runs

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --page: #fff; --rule: #d1d9e0; --ours: #0969da;
  --floor: #9a6700; --good: #1a7f37; --bad: #cf222e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --page: #0d1117; --rule: #3d444d;
  --ours: #4493f8; --floor: #d29922; --good: #3fb950; --bad: #f85149 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p.soft, td.soft { color: var(--soft) }
table { border-collapse: collapse; width: 100% } td, th { padding: .3rem .6rem; border-bottom: 1px solid var(--rule);
  text-align: left; vertical-align: top } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap }
.ok { color: var(--good) } .broken { color: var(--bad); font-weight: 600 }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--ink); font: 12px system-ui, sans-serif }
svg text.soft { fill: var(--soft) } .grid { stroke: var(--rule) } .ours { fill: var(--ours); stroke: var(--ours) }
.floor { fill: var(--floor); stroke: var(--floor) } .path { fill: none; stroke-width: 2 }
"""


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
        f'<p class="broken">{len(broken)} of {len(budgets)} budgets are broken or were not measured.</p>'
        if broken
        else f'<p class="ok">All {len(budgets)} budgets hold.</p>'
    )
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
            f"<title>briefcase benchmarks, {html.escape(run.at[:16])}</title><style>{STYLE}</style>",
            f"<h1>briefcase benchmarks</h1><p class=soft>{html.escape(machine_of(run))}</p>{verdict}",
            "<h2>Against the budgets</h2>",
            budget_table(run, budgets),
            "<h2>Durable decisions against the floor</h2>",
            f"<p class=soft>{ABOUT_FLOOR} {value_of(run, 'floor.commit_us'):,.0f} µs.</p>",
            decision_plots(run),
            *over_time(runs, budgets),
            "<h2>Every benchmark</h2>",
            benchmark_table(run),
            "</html>",
        ]
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
    """Figure, measured, budget, head-room, and why."""
    rows = []
    for budget in budgets:
        figure = run.figures.get(budget.name)
        good = figure is not None and budget.holds(figure.value)
        shown = f"{figure.value:,.3g} {figure.unit}" if figure and figure.value < 100 else ""
        if figure and not shown:
            shown = f"{figure.value:,.0f} {figure.unit}"
        rows.append(
            f"<tr><td class={'ok' if good else 'broken'}>{'✓' if good else '✗'}<td>{html.escape(budget.name)}"
            f"<td class=n>{shown or 'not measured'}<td class=n>{budget}<td class=soft>{html.escape(budget.why)}"
        )
    head = "<tr><th><th>figure<th class=n>measured<th class=n>budget<th>why"
    return f"<table>{head}{''.join(rows)}</table>"


def decision_plots(run: Run) -> str:
    """Latency and throughput by connection count, ours beside the echo."""
    counts = [1, 8, 64, 256]
    labels = [f"{count} conn." for count in counts]
    series = {
        "durable decision, p50": [value_of(run, f"decision.{count}.p50_us") for count in counts],
        "bare echo, p50": [value_of(run, f"floor.echo.{count}.p50_us") for count in counts],
    }
    tails = {
        "durable decision, p95": [value_of(run, f"decision.{count}.p95_us") for count in counts],
        "bare echo, p95": [value_of(run, f"floor.echo.{count}.p95_us") for count in counts],
    }
    rates = {
        "durable decisions a second": [value_of(run, f"decision.{count}.per_second") for count in counts],
        "bare echoes a second": [value_of(run, f"floor.echo.{count}.per_second") for count in counts],
    }
    return bars(labels, series, "µs") + bars(labels, tails, "µs") + bars(labels, rates, "/s")


def over_time(runs: list[Run], budgets: list[Budget]) -> list[str]:
    """One small line for each ratio that more than one run measured."""
    drawn = []
    for budget in budgets:
        points = [(run.at[:16], run.figures[budget.name].value) for run in runs if budget.name in run.figures]
        if budget.is_ratio and len(points) > 1:
            drawn.append(f"<h3>{html.escape(budget.name)}</h3>{line(points, budget.at_most or budget.at_least or 0)}")
    return ["<h2>Ratios over time</h2>", *drawn] if drawn else []


def benchmark_table(run: Run) -> str:
    """What pytest-benchmark timed: median, interquartile range, rounds."""
    rows = []
    for benchmark in run.benchmarks:
        stats = benchmark["stats"]
        rows.append(
            f"<tr><td>{html.escape(benchmark['name'])}<td class=n>{duration(stats['median'])}"
            f"<td class=n>{duration(stats['iqr'])}<td class=n>{stats['rounds']}"
        )
    head = "<tr><th>benchmark<th class=n>median<th class=n>interquartile range<th class=n>rounds"
    return f"<table>{head}{''.join(rows)}</table>"


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
