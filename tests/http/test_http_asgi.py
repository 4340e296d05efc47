"""BlackSheep, and ASGI applications that misbehave, behind the bounds of the server."""

import asyncio
import re
from collections.abc import AsyncIterable

import blacksheep
import pytest
from blacksheep.server.sse import ServerSentEvent
from structlog.testing import capture_logs
from wire_kit import Served

from briefcase.edges.http.asgi import MAX_KEPT_BYTES
from support.api import request
from support.waiting import until

WAITS_TO_CONTINUE = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"


def a_site():
    """An application of BlackSheep's: plain answers, and events that never come."""
    app = blacksheep.Application(router=blacksheep.Router())
    app.closed = 0
    app.never = asyncio.Event()

    @app.router.post("/echo")
    async def echo(request: blacksheep.Request) -> blacksheep.Response:
        return blacksheep.text((await request.read() or b"").decode())

    @app.router.get("/events")
    async def events() -> AsyncIterable[ServerSentEvent]:
        try:
            yield ServerSentEvent({"n": 1})
            await app.never.wait()
        finally:
            app.closed += 1

    return app


async def run(app, scenario, **limits) -> None:
    async def running():
        made = app() if callable(app) and not asyncio.iscoroutinefunction(app) else app
        if isinstance(made, blacksheep.Application):
            await made.start()
        served = Served(made, **limits)
        await scenario(served, made)
        if not served.transport.is_closed:
            await served.leave()
        assert not served.serving.tasks

    await running()


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


# --- BlackSheep -------------------------------------------------------------------------------------------------------


async def test_an_application_of_blacksheep_is_served_in_one_write_for_each_answer():
    async def scenario(served, _):
        await served.feed(request("POST", "/echo", b"abc"), request("GET", "/nope"))
        await until(lambda: len(served.transport.written) == 2)
        assert served.transport.written[0].endswith(b"content-length: 3\r\n\r\nabc")
        assert statuses(served.said) == [200, 404]

    await run(a_site, scenario)


async def test_events_end_with_their_client_though_the_generator_waits_for_what_never_comes():
    async def scenario(served, site):
        await served.feed(request("GET", "/events"))
        await until(lambda: b"data:" in served.said)
        assert site.closed == 0
        await served.leave()
        await until(lambda: site.closed)

    await run(a_site, scenario)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nb\r\n" + b"x" * 11 + b"\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz", 400),
    ],
    ids=["declared", "in chunks", "misframed"],
)
async def test_the_bounds_of_a_body_are_the_servers(data, status):
    async def scenario(served, _):
        await served.feed(data)
        assert statuses(served.said) == [status]
        assert served.transport.is_half_closed

    await run(a_site, scenario, max_body_bytes=10)


async def test_a_body_that_does_not_come_in_time_is_refused():
    async def scenario(served, _):
        await served.feed(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")
        await until(lambda: served.said)
        assert statuses(served.said) == [408]

    await run(a_site, scenario, body_timeout_ms=20)


async def test_a_client_that_waits_to_continue_is_told_to_when_the_application_asks():
    async def scenario(served, _):
        await served.feed(WAITS_TO_CONTINUE)
        await until(lambda: served.said)
        assert served.said == b"HTTP/1.1 100 Continue\r\n\r\n"
        await served.feed(b"{}")
        await until(lambda: len(served.transport.written) == 2)
        assert statuses(served.said) == [100, 200]

    await run(a_site, scenario)


# --- what an application may do ---------------------------------------------------------------------------------------


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, *, more: bool = False) -> dict:
    return {"type": "http.response.body", "body": body, "more_body": more}


def sends(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize(
    ("app", "asked", "said"),
    [
        (
            sends(start((b"Content-Length", b"2")), piece(b"{}")),
            request("GET", "/"),
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ),
        (
            sends(start(), piece(b"a", more=True), piece(b"", more=True), piece(b"b")),
            request("GET", "/"),
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
        ),
        (
            sends(start((b"transfer-encoding", b"chunked")), piece(b"a")),
            request("GET", "/"),
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        (
            sends(start(), piece(b"a", more=True), piece(b"b")),
            b"GET / HTTP/1.0\r\nhost: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab",
        ),
        (
            sends(start((b"content-length", b"2")), piece(b"{}")),
            request("HEAD", "/"),
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
        ),
        (sends(start(status=204), piece(b"")), request("GET", "/"), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (
            sends(start((b"connection", b"close"), (b"content-length", b"0")), piece(b"")),
            request("GET", "/"),
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
    ],
    ids=["a length", "chunks", "chunks by its own word", "to HTTP/1.0", "to a HEAD", "no content", "the last one"],
)
async def test_an_answer_is_framed_as_its_head_says(app, asked, said):
    async def scenario(served, _):
        await served.feed(asked)
        assert served.said == said

    await run(app, scenario)


@pytest.mark.parametrize(
    "messages",
    [
        [start((b"x", b"a\r\nset-cookie: b")), piece(b"")],
        [start((b"x y", b"a")), piece(b"")],
        [start((b"transfer-encoding", b"gzip, chunked")), piece(b"")],
        [start((b"content-length", b"1")), piece(b"secret")],
        [start((b"content-length", b"9")), piece(b"secret")],
        [start(status=999), piece(b"secret")],
        [piece(b"secret")],
        [start(), start()],
        [start()],
        [],
    ],
    ids=[
        "two header lines", "no header name", "another transfer coding", "longer than it said", "shorter", "no status",
        "a body before its head", "two heads", "a head alone", "nothing",
    ],
)  # fmt: skip
async def test_an_answer_that_can_not_be_framed_is_an_internal_error_and_the_last(messages):
    async def scenario(served, _):
        with capture_logs() as logs:
            await served.feed(request("GET", "/"))
        assert statuses(served.said) == [500]
        assert b"\r\nconnection: close" in served.said
        assert b"secret" not in served.said
        assert b"cookie" not in served.said
        assert served.transport.is_closed
        assert len(logs) == 1
        await served.leave()

    await run(sends(*messages), scenario)


@pytest.mark.parametrize("rest", [[], [start()]], ids=["it returns", "it sends what it may not"])
async def test_an_application_that_stops_half_way_cuts_the_connection(rest):
    async def scenario(served, _):
        with capture_logs():
            await served.feed(request("GET", "/"))
        assert served.said.endswith(b"3\r\nabc\r\n")
        assert served.transport.is_cut
        await served.leave()

    await run(sends(start(), piece(b"abc", more=True), *rest), scenario)


async def test_a_client_that_leaves_before_its_answer_is_told_and_does_not_stop_the_application():
    heard: list[str] = []

    async def app(scope, receive, send):
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])
        await asyncio.sleep(0)
        heard.append("went on")
        await send(start())

    async def scenario(served, _):
        await served.feed(request("POST", "/", b"{}"))
        assert heard == ["http.request"]
        await served.leave()
        assert heard == ["http.request", "http.disconnect", "went on"]

    await run(app, scenario)


async def test_an_application_slower_than_its_client_holds_it_up():
    go = asyncio.Event()
    got: list[int] = []

    async def app(scope, receive, send):
        await go.wait()
        more = True
        while more:
            message = await receive()
            got.append(len(message["body"]))
            more = message["more_body"]
        await send(start((b"content-length", b"0")))
        await send(piece(b""))

    async def scenario(served, _):
        paused: list[bool] = []
        served.transport.pause_reading = lambda: paused.append(True)
        served.transport.resume_reading = lambda: paused.append(False)
        size = MAX_KEPT_BYTES + 1
        await served.feed(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (size + 1), b"x" * size)
        assert paused == [True]
        go.set()
        await served.settle()
        assert (paused, got) == ([True, False], [size])
        await served.feed(b"x")
        assert statuses(served.said) == [200]

    await run(app, scenario)
