"""Plots as inline SVG: grouped bars on a logarithmic axis, and a line over time. Values are written at the marks."""

from __future__ import annotations

import html
import math

WIDTH = 900
ROW = 26
LABEL = 120
CLASSES = ("ours", "floor")


def bars(labels: list[str], series: dict[str, list[float]], unit: str) -> str:
    """Horizontal bars, one group a label, one bar a series, on a shared logarithmic axis."""
    values = [value for row in series.values() for value in row if value > 0]
    if not values:
        return ""
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values) * 1.01))
    span = math.log10(high / low)
    room = WIDTH - LABEL - 90

    def x(value: float) -> float:
        return LABEL + room * math.log10(max(value, low) / low) / span

    drawn = []
    decade = low
    group = ROW * len(series) + 14
    bottom = 34 + group * len(labels)
    while decade <= high:
        drawn.append(f'<line class="grid" x1="{x(decade):.1f}" x2="{x(decade):.1f}" y1="30" y2="{bottom}"/>')
        at = f'x="{x(decade):.1f}" y="{bottom + 16}"'
        drawn.append(f'<text class="soft" {at} text-anchor="middle">{decade:,.0f} {unit}</text>')
        decade *= 10
    for index, name in enumerate(series):
        drawn.append(f'<rect class="{CLASSES[index]}" x="{LABEL + 260 * index}" y="6" width="12" height="12"/>')
        drawn.append(f'<text x="{LABEL + 260 * index + 18}" y="16">{html.escape(name)}</text>')
    for place, label in enumerate(labels):
        top = 34 + group * place
        drawn.append(f'<text x="0" y="{top + group / 2}">{html.escape(label)}</text>')
        for index, row in enumerate(series.values()):
            y = top + ROW * index
            width = max(x(row[place]) - LABEL, 1)
            drawn.append(
                f'<rect class="{CLASSES[index]}" x="{LABEL}" y="{y + 4}" width="{width:.1f}" height="{ROW - 8}"/>'
                f'<text x="{LABEL + width + 6:.1f}" y="{y + ROW / 2 + 4}">{row[place]:,.0f}</text>'
            )
    return f'<svg viewBox="0 0 {WIDTH} {bottom + 24}" role="img">{"".join(drawn)}</svg>'


def line(points: list[tuple[str, float]], budget: float) -> str:
    """A value over time, with its budget as a dashed line."""
    top = max([value for _, value in points] + [budget]) * 1.1
    step = (WIDTH - LABEL - 60) / max(len(points) - 1, 1)

    def y(value: float) -> float:
        return 150 - 130 * value / top

    path = " ".join(f"{LABEL + step * place:.1f},{y(value):.1f}" for place, (_, value) in enumerate(points))
    marks = "".join(
        f'<circle class="ours" cx="{LABEL + step * place:.1f}" cy="{y(value):.1f}" r="3">'
        f"<title>{html.escape(at)}: {value:g}</title></circle>"
        for place, (at, value) in enumerate(points)
    )
    dashed = f'stroke-dasharray="6 4" x1="{LABEL}" x2="{WIDTH - 60}" y1="{y(budget):.1f}" y2="{y(budget):.1f}"'
    first, last = points[0], points[-1]
    return (
        f'<svg viewBox="0 0 {WIDTH} 180" role="img">'
        f'<line class="grid" {dashed}/>'
        f'<text class="soft" x="0" y="{y(budget) + 4:.1f}">budget {budget:g}</text>'
        f'<polyline class="ours path" style="fill:none" points="{path}"/>{marks}'
        f'<text class="soft" x="{LABEL}" y="172">{html.escape(first[0])}</text>'
        f'<text class="soft" x="{WIDTH - 60}" y="172" text-anchor="end">{html.escape(last[0])}: {last[1]:g}</text>'
        "</svg>"
    )
