"""Starting and draining: what was begun is finished, nothing new is taken, and nothing holds it up for ever."""

import asyncio

import pytest

from support.api import Rig, request
from support.waiting import until

CALL = request("POST", "/v1/tools/call", b"{}")


async def test_a_call_in_flight_is_finished_and_answered_while_the_server_drains(rig):
    rig.calls.go.clear()
    client = await rig.connect()
    await client.send(CALL)
    await rig.calls.reached.wait()
    draining = asyncio.ensure_future(rig.server.drain())
    await until(lambda: not rig.path.exists())
    with pytest.raises(OSError, match="No such file"):
        await rig.connect()
    rig.calls.go.set()
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    await draining
    assert rig.calls.finished == 1
    await client.close()


async def test_readiness_ends_when_draining_begins(rig):
    rig.calls.go.clear()
    busy, asking = await rig.connect(), await rig.connect()
    await busy.send(CALL)
    await asking.send(b"POST /v1/budgets/read HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n")
    await rig.calls.reached.wait()
    rig.changes.stop()
    status, _, body = await rig.ask("GET", "/ready")
    assert (status, body["failing"]) == (503, ["stopping"])
    rig.calls.go.set()
    await busy.close()
    await asking.close()


async def test_idle_connections_are_closed_at_once(rig):
    clients = [await rig.connect() for _ in range(20)]
    for client in clients[:10]:
        await client.send(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.answer()
    await rig.server.drain()
    for client in clients:
        assert await client.rest() == b""
        await client.close()


async def test_what_does_not_finish_in_time_is_cut_without_an_answer(tmp_path):
    async with Rig(tmp_path, drain_ms=50) as rig:
        rig.calls.go.clear()
        client = await rig.connect()
        await client.send(CALL)
        await rig.calls.reached.wait()
        await rig.server.drain()
        assert await client.rest() == b""
        assert rig.calls.finished == 0
        assert not rig.server._state.tasks
        await client.close()


async def test_two_servers_serve_one_after_the_other_on_one_path(tmp_path):
    for tcp in (False, True):
        async with Rig(tmp_path, tcp=tcp) as rig:
            status, headers, _ = await rig.ask("GET", "/health")
            assert status == 200
            assert headers["date"].endswith("GMT")
            assert "server" not in headers
