"""Daemons with an agent, one for each way to treat what waits for a person."""

from __future__ import annotations

import pytest

from support.hooks import Hooks, claude_event, daemon_of


@pytest.fixture(scope="module")
def hooks(tmp_path_factory):
    """What waits is denied at once."""
    with daemon_of(tmp_path_factory, "[hooks]\nwait_ms = 0\n") as daemon:
        yield Hooks(daemon)


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """What waits is held for as long as it takes."""
    with daemon_of(tmp_path_factory, "[hooks]\nwait_ms = 600000\n") as daemon:
        yield Hooks(daemon)


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    """What waits is left to the client's prompt; a long wait shows what is not."""
    with daemon_of(tmp_path_factory, '[hooks]\non_approval = "ask"\nwait_ms = 0\n') as daemon:
        yield Hooks(daemon)


@pytest.fixture
def event():
    """Makes Claude Code's events, each of its own tool use."""
    return claude_event
