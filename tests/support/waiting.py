"""Waiting for what other tasks, threads and processes bring about, however slow the machine is."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

BOUND_S = 120.0  # only what never comes takes as long
PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.02

Found = TypeVar("Found")


async def until(holds: Callable[[], Found]) -> Found:
    """Wait for what another task brings about and announces to nobody; the test's own bound ends a wait for nothing.

    Args:
        holds: the question, asked once in a turn of the loop or two.

    Returns:
        Its first true answer.
    """
    while True:
        if found := holds():
            return found
        await asyncio.sleep(PAUSE_S)


def wait_until(holds: Callable[[], Found], wanted: Callable[[], object] | str = "it never came") -> Found:
    """Wait for what another thread or process brings about.

    Args:
        holds: the question; it is asked ever more seldom.
        wanted: what the failure says, or a function that tells it.

    Returns:
        Its first true answer.
    """
    deadline_s, pause_s = time.monotonic() + BOUND_S, PAUSE_S
    while not (found := holds()):
        if time.monotonic() >= deadline_s:
            raise AssertionError(wanted() if callable(wanted) else wanted)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return found
