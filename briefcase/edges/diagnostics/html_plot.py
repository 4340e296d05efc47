"""Plots as HTML and SVG that keep their text readable at any width: a value over time, and bars on one scale.

The drawing stretches with the page and the labels do not: they are HTML beside it, and a dot is a stroke of no length,
which a stretched drawing leaves round (SVG 2, `vector-effect`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from briefcase.edges.diagnostics.html_page import text

STYLE: Final = """
.plot{margin:.6rem 0 1.4rem}.plot .area{position:relative;height:13rem;margin-left:4.2rem}
.plot svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
.plot .tick{position:absolute;left:-4.2rem;width:3.8rem;text-align:right;transform:translateY(-50%);
font-size:.8rem;color:var(--soft);line-height:1;font-variant-numeric:tabular-nums}
.plot .mark{position:absolute;right:0;transform:translateY(-110%);font-size:.8rem;color:var(--bad);
line-height:1.2}
.plot .ends{display:flex;justify-content:space-between;margin-left:4.2rem;font-size:.8rem;color:var(--soft);gap:1rem}
.plot path{fill:none;vector-effect:non-scaling-stroke;stroke-linecap:round}
.plot .grid{stroke:var(--rule);stroke-width:1}.plot .limit{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:6 4}
.plot .dot{stroke:var(--ours);stroke-width:6}.plot .many .dot{stroke-width:3}
.plot svg .dot.over{stroke:var(--bad);stroke-width:6}
.plot .line{stroke:var(--ours);stroke-width:2}
.bars{display:grid;grid-template-columns:max-content 1fr;gap:.15rem .8rem;align-items:center;margin:.6rem 0 1.4rem}
.bars .name{grid-column:1/-1;font-weight:600;margin-top:.5rem}.bars .what{color:var(--soft);font-size:.85rem}
.bars .bar{display:flex;align-items:center;gap:.5rem;font-variant-numeric:tabular-nums;font-size:.85rem;min-width:0}
.bars .bar{white-space:nowrap}
.bars i{display:block;height:.9rem;background:var(--ours);border-radius:2px;flex:none;min-width:2px}
.bars i.second{background:var(--warn)}
"""

WHOLE_FROM: Final = 100.0
MANY: Final = 60  # points, from which on the dots are small

_ROOM_PER_CENT: Final = 62  # of a bar's cell; its figure stands behind it


class Point(NamedTuple):
    """One value of a plot, where along it is, and what it says when it is pointed at."""

    at: float
    value: float
    title: str


class Limit(NamedTuple):
    """A value that is not to be passed, upwards or, with `is_least`, downwards, and what stands at its line."""

    value: float
    label: str
    is_least: bool = False

    def is_passed(self, value: float) -> bool:
        """Whether a value is on the wrong side."""
        return value < self.value if self.is_least else value > self.value


class Scale(NamedTuple):
    """How values become heights: from `low` to `high`, logarithmically or not; `ticks` are values with their labels."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False

    def height(self, value: float) -> float:
        """Where a value is, in per cent from the top; what lies outside is drawn at the edge."""
        low, high, here = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, here = math.log10(low), math.log10(high), math.log10(here)
        return 100 - 100 * (here - low) / ((high - low) or 1)


def log_scale(values: Sequence[float], unit: str) -> Scale:
    """A logarithmic scale of whole decades around positive values."""
    positive = [value for value in values if value > 0] or [1.0]
    lowest = math.floor(math.log10(min(positive)))
    highest = max(math.ceil(math.log10(max(positive) * 1.05)), lowest + 1)
    decades = [10.0**power for power in range(lowest, highest + 1)]
    return Scale(decades[0], decades[-1], tuple((value, f"{value:g} {unit}") for value in decades), is_log=True)


def linear_scale(values: Sequence[float], unit: str) -> Scale:
    """A scale from zero to a little more than the greatest value."""
    high = (max(values, default=0.0) * 1.15) or 1.0
    return Scale(0.0, high, tuple((high * share, f"{_short(high * share)} {unit}") for share in (0.0, 0.5, 1.0)))


def over_time(
    points: Sequence[Point],
    scale: Scale,
    ends: tuple[str, str],
    *,
    limit: Limit | None = None,
    is_line: bool = False,
) -> str:
    """Values over time.

    Args:
        points: in order.
        scale: of the values.
        ends: what stands below the first and the last.
        limit: a dashed line; what passes it is in another colour.
        is_line: join the points.
    """
    first, last = points[0].at, points[-1].at
    drawn = [f'<path class="grid" d="M0 {scale.height(value):.2f}H100"/>' for value, _ in scale.ticks]
    ticks = [
        f'<span class="tick" style="top:{scale.height(value):.2f}%">{text(label)}</span>'
        for value, label in scale.ticks
    ]
    if limit is not None:
        drawn.append(f'<path class="limit" d="M0 {scale.height(limit.value):.2f}H100"/>')
        ticks.append(f'<span class="mark" style="top:{scale.height(limit.value):.2f}%">{text(limit.label)}</span>')
    places = [(100 * (point.at - first) / ((last - first) or 1), scale.height(point.value)) for point in points]
    if is_line:
        drawn.append(f'<path class="line" d="M{" L".join(f"{x:.2f} {y:.2f}" for x, y in places)}"/>')
    for point, (x, y) in zip(points, places, strict=True):
        over = " over" if limit is not None and limit.is_passed(point.value) else ""
        drawn.append(f'<path class="dot{over}" d="M{x:.2f} {y:.2f}h0"><title>{text(point.title)}</title></path>')
    style = "many" if len(points) > MANY else "few"
    svg = f'<svg class={style} viewBox="0 0 100 100" preserveAspectRatio="none" role="img">{"".join(drawn)}</svg>'
    below = f"<div class=ends><span>{text(ends[0])}</span><span>{text(ends[1])}</span></div>"
    return f"<div class=plot><div class=area>{svg}{''.join(ticks)}</div>{below}</div>"


def bars(names: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], unit: str) -> str:
    """Groups of bars, one for each name, one bar a series, all on one logarithmic scale; figures stand behind them."""
    values = [value for _, row in series for value in row if value > 0]
    if not values:
        return ""
    scale = log_scale(values, unit)
    cells = []
    for place, name in enumerate(names):
        cells.append(f"<div class=name>{text(name)}</div>")
        for index, (what, row) in enumerate(series):
            width = _ROOM_PER_CENT * (100 - scale.height(row[place] or scale.low)) / 100
            bar = f'<i class="{"second" if index else "first"}" style="width:{width:.1f}%"></i>'
            cells.append(f"<div class=what>{text(what)}</div><div class=bar>{bar}{row[place]:,.0f} {text(unit)}</div>")
    return f"<div class=bars>{''.join(cells)}</div>"


def _short(value: float) -> str:
    """A value in three digits, or whole."""
    return f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.3g}"
