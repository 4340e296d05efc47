"""One gateway on a state directory, opened anew as often as a test restarts it."""

import pytest

from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.providers import Holder, open_gateway


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def opened(tmp_path, clock):
    """Opens the gateway of one state directory anew, as a restart does."""
    running = []

    def open_again(**settings):
        if running:
            running.pop().facts.close()
        running.append(open_gateway(tmp_path, clock, FakeEntropy(), **settings))
        return running[-1]

    yield open_again
    for gateway in running:
        gateway.facts.close()


@pytest.fixture
def gateway(opened):
    return opened()


@pytest.fixture
def holder(gateway, clock):
    return Holder(gateway, clock)
