"""A Unix socket whose queue is full: who connects now is told so at once, and must come again."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

needs_a_queue = pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux says that a queue is full")


class ConnectedError(Exception):
    """The client is connected, and asks who is there."""


@contextmanager
def full_queue(path: str) -> Iterator[socket.socket]:
    """A listener at a path that takes nobody; `accept` makes room for one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, ExitStack() as waiting:
        listener.bind(path)
        listener.listen(0)
        while True:
            one = waiting.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            one.settimeout(0)
            try:
                one.connect(path)
            except BlockingIOError:
                break
        yield listener
