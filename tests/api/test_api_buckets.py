"""One principal's bucket, before anything of a request is looked at."""

import asyncio
import itertools
import os
import time

import pytest

from briefcase._native.shares import LIMIT_NS, Account
from briefcase.core.calls.ratelimits import PrincipalBuckets, PrincipalLimit
from briefcase.edges.api.app import LARGE_BODY_BYTES
from briefcase.edges.api.turnstile import MAX_WAITING, Turnstile
from briefcase.edges.http.connection import NS_OF_A_PIECE, SMALL_PIECE_BYTES
from support.api import AGENT_TOKEN, OPERATOR_TOKEN, OTHER_TOKEN, Rig, request
from support.principals import AGENT, OPERATOR
from support.waiting import until

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


async def test_a_principal_without_room_is_denied_before_its_body_is_read_and_nobody_else_is(tmp_path):
    async with Rig(tmp_path, buckets=ONE) as rig:
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


async def test_what_is_no_call_is_a_fault_and_what_needs_no_token_is_answered(tmp_path):
    async with Rig(tmp_path, buckets=ONE) as rig:
        assert (await rig.ask("GET", "/v1/tools", token=AGENT_TOKEN))[0] == 200

        status, _, fault = await rig.ask("GET", "/v1/tools", token=AGENT_TOKEN)

        assert (status, fault["code"], fault["receipt_id"]) == (429, "rate_limited", 7)
        for _ in range(3):
            assert (await rig.ask("GET", "/health", token=None))[0] == 200
            assert (await rig.ask("GET", "/v1/tools", token=None))[0] == 401


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_bytes_count_whether_they_are_declared_or_come_in_chunks(tmp_path, is_chunked):
    async with Rig(tmp_path, buckets=ALMOST_NO_BYTES) as rig:
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


async def test_the_loop_turns_between_two_large_requests():
    async def scenario():
        turnstile, order = Turnstile(), []

        async def large(number):
            assert await turnstile.passed("scout", is_large=True)
            order.append(number)

        async def small():
            while sum(who != "small" for who in order) < 8:
                order.append("small")
                await asyncio.sleep(0)

        await asyncio.gather(*(large(number) for number in range(8)), small())
        return order

    order = await scenario()
    at = [place for place, who in enumerate(order) if who != "small"]
    assert len(at) == 8
    assert all(later - before > 1 for before, later in itertools.pairwise(at)), order


TIMER_S = 0.001  # the loop's timers count whole milliseconds


async def test_after_a_long_turn_the_others_have_the_loop_for_thrice_as_long():
    async def scenario():
        turnstile, began = Turnstile(), []

        async def large():
            await turnstile.passed("scout", is_large=True)
            began.append(time.monotonic())
            while time.monotonic() < began[-1] + 0.02:
                pass  # its work, which awaits nothing
            turnstile.account_of("ranger").charge(1)  # it is still there, however long this machine took

        await asyncio.gather(*(large() for _ in range(4)))
        return began

    began = await scenario()
    gaps = [later - before for before, later in itertools.pairwise(began)]
    assert min(gaps) >= 0.08 - TIMER_S, gaps


async def test_one_principal_waits_a_bounded_number_of_times_and_another_still_may():
    async def scenario():
        turnstile = Turnstile()
        answers = [asyncio.create_task(turnstile.passed("scout", is_large=True)) for _ in range(MAX_WAITING + 5)]
        other = asyncio.create_task(turnstile.passed("ranger", is_large=True))
        return [await answer for answer in answers], await other

    answers, other = await scenario()
    assert answers == [True] * MAX_WAITING + [False] * 5
    assert other


MUCH_NS = 10**9 * LIMIT_NS  # halved every 0.27 s, it is over the limit for as long as a test takes, and for 8 s


def having_had(**used_ns):
    turnstile = Turnstile()
    for owner, took_ns in used_ns.items():
        turnstile.account_of(owner).charge(took_ns)
    return turnstile


async def turns_of(turnstile, owner):
    """How often the loop turned until a small request went on."""
    turns, task = 0, asyncio.create_task(turnstile.passed(owner))
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    assert task.result()
    return turns


async def test_who_had_much_of_the_loop_waits_while_somebody_is_there_who_had_less():
    async def scenario():
        turnstile = having_had(scout=MUCH_NS, ranger=LIMIT_NS // 2)
        return await turns_of(turnstile, "scout"), await turns_of(turnstile, "ranger")

    waited, other = await scenario()
    assert waited > other == 1


async def test_of_two_who_had_much_the_one_who_had_less_goes_on():
    async def scenario():
        turnstile = having_had(scout=2 * MUCH_NS, ranger=MUCH_NS)
        return await turns_of(turnstile, "scout"), await turns_of(turnstile, "ranger")

    waited, other = await scenario()
    assert waited > other == 1


async def test_who_is_alone_waits_for_nobody_and_is_forgiven():
    async def scenario():
        turnstile = having_had(scout=MUCH_NS)
        return await turns_of(turnstile, "scout"), turnstile.account_of("scout").used_ns

    assert await scenario() == (1, 0)


async def test_principals_take_turns_however_many_requests_of_one_wait():
    async def scenario():
        turnstile, order = Turnstile(), []

        async def large(owner):
            await turnstile.passed(owner, is_large=True)
            order.append(owner)

        await asyncio.gather(*(large(owner) for owner in ["scout"] * 4 + ["ranger"] * 2))
        return order

    assert await scenario() == ["scout", "ranger", "scout", "ranger", "scout", "scout"]


async def test_a_stretch_of_a_call_waits_for_its_turn_however_many_wait_and_an_operators_for_nobody():
    turnstile = Turnstile()
    waiting = [asyncio.create_task(turnstile.passed(AGENT.owner, is_large=True)) for _ in range(MAX_WAITING)]
    stretch = asyncio.create_task(turnstile.turn(AGENT))
    await asyncio.sleep(0)
    await turnstile.turn(OPERATOR)
    assert not any(task.done() for task in (*waiting, stretch))
    await stretch
    assert all(task.done() for task in waiting)


async def test_a_request_whose_client_left_takes_no_turn():
    async def scenario():
        turnstile = Turnstile()
        tasks = [asyncio.create_task(turnstile.passed("scout", is_large=True)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks[1:])

    assert await scenario() == [True, True]


async def test_a_request_of_who_had_much_waits_whatever_it_asks_for_and_is_charged_and_an_operators_does_not(
    tmp_path, monkeypatch
):
    accounts, waited = {}, []

    def account_of(_, owner):
        if owner not in accounts:
            accounts[owner] = Account()
            accounts[owner].charge(MUCH_NS)
        return accounts[owner]

    async def passed(_, owner, *, is_large=False):
        waited.append((owner, is_large))
        accounts[owner].forgive()
        return True

    monkeypatch.setattr(Turnstile, "account_of", account_of)
    monkeypatch.setattr(Turnstile, "passed", passed)

    async with Rig(tmp_path, buckets=ONE) as rig:
        call = {"call": {}}
        for token in (AGENT_TOKEN, OPERATOR_TOKEN):
            assert (await rig.ask("POST", "/v1/tools/call", call, token=token))[0] == 200
        assert len(waited) == 1
        (agent,) = {owner for owner, _ in waited}
        assert 0 < accounts[agent].used_ns < LIMIT_NS
        accounts[agent].charge(MUCH_NS)
        status, _, denied = await rig.ask("POST", "/v1/tools/call", call, token=AGENT_TOKEN)
        assert (status, denied["reason"]) == (200, "rate_limited")  # its bucket is empty: that waits too
        accounts[agent].charge(MUCH_NS)
        assert (await rig.ask("GET", "/v1/tools", token=AGENT_TOKEN))[0] == 429
        assert waited == [(agent, False)] * 3


# --- who brings no token ----------------------------------------------------------------------------------------------


async def test_a_flood_without_a_token_waits_while_an_agent_is_there_and_the_agent_does_not(rig, monkeypatch):
    waited = []

    async def passed(_, owner, *, is_large=False, account=None):
        waited.append((owner, is_large))
        account.forgive()
        return True

    monkeypatch.setattr(Turnstile, "passed", passed)

    uid = os.geteuid()
    strangers = rig.server.places.account_of_strangers(uid)
    for path, token in (("/v1/tools", "bca_wrong"), ("/health", None), ("/nothing", None), ("/v1/identity", "")):
        strangers.forgive()
        await rig.ask("GET", path, token=token)
        assert strangers.used_ns > 0, path  # each on a connection of its own
        strangers.charge(MUCH_NS)
        await rig.ask("GET", path, token=token)
        strangers.charge(MUCH_NS)
        assert (await rig.ask("POST", "/v1/tools/call", {"call": {}}, token=AGENT_TOKEN))[0] == 200
        assert (await rig.ask("GET", "/v1/tools"))[0] == 200
    assert waited == [(f"uid {uid}", False)] * 4


async def test_strangers_wait_for_principals_and_no_principal_for_strangers():
    turnstile, strangers = having_had(scout=MUCH_NS), Account()
    strangers.charge(2 * MUCH_NS)
    waiting = asyncio.create_task(turnstile.passed("uid 7", account=strangers))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await turns_of(turnstile, "scout") == 1  # among principals it is alone
    assert await waiting


async def test_a_connection_is_charged_to_its_user_though_nothing_is_asked_on_it(rig):
    strangers = rig.server.places.account_of_strangers(os.geteuid())
    client = await rig.connect()
    await until(lambda: rig.server._state.connections)
    assert strangers.used_ns > 0
    await client.close()


@pytest.mark.parametrize(
    ("token", "piece", "is_read_more_seldom"),
    [
        (AGENT_TOKEN, b"x", True),
        (AGENT_TOKEN, b"x" * SMALL_PIECE_BYTES, False),
        (OPERATOR_TOKEN, b"x", False),
    ],
    ids=["an agent's", "an agent's large ones", "an operator's"],
)
async def test_pieces_of_a_body_are_charged_to_whose_it_is(rig, token, piece, is_read_more_seldom):
    client = await rig.connect()
    await client.send(request("GET", "/v1/tools", token=token))
    assert (await client.answer())[0] == 200
    (connection,) = rig.server._state.connections
    account = connection._place.meter.account
    account.forgive()
    async with asyncio.timeout(10):
        head = request("POST", "/v1/tools/call", b"x" * 10_000, token=token)[:-10_000]
        await client.send(head)
        await until(lambda: account.used_ns >= NS_OF_A_PIECE)
        account.charge(MUCH_NS)
        taken = connection._body_bytes
        await client.send(piece)
        await until(lambda: connection._body_bytes > taken)
        assert connection._wire._is_read_paused is is_read_more_seldom
        for _ in range(2):  # and it is read on
            taken = connection._body_bytes
            await client.send(piece)
            await until(lambda: connection._body_bytes > taken)  # noqa: B023 - it is over before it changes
    await client.close()


async def test_pieces_of_a_request_that_is_never_whole_are_charged_and_read_more_seldom(rig):
    strangers = rig.server.places.account_of_strangers(os.geteuid())
    client = await rig.connect()
    await client.send(b"GET /health HT")
    await until(lambda: strangers.used_ns)
    (connection,) = rig.server._state.connections
    assert not connection._wire._is_read_paused
    strangers.charge(MUCH_NS)
    await client.send(b"TP/1.1\r\nhost: ")
    await until(lambda: connection._wire._is_read_paused)
    await client.send(b"a\r\n\r\n")
    assert (await client.answer())[0] == 200
    await client.close()
