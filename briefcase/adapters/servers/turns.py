"""What one server's messages may take of the loop: after a long turn, everybody else has it for thrice as long.

A server writes as fast as it likes, and each message is work before anybody asked for it. So its messages are taken for
`TURN_S` at a time; where that is over, nothing more of it is read for `PAUSE` times what the turn took. What a listing
asks for (compiling, pinning) is work in pieces (`core.pieces`), which is done in such turns too. A message cannot be
taken in parts: what one may cost is `strict_json`'s bound.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Generator, Iterable
from typing import Final, TypeVar

from briefcase.core.pieces import in_turns

TURN_S: Final = 0.005
PAUSE: Final = 3  # one server has a quarter of the loop
MAX_PAUSE_S: Final = 1.0

T = TypeVar("T")


class Turn:
    """One turn, from now on: of the processor, so that a busy machine lengthens no pause."""

    def __init__(self) -> None:
        self._began_s = time.thread_time()

    def pause_s(self) -> float:
        """How long nothing more may be taken; 0 while the turn is not over. After a pause another turn begins."""
        took_s = time.thread_time() - self._began_s
        return 0.0 if took_s < TURN_S else min(PAUSE * took_s, MAX_PAUSE_S)

    async def run(self, work: Generator[None, None, T]) -> T:
        """Do work in pieces, and let the others have the loop between two of them where the turn is over."""
        await self.pause()
        return await in_turns(work, self.pause)

    async def pause(self) -> None:
        """Let the others have the loop where the turn is over, and begin another one."""
        pause_s = self.pause_s()
        if pause_s:
            await asyncio.sleep(pause_s)
            self._began_s = time.thread_time()


class Gate:
    """Where one server's messages are taken one at a time that come on several connections at once.

    `async with gate` around a message, or around several with `turn.pause` between them. Who is next waits until that
    is done, and where the turn was over, until the others had the loop.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._turn = Turn()

    async def __aenter__(self) -> Turn:
        await self._lock.acquire()
        self._turn = Turn()
        return self._turn

    async def __aexit__(self, *_: object) -> None:
        pause_s = self._turn.pause_s()
        if pause_s:
            asyncio.get_running_loop().call_later(pause_s, self._lock.release)  # whose message it was need not wait
        else:
            self._lock.release()


class LettingGo:
    """Lets go of what takes long to free, one thing at a time: a compiled schema is half a millisecond, 1,000 are 500.

    Whoever adds a thing keeps no reference to it.
    """

    def __init__(self) -> None:
        self._things = deque[object]()
        self._task: asyncio.Task[None] | None = None

    def add(self, things: Iterable[object]) -> None:
        """Let go of these, in turns with everybody else."""
        self._things.extend(things)
        if self._things and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(Turn().run(self._letting_go()))

    def stop(self) -> None:
        """Keep the rest until the end of the process."""
        if self._task is not None:
            self._task.cancel()

    def _letting_go(self) -> Generator[None, None, None]:
        while self._things:
            self._things.popleft()
            yield
