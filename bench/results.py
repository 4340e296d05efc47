"""Results of benchmark runs, read back from pytest-benchmark's JSON, and the budgets they are held against."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Figure(NamedTuple):
    """One measured figure."""

    name: str
    value: float
    unit: str


class Run(NamedTuple):
    """One run of the suite: when, on what, and what it measured."""

    at: str
    machine: dict
    figures: dict[str, Figure]
    benchmarks: list[dict]


class Budget(NamedTuple):
    """What one figure must hold, on the machine of the run."""

    name: str
    at_most: float | None
    at_least: float | None
    why: str
    is_ratio: bool

    def holds(self, value: float) -> bool:
        """Whether a value is within it."""
        return not (
            (self.at_most is not None and value > self.at_most) or (self.at_least is not None and value < self.at_least)
        )

    def __str__(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"


def read_run(path: Path) -> Run:
    """One run from its JSON file."""
    document = json.loads(path.read_text())
    figures = {
        name: Figure(name, figure["value"], figure["unit"])
        for benchmark in document["benchmarks"]
        for name, figure in benchmark["extra_info"].get("figures", {}).items()
    }
    return Run(document["datetime"], document["machine_info"], figures, document["benchmarks"])


def read_runs(directory: Path) -> list[Run]:
    """All runs of a directory, oldest first."""
    return sorted((read_run(path) for path in directory.glob("*.json")), key=lambda run: run.at)


def budgets_for(run: Run, path: Path = HERE / "slo.toml") -> list[Budget]:
    """The budgets, those that depend on the disk scaled to this run's own floor."""
    budgets = []
    for name, rule in tomllib.loads(path.read_text())["figures"].items():
        scale = 1.0
        if "scales_with" in rule and rule["scales_with"] in run.figures:
            scale = max(1.0, run.figures[rule["scales_with"]].value / rule["scale_from"])
        at_most = rule["at_most"] * scale if "at_most" in rule else None
        budgets.append(Budget(name, at_most, rule.get("at_least"), rule["why"], rule.get("baseline", False)))
    return budgets


def worse_by_at_most(path: Path = HERE / "slo.toml") -> float:
    """The share by which a ratio may be worse than its baseline."""
    return tomllib.loads(path.read_text())["worse_by_at_most"]
