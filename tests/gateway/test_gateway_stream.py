"""Streams that can be resumed, within one bound for all of them."""

import pytest

from briefcase.edges.gateway import session as sessions
from briefcase.edges.gateway import stream as streams
from briefcase.edges.gateway.session import Session
from briefcase.edges.gateway.stream import Shelf, Stream
from briefcase.edges.gateway.view import View


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(streams, "MAX_SHELF_BYTES", 1_000)


async def read_all(stream: Stream) -> list[bytes]:
    async def run():
        return [message async for _, message in stream.read()]

    return await run()


async def told(shelf: Shelf, *messages: bytes, is_read: bool = True) -> Stream:
    stream = Stream(shelf)
    for message in messages:
        stream.put(message)
    stream.end()
    if is_read:
        await read_all(stream)
    return stream


async def test_what_was_read_to_its_end_is_forgotten_first_and_is_not_resumed():
    shelf = Shelf()
    unread = await told(shelf, b"a" * 400, is_read=False)
    read = await told(shelf, b"b" * 400)
    newest = await told(shelf, b"c" * 400, is_read=False)
    assert shelf.total_bytes == 800
    assert not read.can_resume(0)
    assert await read_all(unread) == [b"a" * 400]
    assert newest.can_resume(0)
    assert await read_all(newest) == [b"c" * 400]


async def test_where_nothing_was_read_a_stream_makes_room_with_its_own_oldest():
    shelf = Shelf()
    other = await told(shelf, b"a" * 400, is_read=False)
    stream = Stream(shelf)
    for number in range(10):
        stream.put(b"%d" % number * 200)
    assert shelf.total_bytes <= 1_000
    assert not stream.can_resume(0)
    assert stream.can_resume(7)
    assert other.can_resume(0)


def test_what_a_client_follows_is_bounded_in_bytes_and_giving_it_back_makes_room(monkeypatch):
    monkeypatch.setattr(sessions, "MAX_SUBSCRIPTION_BYTES", 100)
    session = Session("t" * 32, View(), "2025-11-25", {})
    for number in range(20):
        session.subscribe(f"file:///{number:02}")
        session.subscribe(f"file:///{number:02}")
    assert len(session.subscriptions) == 10
    session.unsubscribe("file:///00")
    session.unsubscribe("file:///00")
    session.subscribe("file:///99")
    assert "file:///99" in session.subscriptions
    assert len(session.subscriptions) == 10
