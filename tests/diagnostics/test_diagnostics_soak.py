"""Soak and evidence: what is measured, what an outage does to it, and what a statement says of gaps."""

import asyncio
import html
import itertools
import mmap
import os
from pathlib import Path

import msgspec
import orjson
import pytest
from aiohttp import web
from hdrh.histogram import HdrHistogram

from briefcase.adapters.telemetry.memory import read_memory
from briefcase.core.wire.calls import CALL_ANSWER, CallOk
from briefcase.core.wire.identity import IdentityAnswer
from briefcase.edges.client.expected import ExpectedDaemon
from briefcase.edges.client.pool import Place
from briefcase.edges.diagnostics import soak as soaking
from briefcase.edges.diagnostics.evidence import summarize
from briefcase.edges.diagnostics.evidence_page import page
from briefcase.edges.diagnostics.slo import Measured, Objectives, judge, verdict_of
from briefcase.edges.diagnostics.soak import SoakClient, SoakPlan, Trend, phase_us, soak
from support.wire import example, wrong_answers

IDENTITY = example(IdentityAnswer, is_least=True)
OWN = ExpectedDaemon(frozenset({os.geteuid()}))
PATIENT = Objectives(overhead_p95_ms=60_000)  # how fast this machine is, is no part of these tests
PLAN = SoakPlan(duration_s=0.3, interval_ms=5, tool_id="echo", args={"text": "x"}, connections=4, objectives=PATIENT)
LONG_PLAN = msgspec.structs.replace(PLAN, duration_s=3_600)


async def run_soak(path, handler, plan=PLAN, stop_after_calls=None):
    """Soak a stand-in daemon whose `POST /v1/tools/call` is `handler`, up to its end or to the start of a call."""

    async def run():
        stop, calls = asyncio.Event(), itertools.count(1)

        async def handle(request):
            if next(calls) == stop_after_calls:
                stop.set()
            return await handler(request)

        app = web.Application()
        app.router.add_post("/v1/tools/call", handle)
        app.router.add_get("/v1/identity", identity)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, path).start()
        client = SoakClient(Place(path), OWN, token="t" * 32, connections=plan.connections)
        try:
            async with client:
                return await soak(plan, client, pid=os.getpid(), on_tick=lambda *_: None, stop=stop)
        finally:
            await runner.cleanup()

    return await run()


async def good(request):
    assert (await request.json())["call"]["tool_id"] == "echo"
    return web.json_response(example(CallOk), headers={"Server-Timing": "policy;dur=0.1, execute;dur=0.2"})


async def identity(_):
    return web.json_response(IDENTITY)


@pytest.fixture
def path(tmp_path_factory):
    return str(tmp_path_factory.mktemp("s") / "s.sock")


async def test_an_answer_that_is_wrong_in_one_place_is_no_answer_to_a_call(path):
    wrong = [one for _, one in wrong_answers(CALL_ANSWER, example(CallOk))]

    async def answers(_):
        return web.json_response(wrong.pop() if len(wrong) > 1 else wrong[0])

    plan = msgspec.structs.replace(PLAN, interval_ms=PLAN.duration_s * 1_000 / (len(wrong) + 1))
    measured = (await run_soak(path, answers, plan))["measured"]
    assert (measured["by_error"], measured["answered"]) == ({"unexpected_answer": measured["attempted"]}, 0)


async def test_a_good_run_meets_the_objectives_and_says_which_daemon_it_was(path):
    report = await run_soak(path, good)

    measured = report["measured"]
    assert measured["attempted"] == measured["answered"] == 60
    assert measured["by_status"] == {"ok": 60}
    assert measured["overhead_ms"]["p95"] <= measured["latency_ms"]["p95"]
    assert report["after"]["identity"] == IDENTITY
    assert not report["interrupted"]


async def test_a_refused_receipt_counts_against_append_success_and_availability(path):
    turns = iter(range(1000))

    async def sometimes(request):
        if next(turns) % 10 == 0:
            return web.json_response({"code": "receipts_unavailable", "message": "disk"}, status=503)
        return await good(request)

    measured = (await run_soak(path, sometimes))["measured"]

    assert measured["append_failures"] == 6
    assert measured["by_error"] == {"receipts_unavailable": 6}
    assert measured["answered"] == 54


async def test_a_stall_is_charged_to_every_call_it_held_up(path):
    turns = iter(range(1000))

    async def stalls_once(request):
        if next(turns) == 4:
            await asyncio.sleep(0.1)
        return await good(request)

    plan = msgspec.structs.replace(PLAN, connections=1)
    measured = (await run_soak(path, stalls_once, plan))["measured"]

    assert measured["latency_ms"]["p90"] > 50


async def test_an_interrupted_run_still_reports(path):
    report = await run_soak(path, good, LONG_PLAN, stop_after_calls=10)

    assert report["interrupted"]
    assert 0 < report["measured"]["answered"] < 720_000


async def test_a_run_beside_a_daemon_that_hangs_reports_seconds_after_it_is_interrupted(path, monkeypatch):
    monkeypatch.setattr("briefcase.edges.diagnostics.soak.GRACE_S", 0.2)

    async def hangs(_):
        await asyncio.Event().wait()

    report = await run_soak(path, hangs, LONG_PLAN, stop_after_calls=4)

    assert report["interrupted"]
    assert report["measured"]["by_error"] == {"interrupted": report["measured"]["attempted"]}


async def test_a_run_that_nobody_could_keep_up_with_is_bounded_and_can_be_interrupted(path, monkeypatch):
    monkeypatch.setattr("briefcase.edges.diagnostics.soak.MAX_WAITING", 50)
    plan = msgspec.structs.replace(LONG_PLAN, interval_ms=0.001, connections=1)

    measured = (await run_soak(path, good, plan, stop_after_calls=100))["measured"]

    assert measured["by_error"]["not_sent"] > 0
    assert measured["backlog"]["last"] <= 50
    assert 0 < measured["answered"] < measured["attempted"]


@pytest.mark.parametrize("timing", ["execute;dur=soon", "execute;dur=0.2"])
async def test_an_answer_that_is_none_of_a_daemon_counts_as_an_error(path, timing):
    async def odd(_):
        return web.json_response([1], headers={"Server-Timing": timing})

    measured = (await run_soak(path, odd))["measured"]

    assert (measured["answered"], sum(measured["by_error"].values())) == (0, 60)


@pytest.mark.parametrize(
    ("measured", "met"),
    [
        (Measured(1_000, 1_000, 1_000, 1_000, 0, 1.0), [True, True, True, True]),
        (Measured(1_000, 998, 998, 998, 0, 1.0), [False, True, True, False]),
        (Measured(1_000, 1_000, 1_000, 1_000, 1, 1.0), [True, True, False, True]),
        (Measured(1_000, 1_000, 1_000, 1_000, 0, 151.0), [True, False, True, True]),
        (Measured(1_000, 1_000, 998, 998, 0, 1.0), [True, True, True, False]),
        (Measured(1_000, 1_000, 0, 0, 0, 1.0), [True, True, True, False]),
        (Measured(0, 0, 0, 0, 0, None), [False, False, False, False]),
    ],
)
def test_an_objective_is_met_by_figures_and_never_by_their_absence(measured, met):
    assert [finding.ok for finding in judge(measured, Objectives())] == met


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        (Measured(1_000, 1_000, 1_000, 1_000, 0, 1.0), "met"),
        (Measured(1_000, 1_000, 0, 0, 0, 1.0), "calls_not_allowed"),
        (Measured(1_000, 1_000, 900, 900, 0, 200.0), "calls_not_allowed"),
        (Measured(1_000, 1_000, 1_000, 900, 0, 1.0), "calls_failed"),
        (Measured(1_000, 900, 900, 900, 0, 1.0), "objectives_not_met"),
        (Measured(0, 0, 0, 0, 0, None), "objectives_not_met"),
    ],
)
def test_the_verdict_names_what_kept_a_run_from_meeting_its_objectives(measured, word):
    assert verdict_of(measured, Objectives()) == word


async def test_a_run_whose_calls_are_denied_is_not_green_and_says_why(path):
    async def denied(_):
        return web.json_response({"status": "denied", "reason": "invalid_args: `/symbol`: missing"})

    report = await run_soak(path, denied)

    assert not report["ok"]
    assert report["verdict"] == "calls_not_allowed"
    assert report["measured"]["by_status"] == {"denied": 60}
    assert report["measured"]["by_reason"] == {"invalid_args": 60}
    any_answer = msgspec.structs.replace(PATIENT, call_success=0)
    assert (await run_soak(path, denied, msgspec.structs.replace(PLAN, objectives=any_answer)))["ok"]


def test_evidence_of_denied_calls_does_not_meet_its_objectives(reports):
    for path in reports[:2]:
        report = orjson.loads(path.read_bytes())
        report["measured"]["by_status"] = {"denied": 60}
        path.write_bytes(orjson.dumps(report))
    statement = summarize(reports, PATIENT)
    assert not statement.ok
    assert statement.as_json()["verdict"] == "calls_not_allowed"


def test_the_phase_of_a_server_timing_is_read():
    assert phase_us("policy;dur=0.5, execute;desc=x;dur=1.25", "execute") == 1_250
    assert phase_us("", "execute") == 0


def test_a_trend_is_the_slope_of_its_samples():
    trend = Trend()
    for second in range(60):
        trend.add(second, 100 + 2 * second)

    assert trend.report() == {"first": 100, "last": 218, "per_hour": 7200.0}


@pytest.fixture
async def reports(path, tmp_path):
    """Two reports, the second 3 hours after the first, and a file that is no report."""
    report = await run_soak(path, good)
    for name, later_s in (("a.json", 0), ("b.json", 3 * 3600)):
        moved = {**report, "started_at_unix_s": 1_800_000_000 + later_s}
        (tmp_path / name).write_bytes(orjson.dumps(moved))
    return sorted(tmp_path.glob("?.json"))


def test_reports_join_into_one_statement_with_its_gaps(reports):
    statement = summarize(reports, PATIENT)

    summary = statement.as_json()
    assert statement.ok
    assert summary["attempted"] == 120
    assert (summary["days_covered"], summary["hours_covered"]) == (0, 0.0)  # half a second, twice
    assert len(summary["gaps"]) == 1
    assert "meets its objectives" in page(statement)


def test_the_page_counts_one_and_many(reports):
    alone = orjson.loads(reports[0].read_bytes())
    alone["measured"] |= {"attempted": 1, "answered": 1}
    assert "<p>2 reports over &lt; 1 h on 1 day; " in page(summarize(reports, PATIENT))
    reports[0].write_bytes(orjson.dumps(alone))
    shown = page(summarize(reports[:1], PATIENT))
    assert "<p>1 report over &lt; 1 h on 1 day; " in shown
    assert "; 1 call.</p>" in shown
    assert "<p>0 reports over 0 h on 0 days; " in page(summarize([], PATIENT))


def test_what_can_not_be_read_is_named_and_fails_the_statement(reports, tmp_path):
    (tmp_path / "c.json").write_text('{"format": "something else"}')
    (tmp_path / "d.json").write_text("{")

    statement = summarize(sorted(tmp_path.glob("?.json")), PATIENT)

    assert not statement.ok
    assert len(statement.unreadable) == 2
    assert "c.json" in page(statement) or "something else" in page(statement)


async def test_a_daemon_that_hangs_on_any_question_about_itself_does_not_hold_the_report_up(path, monkeypatch):
    monkeypatch.setattr(soaking, "ABOUT_TIMEOUT_S", 0.2)

    async def hang(_):
        await asyncio.sleep(60)

    async def run():
        app = web.Application()
        app.router.add_get("/{path:.*}", hang)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, path).start()
        try:
            async with SoakClient(Place(path), OWN, token="t" * 32, connections=8) as client:
                return await soaking.about(client)
        finally:
            await runner.cleanup()

    told = await run()
    assert (told["identity"], told["receipt_head"], told["max_sync_ms"]) == ({}, None, None)


def other_histogram() -> str:
    return HdrHistogram(1, 1_000, 2).encode().decode()


@pytest.mark.parametrize(
    "change",
    [
        {"started_at_unix_s": 1e300},
        {"started_at_unix_s": -1},
        {"elapsed_s": 1e12},
        {"elapsed_s": "an hour"},
        {"interrupted": "no"},
        {"after": []},
        {"after": {"max_sync_ms": -1}},
        {"measured": {"attempted": 1e308}},
        {"measured": {"attempted": -5}},
        {"measured": {"attempted": 1}},  # fewer than were answered
        {"measured": {"answered": 1.5}},
        {"measured": {"by_error": {"internal": -1}}},
        {"measured": {"latency_histogram": "A" * 1_000}},
        {"measured": {"latency_histogram": "SElTVA=="}},
        {"measured": {"latency_histogram": ""}},
        {"measured": {"latency_histogram": "\N{SNOWMAN}"}},
        {"measured": {"overhead_histogram": "A" * ((1 << 18) + 1)}},
        {"measured": {"overhead_histogram": other_histogram()}},
    ],
    ids=str,
)
def test_a_report_with_any_value_out_of_its_range_is_named_and_nothing_fails_inside(reports, change):
    report = orjson.loads(reports[1].read_bytes())
    changed = {**report, **change, "measured": {**report["measured"], **change.get("measured", {})}}
    reports[1].write_bytes(orjson.dumps(changed))

    statement = summarize(reports, PATIENT)

    [problem] = statement.unreadable
    assert problem.startswith(f"`{reports[1]}` is no soak report: ")
    assert not statement.ok
    assert problem.split(": ", 1)[1][:20] in html.unescape(page(statement))


def test_a_report_that_is_too_long_is_not_read(reports):
    reports[1].write_bytes(b" " * (4 << 20) + reports[1].read_bytes())
    [problem] = summarize(reports, PATIENT).unreadable
    assert "at most 4194304 bytes" in problem


def test_a_run_is_counted_once_however_often_its_report_is_there(reports, tmp_path):
    (tmp_path / "e.json").write_bytes(reports[0].read_bytes())

    statement = summarize(sorted(tmp_path.glob("?.json")), PATIENT)

    assert statement.as_json()["attempted"] == 120
    assert statement.unreadable == (f"`{tmp_path / 'e.json'}` is of the same run as `a.json`: it is counted once",)


def test_the_page_says_which_policy_and_daemon_ran_what_was_interrupted_and_where_the_receipts_ended(reports):
    report = orjson.loads(reports[0].read_bytes())
    identity = {"did": "did:key:z6Mk", "profile_mode": "ga", "version": "9.8.7"}
    head = {"id": 7, "hash_hex": "ab" * 32}
    after = {"identity": identity, "policy_hash_hex": "b28c", "receipt_head": head, "max_sync_ms": 2_480.1}
    reports[0].write_bytes(orjson.dumps({**report, "interrupted": True, "after": after}))

    shown = page(summarize(reports[:1], PATIENT))

    plain = shown.replace("<wbr>", "")
    for told in ("b28c", "did:key:z6Mk", "ga", "9.8.7", "a.json", f"7:{'ab' * 32}"):
        assert f"<code>{told}</code>" in plain
    assert ("gave a result" in plain, "2.48 s" in plain) == (True, True)


def test_no_reports_are_no_evidence():
    statement = summarize([], PATIENT)

    assert not statement.ok
    assert "does not meet" in page(statement)


def test_a_page_shows_what_a_report_says_as_text(reports):
    report = orjson.loads(reports[0].read_bytes())
    report["measured"]["by_error"] = {"<script>alert(1)</script>": 1}
    reports[0].write_bytes(orjson.dumps(report))

    assert "<script>" not in page(summarize(reports, PATIENT))


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")  # noqa: PTH110 - a constant
def test_memory_that_is_mapped_from_a_file_is_no_leak(tmp_path):
    file = tmp_path / "ledger"
    file.write_bytes(bytes(32 << 20))
    process = Path("/proc/self")
    before = read_memory(process).private
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0  # each page is read, and so is resident
        assert read_memory(process).private - before < 16 << 20
    # pages of its own, for a `bytearray` may get some that an earlier test gave back
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as kept:
        for at in range(0, len(kept), mmap.PAGESIZE):
            kept[at] = 1
        assert read_memory(process).private - before > 16 << 20
