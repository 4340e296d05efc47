"""Anomalies: each kind is found, a quiet ledger has none, and reading on says what reading from the start does."""

import random

import pytest

from briefcase.core import anomalies
from briefcase.core.anomalies import (
    HISTORY_DAYS,
    KEPT_DAYS,
    MAX_KEPT,
    MAX_NAMED_RECEIPTS,
    MIN_AGENT_CALLS,
    MIN_TOOL_CALLS,
    Anomalies,
    AnomalySettings,
    Detector,
)
from briefcase.model.types import US_PER_S, Receipt, format_rfc3339

DAY_S = 86_400
NOON_S = 1_767_268_800  # 2026-01-01T12:00:00Z
CENT = 10_000


class Chain:
    """A ledger that a test makes, receipt by receipt."""

    def __init__(self):
        self.made = []
        self.read = 0

    def put(self, at_s, **event):
        number = len(self.made) + 1
        self.made.append(Receipt(number, format_rfc3339((NOON_S + int(at_s)) * US_PER_S), "", "", event))
        return number

    def call(self, at_s, principal="scout", tool="quote", cost=CENT, **fields):
        tool_of = {"source": fields.pop("source", "provider:demo"), "net_access": fields.pop("net_access", False)}
        outcome = {name: fields.pop(name) for name in ("redactions", "cost_over_reserved") if name in fields}
        first = self.put(at_s, kind="intent", principal=principal, tool_id=tool, tool=tool_of, **fields)
        self.put(at_s, kind="outcome", principal=principal, tool_id=tool, cost_microusd=cost, **outcome)
        return first

    def history(self, days=5, calls=6, **fields):
        for day in range(days):
            for number in range(calls):
                self.call(day * DAY_S + number * 60, **fields)
        return days * DAY_S

    def found(self, **settings):
        detector = Detector(AnomalySettings(**settings))
        detector.feed(self.made)
        return detector.found()

    # what `Anomalies` asks of a ledger

    def head(self):
        return self.made[-1] if self.made else Receipt(0, "", "", "", {})

    async def receipts(self, chosen):
        low, high = chosen.after_id or 0, chosen.to_id or len(self.made)
        since = "" if chosen.since_us is None else format_rfc3339(chosen.since_us)
        passing = [one for one in self.made if low < one.id <= high and one.ts >= since]
        page = (passing if chosen.oldest_first else passing[::-1])[: chosen.limit]
        self.read += len(page)
        return page


def kinds(found):
    return [one.kind for one in found]


def test_a_quiet_ledger_has_none():
    assert Chain().found() == []
    chain = Chain()
    chain.history(days=28)
    for number in range(19):
        chain.put(28 * DAY_S + number, kind="denied", principal="scout")
    assert chain.found() == []


def test_a_day_that_costs_a_multiple_of_those_before_is_a_spike_told_once():
    chain = Chain()
    now = chain.history(cost=20 * CENT)  # $1.20 a day
    for number in range(40):
        chain.call(now + number, cost=20 * CENT)
    (one,) = chain.found()
    assert (one.kind, one.severity, one.principal) == ("spend_spike", "medium", "scout")
    assert one.message == "`scout` spent $3.60 in a day, 3.0 times its mean of 5 days before, $1.20"
    assert len(one.receipt_ids) == 18
    assert all(chain.made[number - 1].event["kind"] == "outcome" for number in one.receipt_ids)
    assert one.receipt_id == one.receipt_ids[-1]


@pytest.mark.parametrize(("days", "cost"), [(2, 20 * CENT), (5, CENT)])
def test_a_few_days_or_a_few_cents_make_no_spike(days, cost):
    chain = Chain()
    now = chain.history(days=days, cost=cost)
    for number in range(30):
        chain.call(now + number, cost=cost)
    assert chain.found() == []


def test_a_call_that_costs_a_multiple_of_its_tools_calls_is_expensive():
    chain = Chain()
    now = chain.history(days=2)
    number = chain.call(now, cost=12 * CENT)
    (one,) = chain.found()
    assert (one.kind, one.severity, one.receipt_ids) == ("expensive_call", "low", (number + 1,))
    assert one.message == "a call of `quote` by `scout` cost $0.12, 12.0 times the mean of 12 calls before, $0.01"


def test_a_call_that_cost_more_than_was_reserved_is_expensive_whatever_came_before():
    chain = Chain()
    chain.call(0, cost_over_reserved=True)
    assert [(one.kind, one.severity) for one in chain.found()] == [("expensive_call", "medium")]


def test_the_first_calls_of_a_tool_are_not_expensive():
    chain = Chain()
    for number in range(MIN_TOOL_CALLS - 1):
        chain.call(number)
    chain.call(60, cost=90 * CENT)
    assert chain.found() == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"source": "mcp:files"}, "mcp:files"),
        ({"source": "http", "net_access": True, "tool": "weather"}, "weather"),
        ({"args": '{"url":"https://Evil.example/x"}'}, "evil.example"),
    ],
)
def test_a_destination_that_an_agent_did_not_reach_before_is_new_once(fields, where):
    chain = Chain()
    now = chain.history()
    number = chain.call(now, **fields)
    chain.call(now + 60, **fields)
    (one,) = [one for one in chain.found() if one.kind == "new_domain"]
    assert (one.severity, one.receipt_ids) == ("medium", (number,))
    assert one.message == f"`scout` reached `{where}`, which it did not in 21 days"


def test_to_an_agent_without_a_history_everything_is_new_and_nothing_is_told():
    chain = Chain()
    for number in range(MIN_AGENT_CALLS):
        chain.call(number, source=f"mcp:s{number}")
    assert chain.found() == []
    chain.call(60, source="mcp:other")
    assert kinds(chain.found()) == ["new_domain"]


def test_what_was_not_reached_for_the_whole_history_is_new_again():
    chain = Chain()
    chain.call(0, source="mcp:files")
    for day in range(HISTORY_DAYS + 2):
        for number in range(3):
            chain.call(day * DAY_S + number)
    assert chain.found() == []
    chain.call((HISTORY_DAYS + 2) * DAY_S, source="mcp:files")
    assert kinds(chain.found()) == ["new_domain"]


def test_secrets_that_were_cut_out_and_words_that_steer_are_output_signals():
    chain = Chain()
    chain.call(0, redactions=2)
    chain.call(1, risk=["instruction_text"])
    assert [(one.kind, one.severity) for one in chain.found()] == [
        ("output_poisoning", "high"), ("output_poisoning", "medium"),
    ]  # fmt: skip
    assert "2 places" in chain.found()[1].message


def test_many_refusals_in_a_few_minutes_are_one_burst():
    chain = Chain()
    for number in range(50):
        chain.put(number, kind="denied", principal="scout")
        chain.put(number, kind="denied", principal=f"other-{number}")
    (one,) = chain.found()
    assert (one.kind, one.message) == ("denial_burst", "`scout` was refused 20 times within 10 min")
    assert len(one.receipt_ids) == MAX_NAMED_RECEIPTS


def test_refusals_that_were_counted_count_and_slow_ones_do_not():
    chain = Chain()
    for number in range(100):
        chain.put(number * 60, kind="denied", principal="slow")
    assert chain.found() == []
    chain.put(6_000, kind="refusals_counted", principal="scout", count=500)
    assert kinds(chain.found()) == ["denial_burst"]


def test_a_burst_that_comes_again_is_another():
    chain = Chain()
    for start in (0, 3_600):
        for number in range(25):
            chain.put(start + number, kind="refused", principal="scout")
    assert kinds(chain.found()) == ["denial_burst", "denial_burst"]


def test_thresholds_are_the_operators():
    chain = Chain()
    now = chain.history(days=2)
    chain.call(now, cost=6 * CENT)
    for number in range(3):
        chain.put(now + number, kind="denied", principal="scout")
    assert kinds(chain.found()) == ["expensive_call"]
    assert kinds(chain.found(cost_factor=7.0, denials=3)) == ["denial_burst"]
    assert kinds(chain.found(cost_min_usd=0.07)) == []


def hostile(seed, receipts=4_000):
    """A chain of many days with everything in it."""
    chance, chain, at_s = random.Random(seed), Chain(), 0
    while len(chain.made) < receipts:
        at_s += chance.choice((1, 60, 3_600, 20_000))
        who, tool = chance.choice("abc"), chance.choice(("quote", "fetch"))
        match chance.randrange(8):
            case 0:
                for number in range(chance.randrange(30)):
                    chain.put(at_s + number, kind="denied", principal=who)
            case 1:
                chain.call(at_s, who, tool, cost=chance.choice((CENT, 300 * CENT)), source=f"mcp:{chance.randrange(9)}")
            case 2:
                risk = [["instruction_text"], []][chance.randrange(2)]
                chain.call(at_s, who, tool, redactions=chance.randrange(2), risk=risk)
            case 3:
                chain.put(at_s, kind="delegated", principal=who, tool_id=tool, spent={"microusd": CENT})
            case _:
                chain.call(at_s, who, tool)
        at_s = max(at_s, int((len(chain.made) / receipts) * 60 * DAY_S))
    return chain


@pytest.mark.parametrize("seed", range(4))
async def test_reading_on_says_what_reading_from_the_start_and_a_restart_say(seed):
    whole, grown = hostile(seed), Chain()
    following = Anomalies(grown, AnomalySettings())
    chance = random.Random(seed)
    while len(grown.made) < len(whole.made):
        grown.made = whole.made[: len(grown.made) + chance.randrange(1, 400)]
        found = await following.found()
        assert found == await Anomalies(grown, AnomalySettings()).found()
        assert found == grown.found()
    assert {"spend_spike", "expensive_call", "new_domain", "output_poisoning", "denial_burst"} >= set(kinds(found))
    assert found


async def test_a_question_reads_what_came_since_the_last_and_nothing_twice():
    chain = Chain()
    chain.history()
    following = Anomalies(chain, AnomalySettings())
    await following.found()
    before = chain.read
    for number in range(3):
        chain.put(5 * DAY_S + number, kind="boot")
    await following.found()
    await following.found()
    assert chain.read == before + 3


async def test_a_start_reads_the_window_and_no_more(monkeypatch):
    chain = Chain()
    chain.history(days=60)
    await Anomalies(chain, AnomalySettings()).found()
    assert chain.read < 32 * 12
    monkeypatch.setattr(anomalies, "MAX_SCAN", 30)
    chain.read = 0
    await Anomalies(chain, AnomalySettings()).found()
    assert chain.read == 31


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(anomalies, "MAX_KEYS", 50)
    chain = Chain()
    for number in range(1_500):
        chain.call(number, principal=f"agent-{number}", tool=f"tool-{number}", redactions=1)
        chain.put(number, kind="refusals_counted", principal=f"agent-{number}", count=20)
    detector = Detector(AnomalySettings())
    detector.feed(chain.made)
    tables = [table for table in vars(detector).values() if isinstance(table, dict)]
    assert [len(table) for table in tables] == [50] * 6
    assert len(detector.found()) == MAX_KEPT


def test_an_anomaly_is_kept_for_a_week():
    chain = Chain()
    chain.call(0, redactions=1)
    chain.put(KEPT_DAYS * DAY_S - 1, kind="boot")
    assert kinds(chain.found()) == ["output_poisoning"]
    chain.put(KEPT_DAYS * DAY_S, kind="boot")
    assert chain.found() == []


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"kind": "intent", "tool": [], "risk": "instruction_text", "args": 5},
        {"kind": "outcome", "cost_microusd": "5", "redactions": None},
        {"kind": "delegated", "spent": 5},
        {"kind": "refusals_counted", "count": "many"},
        {"kind": 5, "principal": 5},
    ],
)
def test_a_receipt_of_another_form_is_read_without_a_fault(event):
    chain = Chain()
    chain.put(0, **event)
    assert chain.found() == []
