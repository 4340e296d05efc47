"""Anomalies: what in the receipts is unlike what came before, each with the receipts it is from and why, in a sentence.

| kind | when | severity |
|---|---|---|
| spend_spike | an agent spent in one day a multiple of its mean of days before | medium; high from twice that |
| expensive_call | a call cost a multiple of the mean of its tool's, or more than was reserved | low; medium |
| new_domain | an agent that has a history reached what it did not reach before | medium |
| output_poisoning | secrets were cut out of an output, or arguments hold words that steer a model | medium; high |
| denial_burst | an agent was refused many times in a few minutes | medium |

An output itself is in no receipt: the words that steer a model are seen where an agent passes them on in arguments.

It is a function of the receipts: no clock, no chance. What is remembered of a receipt is forgotten `HISTORY_DAYS` after
it, and anomalies `KEPT_DAYS` after theirs, so that whoever reads on and whoever begins `WINDOW_DAYS` back say the same.
Memory is bounded: past `MAX_KEYS` the longest unseen is forgotten first, and may be new again.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from briefcase.model.ports import Ledger, ReceiptFilter
from briefcase.model.types import MICROUSD_PER_USD, US_PER_S, JsonValue, Receipt, parse_rfc3339

Kind = Literal["spend_spike", "expensive_call", "new_domain", "output_poisoning", "denial_burst"]
Severity = Literal["low", "medium", "high"]

HISTORY_DAYS: Final = 21
KEPT_DAYS: Final = 7
WINDOW_DAYS: Final = HISTORY_DAYS + KEPT_DAYS
MAX_KEYS: Final = 10_000
MAX_KEPT: Final = 1_000
MAX_SCAN: Final = 200_000  # receipts of the first question: two seconds, in pieces
PAGE: Final = 128  # fed in 1 ms, between which the loop serves others
MAX_NAMED_RECEIPTS: Final = 20
MAX_HOSTS: Final = 8  # of one call's arguments
MIN_SPEND_DAYS: Final = 3  # a mean of fewer days says nothing
MIN_TOOL_CALLS: Final = 10  # likewise of calls
MIN_AGENT_CALLS: Final = 20  # of an agent that called less, everything is new
INSTRUCTION: Final = "instruction_text"

_DAY_US: Final = 86_400 * US_PER_S
_URL_HOST: Final = re.compile(r"https?://([A-Za-z0-9.-]{1,253})")
_K = TypeVar("_K")
_V = TypeVar("_V")


class AnomalySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[anomalies]`: from when on something is unlike what came before."""

    spend_factor: Annotated[
        float, Meta(gt=1, description="a day's spending of an agent, as a multiple of its mean; work varies by two")
    ] = 3.0
    spend_min_usd: Annotated[
        float, Meta(ge=0, description="and at least so many dollars; less is worth nobody's while")
    ] = 1.0
    cost_factor: Annotated[
        float, Meta(gt=1, description="a call's cost, as a multiple of its tool's mean; prices of one tool are alike")
    ] = 5.0
    cost_min_usd: Annotated[float, Meta(ge=0, description="and at least so many dollars; likewise")] = 0.05
    denials: Annotated[
        int, Meta(ge=2, description="refusals of one agent within `denials_within_s`; a person's slips are fewer")
    ] = 20
    denials_within_s: Annotated[int, Meta(ge=1, le=86_400, description="how long a burst of refusals may take")] = 600


class Anomaly(msgspec.Struct, frozen=True):
    """One anomaly. `receipt_id` is the receipt at which it was plain, `receipt_ids` what it is from, ascending."""

    kind: Kind
    severity: Severity
    message: str
    principal: str
    receipt_id: int
    receipt_ids: tuple[int, ...]
    at_us: int


class Detector:
    """Reads receipts in their order and remembers what it needs of them. Pure and deterministic.

    Args:
        settings: from when on something is an anomaly.
    """

    def __init__(self, settings: AnomalySettings) -> None:
        self._settings = settings
        self._found: deque[Anomaly] = deque(maxlen=MAX_KEPT)
        self._spent: OrderedDict[str, dict[int, _Day]] = OrderedDict()
        self._costs: OrderedDict[str, dict[int, _Costs]] = OrderedDict()
        self._reached: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._calls: OrderedDict[str, dict[int, int]] = OrderedDict()
        self._denied: OrderedDict[str, deque[tuple[int, int, int]]] = OrderedDict()
        self._bursting: OrderedDict[str, int] = OrderedDict()
        self._now_us = 0

    def feed(self, receipts: Iterable[Receipt]) -> None:
        """Read receipts that follow those read before."""
        for receipt in receipts:
            self._now_us = parse_rfc3339(receipt.ts)
            self._found.extend(self._read(receipt))

    def found(self) -> list[Anomaly]:
        """The anomalies of the last `KEPT_DAYS` days before the last receipt, newest first."""
        oldest_us = self._now_us - KEPT_DAYS * _DAY_US
        return [one for one in reversed(self._found) if one.at_us > oldest_us]

    def _read(self, receipt: Receipt) -> Iterator[Anomaly]:
        event = receipt.event
        principal = _text(event.get("principal"))
        match event.get("kind"):
            case "intent":
                yield from self._read_call(receipt, principal)
            case "delegated":
                yield from self._read_call(receipt, principal)
                spent = event.get("spent")
                yield from self._read_cost(receipt, principal, spent.get("microusd") if isinstance(spent, dict) else 0)
            case "outcome":
                yield from self._read_cost(receipt, principal, event.get("cost_microusd"))
                yield from self._read_output(receipt, principal)
            case "denied" | "refused" | "refusals_counted":
                yield from self._read_denial(receipt, principal, event.get("count", 1))

    def _read_call(self, receipt: Receipt, principal: str) -> Iterator[Anomaly]:
        event, day = receipt.event, self._now_us // _DAY_US
        days = _kept(self._calls, principal, dict[int, int])
        _forget_days(days, day)
        has_history = sum(days.values()) >= MIN_AGENT_CALLS
        days[day] = days.get(day, 0) + 1
        for destination in _destinations(event):
            key = principal, destination
            last_day = self._reached.get(key)
            _touch(self._reached, key, day)
            if has_history and (last_day is None or day - last_day > HISTORY_DAYS):
                said = f"`{principal}` reached `{destination}`, which it did not in {HISTORY_DAYS} days"
                yield self._anomaly("new_domain", "medium", said, principal, (receipt.id,))
        risk = event.get("risk")
        if isinstance(risk, list) and INSTRUCTION in risk:
            tool = _text(event.get("tool_id"))
            said = f"the arguments of `{principal}`'s call of `{tool}` hold words that steer a model"
            yield self._anomaly("output_poisoning", "high", said, principal, (receipt.id,))

    def _read_cost(self, receipt: Receipt, principal: str, cost: JsonValue) -> Iterator[Anomaly]:
        if not isinstance(cost, int) or cost <= 0:
            return
        yield from self._read_tools_cost(receipt, principal, cost)
        day, settings = self._now_us // _DAY_US, self._settings
        days = _kept(self._spent, principal, dict[int, _Day])
        _forget_days(days, day)
        before = [one.microusd for one_day, one in days.items() if one_day < day]
        today = days.setdefault(day, _Day())
        today.microusd += cost
        today.receipts.append(receipt.id)
        mean = sum(before) / len(before) if before else 0
        is_much = today.microusd >= settings.spend_min_usd * MICROUSD_PER_USD
        is_more = len(before) >= MIN_SPEND_DAYS and today.microusd >= settings.spend_factor * mean
        if today.is_told or not is_much or not is_more:
            return
        today.is_told = True
        severity: Severity = "high" if today.microusd >= 2 * settings.spend_factor * mean else "medium"
        said = (
            f"`{principal}` spent {_usd(today.microusd)} in a day, {today.microusd / max(mean, 1):.1f} times"
            f" its mean of {len(before)} days before, {_usd(mean)}"
        )
        yield self._anomaly("spend_spike", severity, said, principal, tuple(today.receipts))

    def _read_tools_cost(self, receipt: Receipt, principal: str, cost: int) -> Iterator[Anomaly]:
        tool, day, settings = _text(receipt.event.get("tool_id")), self._now_us // _DAY_US, self._settings
        days = _kept(self._costs, tool, dict[int, _Costs])
        _forget_days(days, day)
        calls, total = sum(one.calls for one in days.values()), sum(one.microusd for one in days.values())
        today = days.setdefault(day, _Costs())
        today.calls += 1
        today.microusd += cost
        if receipt.event.get("cost_over_reserved") is True:
            said = f"a call of `{tool}` by `{principal}` cost more than was reserved for it"
            yield self._anomaly("expensive_call", "medium", said, principal, (receipt.id,))
        elif (
            calls >= MIN_TOOL_CALLS
            and cost >= settings.cost_min_usd * MICROUSD_PER_USD
            and cost >= settings.cost_factor * total / calls
        ):
            said = (
                f"a call of `{tool}` by `{principal}` cost {_usd(cost)}, {cost * calls / total:.1f} times the mean of"
                f" {calls} calls before, {_usd(total / calls)}"
            )
            yield self._anomaly("expensive_call", "low", said, principal, (receipt.id,))

    def _read_output(self, receipt: Receipt, principal: str) -> Iterator[Anomaly]:
        cut = receipt.event.get("redactions")
        if isinstance(cut, int) and cut > 0:
            tool = _text(receipt.event.get("tool_id"))
            places = "a place" if cut == 1 else f"{cut} places"
            said = f"secrets were cut out of {places} of what `{tool}` answered to `{principal}`"
            yield self._anomaly("output_poisoning", "medium", said, principal, (receipt.id,))

    def _read_denial(self, receipt: Receipt, principal: str, count: JsonValue) -> Iterator[Anomaly]:
        settings = self._settings
        denied = _kept(self._denied, principal, lambda: deque[tuple[int, int, int]](maxlen=settings.denials))
        denied.append((self._now_us, receipt.id, count if isinstance(count, int) else 1))
        while denied[0][0] <= self._now_us - settings.denials_within_s * US_PER_S:
            denied.popleft()
        refused = sum(times for _, _, times in denied)
        told_us = self._bursting.get(principal)
        if refused < settings.denials:
            return
        is_new = told_us is None or told_us <= self._now_us - settings.denials_within_s * US_PER_S
        _touch(self._bursting, principal, self._now_us)  # one that goes on is one burst
        if is_new:
            within = settings.denials_within_s // 60 or 1
            said = f"`{principal}` was refused {refused} times within {within} min"
            yield self._anomaly("denial_burst", "medium", said, principal, tuple(number for _, number, _ in denied))

    def _anomaly(self, kind: Kind, severity: Severity, said: str, principal: str, receipts: tuple[int, ...]) -> Anomaly:
        named = receipts[-MAX_NAMED_RECEIPTS:]
        return Anomaly(kind, severity, said, principal, named[-1], named, self._now_us)


class Anomalies:
    """The anomalies of a ledger, read on from where they were read to. One event loop.

    The first question reads `WINDOW_DAYS`, at most `MAX_SCAN` receipts; each later one what came since.

    Args:
        ledger: whose receipts are read.
        settings: from when on something is an anomaly.
    """

    def __init__(self, ledger: Ledger, settings: AnomalySettings) -> None:
        self._ledger = ledger
        self._detector = Detector(settings)
        self._read_id: int | None = None

    async def found(self) -> list[Anomaly]:
        """The anomalies of the last `KEPT_DAYS`, newest first.

        Raises:
            StoreError: receipts cannot be read.
        """
        head_id = self._ledger.head().id
        since_us = await self._begin(head_id) if self._read_id is None else None
        while (after_id := self._read_id or 0) < head_id:
            page = await self._ledger.receipts(
                ReceiptFilter(limit=PAGE, after_id=after_id, to_id=head_id, since_us=since_us, oldest_first=True)
            )
            if (self._read_id or 0) != after_id:
                continue  # another question read these meanwhile
            self._detector.feed(page)
            self._read_id, since_us = page[-1].id if page else head_id, None
        return self._detector.found()

    async def _begin(self, head_id: int) -> int | None:
        """Where the first question reads from: the beginning of a day, so that histories are of whole days."""
        newest = await self._ledger.receipts(ReceiptFilter(limit=1))
        if self._read_id is not None or not newest:
            return None
        self._read_id = max(0, head_id - MAX_SCAN)
        return max(0, (parse_rfc3339(newest[0].ts) // _DAY_US - WINDOW_DAYS - 1) * _DAY_US)


class _Day(msgspec.Struct):
    """What an agent spent in a day, and the last receipts of it."""

    microusd: int = 0
    receipts: deque[int] = msgspec.field(default_factory=lambda: deque(maxlen=MAX_NAMED_RECEIPTS))
    is_told: bool = False


class _Costs(msgspec.Struct):
    """What the calls of a tool cost in a day."""

    calls: int = 0
    microusd: int = 0


def _destinations(event: dict[str, JsonValue]) -> Iterator[str]:
    """Where a call goes, as its receipt says: a server, a provider or an HTTP tool, and hosts in its arguments."""
    tool, tool_id = event.get("tool"), _text(event.get("tool_id"))
    if isinstance(tool, dict):
        source = _text(tool.get("source"))
        if source.startswith(("mcp:", "provider:")):
            yield source
        elif tool.get("net_access") is True:
            yield tool_id
    args = event.get("args")
    if isinstance(args, str):
        hosts = dict.fromkeys(found.lower().strip(".-") for found in _URL_HOST.findall(args))
        yield from list(hosts)[:MAX_HOSTS]


def _kept(table: OrderedDict[_K, _V], key: _K, make: Callable[[], _V]) -> _V:
    """What a table has of a key, made where it has nothing; the longest unseen key makes room."""
    value = table.get(key)
    if value is None:
        value = make()
    _touch(table, key, value)
    return value


def _touch(table: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > MAX_KEYS:
        table.popitem(last=False)


def _forget_days(days: dict[int, _V], today: int) -> None:
    """Drop the days that are no history any more."""
    for day in [day for day in days if day < today - HISTORY_DAYS]:
        del days[day]


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _usd(microusd: float) -> str:
    return f"${microusd / MICROUSD_PER_USD:,.2f}"
