"""The live screen of `briefcase approvals watch`, and its form for programs.

What keeps a person from approving what they did not mean to:

 1. the selection is an approval's id, never a row: a list that changes moves no finger onto another call
 2. a call that became selected by itself takes no `a` or `d` until no key was pressed for `ARMED_AFTER_MS`, so neither
    a held key nor one already on its way decides it
 3. a call takes no `a` before all of it (`briefcase.edges.cli.shown`) was on the screen: facts, arguments, description
 4. a yes carries the digest of what was on the screen, so that the daemon refuses it for anything else
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Self

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from briefcase.core.characters.marks import visible_text
from briefcase.core.operator.approvals import SHOWN_DIGEST
from briefcase.core.wire.approvals import ApprovalList, ApprovalRecord, Approved, Denied, ShownApproval
from briefcase.edges.cli import shown
from briefcase.edges.cli.app import App
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.desktop import Desktop
from briefcase.edges.cli.following import Absence
from briefcase.edges.cli.json_output import json_text
from briefcase.edges.cli.render import SHORT_ID_CHARS, table_of, time_left
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import BriefcaseError, CallerError

POLL_MS: Final = 500
TIMEOUT_S: Final = 5.0
ARMED_AFTER_MS: Final = 700
UNREAD: Final = 0
FIXED_LINES: Final = 6  # title, header, rule, what is below, message, keys
LIST_SHARE: Final = 4  # one line in so many is the list's, the others are the call's
MAX_SHOWN_CHARS: Final = 60
OVERLAP_LINES: Final = 1  # of two pages, so that a reader finds the place
KEYS: Final = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"k": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"j": "down",
    b"a": "approve",
    b"d": "deny",
    b" ": "more",
    b"b": "back",
    b"q": "quit",
}
DECIDING: Final = frozenset({"approve", "deny"})
HELP: Final = "a approve   d deny   ↑ ↓ choose   space read on   b back   q quit"

_KEY: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?|.", re.DOTALL)  # ECMA-48 section 5.4, or one byte


class Wanted(NamedTuple):
    """Which approvals are watched: of an agent, of a tool; None for any."""

    agent: str | None = None
    tool_id: str | None = None

    def holds(self, one: ApprovalRecord) -> bool:
        """Whether an approval is one of them."""
        return self.agent in {None, one.principal} and self.tool_id in {None, one.tool_id}


class Decision(NamedTuple):
    """What a key asks for: `approve` or `deny`, which approval, and the digest of what was shown of it."""

    verb: str
    approval_id: str
    shown_digest_hex: str | None = None


class Watch:
    """What is on the screen and what a key does to it. Holds no terminal and no clock."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.waiting: list[ApprovalRecord] = []
        self.others = self.arrived = 0
        self._known: set[str] = set()
        self.selected: str | None = None
        self.message = Text()
        self.is_away = False
        self.first_line = 0
        self.document: ShownApproval | None = None
        self._digest_hex: str | None = None
        self._armed_ms = 0
        self._lines: list[Text] = []
        self._page = self._width = 0
        self._read_to = UNREAD

    def update(self, waiting: Sequence[ApprovalRecord], now_ms: int) -> None:
        """Take what waits now; a selection that is gone moves to its neighbour, disarmed."""
        everything, waiting = waiting, [one for one in waiting if self.wanted.holds(one)]
        self.others = len(everything) - len(waiting)
        ids = [one.id for one in waiting]
        self.arrived += len(self._known.union(ids)) - len(self._known)
        self._known.update(ids)
        if self.selected not in ids:
            before = [one.id for one in self.waiting]
            place = before.index(self.selected) if self.selected in before else 0
            self._select(ids[min(place, len(ids) - 1)] if ids else None)
            self._armed_ms = now_ms + ARMED_AFTER_MS
        self.waiting = list(waiting)

    def lose(self, problem: str, now_ms: int) -> None:
        """The daemon does not say what waits: nothing is shown as if it were so."""
        self.forget()
        self.update((), now_ms)
        self.is_away, self.message = True, Text(visible_text(f"{problem}; trying again"), "red")

    def find(self) -> None:
        """The daemon says again what waits."""
        if self.is_away:
            self.is_away, self.message = False, Text("the daemon is back", "green")

    def take(self, reply: Reply[ShownApproval]) -> None:
        """Take the whole call of the selected approval, to be read from its top.

        Raises:
            CallerError: as `shown.digest_of`.
        """
        self.forget()
        if reply.answer.id == self.selected:
            self._digest_hex = shown.digest_of(reply)
            self.document = reply.answer

    def forget(self) -> None:
        """Let go of what was shown: it is fetched and read again."""
        self.document = self._digest_hex = None
        self._lines, self.first_line, self._read_to = [], 0, UNREAD

    def lay_out(self, width: int, page: int) -> list[Text]:
        """Wrap the selected call to a width; gives the lines of it that are on the screen."""
        if width != self._width:
            self._width, self.first_line, self._read_to = width, 0, UNREAD  # other lines: to be read from the top
            self._lines = []
        if not self._lines and self.document is not None:
            self._lines = shown.lines_of(self.document, width)
        self._page = max(page, 0)
        self.first_line = min(self.first_line, max(0, len(self._lines) - self._page))
        visible = self._lines[self.first_line : self.first_line + self._page]
        if width < shown.MIN_COLUMNS:
            return visible  # cut at the right, so that nobody has read it
        if self.first_line <= self._read_to:
            self._read_to = max(self._read_to, self.first_line + len(visible))
        return visible

    @property
    def lines_left(self) -> int:
        """How many lines of the selected call were never on the screen."""
        return max(0, len(self._lines) - self._read_to)

    @property
    def lines_below(self) -> int:
        """How many lines of the selected call are below the screen."""
        return max(0, len(self._lines) - self.first_line - self._page)

    def current(self) -> ApprovalRecord | None:
        """The selected approval."""
        return next((one for one in self.waiting if one.id == self.selected), None)

    def press(self, key: str, now_ms: int) -> Decision | None:
        """Act on a key; gives what is to be decided, if anything."""
        one = self.current()
        if one is None:
            return None
        if key not in DECIDING:
            self.message = Text()
        match key:
            case "up" | "down":
                ids = [each.id for each in self.waiting]
                step = -1 if key == "up" else 1
                chosen = ids[max(0, min(len(ids) - 1, ids.index(one.id) + step))]
                if chosen != self.selected:
                    self._select(chosen)
                    self._armed_ms = now_ms
            case "more":
                at_end = not self.lines_below
                self.first_line = 0 if at_end else self.first_line + max(self._page - OVERLAP_LINES, 1)
            case "back":
                self.first_line = max(0, self.first_line - max(self._page - OVERLAP_LINES, 1))
            case "approve" | "deny":
                return self._decide(key, one, now_ms)
        return None

    def _decide(self, verb: str, one: ApprovalRecord, now_ms: int) -> Decision | None:
        if now_ms < self._armed_ms:
            self._armed_ms = now_ms + ARMED_AFTER_MS
            self.message = Text("this call was just selected: look at it, then press again", "yellow")
            return None
        if verb == "approve" and (self.lines_left or not self._lines):
            left = f"{self.lines_left:,} more lines" if self._lines else "it is not on the screen yet"
            self.message = Text(f"read all of it first: {left}; space reads on", "yellow")
            return None
        return Decision(verb, one.id, self._digest_hex if verb == "approve" else None)

    def _select(self, approval_id: str | None) -> None:
        if approval_id != self.selected:
            self.selected = approval_id
            self.forget()


def follow(app: App, wanted: Wanted) -> None:
    """Write each approval as JSON on one line when it arrives, once, until interrupted; over restarts of the daemon."""
    client, seen, absence = app.client(TIMEOUT_S), set[str](), Absence()
    while True:
        try:
            reply = client.get("/v1/approvals", ApprovalList)
        except BriefcaseError as error:
            absence.begin(error)
        else:
            absence.end()
            waiting = reply.answer.approvals
            for one, came in zip(waiting, reply.listed("approvals"), strict=True):
                if one.id not in seen and wanted.holds(one):
                    click.echo(json_text(came))
            sys.stdout.flush()
            seen = {one.id for one in waiting}
        time.sleep(POLL_MS / 1_000)


def run(app: App, wanted: Wanted, *, rings: bool, desktop: Desktop | None = None) -> None:
    """Drive the terminal until `q`; what was decided is written below when the screen is given back.

    Args:
        app: whose daemon is asked.
        wanted: which approvals are shown; the title counts the others.
        rings: ring the terminal when one of them arrives.
        desktop: shows them there, too.

    Raises:
        CallerError: standard input or output is no terminal.
    """
    for name, stream in (("input", sys.stdin), ("output", sys.stdout)):
        if not stream.isatty():
            raise CallerError(
                f"expected a terminal to draw on and to take keys from, but standard {name} is none",
                hint="`briefcase approvals watch --json` writes each approval on one line",
            )
    watch, console, decided = Watch(wanted), app.screen.console, list[Text]()
    rung = 0
    with _Interrupt() as interrupt, _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        is_running = True
        while is_running:
            interrupt.check()
            _refresh(app, watch)
            _measure(console)
            live.update(draw(watch, console), refresh=True)
            if rings and watch.arrived > rung:
                console.bell()
            rung = watch.arrived
            if desktop is not None:
                desktop.tell(watch.waiting, _now_ms())
            for key in keys.read(POLL_MS):
                if key == "quit":
                    is_running = False
                    break
                decision = watch.press(key, _now_ms())
                if decision is not None:
                    watch.message = _carry_out(app, watch, decision)
                    decided.append(watch.message)
                    _refresh(app, watch)
                live.update(draw(watch, console), refresh=True)
    for line in decided:
        app.screen.line(line)


def draw(watch: Watch, console: Console) -> Group:
    """The whole screen."""
    width, height = console.size
    one = watch.current()
    rows_shown = max(1, min(len(watch.waiting), (height - FIXED_LINES) // LIST_SHARE))
    page = height - FIXED_LINES - rows_shown
    lines = watch.lay_out(width, page)
    read_on = "space" if lines else "make the terminal taller"
    below = f"… {watch.lines_below:,} more lines: {read_on}" if watch.lines_below else ""
    if one is not None and watch.document is None:
        below = "the whole call is not here yet"
    title = "nothing waits for approval" if not watch.is_away else "what waits for approval is not known"
    title = f"{len(watch.waiting)} waiting for you" if watch.waiting else title
    title += f", {len(watch.waiting) - rows_shown} more than fit" if len(watch.waiting) > rows_shown else ""
    title += f"; {watch.others} of others" if watch.others else ""
    parts: list[RenderableType] = [_line(title, "bold"), _table(watch, rows_shown, width), Rule(style="dim")]
    if one is not None:
        parts += map(_line, lines)
        parts.append(_line(below, "yellow"))
    return Group(*parts, _line(watch.message), _line(HELP, "dim"))


def _measure(console: Console) -> None:
    """Draw for the terminal as it is, whatever `COLUMNS` and `LINES` say: a line below its edge is read by nobody."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    if columns and rows:
        console.size = os.terminal_size((columns, rows))


def _line(text: str | Text, style: str = "") -> Text:
    """One line of the screen whatever its length: a second one would push a line of the call off it."""
    line = Text(text, style) if isinstance(text, str) else text.copy()
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _table(watch: Watch, rows_shown: int, width: int) -> Table:
    ids = [one.id for one in watch.waiting]
    place = ids.index(watch.selected) if watch.selected in ids else 0
    start = max(0, min(place - rows_shown // 2, len(ids) - rows_shown))
    now_us = time.time_ns() // 1_000
    rows = []
    for one in watch.waiting[start : start + rows_shown]:
        is_selected = one.id == watch.selected
        style = "reverse" if is_selected else ""
        cells = (
            f"{'▸' if is_selected else ' '} {one.id[:SHORT_ID_CHARS]}",
            one.principal,
            one.tool_id,
            time_left(one.expires_at, now_us),
            one.reason,
        )
        rows.append([Text(visible_text(cell), style) for cell in cells])
    return table_of(("  ID", "WHO", "TOOL", "EXPIRES IN", "WHY"), rows, width)


def _refresh(app: App, watch: Watch) -> None:
    try:
        watch.update(app.client(TIMEOUT_S).get("/v1/approvals", ApprovalList).answer.approvals, _now_ms())
        watch.find()
        if watch.selected is not None and watch.document is None:
            watch.take(app.client(TIMEOUT_S).get(path_of("v1", "approvals", watch.selected), ShownApproval))
    except BriefcaseError as error:
        if error.code not in {"conflict", "not_found"}:
            watch.lose(error.message, _now_ms())
            return
        watch.forget()
        watch.message = Text(visible_text(f"{error.message}; trying again"), "red")


def _carry_out(app: App, watch: Watch, decision: Decision) -> Text:
    one = watch.current()
    what = visible_text(f"{one.principal}: {one.tool_id}")[:MAX_SHOWN_CHARS] if one else ""
    said = {SHOWN_DIGEST: decision.shown_digest_hex} if decision.shown_digest_hex is not None else None
    try:
        kind = Approved if decision.verb == "approve" else Denied
        path = path_of("v1", "approvals", decision.approval_id, decision.verb)
        answer = app.client(TIMEOUT_S).post(path, kind, said).answer
    except BriefcaseError as error:
        watch.forget()
        return Text(visible_text(f"{decision.approval_id[:SHORT_ID_CHARS]}: {error.message}"), "red")
    if isinstance(answer, Approved) and answer.status == "pending":
        watch.forget()
        return Text(f"{decision.approval_id[:SHORT_ID_CHARS]} {what}: {shown.count_of_yes(answer)}", "yellow")
    word, style = ("approved", "green") if decision.verb == "approve" else ("denied", "red")
    return Text.assemble((word, style), f" {decision.approval_id[:SHORT_ID_CHARS]} {what}")


class _Keys:
    """Keys of a terminal in cbreak mode."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, timeout_ms: int) -> list[str]:
        """The keys pressed within a time; those that mean nothing are left out."""
        readable, _, _ = select.select([self._descriptor], [], [], timeout_ms / 1_000)
        data = os.read(self._descriptor, 1_024) if readable else b""
        if readable and not data:
            return ["quit"]  # the terminal is gone
        return split_keys(data)


def split_keys(data: bytes) -> list[str]:
    """The keys in what a terminal sent at once. A sequence that means nothing is skipped whole, letters and all.

    Several keys at once, whether they mean anything or not, are a paste or a held key: then nothing in them decides.
    """
    pressed = _KEY.findall(data)
    found = [KEYS[code] for code in pressed if code in KEYS]
    return found if len(pressed) <= 1 else [key for key in found if key not in DECIDING]


class _Interrupt:
    """Ctrl-C, remembered: what is raised while a destructor runs is lost (see `object.__del__`)."""

    def __init__(self) -> None:
        self._is_seen = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._see)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise `KeyboardInterrupt` where it was lost."""
        if self._is_seen:
            raise KeyboardInterrupt

    def _see(self, *_: object) -> None:
        self._is_seen = True
        raise KeyboardInterrupt


@contextmanager
def _keys() -> Iterator[_Keys]:
    """Take keys one by one, and give the terminal back as it was."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield _Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
