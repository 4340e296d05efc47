"""Which loop an async test runs in: the daemon's own where it speaks to the daemon's HTTP server."""

import asyncio

import uvloop

SERVED = {"api", "http"}  # directories


def pytest_asyncio_loop_factories(config, item):
    return {"loop": uvloop.new_event_loop if item.path.parent.name in SERVED else asyncio.new_event_loop}
