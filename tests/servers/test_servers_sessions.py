"""A server over HTTP that ends something on its side: its session, its stream, itself. It is begun again, and said."""

import asyncio
import contextlib
import json

import pytest

from briefcase.adapters.servers import connection as connections
from briefcase.adapters.servers import session as sessions
from briefcase.adapters.servers.connection import State
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpStream
from support.servers import Rig
from support.waiting import until

URL = "https://h.example/mcp"
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
FORGOT = {"code": -32001, "message": "No valid session ID provided"}


class Server:
    """An MCP server in this process, and the guarded way out to it. Knobs are plain attributes."""

    def __init__(self):
        self.known = set()
        self.count = 0
        self.sent = []
        self.forgets_with = 404
        self.is_down = False
        self.unreachable_for = ""
        self.cuts_off = False
        self.streams = asyncio.Queue()  # what each GET answers: a status, or pieces of a stream that ends
        self.has_stream = False

    def asked(self, method):
        return [message for _, message in self.sent if message.get("method") == method]

    def gets(self):
        return [request for request, _ in self.sent if request.method == "GET"]

    @contextlib.asynccontextmanager
    async def stream(self, request):
        message = json.loads(request.body) if request.body else {}
        self.sent.append((request, message))
        if self.is_down or message.get("method") == self.unreachable_for:
            raise UpstreamError("the upstream could not be connected to", sent=False)
        status, headers, body = await self.answer(request, message)

        async def pieces():
            yield body
            if request.method == "GET" and self.cuts_off:
                raise UpstreamError("the upstream's answer could not be read")

        yield HttpStream(status, headers, pieces())

    async def answer(self, request, message):
        if request.method == "GET":
            if not self.has_stream:
                return 405, {}, b""
            found = await self.streams.get()
            return (found, {}, b"") if isinstance(found, int) else (200, EVENTS, found)
        if request.method == "DELETE":
            return 200, {}, b""
        method = message["method"]
        if method == "initialize":
            self.count += 1
            session_id = f"session-{self.count}"
            self.known.add(session_id)
            capabilities = {"tools": {"listChanged": True}}
            info = {"name": "h", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info}
            return self.result(message, result, {"mcp-session-id": session_id})
        if "id" not in message:
            return 202, {}, b""
        if method == "server/discover":
            return self.result(message, None)
        if request.headers.get("Mcp-Session-Id") not in self.known:
            body = {"jsonrpc": "2.0", "id": None, "error": FORGOT}
            return self.forgets_with, JSON, json.dumps(body).encode()
        if method == "tools/list":
            reads = {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
            return self.result(message, {"tools": [reads, {"name": "change", "inputSchema": {"type": "object"}}]})
        if method == "tools/call":
            return self.result(message, {"content": []})
        return self.result(message, None)

    @staticmethod
    def result(message, result, headers=None):
        missing = {"error": {"code": -32601, "message": "not here"}}
        answer = {"jsonrpc": "2.0", "id": message["id"], **(missing if result is None else {"result": result})}
        return 200, {**JSON, **(headers or {})}, json.dumps(answer).encode()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(connections, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(connections, "RELIST_PAUSE_S", 0.0)
    monkeypatch.setattr(sessions, "FIRST_PAUSE_S", 0.0)


@contextlib.asynccontextmanager
async def connected(server):
    rig = Rig(server)
    await rig.registry.set_server("fx", {"endpoint_url": URL}, "operator")
    try:
        await rig.ready()
        yield rig, rig.registry.connection("fx")
    finally:
        await rig.registry.stop()


@pytest.mark.parametrize("status", [404, 400])
@pytest.mark.parametrize("tool", ["fx.look", "fx.change"])
async def test_a_session_that_was_forgotten_fails_one_call_with_its_reason_and_is_begun_anew(status, tool):
    server = Server()
    server.forgets_with = status
    async with connected(server) as (rig, connection):
        server.known.clear()
        with pytest.raises(UpstreamError, match=f"forgot the session .HTTP status {status}.") as caught:
            await rig.call(tool)
        assert (caught.value.code, caught.value.sent) == ("upstream_failed", True)  # of a write: its outcome is unknown
        assert await rig.call(tool) == {"content": []}
        assert server.count == 2
        assert connection.state is State.READY
        assert connection.problem == ""
        assert [r for r, _ in server.sent if r.method == "DELETE"] == []  # there is nothing to end


async def test_a_server_whose_session_is_lost_is_not_ready():
    server = Server()
    async with connected(server) as (rig, connection):
        server.known.clear()
        server.forgets_with = 503
        with pytest.raises(UpstreamError, match="503"):
            await rig.call("fx.look")
        server.forgets_with, server.is_down = 404, True
        with pytest.raises(UpstreamError):
            await rig.call("fx.look")
        await until(lambda: connection.state is not State.READY)
        await until(lambda: "could not be connected to" in connection.problem)
        server.is_down = False
        await rig.ready()


@pytest.mark.parametrize("message", ["Unsupported protocol version", "bad request"])
async def test_a_refusal_that_names_no_session_ends_none(monkeypatch, message):
    server = Server()
    monkeypatch.setitem(FORGOT, "message", message)
    server.forgets_with = 400
    async with connected(server) as (rig, connection):
        known, server.known = server.known, set()
        with pytest.raises(UpstreamError, match="HTTP status 400"):
            await rig.call("fx.look")
        server.known = known
        assert await rig.call("fx.look") == {"content": []}
        assert (server.count, connection.state) == (1, State.READY)


@pytest.mark.parametrize("cuts_off", [False, True])
async def test_a_stream_that_ended_is_begun_again_where_it_stopped_and_what_was_missed_is_looked_at(cuts_off):
    server = Server()
    server.has_stream, server.cuts_off = True, cuts_off
    async with connected(server) as (rig, _):
        listed = len(server.asked("tools/list"))
        server.streams.put_nowait(b"id: e-1\ndata:\n\n")
        await until(lambda: len(server.gets()) == 2 and len(server.asked("tools/list")) > listed)
        assert server.gets()[1].headers["Last-Event-ID"] == "e-1"
        assert await rig.call("fx.look") == {"content": []}
        assert server.count == 1


async def test_a_stream_that_there_never_was_is_asked_for_once():
    server = Server()
    async with connected(server) as (rig, _):
        for _ in range(3):
            await rig.call("fx.look")
        assert len(server.gets()) == 1


@pytest.mark.parametrize("status", [400, 404, 406])
async def test_a_refused_stream_is_not_taken_for_a_lost_session(status):
    server = Server()
    server.has_stream = True
    server.streams.put_nowait(status)
    async with connected(server) as (rig, connection):
        await until(lambda: server.asked("ping"))
        assert await rig.call("fx.look") == {"content": []}
        assert (server.count, connection.state, len(server.gets())) == (1, State.READY, 1)


async def test_a_server_that_ended_behind_its_stream_is_connected_to_again():
    server = Server()
    server.has_stream = True
    async with connected(server) as (rig, connection):
        server.is_down = True
        server.streams.put_nowait(b": bye\n\n")
        await until(lambda: connection.state is not State.READY)
        server.is_down = False
        await rig.ready()
        assert await rig.call("fx.look") == {"content": []}
        assert server.count == 2


async def test_a_server_that_could_not_be_reached_once_and_answers_again_keeps_its_session():
    server = Server()
    async with connected(server) as (rig, connection):
        server.unreachable_for = "tools/call"
        with pytest.raises(UpstreamError, match="could not be connected to"):
            await rig.call("fx.look")
        await until(lambda: server.asked("ping"))
        server.unreachable_for = ""
        assert await rig.call("fx.look") == {"content": []}
        assert (server.count, connection.state) == (1, State.READY)
