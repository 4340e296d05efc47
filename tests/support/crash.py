"""A crash at a chosen point: in this process an exception that nothing may catch, in a daemon's a SIGKILL."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import pytest

DYING = """
import asyncio, importlib, os, signal, sys
from briefcase.__main__ import main
module, owner, name, when = {point!r}
held = getattr(importlib.import_module(module), owner) if owner else importlib.import_module(module)
real = getattr(held, name)
async def dying(*args, **named):
    if when == "after":
        await real(*args, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(held, name, dying)
sys.argv = ["briefcase", "daemon"]
sys.exit(main())
"""


class Crash(BaseException):
    """The process is gone: whoever awaits goes no further, and writes nothing more."""


def is_crash(error: BaseException) -> bool:
    """Whether a task ended because its process is gone, and for no other reason."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(Crash)[1] is None
    return isinstance(error, Crash)


@contextlib.contextmanager
def crashed(patch: pytest.MonkeyPatch, owner: object, name: str, when: str) -> Iterator[None]:
    """Within the block, calling an async method is a crash, `before` or `after` it did what it does."""
    real = getattr(owner, name)

    async def dying(*args: object, **named: object) -> None:
        if when == "after":
            await real(*args, **named)
        raise Crash

    with patch.context() as patched:
        patched.setattr(owner, name, dying)
        yield


def dying_daemon(module: str, owner: str, name: str, when: str) -> list[str]:
    """The command of a daemon that is killed `before` or `after` it runs an async method."""
    return [sys.executable, "-c", DYING.format(point=(module, owner, name, when))]
