"""An answer that comes in pieces: how it is framed, whose leaving ends it, and what holds it up."""

import asyncio

import pytest
from structlog.testing import capture_logs
from wire_kit import Served

from briefcase.edges.http.routing import Reply, Stream
from support.api import request

ASK = request("GET", "/events", token=None)
OLD = b"GET /events HTTP/1.0\r\nhost: a\r\n\r\n"


class Events:
    """An application whose answers are streams of what a test puts into its queue; None ends one."""

    knows_principals = False

    def __init__(self, *, is_filtered: bool = True) -> None:
        self.queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.is_filtered = is_filtered
        self.opened = self.closed = 0

    async def answer(self, exchange) -> Reply:
        return Reply(Stream(self.pieces()), headers=((b"content-type", b"text/x"),), is_filtered=self.is_filtered)

    async def pieces(self):
        self.opened += 1
        try:
            while (piece := await self.queue.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed += 1

    def redact(self, body, *, is_json):
        raise AssertionError("nothing of a stream is kept to be redacted")


async def run(scenario, **options) -> None:
    async def running():
        app = Events(**options)
        served = Served(app)
        await scenario(served, app)
        if not served.transport.is_closed:
            await served.leave()
        assert not served.serving.tasks
        assert app.opened == app.closed

    await running()


async def put(served, app, *pieces) -> None:
    for piece in pieces:
        app.queue.put_nowait(piece)
    await served.settle()


async def test_pieces_are_chunks_and_the_next_request_is_answered_on_the_same_connection():
    async def scenario(served, app):
        await served.feed(ASK)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ntransfer-encoding: chunked\r\n\r\n"
        assert served.said == head
        await put(served, app, b"one", b"", b"x" * 17)
        assert served.said == head + b"3\r\none\r\n" + b"11\r\n" + b"x" * 17 + b"\r\n"
        await put(served, app, None)
        assert served.said.endswith(b"x\r\n0\r\n\r\n")
        await served.feed(ASK)
        await put(served, app, None)
        assert served.said.count(head + b"0\r\n\r\n") == 1

    await run(scenario)


async def test_an_http_1_0_client_reads_until_the_end():
    async def scenario(served, app):
        await served.feed(OLD)
        await put(served, app, b"one", None)
        assert served.said == b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\nconnection: close\r\n\r\none"
        assert served.transport.is_closed

    await run(scenario)


async def test_a_client_that_leaves_ends_the_source_of_its_stream_though_nothing_ever_comes():
    async def scenario(served, app):
        await served.feed(ASK)
        assert (app.opened, app.closed) == (1, 0)
        await served.leave()
        assert app.closed == 1

    await run(scenario)


async def test_a_request_that_is_refused_behind_a_stream_does_not_cut_it():
    async def scenario(served, app):
        await served.feed(ASK + b"GARBAGE\r\n\r\n")
        await put(served, app, b"one", None)
        assert b"3\r\none\r\n0\r\n\r\nHTTP/1.1 400 " in served.said
        assert served.transport.is_half_closed

    await run(scenario)


async def test_a_body_that_can_not_be_framed_ends_a_stream_that_has_begun_and_it_does_not_look_whole():
    async def scenario(served, app):
        await served.feed(b"POST /events HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        await put(served, app, b"one")
        await served.feed(b"zz\r\n")
        assert app.closed == 1
        assert served.said.endswith(b"3\r\none\r\n")
        assert served.transport.is_half_closed

    await run(scenario)


async def test_a_client_that_does_not_read_holds_up_the_source():
    async def scenario(served, app):
        await served.feed(ASK)
        served.connection.pause_writing()
        await put(served, app, b"one", b"two", b"three")
        assert app.queue.qsize() == 2
        served.connection.resume_writing()
        await served.settle()
        assert app.queue.qsize() == 0

    await run(scenario)


async def test_a_client_that_leaves_without_having_read_ends_the_source():
    async def scenario(served, app):
        await served.feed(ASK)
        served.connection.pause_writing()
        await put(served, app, b"one", b"two")
        await served.leave()
        assert app.closed == 1

    await run(scenario)


async def test_a_source_that_fails_cuts_the_connection_so_that_half_a_stream_does_not_look_whole():
    async def scenario(served, app):
        await served.feed(ASK)
        with capture_logs() as logs:
            await put(served, app, b"one", ValueError("secret"))
        assert served.transport.is_cut
        assert b"secret" not in served.said
        assert not served.said.endswith(b"0\r\n\r\n")
        assert len(logs) == 1
        await served.leave()

    await run(scenario)


async def test_a_stream_that_nobody_has_filtered_is_not_written():
    async def scenario(served, app):
        with capture_logs():
            await served.feed(ASK)
        assert served.said.startswith(b"HTTP/1.1 500 ")
        assert app.opened == 0

    await run(scenario, is_filtered=False)


@pytest.mark.parametrize("pieces", [[], [b"one"]], ids=["before the first piece", "after it"])
async def test_a_stream_of_a_server_that_is_cut_ends(pieces):
    async def scenario(served, app):
        await served.feed(ASK)
        await put(served, app, *pieces)
        for task in list(served.serving.tasks):
            task.cancel()
        await served.settle()
        assert app.closed == 1
        await served.leave()

    await run(scenario)
