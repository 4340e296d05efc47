"""Servers' processes start a few at a time, and end all at once."""

import asyncio
import sys

from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.connection import State
from briefcase.adapters.servers.starts import Starts
from support.servers import FIXTURE, Rig
from support.waiting import until

PROCESS = ServerConfig("a", command="serve")
REMOTE = ServerConfig("b", endpoint_url="https://docs.example/mcp")
SERVER = {"command": sys.executable, "args": [FIXTURE, "stdio"]}
SILENT = {"command": sys.executable, "args": ["-c", "import time; time.sleep(600)"]}


async def turns() -> None:
    """Let the loop do what is due now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_places_are_given_in_order_and_a_start_that_lasts_gives_its_place_up(monkeypatch):
    starts = Starts(1)
    first = await starts.place(PROCESS)
    second, third = (asyncio.create_task(starts.place(PROCESS)) for _ in range(2))
    await asyncio.sleep(0)
    assert not second.done()
    first.give_back()
    first.give_back()  # one place is given back once
    monkeypatch.setattr("briefcase.adapters.servers.starts.HELD_S", 0)
    await turns()
    assert second.done()
    assert third.done()  # the second never gave its place back


async def test_a_server_reached_over_http_needs_no_place():
    starts = Starts(1)
    await starts.place(PROCESS)
    (await starts.place(REMOTE)).give_back()
    waiting = asyncio.create_task(starts.place(PROCESS))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_the_next_process_starts_once_the_one_before_is_ready():
    rig = Rig(None, places=1)
    for name in ("a", "b", "c"):
        await rig.registry.set_server(name, SERVER, "operator")
    connections = [rig.registry.connection(name) for name in ("a", "b", "c")]
    seen = set()

    def all_ready() -> bool:
        seen.add(tuple(connection.state for connection in connections))
        return all(connection.state is State.READY for connection in connections)

    try:
        await until(all_ready)
        assert max(states.count(State.OPENING) for states in seen) == 1
    finally:
        await rig.registry.stop()


async def test_a_server_that_waits_for_its_start_can_be_deleted_and_holds_no_place():
    rig = Rig(None, places=1)
    try:
        for name in ("hangs", "waits", "fx"):
            await rig.registry.set_server(name, SERVER if name == "fx" else SILENT, "operator")
        await rig.registry.delete_server("waits", "operator")
        assert rig.registry.connection("fx").state is State.WAITING
        await rig.registry.delete_server("hangs", "operator")
        await rig.ready()
    finally:
        await rig.registry.stop()


async def test_all_processes_are_asked_to_end_before_any_is_waited_for(monkeypatch):
    rig = Rig(None, places=2)
    asked, when_waited_for = [], []
    try:
        for name in ("a", "b"):
            await rig.registry.set_server(name, SERVER, "operator")
            await rig.ready(name)
        for connection in rig.registry.connections():

            async def stop(connection=connection, end=connection.stop) -> None:
                asked.append(connection.config.id)
                await turns()
                when_waited_for.append(len(asked))
                await end()

            monkeypatch.setattr(connection, "stop", stop)
    finally:
        await rig.registry.stop()
    assert when_waited_for == [2, 2]
