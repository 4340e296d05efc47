"""What changed on the servers, numbered, for whoever follows: a bounded memory, and who may know of which resource."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from typing import Final

import msgspec

KEPT_CHANGES: Final = 1_024
MAX_FOLLOWED: Final = 1_024  # resources, for each agent; its oldest gives way


class ServerChange(msgspec.Struct, frozen=True):
    """A list of a server (`tools`, `prompts`, `resources`), or one `resource` of it, is not what it was."""

    server: str
    kind: str
    uri: str = ""


class Changes:
    """Changes in order. A follower that fell behind what is kept gets what there is."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, ServerChange]] = deque(maxlen=KEPT_CHANGES)
        self._count = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_stopped = False

    @property
    def count(self) -> int:
        """How many there were so far."""
        return self._count

    def add(self, server: str, kind: str, uri: str) -> None:
        """Note a change, and wake whoever waits."""
        self._count += 1
        self._kept.append((self._count, ServerChange(server, kind, uri)))
        self._wake()

    def stop(self) -> None:
        """Wake everyone, now and later."""
        self._is_stopped = True
        self._wake()

    async def read(self, after: int, wait_s: float) -> tuple[list[ServerChange], int]:
        """The changes after a number, and the number to go on from; waits where there is none yet."""
        if self._count <= after and wait_s > 0 and not self._is_stopped:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await waiter
            finally:
                self._waiting.discard(waiter)
        return [change for number, change in self._kept if number > after], self._count

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


class Followers:
    """Which agent follows which resource of which server: the others are told nothing of it."""

    def __init__(self) -> None:
        self._kept: dict[str, OrderedDict[tuple[str, str], None]] = {}

    def add(self, principal: str, server: str, uri: str) -> None:
        """Note that an agent follows a resource."""
        own = self._kept.setdefault(principal, OrderedDict())
        own[server, uri] = None
        own.move_to_end((server, uri))
        if len(own) > MAX_FOLLOWED:
            own.popitem(last=False)

    def remove(self, principal: str, server: str, uri: str) -> bool:
        """Note that an agent does not any more; whether others still do."""
        self._kept.get(principal, OrderedDict()).pop((server, uri), None)
        return any((server, uri) in own for own in self._kept.values())

    def forget(self, server: str) -> None:
        """Let go of a server that is gone."""
        for own in self._kept.values():
            for key in [key for key in own if key[0] == server]:
                del own[key]

    def may_know(self, principal: str, change: ServerChange) -> bool:
        """Whether an agent may be told of a change: of lists always, of a resource where it follows that.

        A server may tell of what lies below a resource that was asked for (2025-11-25, `resources/updated`).
        """
        if change.kind != "resource":
            return True
        own = self._kept.get(principal, ())
        if (change.server, change.uri) in own:
            return True
        above = [uri.rstrip("/") + "/" for server, uri in own if server == change.server]
        return change.uri.startswith(tuple(above))
