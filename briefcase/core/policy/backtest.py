"""A candidate policy replayed over recorded receipts: which outcomes change, and how often people would be asked.

Compared are outcomes, not only policies: what came after the policy in the recorded call (risk signals, the budget)
comes after the candidate too. Left out, and counted by cause, is what no policy changes (a call of an unknown tool,
wrong arguments, a replay), the use of an approval (the call it was asked for is compared), and what cannot be replayed:
arguments recorded as a digest only, or of a tool that is not registered now, where the candidate reads them, and
receipts of calls whose fields make no sense. No receipt of the chain ends the run: it would end each later run too.

Equal inputs are decided once. The time of a call is an input only to a candidate that reads it, arguments likewise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from briefcase.core import risk
from briefcase.core.policy.engine import CompiledPolicy
from briefcase.core.receipts.events import ALLOW, APPROVAL_REQUIRED, ASKED_CLIENT, DELEGATED, DENY
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock
from briefcase.model.reasons import BUDGET_EXCEEDED, POLICY_DENIED, POLICY_ERROR
from briefcase.model.types import (
    US_PER_S,
    Allow,
    Deny,
    JsonObject,
    NeedsApproval,
    Principal,
    RiskSignals,
    Role,
    ToolSpec,
    Verdict,
    parse_rfc3339,
)

MAX_REMEMBERED: Final = 200_000  # decisions, and approvals already counted
MAX_CAUSES: Final = 100
MAX_FLIPS: Final = 10_000  # kinds of flip that are told apart
US_PER_HOUR: Final = 3_600 * US_PER_S

_POLICY_DENIALS: Final = frozenset({POLICY_DENIED, POLICY_ERROR})
_REDACTED: Final = "[redacted]"
_NOT_REGISTERED: Final = "arguments of a tool that is not registered"


class RecordedTool(msgspec.Struct, frozen=True, gc=False):
    """What a receipt says of the tool: the attributes that policies read."""

    category: str
    cost_microusd: int
    net_access: bool
    fs_access: bool
    source: str


class RecordedCall(msgspec.Struct, frozen=True, gc=False):
    """The fields of a receipt's event that a decision was made of; other kinds of event leave most of them empty."""

    kind: str
    id: int
    ts: str
    principal: str = ""
    groups: tuple[str, ...] = ()
    tool_id: str = ""
    tool: RecordedTool | None = None
    args: str | None = None
    risk: tuple[str, ...] = ()
    reason: str = ""
    approval_id: str | None = None


class _Record(msgspec.Struct, gc=False):
    event: RecordedCall


class _Page(msgspec.Struct):
    receipts: list[_Record]


class _OtherEvent(msgspec.Struct):
    """An event of any kind: fields of a call's name can hold anything there (a server's `args` are a list)."""

    kind: str
    id: int
    ts: str


class _OtherRecord(msgspec.Struct):
    event: _OtherEvent


class _OtherPage(msgspec.Struct):
    receipts: list[msgspec.Raw]


class Flip(msgspec.Struct, frozen=True):
    """Calls of one tool by one agent that would be decided otherwise, and the policies that decide so."""

    before: str
    after: str
    tool_id: str
    principal: str
    policy_ids: tuple[str, ...]


class FlipCount(msgspec.Struct, frozen=True):
    """A flip, how often, and the first receipt that shows it."""

    flip: Flip
    calls: int
    first_receipt_id: int


class BacktestReport(msgspec.Struct, frozen=True):
    """What a candidate would have changed.

    `replayed` counts decisions compared, `left_out` the other receipts by cause, `redacted` those among the replayed
    whose recorded arguments hold redactions. `hours` is the time that the replayed calls span.
    """

    receipts: int
    replayed: int
    left_out: dict[str, int]
    redacted: int
    flips: tuple[FlipCount, ...]
    approvals_before: int
    approvals_after: int
    hours: float
    evaluations: int
    evaluation_ns: int

    @property
    def approvals_per_hour(self) -> float:
        """How often people would be asked; over less than an hour, as if it had been one."""
        return self.approvals_after / max(self.hours, 1.0)


_NO_TOOL: Final = RecordedTool("", 0, net_access=False, fs_access=False, source="")
_LINES: Final = msgspec.json.Decoder(_Record)
_PAGES: Final = msgspec.json.Decoder(_Page)
_OTHERS: Final = msgspec.json.Decoder(_OtherRecord)
_OTHER_PAGES: Final = msgspec.json.Decoder(_OtherPage)
_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, Any])
_ALLOWED: Final = frozenset({"intent", DELEGATED})
_ASKED: Final = frozenset({APPROVAL_REQUIRED, ASKED_CLIENT})
_CALLS: Final = _ALLOWED | _ASKED | {"denied"}
_DAMAGED: Final = "receipts of calls with fields that make no sense"
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_lines(data: bytes, first_line: int = 1) -> list[RecordedCall]:
    """Read receipts, one JSON object a line, as `briefcase receipts export` writes them.

    Args:
        data: whole lines.
        first_line: the number of the first one, for the message.

    Raises:
        CallerError: a line is no receipt.
    """
    try:
        return [record.event for record in _LINES.decode_lines(data)]
    except _UNREADABLE:
        calls = []
        for number, line in enumerate(data.splitlines(), first_line):
            try:
                calls.append(_read_one(line))
            except _UNREADABLE as error:
                raise CallerError(f"line {number} is no receipt: {error}") from None
        return calls


def read_page(body: bytes) -> list[RecordedCall]:
    """Read the answer of `GET /v1/receipts`.

    Raises:
        CallerError: it is none.
    """
    try:
        return [record.event for record in _PAGES.decode(body).receipts]
    except _UNREADABLE:
        pass
    try:
        return [_read_one(receipt) for receipt in _OTHER_PAGES.decode(body).receipts]
    except _UNREADABLE as error:
        raise CallerError(f"expected a page of receipts: {error}") from None


def _read_one(receipt: bytes | msgspec.Raw) -> RecordedCall:
    """One receipt, whatever its fields hold; those of a call count only where all of them make sense."""
    try:
        return _LINES.decode(receipt).event
    except _UNREADABLE:
        event = _OTHERS.decode(receipt).event
        return RecordedCall(_DAMAGED if event.kind in _CALLS else event.kind, event.id, event.ts)


class Backtest:
    """One replay. Feed it receipts in any order and any number of batches, then ask for the report.

    Args:
        candidate: the policy to try.
        clock: measures the evaluation.
        tools: the registered tools: their schemas tell what the arguments are (`arguments`).
    """

    def __init__(self, candidate: CompiledPolicy, clock: Clock, tools: Sequence[ToolSpec] = ()) -> None:
        self._candidate = candidate
        self._clock = clock
        self._reads_args = candidate.facts.reads.args
        self._reads_time = candidate.facts.reads.time
        self._schemas = {spec.id: spec.input_schema for spec in tools}
        self._same: dict[tuple[object, ...], _Same] = {}
        self._latest: dict[tuple[str, str], _Same] = {}  # by agent and tool: most calls are like the one before
        self._specs: dict[tuple[str, RecordedTool], ToolSpec] = {}
        self._remembered = 0
        self._flips: dict[Flip, list[int]] = {}
        self._asked: set[str] = set()
        self._left_out: Counter[str] = Counter()
        self._receipts = self._replayed = self._redacted = 0
        self._approvals_before = self._approvals_after = 0
        self._evaluations = self._evaluation_ns = 0
        self._first: RecordedCall | None = None
        self._last: RecordedCall | None = None

    def add(self, calls: Iterable[RecordedCall]) -> None:
        """Replay some receipts."""
        for call in calls:
            self._receipts += 1
            before = _outcome_before(call)
            if before is None:
                self._leave_out(call.reason.partition(":")[0] if call.kind == "denied" else call.kind)
            elif call.args is None and self._reads_args:
                self._leave_out("arguments not recorded")
            elif call.tool is None or (self._reads_time and _moment_of(call) is None):
                self._leave_out(_DAMAGED)
            else:
                self._replay(call, before)

    def report(self) -> BacktestReport:
        """What was found so far; the most frequent flips first."""
        flips = [FlipCount(flip, calls, first) for flip, (calls, first) in self._flips.items()]
        flips.sort(key=lambda found: (-found.calls, found.first_receipt_id))
        return BacktestReport(
            receipts=self._receipts,
            replayed=self._replayed,
            left_out=dict(self._left_out),
            redacted=self._redacted,
            flips=tuple(flips),
            approvals_before=self._approvals_before,
            approvals_after=self._approvals_after,
            hours=self._span_us() / US_PER_HOUR,
            evaluations=self._evaluations,
            evaluation_ns=self._evaluation_ns,
        )

    def _span_us(self) -> int:
        first, last = (None if call is None else _moment_of(call) for call in (self._first, self._last))
        return 0 if first is None or last is None else last - first

    def _leave_out(self, cause: str) -> None:
        known = cause in self._left_out or len(self._left_out) < MAX_CAUSES
        self._left_out[cause if known else "other"] += 1

    def _replay(self, call: RecordedCall, before: str) -> None:
        verdict = self._verdict(call)
        if verdict is None:
            self._leave_out(_DAMAGED)
            return
        has_erred = isinstance(verdict, Deny) and verdict.reason == POLICY_ERROR
        if has_erred and self._reads_args and not self._is_known(call):
            self._leave_out(_NOT_REGISTERED)  # nobody says what its arguments are
            return
        after = _outcome_after(call, verdict)
        self._replayed += 1
        if self._reads_args and call.args is not None and _REDACTED in call.args:
            self._redacted += 1
        if self._first is None or call.ts < self._first.ts:
            self._first = call
        if self._last is None or call.ts > self._last.ts:
            self._last = call
        if APPROVAL_REQUIRED in (before, after) and self._is_first_ask(call):
            self._approvals_before += before == APPROVAL_REQUIRED
            self._approvals_after += after == APPROVAL_REQUIRED
        if before == after:
            return
        flip = Flip(before, after, call.tool_id, call.principal, verdict.policy_ids)
        counted = self._flips.get(flip)
        if counted is not None:
            counted[0] += 1
            counted[1] = min(counted[1], call.id)
        elif len(self._flips) < MAX_FLIPS:
            self._flips[flip] = [1, call.id]
        else:
            self._leave_out("flips beyond those told apart")

    def _is_known(self, call: RecordedCall) -> bool:
        return call.tool_id in self._schemas

    def _is_first_ask(self, call: RecordedCall) -> bool:
        """Whether this receipt is not one more for an approval that was counted."""
        if call.approval_id is None:
            return True
        if call.approval_id in self._asked:
            return False
        if len(self._asked) >= MAX_REMEMBERED:
            self._asked.clear()
        self._asked.add(call.approval_id)
        return True

    def _verdict(self, call: RecordedCall) -> Verdict | None:
        """What the candidate says to a call; None where its arguments cannot be read."""
        same = self._latest.get((call.principal, call.tool_id))
        if same is None or not same.is_of(call):
            same = self._same_of(call)
        inputs = (call.args, call.ts) if self._reads_time else call.args if self._reads_args else None
        verdict = same.verdicts.get(inputs)
        if verdict is None:
            args = _arguments(call) if self._reads_args else {}
            if args is None:
                return None
            if self._remembered >= MAX_REMEMBERED:
                self._forget()
            verdict = same.verdicts[inputs] = self._decide(call, same, args)
            self._remembered += 1
        return verdict

    def _same_of(self, call: RecordedCall) -> _Same:
        caller = (call.principal, call.groups, call.tool_id, call.tool, call.risk)
        same = self._same.get(caller)
        if same is None:
            if len(self._same) >= MAX_REMEMBERED:
                self._forget()
            same = self._same[caller] = self._new_same(call)
        self._latest[call.principal, call.tool_id] = same
        return same

    def _forget(self) -> None:
        self._same.clear()
        self._latest.clear()
        self._specs.clear()
        self._remembered = 0

    def _decide(self, call: RecordedCall, same: _Same, args: JsonObject) -> Verdict:
        now_us = (_moment_of(call) or 0) if self._reads_time else 0
        started_ns = self._clock.monotonic_ns()
        verdict = self._candidate.decide(same.principal, same.spec, args, same.risk, now_us)
        self._evaluation_ns += self._clock.monotonic_ns() - started_ns
        self._evaluations += 1
        return verdict

    def _new_same(self, call: RecordedCall) -> _Same:
        tool = call.tool or _NO_TOOL  # `add` leaves out what has none
        spec = self._specs.get((call.tool_id, tool))
        if spec is None:
            spec = self._specs[call.tool_id, tool] = ToolSpec(
                id=call.tool_id,
                name=call.tool_id,
                description="",
                input_schema=self._schemas.get(call.tool_id, {}),
                output_schema={},
                category=tool.category,
                cost_microusd=tool.cost_microusd,
                net_access=tool.net_access,
                fs_access=tool.fs_access,
                source=tool.source,
            )
        # Policies know agents by name and group; a role is no input to them.
        return _Same(Principal(call.principal, Role.AGENT, call.groups), spec, tool, RiskSignals(call.risk))


class _Same:
    """The calls of one agent to one tool with the same risk: what they share, and the verdicts on what they do not."""

    __slots__ = ("principal", "risk", "spec", "tool", "verdicts")

    def __init__(self, principal: Principal, spec: ToolSpec, tool: RecordedTool, signals: RiskSignals) -> None:
        self.principal = principal
        self.spec = spec
        self.tool = tool
        self.risk = signals
        self.verdicts: dict[tuple[str | None, str] | str | None, Verdict] = {}

    def is_of(self, call: RecordedCall) -> bool:
        """Whether a call of this agent and tool is one of these."""
        return self.principal.groups == call.groups and self.tool == call.tool and self.risk.words == call.risk


def _outcome_before(call: RecordedCall) -> str | None:
    """What the recorded call came to, as far as a policy may decide it; None where none does."""
    if call.kind in _ALLOWED and call.approval_id is None:
        return ALLOW
    if call.kind in _ASKED:
        return APPROVAL_REQUIRED
    return DENY if call.kind == "denied" and call.reason in _POLICY_DENIALS else None


def _outcome_after(call: RecordedCall, verdict: Verdict) -> str:
    """What the call comes to under the candidate's verdict: risk and budget tighten it as they did."""
    if isinstance(verdict, Deny):
        return DENY
    if isinstance(verdict, NeedsApproval) or call.reason == BUDGET_EXCEEDED:
        return APPROVAL_REQUIRED
    if not call.risk:
        return ALLOW
    tightened = risk.tighten(verdict, RiskSignals(call.risk))
    return ALLOW if isinstance(tightened, Allow) else APPROVAL_REQUIRED


def _arguments(call: RecordedCall) -> JsonObject | None:
    try:
        return _ARGUMENTS.decode(call.args or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def _moment_of(call: RecordedCall) -> int | None:
    try:
        return parse_rfc3339(call.ts)
    except ValueError:
        return None
