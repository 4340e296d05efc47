"""One exchange: how an answer is written, what may be told before a body is read, and what one connection keeps."""

import asyncio
import contextlib
import gc
import re
import socket
import weakref
from functools import partial

import msgspec
import pytest
from structlog.testing import capture_logs

from briefcase.adapters.telemetry.tracing import CURRENT, Sampling, Trace
from briefcase.core.calls.answers import Answer
from briefcase.edges.api.app import Api
from briefcase.edges.api.tracing import TracedApi
from briefcase.edges.http.exchange import Date, DirectExchange, Head, encode_server_timing
from briefcase.edges.http.limits import PlaceLimits
from briefcase.edges.http.places import Places
from briefcase.edges.http.routing import Reply
from briefcase.edges.http.sockets import Peer
from briefcase.edges.http.wire import Wire
from briefcase.model.errors import StoreError
from support.api import AGENT_TOKEN, Rig, request
from support.principals import AGENT
from support.waiting import until

HEALTH = request("GET", "/health", token=None)
CALL = request("POST", "/v1/tools/call", b"{}", token=AGENT_TOKEN)
LONG = b"POST /v1/tools/call HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %s\r\ncontent-length: 5000\r\n%s\r\n"


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


class FakeTransport:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


class OneReply:
    """An application that answers everything with the same."""

    def __init__(self, reply: Reply | Exception) -> None:
        self.reply = reply

    knows_principals = True

    def redact(self, body, *, is_json):
        assert is_json == body.startswith((b"{", b"["))
        return body.replace(b"secret", b"[redacted]")

    async def answer(self, exchange):
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def a_wire(transport) -> Wire:
    place = Places(PlaceLimits(), knows_principals=True).take(None, 0, None, 0.0)
    return Wire(transport, None, Peer(is_unix=True), place)


async def answered(reply, *, method="GET", keep_alive=True) -> list[bytes]:
    """What is written for one reply, write by write."""
    transport, app, date = FakeTransport(), OneReply(reply), Date()
    head = Head(method, b"/", b"", [], "1.1", keep_alive, expects_continue=False)
    await DirectExchange(app, a_wire(transport), date, head).run()
    return transport.written


# --- the answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "options", "expected"),
    [
        (
            Reply({"a": 1}),
            {},
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{"a":1}',
        ),
        (
            Reply(b"text", 503, ((b"content-type", b"text/plain"),)),
            {},
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\ntext",
        ),
        (
            Reply([]),
            {"keep_alive": False},
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]",
        ),
        (
            Reply([], 405),
            {"method": "HEAD"},
            b"HTTP/1.1 405 Method Not Allowed\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n",
        ),
    ],
    ids=["json", "bytes", "the last one", "to a HEAD"],
)
async def test_an_answer_is_written_in_one_piece(reply, options, expected):
    assert await answered(reply, **options) == [expected]


def test_an_answer_has_the_date_of_the_last_tick():
    date = Date()
    assert (date.line, date.headers) == (b"", [])
    date.tick()
    assert re.fullmatch(rb"date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", date.line)
    assert date.headers == [(b"date", date.line.strip().removeprefix(b"date: "))]


@pytest.mark.parametrize(
    "reply",
    [
        Reply({}, 200, ((b"x", b"a\r\nset-cookie: b"),)),
        Reply({}, 200, ((b"x", b"a\rb"),)),
        Reply({}, 200, ((b"x", b"a\nb"),)),
        Reply({"secret": object()}),
        Reply({}, 999),
        ValueError("secret"),
    ],
    ids=["two header lines", "a carriage return", "a line feed", "no JSON", "no status", "a fault"],
)
async def test_an_answer_that_can_not_be_written_is_an_internal_error_and_the_last(reply):
    with capture_logs() as logs:
        (written,) = await answered(reply)
    head, body = written.split(b"\r\n\r\n")
    assert statuses(head) == [500]
    assert b"\r\nconnection: close" in head
    assert set(msgspec.json.decode(body)) == {"code", "message", "request_id"}
    assert b"secret" not in written
    assert b"cookie" not in written
    assert len(logs) == 1


async def test_where_even_the_log_fails_the_connection_is_closed_and_nobody_waits_on_it(rig, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left")

    rig.calls.error = StoreError("no receipt")
    loop = asyncio.get_running_loop()
    faults = []
    loop.set_exception_handler(lambda _, context: faults.append(context["message"]))
    with monkeypatch.context() as patch:
        patch.setattr("briefcase.edges.api.app._log.error", fail)
        patch.setattr("briefcase.edges.http.exchange._log.error", fail)
        assert await rig.raw(CALL + HEALTH) == b""
    assert faults == ["a connection failed while it answered"]
    status, _, _ = await rig.ask("GET", "/health", token=None)
    assert status == 200


async def test_after_an_answer_that_can_not_be_written_the_connection_is_closed(rig):
    async def call(_principal, _body):
        return Answer(object(), "ok", "", {})

    rig.calls.call = call
    assert statuses(await rig.raw(CALL + HEALTH)) == [500]


async def test_the_answer_to_a_head_request_has_no_body_and_the_next_one_follows(rig):
    said = await rig.raw(b"HEAD /health HTTP/1.1\r\n\r\nGET /nope HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert re.fullmatch(rb"HTTP/1.1 405 .*?\r\n\r\nHTTP/1.1 404 .*?\r\n\r\n\{.*\}", said, re.DOTALL)


def test_durations_are_milliseconds_however_long():
    assert encode_server_timing({"a": 0, "b": 7, "c": 999, "d": 1_000, "e": 61_234_567}) == (
        b"a;dur=0.000, b;dur=0.007, c;dur=0.999, d;dur=1.000, e;dur=61234.567"
    )


async def test_a_body_that_comes_after_the_answer_is_not_kept():
    app, head = OneReply(Reply({})), Head("POST", b"/", b"", [], "1.1", keep_alive=True, expects_continue=False)
    exchange = DirectExchange(app, a_wire(FakeTransport()), Date(), head)

    async def scenario() -> bytes:
        exchange.take(b"before")
        await exchange.run()
        exchange.take(b"after")
        exchange.complete()
        return await exchange.body()

    assert await scenario() == b"before"


# --- before the body --------------------------------------------------------------------------------------------------


async def test_a_client_without_a_token_is_told_so_before_its_body_is_read_and_the_rest_is_dropped(rig):
    client = await rig.connect()
    await client.send(LONG % (b"wrong", b"") + b"x")
    assert (await client.answer())[0] == 401
    await client.send(b"x" * 4_999 + CALL)
    assert (await client.answer())[0] == 200
    assert rig.calls.seen == [(AGENT, b"{}")]
    await client.close()


async def test_a_client_without_a_token_is_not_told_to_continue(rig):
    client = await rig.connect()
    await client.send(LONG % (b"wrong", b"expect: 100-continue\r\n"))
    assert (await client.answer())[0] == 401
    await client.close()


async def test_one_that_waits_to_continue_behind_another_request_is_told_to_in_its_turn(rig):
    rig.calls.go.clear()
    client = await rig.connect()
    await client.send(CALL + LONG % (AGENT_TOKEN.encode(), b"expect: 100-continue\r\n"))
    await rig.calls.reached.wait()
    rig.calls.go.set()
    assert (await client.answer())[0] == 200
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"y" * 5_000)
    assert (await client.answer())[0] == 200
    assert [body for _, body in rig.calls.seen] == [b"{}", b"y" * 5_000]
    await client.close()


async def test_nothing_follows_the_refusal_of_a_request_whose_answer_needs_no_body(tmp_path):
    async with Rig(tmp_path, body_timeout_ms=100) as rig:
        approval = rig.store_approval(principal=AGENT.name)
        poll = (
            b"GET /v1/approvals/%s?wait_ms=60000 HTTP/1.1\r\nauthorization: Bearer %s\r\ncontent-length: 9\r\n\r\nabc"
        )
        client = await rig.connect()
        await client.send(poll % (approval.id.encode(), AGENT_TOKEN.encode()))
        await until(lambda: rig.server._state.tasks)
        (task,) = rig.server._state.tasks
        assert statuses(await client.rest()) == [408]
        await client.close()
        await task  # it did not even try


async def test_a_long_poll_ends_with_a_client_that_has_asked_for_more(rig, monkeypatch):
    monkeypatch.setattr("briefcase.edges.api.approvals.RECHECK_MS", 60_000)

    approval = rig.store_approval(principal=AGENT.name)
    client = await rig.connect()
    await client.send(request("GET", f"/v1/approvals/{approval.id}?wait_ms=60000", token=AGENT_TOKEN) + HEALTH)
    await until(lambda: rig.changes._waiting)
    await client.close()
    await until(lambda: not rig.changes._waiting and not rig.server._state.tasks)


async def test_no_more_is_done_for_a_client_that_does_not_read_its_answers(tmp_path, steered_loop):
    async with Rig(tmp_path, write_timeout_ms=10_000) as rig:
        rig.calls.payload = {"status": "ok", "result": "x" * (8 << 20)}
        client = await rig.connect()
        await client.send(CALL * 5)
        await until(lambda: len(rig.calls.seen) == 2)  # one answer waits to be read, one to be written
        await steered_loop.advance(8)
        assert rig.server._state.connections
        assert len(rig.calls.seen) == 2
        await steered_loop.advance(8)
        await until(lambda: not rig.server._state.connections)
        await until(lambda: not rig.server._state.tasks)
        assert len(rig.calls.seen) == 2
        await client.close()


# --- one connection ---------------------------------------------------------------------------------------------------


async def test_a_connection_has_one_task_that_ends_with_it(rig):
    client = await rig.connect()
    assert not rig.server._state.tasks
    tasks = set()
    for _ in range(5):
        await client.send(CALL)
        await client.answer()
        tasks |= rig.server._state.tasks
    assert len(tasks) == 1
    await client.close()
    await until(lambda: not rig.server._state.tasks)


async def test_what_waits_behind_a_call_is_not_begun_once_the_connection_is_cut(rig):
    rig.calls.go.clear()
    client = await rig.connect()
    await client.send(CALL * 3)
    await rig.calls.reached.wait()
    (connection,) = rig.server._state.connections
    connection.abort()
    await until(lambda: not rig.server._state.connections)
    rig.calls.go.set()
    await until(lambda: not rig.server._state.tasks)
    assert (len(rig.calls.seen), rig.calls.finished) == (1, 1)
    await client.close()


async def test_a_call_that_came_whole_is_made_though_its_client_left_with_the_last_byte(rig):
    for number in range(1, 4):
        client = await rig.connect()
        for _ in range(number % 2):  # on a connection that is new, and on one that waits
            await client.send(HEALTH)
            await client.answer()
        client.writer.write(CALL)
        client.writer.write_eof()
        await client.close()
        await until(lambda: not rig.server._state.tasks and not rig.server._state.connections)
        assert (len(rig.calls.seen), rig.calls.finished) == (number, number)


async def test_a_client_is_held_up_while_its_requests_wait_and_read_again_afterwards(rig):
    rig.calls.go.clear()
    client = await rig.connect()
    large = request("POST", "/v1/tools/call", b"z" * 1_000_000, token=AGENT_TOKEN)
    sending = asyncio.ensure_future(client.send(CALL + large))
    await rig.calls.reached.wait()
    await asyncio.wait({sending}, timeout=0.2)
    assert not sending.done()
    rig.calls.go.set()
    for following in (b"", b"", HEALTH + HEALTH, b"", HEALTH):
        await client.send(following)
        assert (await client.answer())[0] == 200
    assert len(rig.calls.seen[1][1]) == 1_000_000
    await client.close()


@pytest.mark.parametrize("data", [b"", HEALTH, HEALTH + b"GET /hea", LONG % (b"wrong", b"")])
async def test_nothing_holds_on_to_a_connection_that_is_over(rig, data):
    client = await rig.connect()
    await client.send(data)
    await until(lambda: rig.server._state.connections)
    if data:
        await client.answer()
    (connection,) = map(weakref.ref, rig.server._state.connections)
    await client.close()
    await until(lambda: not rig.server._state.connections and not rig.server._state.tasks)
    await until(lambda: gc.collect() is not None and connection() is None)


async def test_while_the_server_drains_what_waits_is_answered_and_only_the_last_closes(rig):
    rig.calls.go.clear()
    client = await rig.connect()
    await client.send(CALL * 3)
    await rig.calls.reached.wait()
    draining = asyncio.ensure_future(rig.server.drain())
    await asyncio.sleep(0)
    rig.calls.go.set()
    closes = [(await client.answer())[1].get("connection") for _ in range(3)]
    assert closes == [None, None, "close"]
    assert await client.rest() == b""
    await draining
    await client.close()


async def test_the_time_between_requests_begins_anew_with_each_answer(tmp_path, steered_loop):
    async with Rig(tmp_path, keep_alive_ms=60_000) as rig:
        client = await rig.connect()
        for _ in range(4):
            await client.send(HEALTH)
            assert (await client.answer())[0] == 200
            await steered_loop.advance(30)
        assert rig.server._state.connections
        await steered_loop.advance(31)
        assert await client.rest() == b""
        await client.close()


async def test_a_call_longer_than_the_time_between_requests_is_not_cut(tmp_path, steered_loop):
    async with Rig(tmp_path, keep_alive_ms=10_000) as rig:
        client = await rig.connect()
        await client.send(HEALTH)
        await client.answer()
        rig.calls.go.clear()
        await client.send(CALL)
        await rig.calls.reached.wait()
        await steered_loop.advance(30)
        rig.calls.go.set()
        assert (await client.answer())[0] == 200
        await steered_loop.advance(11)
        assert await client.rest() == b""
        await client.close()


async def test_the_answers_before_a_refused_request_reach_a_client_that_is_still_sending(rig):
    client = await rig.connect()
    sending = asyncio.ensure_future(client.send(CALL + b"GARBAGE\r\n\r\n" + b"x" * (8 << 20)))
    assert statuses(await client.rest()) == [200, 400]
    await client.close()
    with contextlib.suppress(ConnectionError):
        await sending


@pytest.mark.parametrize("path", ["/v1/tools", "/nope"])
async def test_over_tcp_another_host_is_forbidden_whether_or_not_the_path_is_ours(tmp_path, path):
    async with Rig(tmp_path, tcp=True) as rig:
        client = await rig.connect(tcp=True)
        await client.send(request("GET", path, host="evil.example"))
        status, _, body = await client.answer()
        assert (status, body["code"]) == (403, "forbidden")
        assert set(body) == {"code", "message", "request_id", "hint"}
        await client.close()


# --- traced -----------------------------------------------------------------------------------------------------------


class TracedRig(Rig):
    """The rig with a trace around each request that asks for one."""

    def __init__(self, tmp_path) -> None:
        super().__init__(tmp_path)
        self.spans: list = []
        self.traced_calls: list[bool] = []
        call = self.calls.call

        async def noted(principal, body) -> Answer:
            self.traced_calls.append(CURRENT.get() is not None)
            return await call(principal, body)

        self.calls.call = noted

    async def __aenter__(self):
        await super().__aenter__()
        sampling = Sampling(0.0, follows_parent=True)
        api = Api(self.services, self.authenticator)
        traced = TracedApi(api, sampling, self.services.tools, self.keep)
        self.server._state.exchange_of = partial(DirectExchange, traced)
        return self

    def keep(self, trace: Trace) -> None:
        self.spans.append(trace.root().attributes)


PARENT = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]


async def test_a_trace_ends_with_its_request_and_says_what_it_was(tmp_path):
    body = b'{"call":{"tool_id":"echo"}}'

    async def scenario():
        async with TracedRig(tmp_path) as rig:
            client = await rig.connect()
            for headers in (PARENT, []):
                await client.send(request("POST", "/v1/tools/call", body, token=AGENT_TOKEN, headers=headers))
                assert (await client.answer())[0] == 200
            assert rig.traced_calls == [True, False]
            for method, path in (("GET", "/nope"), ("DELETE", "/v1/tools"), ("GET", "/v1/identity")):
                await client.send(request(method, path, headers=PARENT))
                await client.answer()
            await client.close()
            return rig.spans

    assert await scenario() == [
        {
            "http.response.status_code": 200,
            "http.request.method": "POST",
            "http.route": "/v1/tools/call",
            "briefcase.tool_id": "echo",
            "briefcase.status": "denied",
            "briefcase.reason": "policy_denied",
        },
        {"http.response.status_code": 404},
        {"http.response.status_code": 405},
        {"http.response.status_code": 200, "http.request.method": "GET", "http.route": "/v1/identity"},
    ]


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/health", token=None) * 3,
        request("GET", "/nothing", token=None),
        b"GARBAGE\r\n\r\n",
        request("POST", "/v1/tools/call", b"{}", token=AGENT_TOKEN),
    ],
    ids=["answered", "answered over ASGI", "refused", "a call"],
)
async def test_a_connection_that_is_gone_leaves_nothing_to_the_collector(rig, data):
    def talk_and_leave(path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(data)
            client.recv(65_536)

    async def talk(rig):
        for _ in range(20):
            await asyncio.to_thread(talk_and_leave, rig.path)
        await until(lambda: not rig.server.open_connections)
        await asyncio.sleep(0.01)

    await talk(rig)
    gc.collect()
    gc.disable()
    try:
        await talk(rig)
        found = gc.collect()
    finally:
        gc.enable()
    assert found < 20, "what the collector has to find is kept for good by the next policy that is set"
