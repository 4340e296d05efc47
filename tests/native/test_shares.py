"""What each principal's work takes of the loop: charged at each step, to whom it is for when the step ends."""

import asyncio
import time

import pytest

from briefcase._native.shares import LIMIT_NS, Account, Meter, Metered

HALF_LIFE_S = (1 << 28) / 1e9


class LeftError(Exception):
    pass


async def steps(meter, accounts):
    for account in accounts:
        meter.account = account
        await asyncio.sleep(0)
    return "done"


async def test_each_step_is_charged_to_whom_the_work_is_for_when_it_ends():
    first, second = Account(), Account()
    meter = Meter(Account())

    assert await _run(Metered(steps(meter, [first, second]), meter)) == "done"

    assert first.used_ns > 0
    assert second.used_ns > 0
    assert first.was_here(10**12)
    assert not Account().was_here(10**12)


async def _run(coroutine):
    return await asyncio.create_task(coroutine)


async def test_what_a_coroutine_raises_is_raised_and_what_is_thrown_reaches_it():
    ended = []

    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def leaves():
        await asyncio.sleep(0)
        raise LeftError

    with pytest.raises(LeftError):
        await asyncio.create_task(Metered(leaves(), Meter(Account())))
    task = asyncio.create_task(Metered(waits(), Meter(Account())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


def test_what_was_used_is_halved_with_time_and_the_meter_says_when_it_is_much():
    account = Account()
    meter = Meter(account)
    account.charge(LIMIT_NS)
    assert not meter.is_over
    account.charge(1_000 * LIMIT_NS)
    assert meter.is_over
    earliest, before, latest = time.monotonic(), account.used_ns, time.monotonic()

    time.sleep(2 * HALF_LIFE_S)

    at_least, used, at_most = time.monotonic() - latest, account.used_ns, time.monotonic() - earliest
    assert before * 0.5 ** (at_most / HALF_LIFE_S + 2) <= used <= before * 0.5 ** int(at_least / HALF_LIFE_S)
    account.forgive()
    assert account.used_ns == 0
    assert not meter.is_over


async def test_time_in_which_the_task_had_no_processor_is_not_charged():
    account = Account()

    async def held_up(hold=time.sleep):
        hold(0.2)  # as if another process had the processor

    await _run(Metered(held_up(), Meter(account)))

    assert account.used_ns < 100_000_000
