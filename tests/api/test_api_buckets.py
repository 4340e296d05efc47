"""One principal's bucket, before anything of a request is looked at."""

import asyncio
import itertools
import time

import pytest
from api_rig import AGENT_TOKEN, OPERATOR_TOKEN, OTHER_TOKEN, request, serve

from briefcase.api.app import LARGE_BODY_BYTES
from briefcase.api.turnstile import MAX_WAITING, Turnstile
from briefcase.ratelimits import PrincipalBuckets, PrincipalLimit

S_NS = 1_000_000_000
ONE = PrincipalLimit(per_second=1, burst=1)
ALMOST_NO_BYTES = PrincipalLimit(bytes_per_second=100, burst_bytes=2 * LARGE_BODY_BYTES)


def test_requests_and_bytes_are_taken_together_or_not_at_all_and_come_back_with_time():
    buckets = PrincipalBuckets(PrincipalLimit(per_second=2, burst=2, bytes_per_second=100, burst_bytes=200))

    assert buckets.take("scout", 150, 0)
    assert not buckets.take("scout", 51, 0)
    assert buckets.take("scout", 50, 0)
    assert not buckets.take("scout", 0, 0)
    assert not buckets.take("scout", 0, S_NS // 2 - 1)
    assert buckets.take("scout", 0, S_NS // 2)
    assert not buckets.take("scout", 101, S_NS)
    assert buckets.take("scout", 100, S_NS)


def test_a_principal_without_room_is_denied_before_its_body_is_read_and_nobody_else_is(tmp_path):
    async def scenario(rig):
        call = {"call": {}}
        assert (await rig.ask("POST", "/v1/tools/call", call, token=AGENT_TOKEN))[0] == 200
        client = await rig.connect()
        head = request("POST", "/v1/tools/call", b"x" * 100, token=AGENT_TOKEN)[:-100]
        await client.send(head)  # and nothing of its body

        status, _, denied = await client.answer()

        assert (status, denied) == (200, {"status": "denied", "reason": "rate_limited", "receipt_id": 7})
        assert rig.calls.turned_away == [("scout", 100)]
        assert len(rig.calls.seen) == 1
        await client.close()
        for token in (OPERATOR_TOKEN, OTHER_TOKEN):
            assert (await rig.ask("POST", "/v1/decide", call, token=token))[0] == 200
        rig.clock.advance(us=1_000_000)
        assert (await rig.ask("POST", "/v1/tools/call", call, token=AGENT_TOKEN))[0] == 200
        assert len(rig.calls.seen) == 4

    serve(tmp_path, scenario, buckets=ONE)


def test_what_is_no_call_is_a_fault_and_what_needs_no_token_is_answered(tmp_path):
    async def scenario(rig):
        assert (await rig.ask("GET", "/v1/tools", token=AGENT_TOKEN))[0] == 200

        status, _, fault = await rig.ask("GET", "/v1/tools", token=AGENT_TOKEN)

        assert (status, fault["code"], fault["receipt_id"]) == (429, "rate_limited", 7)
        for _ in range(3):
            assert (await rig.ask("GET", "/health", token=None))[0] == 200
            assert (await rig.ask("GET", "/v1/tools", token=None))[0] == 401

    serve(tmp_path, scenario, buckets=ONE)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_bytes_count_whether_they_are_declared_or_come_in_chunks(tmp_path, is_chunked):
    async def scenario(rig):
        body = b"x" * (LARGE_BODY_BYTES + 1)
        answers = []
        for _ in range(2):
            client = await rig.connect()
            if is_chunked:
                head = request("POST", "/v1/tools/call", token=AGENT_TOKEN, headers=[("transfer-encoding", "chunked")])
                await client.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            else:
                await client.send(request("POST", "/v1/tools/call", body, token=AGENT_TOKEN))
            answers.append((await client.answer())[2]["reason"])
            await client.close()
        assert answers == ["policy_denied", "rate_limited"]

    serve(tmp_path, scenario, buckets=ALMOST_NO_BYTES)


def test_the_loop_turns_between_two_large_requests():
    async def scenario():
        turnstile, order = Turnstile(), []

        async def large(number):
            assert await turnstile.passed("scout")
            order.append(number)

        async def small():
            while sum(who != "small" for who in order) < 8:
                order.append("small")
                await asyncio.sleep(0)

        await asyncio.gather(*(large(number) for number in range(8)), small())
        return order

    order = asyncio.run(scenario())
    at = [place for place, who in enumerate(order) if who != "small"]
    assert len(at) == 8
    assert all(later - before > 1 for before, later in itertools.pairwise(at)), order


def test_after_a_long_turn_the_others_have_the_loop_for_thrice_as_long():
    async def scenario():
        turnstile, began = Turnstile(), []

        async def large():
            await turnstile.passed("scout")
            began.append(time.monotonic())
            while time.monotonic() < began[-1] + 0.02:
                pass  # its work, which awaits nothing

        await asyncio.gather(*(large() for _ in range(4)))
        return began

    began = asyncio.run(scenario())
    assert all(later - before >= 0.08 for before, later in itertools.pairwise(began))


def test_one_principal_waits_a_bounded_number_of_times_and_another_still_may():
    async def scenario():
        turnstile = Turnstile()
        answers = [asyncio.create_task(turnstile.passed("scout")) for _ in range(MAX_WAITING + 5)]
        other = asyncio.create_task(turnstile.passed("ranger"))
        return [await answer for answer in answers], await other

    answers, other = asyncio.run(scenario())
    assert answers == [True] * MAX_WAITING + [False] * 5
    assert other
