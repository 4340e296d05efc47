"""What goes out: a title, a few lines and where to look, made of nothing that could act where it is read.

A message may hold, of each event: its id, kind, severity and time; the agent's and the tool's name; the reason; of an
approver's approvals the redacted summary; and a link or a command that shows it. It holds no arguments, no token and
nothing that approves.

Text that others chose is made harmless for every place it may be shown: characters that nobody sees are written out
(`core.characters`), those with a meaning in Markdown, HTML, chat mark-up or a mention become their full-width forms,
what a reader would make a link of is no link any more, and each piece is cut to a bound.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from briefcase.core.characters.marks import visible_text
from briefcase.edges.notifier.events import SEVERITIES, WAITS, Event, Severity
from briefcase.model.types import JsonObject

MAX_NAME_CHARS: Final = 80
MAX_TEXT_CHARS: Final = 200
MAX_LINES: Final = 10
ID_CHARS: Final = 32
WEBHOOK_TYPE: Final = "briefcase.notification"

_FULL_WIDTH: Final = 0xFEE0  # from `!` to its full-width form, U+FF01 (Unicode, Halfwidth and Fullwidth Forms)
_MARKUP: Final = {ord(char): ord(char) + _FULL_WIDTH for char in "<>&@*`~|[]()\\#!{}^$%\"'"}
_LOOSE_UNDERSCORE: Final = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINK_COLON: Final = re.compile(r":(?=//)")
_DOMAIN_DOT: Final = re.compile(r"(?<=[^\W_])\.(?=[^\W\d_]{2})")
_NAMED_LINK: Final = re.compile(r"(?i)\b(mailto|tel|javascript|data|file|vbscript):")


class Message(msgspec.Struct, frozen=True):
    """One message: `id` stays the same however often it is sent. All texts are harmless."""

    id: str
    title: str
    body: str
    severity: Severity
    at: str
    data: dict[str, Any]


def harmless(text: str, most: int = MAX_TEXT_CHARS) -> str:
    """A text that others chose, as it may be shown anywhere.

    Args:
        text: whatever it is.
        most: how many of its characters are kept, before anything else.
    """
    cut = text[:most]
    shown = visible_text(cut).translate(_MARKUP)
    shown = _LOOSE_UNDERSCORE.sub("\uff3f", shown)
    shown = _LINK_COLON.sub("\uff1a", shown)
    shown = _NAMED_LINK.sub("\\1\uff1a", shown)
    shown = _DOMAIN_DOT.sub("\uff0e", shown)
    return shown + ("…" if len(text) > most else "")


def message_of(events: Sequence[Event], dropped: int, page_url: str) -> Message:
    """One message for all of some events, in their order.

    Args:
        events: at least one.
        dropped: how many came before these and were not kept.
        page_url: where the operator's page is, or empty.
    """
    shown = events[:MAX_LINES]
    lines = [f"{line}\n  {_where(one, page_url)}" for one, line in ((one, _line_of(one)) for one in shown)]
    more = len(events) - len(shown) + dropped
    if more:
        lines.append(f"and {more} more: {page_url.rstrip('/') + '/ui' if page_url else 'briefcase approvals list'}")
    severity = max((one.severity for one in events), key=SEVERITIES.index)
    data: JsonObject = {
        "events": [_document_of(one, page_url) for one in shown],
        "more": more,
        "severity": severity,
        "title": _title_of(events, dropped),
    }
    digest = hashlib.sha256("\n".join(one.id for one in events).encode()).hexdigest()
    title = _title_of(events, dropped)
    return Message(f"msg_{digest[:ID_CHARS]}", title, "\n".join(lines), severity, events[-1].at, data)


def webhook_body(message: Message) -> bytes:
    """The body of a Standard Webhooks request (specification 1.0, "Payload structure")."""
    return msgspec.json.encode({"type": WEBHOOK_TYPE, "timestamp": message.at, "data": message.data})


def _title_of(events: Sequence[Event], dropped: int) -> str:
    if len(events) == 1 and not dropped:
        one = events[0]
        if one.kind == WAITS:
            names = harmless(one.agent, MAX_NAME_CHARS), harmless(one.tool, MAX_NAME_CHARS)
            return f"briefcase: {names[0]} waits for {names[1]}"
        return f"briefcase: {harmless(one.says)}"
    waiting = sum(one.kind == WAITS for one in events)
    alarms = len(events) - waiting
    parts = [f"{waiting} calls wait" if waiting != 1 else "1 call waits"] if waiting else []
    parts += [f"{alarms} alarms" if alarms != 1 else "1 alarm"] if alarms else []
    parts += [f"{dropped} more"] if dropped else []
    return f"briefcase: {', '.join(parts)}"


def _line_of(one: Event) -> str:
    names = [harmless(name, MAX_NAME_CHARS) for name in (one.agent, one.tool) if name]
    said = [harmless(one.says), " · ".join(names), harmless(one.reason), harmless(one.summary)]
    return f"{one.severity}: {'; '.join(filter(None, said))}"


def _where(one: Event, page_url: str) -> str:
    """The link to an event's page, or the command that shows it; neither decides anything."""
    ref = quote(one.ref, safe="")
    is_approval = one.kind == WAITS
    if page_url and is_approval:
        return f"{page_url.rstrip('/')}/ui/approvals/{ref}"
    if not ref:
        return "briefcase approvals list"
    return f"briefcase {'approvals' if is_approval else 'receipts'} show {ref}"


def _document_of(one: Event, page_url: str) -> JsonObject:
    return {
        "agent": harmless(one.agent, MAX_NAME_CHARS),
        "at": one.at,
        "id": one.id,
        "kind": one.kind,
        "reason": harmless(one.reason),
        "says": harmless(one.says),
        "severity": one.severity,
        "summary": harmless(one.summary),
        "tool": harmless(one.tool, MAX_NAME_CHARS),
        "where": _where(one, page_url),
    }
