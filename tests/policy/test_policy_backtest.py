"""Replay: which recorded outcomes a candidate would change, who would be asked how often, and what is left out."""

import json

import pytest
from policies import PAY, PERMIT_ALL

from briefcase.core.policy import backtest as module
from briefcase.core.policy.backtest import Backtest, Flip, read_lines, read_page
from briefcase.core.policy.check import DEFAULT_POLICY_TEXT
from briefcase.core.policy.engine import compile_policy
from briefcase.core.receipts import events
from briefcase.core.receipts.events import CallFacts, Decided
from briefcase.model.errors import CallerError
from briefcase.model.types import Approval, ApprovalKind, ApprovalStatus
from support.clock import FakeClock
from support.principals import AGENT, OTHER_AGENT
from support.tools import spec

ASK_ALL = 'permit(principal, action, resource); forbid(principal, action == Action::"CallWithoutApproval", resource);'
DENY_ALL = "forbid(principal, action, resource);"
NO_ETC = 'forbid(principal, action, resource) when { context.args has path && context.args.path like "/etc/*" };'


class Recorder:
    """Writes receipts as the daemon does."""

    def __init__(self):
        self.events = []

    def add(self, event, ts="2026-01-01T00:00:00.000000Z"):
        number = len(self.events) + 1
        self.events.append({**event, "id": number, "ts": ts, "boot": 1})
        return self

    def call(self, kind="intent", tool=None, agent=AGENT, args='{"path":"/tmp/a"}', risk=(), ts=None, **decided):
        tool = tool or spec()
        facts = CallFacts("c", "r", agent, tool.id, "00" * 32, args, "11" * 32, tool, risk)
        words = {"intent": "allow", "denied": "deny", "approval_required": "approval_required"}
        event = events.call_event(kind, facts, Decided(words.get(kind, kind), **decided), {"policy": 1})
        return self.add(event, ts or "2026-01-01T00:00:00.000000Z")

    def lines(self):
        hashes = {"prev_hash_hex": "0" * 64, "hash_hex": "1" * 64}
        records = ({"id": event["id"], "ts": event["ts"], **hashes, "event": event} for event in self.events)
        return "".join(json.dumps(record) + "\n" for record in records).encode()


PATHS = {"type": "object", "properties": {"path": {"type": "string"}}}
ECHO = spec(input_schema=PATHS)


def replay(candidate, recorder, tools=(ECHO,)):
    run = Backtest(compile_policy(candidate), FakeClock(), tools)
    run.add(read_lines(recorder.lines()))
    return run.report()


FROM_FEBRUARY = 'forbid(principal, action, resource) when { context.time > datetime("2026-02-01") };'
ASK = "approval_required"
ASKED = {"kind": ASK, "reason": "x", "approval_id": "1"}
RISKY = {"kind": ASK, "reason": "risk:secret_like", "risk": ("secret_like",)}
COSTLY = {"kind": ASK, "reason": "budget_exceeded"}
DENIED = {"kind": "denied", "reason": "policy_denied"}
OUTCOMES = [
    # what was recorded, candidate, before and after (None: no flip)
    ("allowed stays", {}, PERMIT_ALL, None),
    ("allow to deny", {}, DENY_ALL, ("allow", "deny")),
    ("allow to approval", {}, ASK_ALL, ("allow", ASK)),
    ("delegated, to deny", {"kind": "delegated"}, DENY_ALL, ("allow", "deny")),
    ("deny to allow", DENIED, PERMIT_ALL, ("deny", "allow")),
    ("an error to allow", {"kind": "denied", "reason": "policy_error"}, PERMIT_ALL, ("deny", "allow")),
    ("deny to approval", DENIED, ASK_ALL, ("deny", ASK)),
    ("denied stays", DENIED, DENY_ALL, None),
    ("approval to allow", ASKED, PERMIT_ALL, (ASK, "allow")),
    ("approval to deny", ASKED, DENY_ALL, (ASK, "deny")),
    ("asked for its risk, still", RISKY, PERMIT_ALL, None),
    ("asked for its cost, still", COSTLY, PERMIT_ALL, None),
    ("asked for its cost, now denied", COSTLY, DENY_ALL, (ASK, "deny")),
    ("by its arguments", {"args": '{"path":"/etc/passwd"}'}, PERMIT_ALL + NO_ETC, ("allow", "deny")),
    ("by other arguments", {"args": '{"path":"/tmp/x"}'}, PERMIT_ALL + NO_ETC, None),
    ("by its tool", {"tool": spec(category="write")}, DEFAULT_POLICY_TEXT, ("allow", ASK)),
    ("by its time", {"ts": "2026-03-01T00:00:00.000000Z"}, PERMIT_ALL + FROM_FEBRUARY, ("allow", "deny")),
    ("before that time", {}, PERMIT_ALL + FROM_FEBRUARY, None),
]


@pytest.mark.parametrize(
    ("recorded", "candidate", "flip"), [row[1:] for row in OUTCOMES], ids=[row[0] for row in OUTCOMES]
)
def test_an_outcome_that_changes_is_a_flip(recorded, candidate, flip):
    report = replay(candidate, Recorder().call(**recorded))
    assert report.replayed == 1
    assert [(found.flip.before, found.flip.after, found.calls) for found in report.flips] == (
        [(*flip, 1)] if flip else []
    )


def test_flips_are_counted_by_tool_and_agent_the_most_frequent_first():
    recorder = Recorder()
    for agent, tool, times in ((AGENT, spec("a"), 2), (AGENT, spec("b"), 5), (OTHER_AGENT, spec("a"), 3)):
        for _ in range(times):
            recorder.call(tool=tool, agent=agent)
    candidate = '@id("no") forbid(principal, action, resource);'
    assert [(found.flip, found.calls, found.first_receipt_id) for found in replay(candidate, recorder).flips] == [
        (Flip("allow", "deny", "b", "scout", ("no",)), 5, 3),
        (Flip("allow", "deny", "a", "ranger", ("no",)), 3, 8),
        (Flip("allow", "deny", "a", "scout", ("no",)), 2, 1),
    ]


def test_a_number_is_a_decimal_as_it_was_when_the_tool_is_known():
    limit = (
        PERMIT_ALL + 'forbid(principal, action, resource) when { context.args.amount.greaterThan(decimal("100.0")) };'
    )
    recorder = Recorder().call(tool=PAY, args='{"amount":20,"to":{}}')
    assert replay(limit, recorder, [PAY]).flips == ()
    report = replay(limit, recorder)
    assert report.flips == ()
    assert report.left_out == {"arguments of a tool that is not registered": 1}


LEFT_OUT = [
    ({"kind": "denied", "reason": "unknown_tool"}, "unknown_tool"),
    ({"kind": "denied", "reason": "invalid_args: at `/x`: is too long"}, "invalid_args"),
    ({"kind": "denied", "reason": "rate_limited"}, "rate_limited"),
    ({"kind": "denied", "reason": "replay_detected"}, "replay_detected"),
    ({"kind": "intent", "approval_id": "1"}, "intent"),
    ({"args": None}, "arguments not recorded"),
]


@pytest.mark.parametrize(("recorded", "cause"), LEFT_OUT)
def test_what_no_policy_changes_is_left_out_and_counted(recorded, cause):
    report = replay(DENY_ALL + NO_ETC, Recorder().call(**recorded))
    assert (report.receipts, report.replayed, report.left_out, report.flips) == (1, 0, {cause: 1}, ())


def test_unrecorded_arguments_matter_only_to_a_candidate_that_reads_them():
    assert replay(DENY_ALL, Recorder().call(args=None)).replayed == 1


def test_every_other_kind_of_receipt_is_left_out():
    approval = Approval("a", ApprovalStatus.PENDING, ApprovalKind.LOCAL, 0, 1, "p", "t", "", "", "", "r", "s")
    recorder = Recorder()
    for event in (
        events.boot_event("1", clean=True, closed_intents=0),
        events.policy_set_event("operator", "", "", 1),
        events.budget_set_event("operator", "read", 1),
        events.approval_decided_event(approval, "approved", "operator"),
        events.outcome_unknown_event(1, {"call_id": "c"}, "x"),
        events.refused_event(AGENT, "bad_request", "x", "", 0),
    ):
        recorder.add(event)
    report = replay(DENY_ALL, recorder)
    assert report.replayed == 0
    assert sum(report.left_out.values()) == report.receipts == 6


def test_redacted_arguments_are_told():
    recorder = Recorder().call(args='{"path":"[redacted]"}').call()
    assert replay(PERMIT_ALL + NO_ETC, recorder).redacted == 1
    assert replay(PERMIT_ALL, recorder).redacted == 0


def test_predicted_approvals_count_each_ask_once():
    recorder = Recorder()
    for hour in range(4):
        ts = f"2026-01-01T{hour:02d}:00:00.000000Z"
        recorder.call(ts=ts)
        recorder.call("approval_required", reason="x", approval_id=f"ask-{hour}", ts=ts)
        recorder.call("approval_required", reason="x", approval_id=f"ask-{hour}", ts=ts)
        recorder.call("intent", approval_id=f"ask-{hour}", ts=ts)
    report = replay(ASK_ALL, recorder)
    assert (report.approvals_before, report.approvals_after, report.hours) == (4, 8, 3.0)
    assert report.approvals_per_hour == pytest.approx(8 / 3)
    assert replay(PERMIT_ALL, recorder).approvals_after == 0


def test_equal_inputs_are_decided_once_and_different_ones_never_share_an_answer():
    recorder = Recorder()
    for number in range(300):
        recorder.call(args=json.dumps({"path": f"/{'etc' if number % 3 else 'tmp'}/{number % 30}"}))
    report = replay(PERMIT_ALL + NO_ETC, recorder)
    assert report.evaluations == 30
    assert sum(found.calls for found in report.flips) == 200
    assert replay(PERMIT_ALL, recorder).evaluations == 1


def test_the_time_of_a_call_is_an_input_where_the_candidate_reads_it():
    recorder = Recorder().call().call(ts="2026-03-01T00:00:00.000000Z").call()
    report = replay(PERMIT_ALL + FROM_FEBRUARY, recorder)
    assert [(found.calls, found.first_receipt_id) for found in report.flips] == [(1, 2)]
    assert report.evaluations == 2


def test_memory_is_bounded_and_the_counts_stay_right(monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 4)
    monkeypatch.setattr(module, "MAX_FLIPS", 5)
    monkeypatch.setattr(module, "MAX_CAUSES", 3)
    recorder = Recorder()
    for number in range(20):
        recorder.call(tool=spec(f"t{number}"), args=json.dumps({"path": f"/etc/{number}"}))
        recorder.call("denied", reason=f"cause-{number}")
    report = replay(PERMIT_ALL + NO_ETC, recorder, [spec(f"t{number}", input_schema=PATHS) for number in range(20)])
    assert (report.replayed, len(report.flips)) == (20, 5)
    assert len(report.left_out) <= 4
    assert sum(report.left_out.values()) == 20 + 15


def test_a_page_of_the_api_reads_like_lines():
    recorder = Recorder().call().call("denied", reason="policy_denied")
    page = {"receipts": [{"id": event["id"], "event": event} for event in reversed(recorder.events)]}
    assert read_page(json.dumps(page).encode()) == read_lines(recorder.lines())[::-1]


def test_no_receipts_make_an_empty_report():
    report = replay(DENY_ALL, Recorder())
    assert (report.receipts, report.hours, report.approvals_per_hour) == (0, 0.0, 0.0)


GOOD = Recorder().call().lines()
BAD_LINES = [
    ("no JSON", b"{\n"),
    ("no event", b"{}\n"),
    ("an event that is none", b'{"event": 1}\n'),
    ("no id", b'{"event": {"kind": "boot", "ts": "x"}}\n'),
    ("another type", b'{"event": {"kind": "boot", "id": "1", "ts": "x"}}\n'),
    ("no text", b"\xff\xfe\n"),
    ("nested too deep", b'{"event": ' + b"[" * 100_000 + b"\n"),
    ("cut off", GOOD[: len(GOOD) // 2]),
]


@pytest.mark.parametrize("line", [row[1] for row in BAD_LINES], ids=[row[0] for row in BAD_LINES])
def test_a_line_that_is_no_receipt_is_named(line):
    with pytest.raises(CallerError, match="line 12 is no receipt"):
        read_lines(GOOD + GOOD + line + GOOD, first_line=10)
    with pytest.raises(CallerError, match="expected a page of receipts"):
        read_page(line)


BAD_FIELDS = [
    ("arguments that are no JSON", {"args": "{"}),
    ("arguments that are no object", {"args": "[]"}),
    ("arguments nested too deep", {"args": '{"a":' * 100_000}),
    ("no tool", {"tool": None}),
    ("a time that is none", {"ts": "yesterday"}),
]


@pytest.mark.parametrize("changes", [row[1] for row in BAD_FIELDS], ids=[row[0] for row in BAD_FIELDS])
def test_a_receipt_with_a_field_that_makes_no_sense_is_counted_and_ends_no_run(changes):
    recorder = Recorder().call(args='{"path":"/etc/a"}').call(args='{"path":"/etc/a"}')
    recorder.events[0].update(changes)
    report = replay(PERMIT_ALL + NO_ETC + FROM_FEBRUARY, recorder)
    assert report.left_out == {"receipts of calls with fields that make no sense": 1}
    assert (report.replayed, report.flips[0].first_receipt_id) == (1, 2)


OTHER_FIELDS = [
    {"args": ["-m", "server"]},
    {"args": {"a": 1}},
    {"tool": "curl"},
    {"groups": None},
    {"risk": 3},
    {"principal": {"name": "x"}},
    {"reason": None},
    {"approval_id": 7},
]


@pytest.mark.parametrize("fields", OTHER_FIELDS)
def test_an_event_of_another_kind_may_hold_anything_in_the_fields_of_a_call(fields):
    recorder = Recorder().call(args='{"path":"/etc/a"}')
    recorder.add({"kind": "mcp_server_set", **fields}).call(args='{"path":"/etc/a"}')
    report = replay(PERMIT_ALL + NO_ETC, recorder)
    assert (report.replayed, report.left_out) == (2, {"mcp_server_set": 1})
    page = {"receipts": [{"id": event["id"], "event": event} for event in recorder.events]}
    assert read_page(json.dumps(page).encode()) == read_lines(recorder.lines())


def test_a_call_whose_fields_are_of_another_type_is_counted():
    recorder = Recorder().call()
    recorder.events[0]["args"] = ["/etc"]
    report = replay(DENY_ALL, recorder)
    assert (report.replayed, report.left_out) == (0, {"receipts of calls with fields that make no sense": 1})
