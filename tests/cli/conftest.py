"""Fixtures of the command line's tests."""

import pytest

from support.cli import CannedDaemon, FakeRoot
from support.cli import run as run_with


@pytest.fixture
def daemon():
    with CannedDaemon() as canned:
        yield canned


@pytest.fixture
def run(daemon):
    """Run a command line against the canned daemon."""
    root = FakeRoot(daemon.data_dir)
    return lambda *args, **options: run_with(root, *args, **options)
