"""How every test runs: in which loop, for how long at most, and with examples that may take their time."""

import asyncio

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from support.clock import SteeredLoop

SERVED = {"api", "http"}  # directories that speak to the daemon's HTTP server, and do so in the daemon's own loop
SCENARIOS = {"api", "gateway", "http", "provider_gateway", "providers", "servers"}  # whose async tests take a second
SCENARIO_S = 180  # so on a machine that is a hundred times slower; what takes longer hangs

settings.register_profile("any_machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")


def pytest_asyncio_loop_factories(config, item):
    if item.get_closest_marker("both_loops"):
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    if "steered_loop" in item.fixturenames:
        return {"loop": SteeredLoop}
    return {"loop": uvloop.new_event_loop if item.path.parent.name in SERVED else asyncio.new_event_loop}


def pytest_collection_modifyitems(items):
    for item in items:
        is_scenario = item.path.parent.name in SCENARIOS and asyncio.iscoroutinefunction(item.function)
        if is_scenario and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SCENARIO_S))


@pytest.fixture
async def steered_loop():
    """The running loop, whose time the test can move on."""
    return asyncio.get_running_loop()
