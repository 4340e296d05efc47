# ruff: noqa: INP001 - the documentation is no package
"""The picture of the house: each ring a band, each package a room, each allowed import inside a ring a line.

A room stands above those it uses. The rings and the allow-list are `docs/house.toml`, which `tests/test_layers.py`
holds against the code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

HOUSE: Final = Path(__file__).parent / "house.toml"

WIDTH_PX: Final = 1_180
MARGIN_PX: Final = 20
NAME_PX: Final = 150  # the column that names the ring
ROOM_HEIGHT_PX: Final = 34
FLOOR_PX: Final = 74
CHAR_PX: Final = 7.6
COLOURS: Final = ("#eef3fb", "#eaf6ee", "#fff6e6", "#f7ecf8", "#eceff1")
FONT: Final = "font-family='system-ui, sans-serif'"

Uses = Mapping[str, Sequence[str]]


def read_house() -> dict[str, dict[str, list[str]]]:
    """The allow-list: ring, package, the packages of the same ring that it may import; the outermost ring first."""
    return tomllib.loads(HOUSE.read_text(encoding="utf-8"))


def floors(uses: Uses) -> list[list[str]]:
    """The packages of one ring, those on top first: each stands above all that it uses."""
    heights: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in heights:
            heights[name] = 1 + max((height(below) for below in uses[name]), default=-1)
        return heights[name]

    top = max(map(height, uses), default=0)
    return [sorted(name for name in uses if heights[name] == level) for level in range(top, -1, -1)]


def house_svg() -> str:
    """The picture, as SVG."""
    drawn: list[str] = []
    y = MARGIN_PX
    for (ring, uses), colour in zip(read_house().items(), reversed(COLOURS), strict=True):
        levels = floors(uses)
        height = FLOOR_PX * len(levels) + MARGIN_PX
        drawn.append(
            f"<rect x='{MARGIN_PX}' y='{y}' width='{WIDTH_PX - 2 * MARGIN_PX}' height='{height}' rx='10'"
            f" fill='{colour}' stroke='#90a4ae'/>"
            f"<text x='{2 * MARGIN_PX}' y='{y + 30}' {FONT} font-size='17' font-weight='600'"
            f" fill='#263238'>{ring}</text>"
        )
        drawn += _ring(levels, uses, y + MARGIN_PX)
        y += height + MARGIN_PX
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH_PX} {y}' role='img'"
        " aria-label='The rings of briefcase and the packages in them'>"
        f"<rect width='{WIDTH_PX}' height='{y}' fill='white'/>\n" + "\n".join(drawn) + "\n</svg>\n"
    )


def _ring(levels: list[list[str]], uses: Uses, top: int) -> list[str]:
    places: dict[str, tuple[float, float, float]] = {}  # its middle, its top, its width
    for level, names in enumerate(levels):
        widths = [CHAR_PX * len(name) + 26 for name in names]
        space = WIDTH_PX - NAME_PX - 3 * MARGIN_PX
        gap = (space - sum(widths)) / (len(names) + 1)
        x = NAME_PX + MARGIN_PX + gap
        for name, width in zip(names, widths, strict=True):
            places[name] = (x + width / 2, top + level * FLOOR_PX, width)
            x += width + gap
    lines = []
    for name, below in uses.items():
        x, y, _ = places[name]
        for other in below:
            to_x, to_y, _ = places[other]
            start = y + ROOM_HEIGHT_PX
            bend = (to_y - start) / 2
            lines.append(
                f"<path d='M{x:.0f} {start:.0f} C{x:.0f} {start + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f}"
                f" {to_y:.0f}' fill='none' stroke='#78909c' stroke-width='1.1' opacity='0.7'/>"
            )
    rooms = [
        f"<rect x='{x - width / 2:.0f}' y='{y:.0f}' width='{width:.0f}' height='{ROOM_HEIGHT_PX}' rx='6' fill='white'"
        " stroke='#455a64'/>"
        f"<text x='{x:.0f}' y='{y + 22:.0f}' {FONT} font-size='14' text-anchor='middle'"
        f" fill='#102027'>{escape(name)}</text>"
        for name, (x, y, width) in places.items()
    ]
    return lines + rooms
