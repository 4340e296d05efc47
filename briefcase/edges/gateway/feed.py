"""What changed behind the daemon, as it says so: one long poll per agent, only while some client of it listens.

The daemon's `GET /v1/mcp/events` names a server and what changed there; each listener turns that into the notifications
its client asked for. A daemon without that feed changes nothing anyone could be told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from briefcase.edges.gateway.daemon import Daemon, DaemonError
from briefcase.edges.gateway.view import View
from briefcase.model.types import JsonObject

WAIT_MS: Final = 20_000
RETRY_S: Final = 2.0
LIST_METHODS: Final = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
}


class Change(msgspec.Struct, frozen=True):
    """Something changed on a server: a whole list (`tools`, `prompts`, `resources`), or one `resource`."""

    server: str
    kind: str
    uri: str = ""

    def notification(self, view: View) -> tuple[str, JsonObject] | None:
        """The change as this view's client is told of it, or None where it does not show there."""
        if not view.shows(self.server):
            return None
        if self.kind == "resource":
            return "notifications/resources/updated", {"uri": view.uri_of(self.server, self.uri)}
        method = LIST_METHODS.get(self.kind)
        return None if method is None else (method, {})


Listener = Callable[[Change], None]


class Feed:
    """All listeners of the process, by token."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._listeners: dict[str, list[Listener]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @contextmanager
    def listening(self, token: str, listener: Listener) -> Iterator[None]:
        """Call the listener for every change this agent may know of, until the block ends."""
        listeners = self._listeners.setdefault(token, [])
        listeners.append(listener)
        if token not in self._tasks:
            self._tasks[token] = asyncio.create_task(self._follow(token))
        try:
            yield
        finally:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[token]
                self._tasks.pop(token).cancel()

    async def _follow(self, token: str) -> None:
        after = -1  # from now on
        while True:
            try:
                batch = await self._daemon.get(token, f"/v1/mcp/events?after={after}&wait_ms={WAIT_MS}")
                for change in msgspec.convert(batch.get("changes"), list[Change]):
                    self._tell(token, change)
                after = msgspec.convert(batch.get("next"), int)
            except msgspec.ValidationError:
                return  # not the daemon this was written for: its other answers will say so
            except DaemonError as error:
                if error.status:
                    return  # it has no such feed, or not for this agent
                await asyncio.sleep(RETRY_S)

    def _tell(self, token: str, change: Change) -> None:
        for listener in list(self._listeners.get(token, ())):
            listener(change)
