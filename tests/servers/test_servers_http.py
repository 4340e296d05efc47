"""Streamable HTTP from the client's side: an answer that ends early is gone on with, a refused revision tried again."""

import asyncio
import contextlib
import json

import pytest

from briefcase.adapters.servers import turns
from briefcase.adapters.servers.config import parse_server
from briefcase.adapters.servers.credentials import SecretHeaders
from briefcase.adapters.servers.http_transport import (
    MAX_ERROR_BYTES,
    MAX_RESUMPTIONS,
    HttpStatusError,
    HttpTransport,
)
from briefcase.adapters.servers.session import Session
from briefcase.adapters.servers.transport import Outgoing
from briefcase.adapters.servers.transports import TransportFactory
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpStream
from support.redaction import NoRedaction
from support.secrets import FakeSecrets
from support.servers import confinement
from support.waiting import until

URL = "https://h.example/mcp"
EVENTS = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
ANSWER = b'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'


class Scripted:
    """A way out that answers from a list, and keeps what was sent."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    @contextlib.asynccontextmanager
    async def stream(self, request):
        self.sent.append(request)
        status, headers, body = self.answers.pop(0) if self.answers else (404, {}, b"")

        async def pieces():
            yield body

        yield HttpStream(status, headers, pieces())


async def token():
    return "Bearer t"


CREDENTIAL = SecretHeaders({"Authorization": token})


async def send(outbound, **headers):
    taken = []
    transport = HttpTransport(outbound, URL, CREDENTIAL, "k")
    await transport.open(lambda message, request_id: taken.append((message.id, request_id)), lambda _: None)
    await transport.send(Outgoing(b"{}", 1, headers))
    return taken


async def test_an_answer_whose_stream_ended_is_gone_on_with_where_it_stopped_and_after_the_pause_it_asked_for():
    outbound = Scripted(
        (200, EVENTS, b"id: e-1\nretry: 40\ndata: \n\n"),
        (200, EVENTS, b"id: e-2\nretry: 0\ndata:\n\n"),
        (200, EVENTS, ANSWER),
    )
    started = asyncio.get_running_loop().time()
    assert await send(outbound, **{"MCP-Protocol-Version": "2025-11-25"}) == [(1, 1)]
    assert asyncio.get_running_loop().time() - started >= 0.04
    post, first, second = outbound.sent
    assert (post.method, post.body) == ("POST", b"{}")
    assert [one.keeps_connection for one in outbound.sent] == [True, False, False]
    assert [(one.method, one.body, one.headers["Last-Event-ID"]) for one in (first, second)] == [
        ("GET", None, "e-1"), ("GET", None, "e-2"),
    ]  # fmt: skip
    assert {one.headers["Authorization"] for one in outbound.sent} == {"Bearer t"}
    assert first.headers["MCP-Protocol-Version"] == "2025-11-25"


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"retry: 1\ndata:\n\n",
        b"id: a\tb\nretry: 1\ndata:\n\n",
        b"id:\nretry: 1\ndata:\n\n",
        ANSWER,
        b"id: e\nretry: 0\n" + ANSWER,
    ],
)
async def test_a_stream_that_names_no_place_to_go_on_from_or_is_whole_is_not_asked_for_again(stream):
    outbound = Scripted((200, EVENTS, stream))
    await send(outbound)
    assert len(outbound.sent) == 1


async def test_a_server_that_never_comes_to_an_end_is_not_followed_for_ever():
    outbound = Scripted(*[(200, EVENTS, b"id: e\nretry: 0\ndata:\n\n")] * 100)
    assert await send(outbound) == []
    assert len(outbound.sent) == 1 + MAX_RESUMPTIONS


async def test_a_server_that_does_not_go_on_is_left():
    outbound = Scripted((200, EVENTS, b"id: e\nretry: 0\ndata:\n\n"), (405, {}, b""))
    assert await send(outbound) == []
    assert len(outbound.sent) == 2


def refusal(**data):
    error = {"code": -32022, "message": "no", "data": data}
    return 400, JSON, json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode()


@pytest.mark.parametrize(
    ("data", "methods"),
    [
        ({"supported": ["2026-07-28"]}, ["server/discover", "server/discover"]),
        ({"supported": ["2025-11-25"]}, ["server/discover", "initialize"]),
        ({"supported": "2026-07-28"}, ["server/discover", "initialize"]),
        ({}, ["server/discover", "initialize"]),
    ],
)
async def test_a_server_that_refused_our_revision_and_speaks_it_is_asked_once_more(data, methods):
    outbound = Scripted(refusal(**data), refusal(**data))
    session = Session(HttpTransport(outbound, URL, CREDENTIAL, "k"), lambda *_: None, lambda _: None, NoRedaction())
    with pytest.raises(UpstreamError):
        await session.open()
    await session.close()
    asked = [json.loads(one.body)["method"] for one in outbound.sent if one.body]
    assert asked[:2] == methods


class AtOnce:
    """A way out whose answers all come in the same turn of the loop."""

    def __init__(self, body):
        self.body = body
        self.asked = 0
        self.come = asyncio.Event()

    @contextlib.asynccontextmanager
    async def stream(self, request):
        self.asked += 1

        async def pieces():
            await self.come.wait()
            yield self.body

        yield HttpStream(200, EVENTS if self.body.startswith(b"data") else JSON, pieces())


async def turns_of_taking(*bodies):
    """In which turn of the loop each answer is taken of servers that answer one request at once on two connections."""
    count, taken, outs = 0, [], [AtOnce(body) for body in bodies]

    async def count_turns():
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    counting, sending = asyncio.create_task(count_turns()), []
    for number, outbound in enumerate(outs):
        transport = HttpTransport(outbound, URL, CREDENTIAL, "k")
        await transport.open(lambda _message, _id, number=number: taken.append((number, count)), lambda _: None)
        sending += [asyncio.create_task(transport.send(Outgoing(b"{}", 1))) for _ in range(2)]
    await until(lambda: sum(outbound.asked for outbound in outs) == len(sending))
    for outbound in outs:
        outbound.come.set()
    await asyncio.gather(*sending)
    counting.cancel()
    return [[turn for number, turn in taken if number == server] for server in range(len(outs))]


WHOLE = b'{"jsonrpc":"2.0","id":1,"result":{}}'


@pytest.mark.parametrize("body", [WHOLE, ANSWER], ids=["plain", "events"])
async def test_after_a_long_answer_the_servers_next_one_waits_for_the_others_and_another_servers_does_not(
    body, monkeypatch
):
    monkeypatch.setattr(turns, "TURN_S", 0)  # every message is a turn
    monkeypatch.setattr(turns, "MAX_PAUSE_S", 1e-6)
    (first, second), (other, _) = await turns_of_taking(body, body)
    assert second > first
    assert other - first <= 1


async def test_answers_that_take_no_turn_are_taken_as_they_come(monkeypatch):
    monkeypatch.setattr(turns, "TURN_S", 60.0)
    (first, second), (other, _) = await turns_of_taking(WHOLE, WHOLE)
    assert first == second == other


async def test_a_long_refusal_is_not_read_for_its_reason():
    error = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32022, "message": "x" * MAX_ERROR_BYTES}})
    with pytest.raises(HttpStatusError) as refused:
        await send(Scripted((400, JSON, error.encode())))
    assert refused.value.error is None


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"bearer_secret": "k"}, {"Authorization": "Bearer key-0123456789"}),
        ({"header_secrets": {"X-Api-Key": {"secret": "k"}}}, {"X-Api-Key": "key-0123456789"}),
        (
            {"header_secrets": {"Authorization": {"secret": "k", "prefix": "token "}}, "headers": {"X-Org": "acme"}},
            {"Authorization": "token key-0123456789", "X-Org": "acme"},
        ),
    ],
)
async def test_a_servers_own_headers_are_sent_with_every_request(body, sent):
    outbound = Scripted((200, JSON, b'{"jsonrpc":"2.0","id":1,"result":{}}'))
    factory = TransportFactory(outbound, FakeSecrets(k="key-0123456789"), None, confinement(), {})
    transport = await factory.transport(parse_server("fx", {"endpoint_url": URL, **body}))
    await transport.open(lambda *_: None, lambda _: None)
    await transport.send(Outgoing(b"{}", 1))
    (request,) = outbound.sent
    assert {name: request.headers.get(name) for name in sent} == sent


async def test_a_secret_that_cannot_stand_in_a_header_is_not_sent():
    outbound = Scripted()
    factory = TransportFactory(outbound, FakeSecrets(k="a\r\nb"), None, confinement(), {})
    body = {"endpoint_url": URL, "header_secrets": {"X-Key": {"secret": "k"}}}
    transport = await factory.transport(parse_server("fx", body))
    with pytest.raises(UpstreamError, match="cannot stand in a header") as caught:
        await transport.send(Outgoing(b"{}", 1))
    assert caught.value.sent is False
    assert outbound.sent == []
