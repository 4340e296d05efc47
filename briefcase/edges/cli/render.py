"""What people read: tables, money and times; `json_output` writes what programs read.

Text that someone else wrote (a tool's name, an agent's arguments, an upstream's answer) never reaches the terminal as
it is: control, bidirectional and zero-width characters are shown as `<U+XXXX>`, and nothing in it is read as markup.
Colours appear on a terminal only, and not where `NO_COLOR` is set.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from briefcase.core.characters.marks import visible_text
from briefcase.model.types import MAX_SAFE_INTEGER, MICROUSD_PER_USD, format_rfc3339, parse_rfc3339

UNBOUNDED_WIDTH: Final = 10_000  # what is not a terminal has no width: nothing is cut or wrapped there
GAP_CHARS: Final = 2
MIN_CELL_CHARS: Final = 4
MAX_PADDED_CELLS: Final = 48  # in a pipe, where one long text would make every line as long
SHORT_ID_CHARS: Final = 8
WIDE_TERMINAL_CHARS: Final = 140
MAX_FRACTION_DIGITS: Final = 6
US_PER_S: Final = 1_000_000

STYLES: Final = {
    "allow": "green",
    "ok": "green",
    "approved": "green",
    "active": "green",
    "new": "yellow",
    "failing": "yellow",
    "alarm": "red",
    "passed": "green",
    "approval_required": "yellow",
    "pending": "yellow",
    "skipped": "yellow",
    "not offered": "dim",
    "disabled": "yellow",
    "deny": "red",
    "error": "red",
    "failed": "red",
    "rejected": "red",
    "revoked": "red",
}

_DOLLARS: Final = re.compile(r"(\d{1,10})(?:\.(\d+))?")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


class _Console(Console):
    """Rich's, which ends the program by itself where the reader has left; here that is `main`'s to say."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """Standard output: a terminal with a width and colours, or a pipe with neither."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        width = None if self.is_terminal else UNBOUNDED_WIDTH
        # no text is markup, not even where a caller forgets to make it a `Text`
        self.console = _Console(width=width, markup=False, highlight=False, emoji=False)

    def line(self, *parts: str | Text) -> None:
        """Write one line; plain strings are made visible, `Text` is written as styled."""
        text = Text()
        for part in parts:
            text.append(visible_text(part)) if isinstance(part, str) else text.append_text(part)
        self.console.print(text, soft_wrap=True)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str | Text]], *, empty: str) -> None:
        """Write rows under their headers, or the sentence for none. A pipe gets lines as long as their own text."""
        rows = list(rows)
        if not rows:
            self.line(Text(empty, "dim"))
        elif self.is_terminal:
            self.console.print(table_of(headers, rows, self.console.width))
        else:
            is_right = [header.startswith(">") for header in headers]
            self._lines([[header.removeprefix(">") for header in headers], *rows], is_right)

    def fields(self, pairs: Iterable[tuple[str, str | Text]]) -> None:
        """Write names and values, one a line."""
        if not self.is_terminal:
            self._lines(pairs, (False, False))
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(name, _cell(value))
        self.console.print(grid)

    def _lines(self, rows: Iterable[Sequence[str | Text]], is_right: Sequence[bool]) -> None:
        """Write rows as lines. Short columns stand below each other, and no line ends in spaces."""
        cells = [[_cell(value).plain for value in row] for row in rows]
        widths = [min(MAX_PADDED_CELLS, max(map(cell_len, column))) for column in zip(*cells, strict=True)]
        for row in cells:
            gaps = [" " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)]
            parts = zip(row, gaps, is_right, strict=True)
            line = (" " * GAP_CHARS).join(gap + text if right else text + gap for text, gap, right in parts)
            self.console.print(Text(line.rstrip()), soft_wrap=True)

    def short_id(self, identifier: str) -> str:
        """A UUID as a table shows it: its first characters on a narrow terminal, whole elsewhere."""
        return identifier[:SHORT_ID_CHARS] if self._is_narrow else identifier

    def short_time(self, rfc3339: str, now_us: int) -> str:
        """A time as a table shows it: on a narrow terminal the time of today, or the day; whole elsewhere."""
        shown = when(rfc3339)
        if not self._is_narrow:
            return shown
        day, _, clock = shown.partition(" ")
        return clock if format_rfc3339(now_us).startswith(day) else day

    @property
    def _is_narrow(self) -> bool:
        return self.is_terminal and self.console.width < WIDE_TERMINAL_CHARS


def table_of(headers: Sequence[str], rows: Iterable[Sequence[str | Text]], width: int) -> Table:
    """A table without lines, in at most so many columns of text. A header that starts with `>` aligns right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max([cell_len(header.removeprefix(">")), *(row[index].cell_len for row in cells)])
        for index, header in enumerate(headers)
    ]
    table = Table(box=None, pad_edge=False, padding=(0, GAP_CHARS, 0, 0), header_style="bold")
    for header, fitting in zip(headers, _fit(widths, width - GAP_CHARS * len(headers)), strict=True):
        justify: JustifyMethod = "right" if header.startswith(">") else "left"
        table.add_column(header.removeprefix(">"), justify=justify, no_wrap=True, overflow="ellipsis", width=fitting)
    for row in cells:
        table.add_row(*row)
    return table


def _fit(widths: list[int], available: int) -> list[int]:
    """Take from the widest until all fit: what is short stays whole."""
    while sum(widths) > available and max(widths) > MIN_CELL_CHARS:
        widest = max(range(len(widths)), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def styled(word: str) -> Text:
    """A status word in its colour."""
    return Text(visible_text(word), STYLES.get(word, ""))


def dim(text: str) -> Text:
    """Text that matters less."""
    return Text(visible_text(text), "dim")


def money(microusd: int) -> str:
    """Micro-USD as dollars, exactly: `$3.00`, `$0.002`."""
    sign = "-" if microusd < 0 else ""
    dollars, rest = divmod(abs(microusd), MICROUSD_PER_USD)
    fraction = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${dollars:,}.{fraction}"


def dollars(usd: float) -> str:
    """Dollars as the wire has them: `$0.002`."""
    if abs(usd) > MAX_SAFE_INTEGER / MICROUSD_PER_USD:
        return f"${usd:.6g}"  # more than is exact
    return money(round(usd * MICROUSD_PER_USD))


def price(usd: float) -> str:
    """What a call is expected to cost: `$0.002`, `free`."""
    shown = dollars(usd)
    return "free" if shown == money(0) else shown


def parse_dollars(text: str) -> int:
    """Read decimal dollars as micro-USD, exactly.

    Raises:
        ValueError: negative, no plain decimal number, finer than a micro-dollar, or too large to be exact.
    """
    match = _DOLLARS.fullmatch(text)
    if match is None or not text.isascii():
        raise ValueError(f"expected dollars as a plain decimal number, for example `2.50`, got `{text}`")
    fraction = match[2] or ""
    if len(fraction) > MAX_FRACTION_DIGITS:
        raise ValueError(f"expected at most {MAX_FRACTION_DIGITS} digits after the point, got `{text}`")
    microusd = int(match[1]) * MICROUSD_PER_USD + int(fraction.ljust(MAX_FRACTION_DIGITS, "0"))
    if microusd > MAX_SAFE_INTEGER:
        raise ValueError(f"expected at most {money(MAX_SAFE_INTEGER)}, got `{text}`")
    return microusd


def when(rfc3339: str) -> str:
    """A wire time as a table shows it: UTC, to the second."""
    try:
        moment = datetime.fromtimestamp(parse_rfc3339(rfc3339) // US_PER_S, UTC)
    except (ValueError, OverflowError, OSError):
        return visible_text(rfc3339)
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def time_left(rfc3339: str, now_us: int) -> str:
    """How long until a wire time, in its largest two units: `14m 59s`, `expired`; what is no time as it is."""
    try:
        left_s = (parse_rfc3339(rfc3339) - now_us) // US_PER_S
    except (ValueError, OverflowError):
        return visible_text(rfc3339)
    if left_s <= 0:
        return "expired"
    parts: list[str] = []
    for size_s, unit in _UNITS:
        count, left_s = divmod(left_s, size_s)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(visible_text(value))
