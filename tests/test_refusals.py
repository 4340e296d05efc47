"""Refusals that repeat: one receipt for the first of a minute, one for how many came after it, and none lost unsaid."""

import asyncio

import pytest
from test_calls import Desk, body

from briefcase.core.calls.refusals import MAX_KINDS, OTHERS, WINDOW_S
from briefcase.core.receipts import events
from briefcase.model.effects import Entry
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.types import US_PER_S, Deny
from support.calls import call_with
from support.principals import AGENT, OTHER_AGENT
from support.tools import FakeTool, spec

MINUTE_US = WINDOW_S * US_PER_S


async def refused_body(desk: Desk, principal=AGENT) -> CallerError:
    with pytest.raises(CallerError) as refused:
        await call_with(desk.calls, principal, b"{}")
    return refused.value


def counted(desk: Desk) -> list[dict]:
    return [receipt.event for receipt in desk.ledger.chain if receipt.event["kind"] == "refusals_counted"]


async def test_the_first_refusal_has_its_receipt_and_later_ones_carry_its_id_and_are_summed_at_the_minutes_end():
    desk = Desk()

    answers = [await desk.call("nope") for _ in range(5)]
    await desk.calls.refusals.close_over()
    assert [answer["receipt_id"] for answer in answers] == [1] * 5
    assert desk.ledger.kinds() == ["denied"]

    desk.clock.advance(us=MINUTE_US)
    await desk.calls.refusals.close_over()

    (event,) = counted(desk)
    assert {name: event[name] for name in ("reason", "tool_id", "count", "principal", "first_receipt_id")} == {
        "reason": "unknown_tool", "tool_id": "nope", "count": 4, "principal": "scout", "first_receipt_id": 1,
    }  # fmt: skip
    assert (event["since"], event["until"]) == ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z")
    assert event["complete"] is True


async def test_a_refusal_of_the_next_minute_has_its_own_receipt_and_closes_the_minute_before():
    desk = Desk()
    for _ in range(3):
        await desk.call("nope")
    desk.clock.advance(us=MINUTE_US)

    assert (await desk.call("nope"))["receipt_id"] == 2
    assert desk.ledger.kinds() == ["denied", "denied", "refusals_counted"]
    assert counted(desk)[0]["count"] == 2


async def test_refusals_at_once_wait_for_the_first_ones_receipt():
    desk = Desk()
    commit, waiting = desk.ledger.commit, asyncio.Event()

    async def slow(entry):
        await waiting.wait()
        return await commit(entry)

    async def flood():
        desk.ledger.commit = slow
        tasks = [asyncio.create_task(call_with(desk.calls, AGENT, body("nope"))) for _ in range(64)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        waiting.set()
        return {(await task).payload["receipt_id"] for task in tasks}

    assert await flood() == {1}
    assert desk.ledger.kinds() == ["denied"]


async def test_what_is_no_call_and_what_passes_the_rate_are_counted_too_each_by_its_word():
    desk = Desk()

    assert [(await refused_body(desk)).receipt_id for _ in range(3)] == [1, 1, 1]
    assert [(await desk.calls.refusals.turn_away(AGENT, 10)).receipt_id for _ in range(3)] == [2, 2, 2]
    await desk.calls.refusals.close_over(at_stop=True)

    assert [(event["reason"], event["count"]) for event in counted(desk)] == [("bad_request", 2), ("rate_limited", 2)]


async def test_a_policy_denial_and_wrong_arguments_always_have_their_own():
    desk = Desk(verdict=Deny("policy_denied", ("no",)))
    for _ in range(3):
        await desk.call()
    assert desk.ledger.kinds() == ["denied"] * 3

    desk = Desk(FakeTool(spec(), problem="`text` is missing"))
    for _ in range(3):
        await desk.call()
    assert desk.ledger.kinds() == ["denied"] * 3


async def test_wrong_arguments_that_come_faster_than_a_person_reads_are_counted():
    desk = Desk(FakeTool(spec(), problem="`text` is missing"))
    answers = [await desk.call() for _ in range(500)]

    assert {answer["reason"] for answer in answers} == {"invalid_args: `text` is missing"}
    assert desk.ledger.kinds() == ["denied"] * 65  # 64 of their own, and the first of the minute that counts
    assert {answer.get("receipt_id") for answer in answers} == {None, 65}
    await desk.calls.refusals.close_over(at_stop=True)
    assert [(event["reason"], event["count"]) for event in counted(desk)] == [("invalid_args", 435)]

    desk.clock.advance(us=US_PER_S)
    assert "receipt_id" not in await desk.call()
    assert (await desk.call())["receipt_id"] == 68, "one a second is its own again; the next opens a minute"


async def test_a_flood_of_policy_denials_still_has_each_its_own():
    desk = Desk(verdict=Deny("policy_denied", ("no",)))
    for _ in range(200):
        await desk.call()
    assert desk.ledger.kinds() == ["denied"] * 200


async def test_another_agent_is_counted_by_itself():
    desk = Desk()

    assert [(await desk.call("nope", principal=who))["receipt_id"] for who in (AGENT, OTHER_AGENT, AGENT)] == [1, 2, 1]


async def test_an_agent_that_names_a_new_tool_each_time_leaves_a_bounded_number_of_receipts():
    desk = Desk()

    for number in range(500):
        await desk.call(f"nope-{number}")
    await desk.calls.refusals.close_over(at_stop=True)

    assert len(desk.ledger.chain) == MAX_KINDS + 2
    assert (counted(desk)[0]["tool_id"], counted(desk)[0]["count"]) == (OTHERS, 500 - MAX_KINDS - 1)


async def test_while_nothing_can_be_recorded_a_refusal_is_not_answered_from_memory():
    desk = Desk()
    await desk.call("nope")
    desk.ledger.broken = "EIO"

    with pytest.raises(StoreError):
        await desk.call("nope")
    with pytest.raises(StoreError):
        await refused_body(desk)

    desk.ledger.broken = None
    assert (await desk.call("nope"))["receipt_id"] == 1


async def test_a_count_that_could_not_be_committed_is_committed_later():
    desk = Desk()
    for _ in range(3):
        await desk.call("nope")
    desk.clock.advance(us=MINUTE_US)
    desk.ledger.broken = "ENOSPC"
    with pytest.raises(StoreError):
        await desk.calls.refusals.close_over()

    desk.ledger.broken = None
    await desk.calls.refusals.close_over()

    assert counted(desk)[0]["count"] == 2


@pytest.mark.parametrize(("clean", "named"), [(False, 2), (True, 0)])
async def test_the_start_after_a_crash_names_the_minutes_whose_counts_are_lost(clean, named):
    desk = Desk()
    await desk.call("old")
    desk.clock.advance(us=2 * MINUTE_US)
    for _ in range(3):
        await desk.call("nope")
    await refused_body(desk)
    desk.restart()
    await boot(desk, clean=clean)

    await desk.calls.refusals.recover()

    found = counted(desk)
    assert len(found) == named
    assert all(event["complete"] is False and event["count"] == 0 for event in found)
    assert [event["reason"] for event in found] == ["unknown_tool", "bad_request"][:named]


async def test_what_was_counted_before_the_crash_is_not_named_again():
    desk = Desk()
    for _ in range(3):
        await desk.call("nope")
    await desk.calls.refusals.close_over(at_stop=True)
    desk.restart()
    await boot(desk, clean=False)

    await desk.calls.refusals.recover()

    assert [event["count"] for event in counted(desk)] == [2]


async def test_large_arguments_of_a_denied_call_are_kept_as_digest_size_and_beginning():
    desk = Desk(verdict=Deny("policy_denied"))
    await desk.call(args={"text": "x" * 100_000})
    await desk.call(args={"text": "small"})

    large, small = (receipt.event for receipt in desk.ledger.chain)
    assert large["args"] is None
    assert large["args_excerpt"] == ('{"text":"' + "x" * 1_000)[: events.EXCERPT_CHARS]
    assert large["args_chars"] == 100_011
    assert len(large["args_digest"]) == 64
    assert small["args"] == '{"text":"small"}'
    assert "args_excerpt" not in small


async def boot(desk: Desk, *, clean: bool) -> None:
    await desk.ledger.commit(Entry(events.boot_event("0", clean=clean, closed_intents=0)))
