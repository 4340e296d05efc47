"""The gateway's connections to the daemon: what is taken as an answer, and that no answer meets another's request."""

import asyncio
import contextlib
import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from gateway_rig import OWN_DAEMON

from briefcase.core.wire.identity import IdentityAnswer
from briefcase.daemon.config_file import ServerSettings
from briefcase.edges.client import pool as pool_module
from briefcase.edges.client.daemon_connection import DaemonConnection
from briefcase.edges.gateway import daemon as daemon_module
from briefcase.edges.gateway.daemon import MAX_ANSWER_BYTES, Daemon, DaemonError
from briefcase.edges.gateway.settings import GatewaySettings
from briefcase.edges.gateway.slots import Slots
from briefcase.edges.http.limits import HttpLimits
from support.full_queue import ConnectedError, full_queue, needs_a_queue
from support.waiting import until
from support.wire import example

TOKEN = "bca_" + "t" * 40
DOCUMENT = dict[str, object]


async def get(client: Daemon, token: str, path: str) -> dict:
    """What the daemon answers, whatever it is."""
    return (await client.get(token, path, DOCUMENT)).answer


def answer(body: bytes = b'{"ok":true}', *headers: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    lines = [f"{version} {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Scripted:
    """A daemon that answers each request with the next of its bytes, whatever they are; None closes instead.

    It closes as well when a request comes on a connection that was idle for `keep_alive_s`: the two have crossed.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.identity = msgspec.json.encode(example(IdentityAnswer, role="agent"))
        self.connections = self.closed = 0
        self.keep_alive_s = 60.0
        self.release = asyncio.Event()
        self.release.set()
        self.introduces = asyncio.Event()
        self.introduces.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                idle_since_s = loop.time()
                head = await reader.readuntil(b"\r\n\r\n")
                has_crossed = loop.time() - idle_since_s >= self.keep_alive_s
                if b"/v1/identity HTTP" in head:
                    await self.introduces.wait()
                    writer.write(answer(self.identity))
                    continue
                length = int((head.lower().partition(b"content-length: ")[2] or b"0").split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.release.wait()
                scripted = self.answers.pop(0) if self.answers else answer()
                if scripted is None or has_crossed:
                    break
                writer.write(scripted)
                await writer.drain()
        writer.close()
        self.closed += 1


@contextlib.asynccontextmanager
async def asked(*answers: bytes | None, url: bool = False):
    """A client, and the scripted daemon it asks over a Unix socket, or over TCP."""
    scripted = Scripted(*answers)
    with tempfile.TemporaryDirectory(prefix="bc-") as directory:
        path = Path(directory) / "d.sock"
        if url:
            server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            settings = GatewaySettings(None, OWN_DAEMON, f"http://127.0.0.1:{port}/under/")
        else:
            server = await asyncio.start_unix_server(scripted.serve, path)
            settings = GatewaySettings(path, OWN_DAEMON)
        async with server, Daemon(settings) as client:
            yield client, scripted
        await until(lambda: scripted.closed == scripted.connections)


async def test_a_request_is_written_whole_and_a_connection_is_kept():
    async with asked() as (client, daemon):
        assert await get(client, TOKEN, "/v1/tools") == {"ok": True}
        assert (await client.post(TOKEN, "/v1/tools/call", DOCUMENT, b'{"a":1}')).answer == {"ok": True}
        assert daemon.connections == 1
        assert daemon.requests == [
            f"GET /v1/tools HTTP/1.1\r\nhost: briefcase\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode(),
            f"POST /v1/tools/call HTTP/1.1\r\nhost: briefcase\r\nauthorization: Bearer {TOKEN}\r\n"
            'content-type: application/json\r\ncontent-length: 7\r\n\r\n{"a":1}'.encode(),
        ]


async def test_a_daemon_behind_an_address_is_asked_under_its_path_and_name():
    async with asked(url=True) as (client, daemon):
        await get(client, TOKEN, "/v1/tools")
        line, host, *_ = daemon.requests[0].decode().split("\r\n")
        assert line == "GET /under/v1/tools HTTP/1.1"
        assert host.startswith("host: 127.0.0.1:")


@pytest.mark.parametrize(
    ("token", "path"),
    [
        (TOKEN + "\r\nx: y", "/v1/tools"),
        (TOKEN + " ", "/v1/tools"),
        ("", "/v1/tools"),
        (TOKEN, "/v1/tools HTTP/1.1\r\nx: y\r\n\r\n"),
        (TOKEN, "/v1/a b"),
        (TOKEN, "v1/tools"),
        (TOKEN, "/v1/\u0131"),
    ],
)
async def test_what_would_break_the_framing_is_not_sent(token, path):
    async with asked() as (client, daemon):
        with pytest.raises(DaemonError, match="can be sent"):
            await get(client, token, path)
        assert daemon.connections == 0


@pytest.mark.parametrize(
    "scripted",
    [
        b"hello\r\n\r\n",
        answer(version="HTTP/1.0"),
        answer(status="100 Continue"),
        answer(status="101 Switching Protocols"),
        answer(b'{"ok":true}', "transfer-encoding: chunked"),
        answer(b'{"ok":true}', "content-length: 3"),
        answer(b'{"ok":true}', "x: a\nb"),
        b"HTTP/1.1 200 OK\ncontent-length: 11\n\n" + b'{"ok":true}',
        b"HTTP/1.1 200 OK\r\ncontent-length: +11\r\n\r\n" + b'{"ok":true}',
        answer(b'{"ok":true}', *("x: " + "y" * 8_000,) * 40),
        answer(b'{"ok":true}')[:-1],
        None,
    ],
)
async def test_what_is_no_whole_answer_is_refused_and_its_connection_not_used_again(scripted, steered_loop):
    async with asked(scripted) as (client, daemon):
        asking = asyncio.create_task(get(client, TOKEN, "/v1/tools"))
        await until(lambda: daemon.requests)
        await steered_loop.advance(daemon_module.ANSWER_TIMEOUT_S)  # the rest never comes
        with pytest.raises(DaemonError) as raised:
            await asking
        assert (raised.value.status, raised.value.code) == (0, "daemon_unreachable")
        assert await get(client, TOKEN, "/v1/tools") == {"ok": True}
        assert daemon.connections == 2


async def test_an_answer_in_pieces_is_one_answer():
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b'6\r\n{"ok":\r\n5\r\ntrue}\r\n0\r\n\r\n'
    async with asked(chunked, answer()) as (client, daemon):
        assert await get(client, TOKEN, "/v1/tools") == {"ok": True}
        assert await get(client, TOKEN, "/v1/tools") == {"ok": True}
        assert daemon.connections == 1


@pytest.mark.parametrize("more", [b"HTTP", answer(b'{"id":"of nobody"}')])
async def test_bytes_after_an_answer_never_become_the_next_one(more):
    async with asked(answer(b'{"id":1}') + more, answer(b'{"id":2}')) as (client, daemon):
        assert await get(client, TOKEN, "/v1/first") == {"id": 1}
        assert await get(client, TOKEN, "/v1/second") == {"id": 2}
        assert daemon.connections == 2


@pytest.mark.parametrize("stray", [answer(b'{"id":"of nobody"}'), b"\r\n"])
async def test_bytes_before_a_request_end_the_connection(stray):
    async with asked(answer(b'{"id":1}'), answer(b'{"id":2}')) as (client, daemon):
        assert await get(client, TOKEN, "/v1/first") == {"id": 1}
        (kept,) = client._connections._free
        kept.data_received(stray)
        assert await get(client, TOKEN, "/v1/second") == {"id": 2}
        assert daemon.connections == 2


async def test_the_answer_of_a_cancelled_request_meets_nobody():
    async with asked(answer(b'{"id":1}'), answer(b'{"id":2}')) as (client, daemon):
        daemon.release.clear()
        first = asyncio.create_task(get(client, TOKEN, "/v1/first"))
        await until(lambda: daemon.requests)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        daemon.release.set()
        assert await get(client, TOKEN, "/v1/second") == {"id": 2}
        assert daemon.connections == 2


async def test_an_answer_that_comes_too_late_meets_nobody(monkeypatch):
    monkeypatch.setattr(daemon_module, "ANSWER_TIMEOUT_S", 0.05)

    async with asked(answer(b'{"id":1}'), answer(b'{"id":2}')) as (client, daemon):
        daemon.release.clear()
        with pytest.raises(DaemonError, match="TimeoutError"):
            await get(client, TOKEN, "/v1/first")
        daemon.release.set()
        assert await get(client, TOKEN, "/v1/second") == {"id": 2}


async def test_an_answer_past_the_bound_is_cut_off():
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {MAX_ANSWER_BYTES + 1}\r\n\r\n".encode()
    async with asked(head + b" " * (MAX_ANSWER_BYTES + 1)) as (client, _):
        with pytest.raises(DaemonError, match="BrokenAnswerError"):
            await get(client, TOKEN, "/v1/tools")


async def test_a_daemon_that_closes_after_its_answer_gets_a_new_connection():
    async with asked(answer(b'{"id":1}', "connection: close"), None, answer(b'{"id":3}')) as (client, daemon):
        assert await get(client, TOKEN, "/v1/first") == {"id": 1}
        with pytest.raises(DaemonError):
            await get(client, TOKEN, "/v1/second")
        assert await get(client, TOKEN, "/v1/third") == {"id": 3}
        assert len(daemon.requests) == 3, "a request was sent twice"
        assert daemon.connections == 3


async def test_a_connection_that_was_idle_for_too_long_takes_no_request(steered_loop):
    async with asked(*(answer(json.dumps({"id": number}).encode()) for number in range(8))) as (client, daemon):
        await asyncio.gather(*(get(client, TOKEN, f"/v1/{number}") for number in range(3)))
        assert daemon.connections == 3
        await steered_loop.advance(pool_module.MAX_IDLE_S)
        await get(client, TOKEN, "/v1/later")
        await until(lambda: daemon.closed == 3)  # each was idle for as long
        for _ in range(4):
            await steered_loop.advance(pool_module.MAX_IDLE_S / 2)
            await get(client, TOKEN, "/v1/soon")
        assert daemon.connections == 4


async def test_a_request_that_crosses_the_daemons_closing_of_an_idle_connection_is_never_sent(steered_loop):
    async with asked() as (client, daemon):
        daemon.keep_alive_s = HttpLimits().keep_alive_ms / 1_000
        at_most_s = pool_module.MAX_IDLE_S
        for pause_s in (0, at_most_s / 2, at_most_s, 2 * daemon.keep_alive_s, at_most_s + 1, 0):
            await steered_loop.advance(pause_s)
            assert (await client.post(TOKEN, "/v1/tools/call", DOCUMENT, b"{}")).answer == {"ok": True}
        assert len(daemon.requests) == 6


def test_the_gateway_closes_idle_connections_well_before_the_daemon_does():
    bounds = [field.name for field in msgspec.structs.fields(ServerSettings)]
    assert "keep_alive_ms" not in bounds  # what every daemon has is the default
    assert HttpLimits().keep_alive_ms / 1_000 - pool_module.MAX_IDLE_S >= 10


async def test_many_at_once_never_share_a_connection_and_are_bounded(monkeypatch):
    monkeypatch.setattr(daemon_module, "MAX_CONNECTIONS", 8)

    async with asked(*(answer(json.dumps({"id": number}).encode()) for number in range(64))) as (client, daemon):
        answers = await asyncio.gather(*(get(client, TOKEN, f"/v1/{number}") for number in range(64)))
        assert sorted(found["id"] for found in answers) == list(range(64))
        assert daemon.connections == 8


async def test_an_agent_that_has_all_connections_leaves_the_others_behind_a_gateway_theirs(monkeypatch):
    monkeypatch.setattr(daemon_module, "MAX_CONNECTIONS", 4)

    async with asked() as (client, daemon):
        daemon.release.clear()
        polls = [asyncio.create_task(get(client, TOKEN, f"/v1/{number}")) for number in range(8)]
        await until(lambda: len(daemon.requests) == 4)
        other = "bca_" + "o" * 40
        others = [asyncio.create_task(get(client, other, f"/v1/{number}")) for number in range(3)]
        await until(lambda: len(daemon.requests) == 6)
        await asyncio.sleep(0)
        assert sum(other.encode() in request for request in daemon.requests) == 2
        daemon.release.set()
        assert len(await asyncio.gather(*polls, *others)) == 11


async def test_tokens_that_may_be_made_up_take_no_agents_place_at_the_daemon(monkeypatch):
    monkeypatch.setattr(daemon_module, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(daemon_module, "NEWCOMER_RESERVE", 4)

    async with asked() as (client, daemon):
        await get(client, TOKEN, "/v1/first")
        daemon.introduces.clear()
        made_up = [asyncio.create_task(get(client, f"bca_{number:040}", "/v1/x")) for number in range(12)]
        await asyncio.sleep(0)
        await get(client, TOKEN, "/v1/second")
        daemon.introduces.set()
        await asyncio.gather(*made_up)


async def test_of_agents_that_wait_the_one_that_has_fewest_goes_on_first():
    slots, went = Slots(2, 0), []

    async def use(agent):
        await slots.take(agent)
        went.append(agent)

    await use("greedy")
    await use("greedy")
    waiting = [asyncio.create_task(use(agent)) for agent in ("greedy", "modest", "modest")]
    await asyncio.sleep(0)
    slots.give_back("greedy")
    await asyncio.sleep(0)
    assert went == ["greedy", "greedy", "modest"]
    slots.give_back("modest")
    await asyncio.sleep(0)
    assert went[3:] == ["modest"]  # has none again, beside one of the other's
    slots.give_back("greedy")
    await asyncio.gather(*waiting)


async def test_who_stops_waiting_for_a_slot_takes_none_and_leaves_nothing_behind():
    slots = Slots(1, 0)
    await slots.take("a")
    left, given, last = (asyncio.create_task(slots.take(agent)) for agent in ("b", "c", "d"))
    await asyncio.sleep(0)
    left.cancel()
    slots.give_back("a")  # past who has left, to the next
    given.cancel()  # in the moment in which it is given
    await asyncio.wait({left, given, last})
    assert (left.cancelled(), given.cancelled(), last.cancelled()) == (True, True, False)
    slots.give_back("d")
    assert (slots._total, dict(slots._running), slots._waiting) == (0, {}, {})


async def test_a_refusal_says_what_the_daemon_said_and_no_more():
    told = answer(b'{"code":"forbidden","message":"not for you"}', status="403 Forbidden")
    async with asked(told, answer(b"<html>", status="502 Bad Gateway"), answer(b"[1]")) as (client, _):
        for status, code, message in (
            (403, "forbidden", "not for you"),
            (502, "internal", "the daemon said 502"),
            (0, "unexpected_answer", "answer of `GET /v1/tools`: expected `object`, got `array`"),
        ):
            with pytest.raises(DaemonError) as raised:
                await get(client, TOKEN, "/v1/tools")
            assert (raised.value.status, raised.value.code, raised.value.message) == (status, code, message)


@needs_a_queue
async def test_a_gateway_comes_again_where_the_sockets_queue_is_full():
    class Anybody:
        def check_socket(self, *_) -> None:
            raise ConnectedError

    with tempfile.TemporaryDirectory(prefix="bc-") as directory, full_queue(f"{directory}/d.sock") as listener:
        connections = pool_module.Connections(
            pool_module.Place(f"{directory}/d.sock"),
            Anybody(),
            limit=1,
            new_connection=lambda: DaemonConnection(MAX_ANSWER_BYTES),
            proof_request=lambda *_: b"",
        )
        asking = asyncio.create_task(connections.ask(b"", 1))
        for _ in range(10):
            await asyncio.sleep(0.01)
            assert not asking.done()
        listener.accept()[0].close()
        with pytest.raises(ConnectedError):
            await asking
