"""Which receipts a command is about: the options that say so, and a word that can match nothing.

A filter whose word is a mistake matches nothing, which reads as "it never happened". So where nothing matched, the
word is held against those there are, and an unknown one is refused with them. Receipts of an agent or a tool that is
gone are found all the same: then something matched.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from briefcase.core.receipts.kinds import KINDS
from briefcase.edges.cli.names import complete_agent, complete_kind
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import US_PER_S, JsonObject, format_rfc3339, parse_rfc3339

if TYPE_CHECKING:
    from briefcase.edges.cli.sources import Source

DECISIONS: Final = ("allow", "deny", "approval_required")
MAX_NAMED: Final = 30
FILTERS: Final = ("kind", "principal", "tool_id", "decision", "approval_id")  # by members of the event
UNTOLD: Final = frozenset({"forbidden", "not_found"})  # an auditor's token, or a daemon of the bare contract
TIMES: Final = ("since", "until")

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_F = TypeVar("_F", bound=Callable[..., Any])


def filter_options(command: _F) -> _F:
    """Add the options that choose receipts."""
    for option in reversed((
        click.option(
            "--kind",
            shell_complete=complete_kind,
            help="Only of this kind: intent, outcome, denied, approval_decided, ...",
        ),
        click.option(
            "--agent",
            "principal",
            metavar="NAME",
            shell_complete=complete_agent,
            help="Only what this agent (or `operator`) asked for.",
        ),
        click.option("--tool", "tool_id", metavar="ID", help="Only of this tool."),
        click.option("--decision", type=click.Choice(DECISIONS), help="Only with this decision."),
        click.option("--approval", "approval_id", metavar="ID", help="Only of this approval."),
        click.option(
            "--since", metavar="TIME", help="A time as 2026-01-31T12:00:00Z, or how long ago: 30s, 15m, 2h, 7d."
        ),
        click.option("--until", metavar="TIME", help="As --since."),
    )):  # fmt: skip
        command = option(command)
    return command


def wanted_of(by: Mapping[str, str | None]) -> dict[str, str]:
    """The filters that were given, times as the wire writes them.

    Raises:
        CallerError: as `parse_moment`.
    """
    now_us = time.time_ns() // 1_000
    return {name: parse_moment(text, now_us) if name in TIMES else text for name, text in by.items() if text}


def parse_moment(text: str, now_us: int) -> str:
    """Read a time, or how long ago, as the wire writes it.

    Raises:
        CallerError: neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return format_rfc3339(now_us - int(ago[1]) * _SECONDS[ago[2]] * US_PER_S)
        return format_rfc3339(parse_rfc3339(text))
    except (ValueError, OverflowError):
        raise CallerError(
            f"expected a time like `2026-01-31T12:00:00Z`, or how long ago like `15m`, got `{text}`"
        ) from None


def holds(event: JsonObject, wanted: Mapping[str, str]) -> bool:
    """Whether an event holds what is wanted of its members; a daemon that does not know a filter answers without it."""
    return all(event.get(name) == wanted[name] for name in FILTERS if name in wanted)


def check_words(source: Source, wanted: Mapping[str, str]) -> None:
    """Check the words of a filter that matched nothing.

    Raises:
        CallerError: no kind, agent or tool has that name (`not_found`); the hint has those there are.
    """
    known: dict[str, tuple[str, Callable[[], Iterable[str]]]] = {
        "kind": ("receipt is of the kind", lambda: KINDS),
        "principal": ("agent is called", source.agents),
        "tool_id": ("tool is called", source.tools),
    }
    for name, (what, words) in known.items():
        if name not in wanted:
            continue
        try:
            there_are = sorted(set(words()))
        except BriefcaseError as error:
            if error.code not in UNTOLD:
                raise
            continue
        if wanted[name] in there_are:
            continue
        ever = source.receipts(1, source.head().id, {name: wanted[name]})
        if next(ever, None) is None:
            raise _unknown(what, wanted[name], there_are)


def _unknown(what: str, word: str, there_are: list[str]) -> CallerError:
    near = difflib.get_close_matches(word, there_are, n=1)
    meant = f": did you mean `{near[0]}`?" if near else ""
    more = f", and {len(there_are) - MAX_NAMED} more" if len(there_are) > MAX_NAMED else ""
    named = ", ".join(there_are[:MAX_NAMED]) + more
    return CallerError(f"no {what} `{word}`{meant}", code="not_found", hint=f"there are: {named or 'none'}")
