"""What holds for every test: which loop an async one runs in, and that no property fails for a slow machine.

An async test runs in the daemon's own loop where it speaks to the daemon's HTTP server.
"""

import asyncio

import uvloop
from hypothesis import HealthCheck, settings

SERVED = {"api", "http"}  # directories

settings.register_profile("any_machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")


def pytest_asyncio_loop_factories(config, item):
    return {"loop": uvloop.new_event_loop if item.path.parent.name in SERVED else asyncio.new_event_loop}
