"""An audit: receipts counted by day and agent, with what people decided and operators changed. Pure.

A call counts where it was decided: `intent` and `delegated` as allowed, `denied`, `refused` and `refusals_counted` as
denied, `approval_required` and `asked_client` as waiting. How one ended is in its outcome, or in what was observed.
Each list keeps its newest `MAX_LISTED` rows and says how many there were.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from typing import Final

import msgspec

from briefcase.model.reasons import word_of
from briefcase.model.types import JsonObject, Receipt

MAX_LISTED: Final = 500
MAX_PAIRS: Final = 20_000  # of a day and an agent, together in a report

_DAY_CHARS: Final = len("2026-01-31")
_DECIDED: Final = frozenset({"approval_decided", "approval_expired"})
_NOT_A_CHANGE: Final = frozenset({"boot", "change_intent", "payment_intent", "payment_outcome"})


class Day(msgspec.Struct):
    """What one agent asked for on one day (UTC), in calls; `spent_microusd` is what outcomes were charged."""

    allowed: int = 0
    denied: int = 0
    waiting: int = 0
    ok: int = 0
    failed: int = 0
    unknown: int = 0
    spent_microusd: int = 0
    tools: Counter[str] = msgspec.field(default_factory=Counter)
    reasons: Counter[str] = msgspec.field(default_factory=Counter)


class Decision(msgspec.Struct, frozen=True):
    """A person's yes or no, or an approval that nobody decided in time."""

    receipt_id: int
    ts: str
    by: str
    agent: str
    tool_id: str
    status: str
    reason: str


class Change(msgspec.Struct, frozen=True):
    """What an operator, or the daemon itself, changed; `about` is what the event says of it."""

    receipt_id: int
    ts: str
    by: str
    kind: str
    about: str


class Audit:
    """Counts receipts, in the order of the chain."""

    def __init__(self) -> None:
        self.days: dict[tuple[str, str], Day] = {}
        self.decisions: deque[Decision] = deque(maxlen=MAX_LISTED)
        self.changes: deque[Change] = deque(maxlen=MAX_LISTED)
        self.decided = self.changed = self.receipts = self.not_counted = 0

    def add(self, receipt: Receipt) -> None:
        """Count one receipt."""
        event, kind = receipt.event, _text(receipt.event, "kind")
        self.receipts += 1
        if kind in _DECIDED:
            self._add_decision(receipt)
        elif "principal" in event and "change" not in event:
            self._count(receipt.ts[:_DAY_CHARS], kind, event)
        elif kind not in _NOT_A_CHANGE:
            self.changed += 1
            self.changes.append(Change(receipt.id, receipt.ts, _text(event, "by") or "the daemon", kind, _about(event)))

    def _count(self, date: str, kind: str, event: JsonObject) -> None:
        pair = (date, _text(event, "principal"))
        if pair not in self.days and len(self.days) >= MAX_PAIRS:
            self.not_counted += 1
            return
        day, tool_id = self.days.setdefault(pair, Day()), _text(event, "tool_id")
        match kind:
            case "intent":
                day.allowed += 1
            case "delegated":
                day.allowed += 1
                spent = event.get("spent")
                day.spent_microusd += _number(spent, "microusd") if isinstance(spent, dict) else 0
            case "denied" | "refused":
                day.denied += 1
                day.reasons[word_of(_text(event, "reason"))] += 1
            case "refusals_counted":
                day.denied += _number(event, "count")
                day.reasons[word_of(_text(event, "reason"))] += _number(event, "count")
            case "approval_required" | "asked_client":
                day.waiting += 1
            case "outcome" | "observed":
                has_failed = _text(event, "status") != "ok" or bool(event.get("tool_error"))
                day.failed += has_failed
                day.ok += not has_failed
                day.spent_microusd += _number(event, "cost_microusd")
                return  # its intent named the tool
            case "outcome_unknown":
                day.unknown += 1
                return
            case _:
                return
        if tool_id:
            day.tools[tool_id] += 1

    def _add_decision(self, receipt: Receipt) -> None:
        event, is_expiry = receipt.event, receipt.event.get("kind") == "approval_expired"
        self.decided += 1
        self.decisions.append(
            Decision(
                receipt_id=receipt.id,
                ts=receipt.ts,
                by="nobody" if is_expiry else _text(event, "by"),
                agent=_text(event, "principal"),
                tool_id=_text(event, "tool_id"),
                status="expired" if is_expiry else _text(event, "status"),
                reason=_text(event, "reason"),
            )
        )


_SAID_ELSEWHERE: Final = frozenset({"id", "ts", "boot", "kind", "by", "state", "intent_id"})
_DIGEST: Final = re.compile(r"digest|hash")


def _about(event: JsonObject) -> str:
    """The plain members of an event on one line; its digests are for whoever looks the receipt up."""
    plain = {name: value for name, value in event.items() if name not in _SAID_ELSEWHERE and not _DIGEST.search(name)}
    return ", ".join(f"{name} {value}" for name, value in plain.items() if isinstance(value, str | int) and value != "")


def _text(event: JsonObject, name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""


def _number(event: JsonObject, name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) else 0
