"""What a client writes behind its `initialize`, before it has heard the answer."""

import asyncio
import json
from types import SimpleNamespace

from briefcase.core.mcp.jsonrpc import RpcError
from briefcase.edges.gateway.stdio import StdioConnection
from briefcase.edges.gateway.view import View
from support.waiting import until


class SlowCore:
    """A core whose handshake takes until `go` is set."""

    def __init__(self):
        self.go = asyncio.Event()
        self.fault = None

    async def open_session(self, *_):
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        session = SimpleNamespace(
            token="t", view=View(), revision="2025-11-25", capabilities={}, log_level=None, public_name="s",
            agent=None, close=lambda: None,
        )  # fmt: skip
        return session, {"opened": True}

    async def answer(self, request, *_):
        return {"answered": request.method}

    async def tell_changes(self, *_):
        await asyncio.Event().wait()


async def written(core, *methods):
    """What is answered to these requests, written at once, by id; the handshake goes on once all of them wait."""
    answers = {}

    async def write(data):
        message = json.loads(data)
        answers[message["id"]] = message["result"] if "result" in message else message["error"]["message"]

    connection = StdioConnection(core, "t", View(), write)
    for number, method in enumerate(methods):
        await connection.take(b'{"jsonrpc":"2.0","id":%d,"method":"%b"}' % (number, method.encode()))
    for _ in range(5):
        await asyncio.sleep(0)
    before = dict(answers)
    core.go.set()
    await until(lambda: len(answers) == len(methods))
    await connection.close()
    return before, answers


async def test_requests_behind_an_initialize_wait_for_its_session():
    before, answers = await written(SlowCore(), "initialize", "tools/list", "ping")
    assert before == {2: {}}
    assert answers == {0: {"opened": True}, 1: {"answered": "tools/list"}, 2: {}}


async def test_one_initialize_opens_the_session_and_a_second_is_refused():
    _, answers = await written(SlowCore(), "initialize", "initialize")
    assert answers == {0: {"opened": True}, 1: "expected one `initialize`"}


async def test_requests_behind_an_initialize_that_failed_are_told_to_begin_with_one():
    core = SlowCore()
    core.fault = RpcError(-32602, "no")
    _, answers = await written(core, "initialize", "tools/list")
    assert answers[0] == "no"
    assert answers[1].startswith("expected `initialize` first")


async def test_a_request_before_any_initialize_is_refused_at_once():
    before, _ = await written(SlowCore(), "tools/list")
    assert before[0].startswith("expected `initialize` first")
