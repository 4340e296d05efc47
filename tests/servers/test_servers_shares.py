"""What one agent may have of a server: as much as is left for the others, and none of their time for a bad answer."""

import asyncio
import contextlib

import pytest

from briefcase.adapters.servers.connection import State
from briefcase.adapters.servers.exchanges import Exchanges
from briefcase.adapters.servers.session import Session
from briefcase.adapters.servers.shares import MAX_RUNNING, Shares
from briefcase.core.mcp.call_options import CallOptions
from briefcase.core.mcp.jsonrpc import RpcError, Unreadable, read_server_message
from briefcase.model.errors import UpstreamError
from support.redaction import NoRedaction
from support.servers import served
from support.waiting import until


class SilentLine:
    """A way to a server that takes every message and says nothing."""

    is_shared_line = True

    def try_send(self, _message):
        return True

    async def send(self, _message):
        pass


class Desk:
    """Calls of agents that a server has not answered yet."""

    def __init__(self):
        self.session = Session(SilentLine(), lambda *_: None, lambda _: None, NoRedaction())
        self.exchanges = Exchanges(NoRedaction())
        self.count = 0

    async def begin(self, principal, timeout_ms=20_000):
        self.count += 1
        exchange = self.exchanges.open(principal, str(self.count), CallOptions())
        return await self.session.start("tools/call", {}, timeout_ms=timeout_ms, exchange=exchange)

    async def begin_all(self, principal):
        """As many as may run; gives them."""
        found = []
        with contextlib.suppress(UpstreamError):
            while True:
                found.append(await self.begin(principal, 1))
        return found


async def test_one_agent_has_half_of_a_server_is_told_to_wait_and_the_daemon_needs_no_share():
    desk = Desk()
    assert len(await desk.begin_all("greedy")) == MAX_RUNNING // 2
    with pytest.raises(UpstreamError, match=f"{MAX_RUNNING // 2} calls of this agent .* wait for one") as refused:
        await desk.begin("greedy")
    assert (refused.value.code, refused.value.sent) == ("rate_limited", False)
    await desk.session.start("tools/list", {}, timeout_ms=50_000)
    await desk.begin("patient")


async def test_however_many_agents_fill_a_server_the_next_place_is_for_who_has_none():
    desk = Desk()
    taken = [one for number in range(20) for one in await desk.begin_all(f"greedy-{number}")]
    assert len(taken) == MAX_RUNNING
    waiting = [asyncio.ensure_future(desk.begin(f"patient-{number}")) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(UpstreamError) as refused:
        await desk.begin("patient-0")  # which waits already
    assert refused.value.code == "rate_limited"
    for one in taken[:2]:
        await desk.session.abandon(one)
        assert await desk.begin_all("greedy-0") == []
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]  # in the order they came
    waiting[2].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await desk.session.abandon(taken[2])
    await desk.begin("patient-2")  # and who left takes up no place


async def test_who_waits_in_vain_is_told_to_try_again_and_leaves_nothing_behind():
    desk = Desk()
    taken = [one for number in range(20) for one in await desk.begin_all(f"greedy-{number}")]
    with pytest.raises(UpstreamError, match=r"other agents' calls take all .* try again") as refused:
        await desk.begin("patient", 1)
    assert (refused.value.code, refused.value.sent) == ("rate_limited", False)
    for one in taken:
        await desk.session.abandon(one)
        await desk.session.abandon(one)
    assert len(await desk.begin_all("greedy")) == MAX_RUNNING // 2


async def test_a_place_given_to_a_call_that_is_cancelled_in_the_same_moment_goes_to_the_next():
    desk = Desk()
    taken = [one for number in range(20) for one in await desk.begin_all(f"greedy-{number}")]
    first, second = (asyncio.ensure_future(desk.begin(name)) for name in ("first", "second"))
    await asyncio.sleep(0)
    await desk.session.abandon(taken[0])
    first.cancel()
    await second
    assert first.cancelled()


async def test_a_call_that_ends_in_the_moment_in_which_a_waiting_one_leaves_ends_as_it_did():
    shares, agents = Shares(), [f"agent {number}" for number in range(MAX_RUNNING)]
    for agent in agents:
        await shares.take(agent, None)
    first, second = (asyncio.create_task(shares.take(agent, None)) for agent in ("leaving", "staying"))
    await asyncio.sleep(0)
    first.cancel()
    shares.give_back(agents[0])  # before the task that was cancelled had its turn
    again = asyncio.create_task(shares.take("leaving", None))
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    shares.give_back("staying")
    await again
    for agent in (*agents[1:], "leaving"):
        shares.give_back(agent)
    assert (shares._running, shares._waiting) == ({}, {})


async def test_an_agent_whose_calls_hang_shuts_no_other_out_of_the_server():
    async with served("stdio", "stateless") as rig:
        await rig.ready()
        hanging = [asyncio.ensure_future(rig.call("fx.hang")) for _ in range(2 * MAX_RUNNING)]
        await until(lambda: sum(task.done() for task in hanging) >= MAX_RUNNING)
        assert (await rig.call("fx.echo", {"text": "hi"}, principal="ranger"))["content"][0]["text"] == "hi"
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


@pytest.mark.parametrize(
    ("transport", "era"),
    [("stdio", "stateless"), ("stdio", "handshake"), ("http", "stateless"), ("http", "handshake"), ("http", "sse")],
)
async def test_an_error_that_is_none_fails_its_call_at_once_with_the_reason_and_no_other_call(transport, era):
    async with served(transport, era, "--misbehave", "string_code") as rig:
        await rig.ready()
        for _ in range(2):  # whose connection is still there
            with pytest.raises(UpstreamError, match="`tools/call` is no message: expected `error` with an integer"):
                await rig.call("fx.echo", {"text": "hi"}, within_ms=600_000)


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_server_whose_listing_is_nested_too_deeply_says_so_at_once(transport):
    async with served(transport, "stateless", "--misbehave", "deep") as rig:
        connection = rig.registry.connection("fx")
        said = "`tools/list` is no message: expected at most 64 nested arrays and objects"
        await until(lambda: said in connection.problem)  # a slow machine may lose it once before, and open it again
        assert connection.state in {State.OPENING, State.WAITING}


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("data", "answers"),
    [
        (b'{"jsonrpc":"2.0","id":3,"error":{"code":"E42","message":"no"}}', 3),
        (b'{"jsonrpc":"2.0","id":"a","error":7}', "a"),
        (b'{"jsonrpc":"2.0","id":3,"result":[]}', 3),
        (b'{"id":3,"result":{}}', 3),
        (b'{"jsonrpc":"2.0","id":3,"result":' + DEEP + b"}", 3),
        (b'{"jsonrpc":"2.0","id":3,"result":{"a":1}', 3),
        (b'{"jsonrpc":"2.0","id":3,"method":7}', None),
        (b'{"jsonrpc":"2.0","method":"m","id":3,"params":' + DEEP + b"}", None),
        (b'{"jsonrpc":"2.0","id":true,"result":{}}', None),
        (b"{", None),
        (b"", None),
        (b"a line of a log", None),
    ],
)
def test_bytes_that_are_no_message_are_told_to_whom_they_answer(data, answers):
    if answers is None:
        with pytest.raises(RpcError):
            read_server_message(data)
        return
    found = read_server_message(data)
    assert isinstance(found, Unreadable)
    assert found.id == answers
