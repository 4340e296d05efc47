"""Calls that come at once and are answered by one statement of the database.

A group waits a while for more calls, counted from the first of them: what came while the group before it was answered
has waited already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

import asyncpg

from briefcase.model.errors import BriefcaseError

MAX_GROUP: Final = 128

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Call: TypeAlias = "tuple[Asked, asyncio.Future[Answer]]"


class Groups(Generic[Asked, Answer]):
    """Gathers calls; one task answers the groups.

    Args:
        answer: answers a group, each call by its future; what it raises is the answer to all that have none. It may
            leave nobody out whose future is not done.
        linger_s: how long a group waits for more calls.
    """

    def __init__(
        self, answer: Callable[[Sequence[Call[Asked, Answer]]], Awaitable[None]], *, linger_s: float = 0.0
    ) -> None:
        self._answer = answer
        self._linger_s = linger_s
        self._waiting: list[Call[Asked, Answer]] = []
        self._since_s = 0.0  # when the first of them came
        self._comes = asyncio.Event()

    def __len__(self) -> int:
        """How many calls wait for their group."""
        return len(self._waiting)

    async def ask(self, asked: Asked) -> Answer:
        """The answer to one call. Raises what the group's answer raised."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        if not self._waiting:
            self._since_s = loop.time()
        self._waiting.append((asked, answer))
        self._comes.set()
        return await answer

    async def run(self) -> None:
        """Answer groups until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._comes.wait()
            if len(self._waiting) < MAX_GROUP:
                await asyncio.sleep(self._since_s + self._linger_s - loop.time())
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            if not self._waiting:
                self._comes.clear()
            await self._tell([(asked, answer) for asked, answer in group if not answer.done()])

    async def _tell(self, group: Sequence[Call[Asked, Answer]]) -> None:
        try:
            await self._answer(group)
        except (BriefcaseError, asyncpg.PostgresError) as error:  # the next group may do better, whatever it is
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
