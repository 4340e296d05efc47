"""Hold the newest run against the budgets and the committed baseline: `python bench/slo.py DIRECTORY`.

Exit code 1 names each figure that is broken, missing, or worse than its baseline ratio by more than the stated share.
`--accept` writes the ratios of this run as the new baseline.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from results import HERE, Budget, Run, budgets_for, read_runs, worse_by_at_most

BASELINE = HERE / "baseline.json"


def problems_of(run: Run, budgets: list[Budget], baseline: dict[str, float], share: float) -> list[str]:
    """What is wrong with a run, a line each."""
    problems = []
    for budget in budgets:
        figure = run.figures.get(budget.name)
        if figure is None:
            problems.append(f"{budget.name}: not measured in this run")
            continue
        if not budget.holds(figure.value):
            problems.append(f"{budget.name}: {figure.value:g} {figure.unit}, expected {budget} ({budget.why})")
        before = baseline.get(budget.name)
        if budget.is_ratio and before is not None and _is_worse(budget, figure.value, before, share):
            problems.append(
                f"{budget.name}: {figure.value:g} is more than {share:.0%} worse than the baseline {before:g}"
            )
    return problems


def _is_worse(budget: Budget, value: float, before: float, share: float) -> bool:
    return value > before * (1 + share) if budget.at_most is not None else value < before * (1 - share)


def main() -> int:
    """Print the table and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the benchmark JSON lies")
    parser.add_argument("--accept", action="store_true", help="make this run's ratios the baseline")
    chosen = parser.parse_args()
    runs = read_runs(chosen.directory)
    if not runs:
        print(f"no benchmark JSON in `{chosen.directory}`: run `make bench` first", file=sys.stderr)
        return 2
    run = runs[-1]
    budgets = budgets_for(run)
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    for budget in budgets:
        figure = run.figures.get(budget.name)
        shown = f"{figure.value:>12,.3f} {figure.unit}" if figure else "           -"
        mark = "ok" if figure and budget.holds(figure.value) else "BROKEN"
        print(f"{mark:7}{budget.name:34}{shown:20}{budget!s:>12}")
    problems = problems_of(run, budgets, baseline, worse_by_at_most())
    if chosen.accept:
        ratios = {b.name: run.figures[b.name].value for b in budgets if b.is_ratio and b.name in run.figures}
        BASELINE.write_text(json.dumps(ratios, indent=2, sort_keys=True) + "\n")
    for problem in problems:
        print(f"slo: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
