"""What changed behind the daemon, as it says so: one long poll per agent, only while some client of it listens.

The daemon's `GET /v1/mcp/events` names a server and what changed there; each listener turns that into the notifications
its client asked for. A daemon without that feed changes nothing anyone could be told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from briefcase.core.wire.servers import ChangeList, ChangeRecord
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


Listener = Callable[[ChangeRecord], None]


def notification_of(change: ChangeRecord, view: View) -> tuple[str, JsonObject] | None:
    """A change as this view's client is told of it, or None where it does not show there."""
    if not view.shows(change.server):
        return None
    if change.kind == "resource":
        return "notifications/resources/updated", {"uri": view.uri_of(change.server, change.uri)}
    method = LIST_METHODS.get(change.kind)
    return None if method is None else (method, {})


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
                path = f"/v1/mcp/events?after={after}&wait_ms={WAIT_MS}"
                batch = (await self._daemon.get(token, path, ChangeList)).answer
                for change in batch.changes:
                    self._tell(token, change)
                after = batch.next
            except DaemonError as error:
                if error.status or error.code == "unexpected_answer":
                    return  # it has no such feed, not for this agent, or it is not the daemon this was written for
                await asyncio.sleep(RETRY_S)

    def _tell(self, token: str, change: ChangeRecord) -> None:
        for listener in list(self._listeners.get(token, ())):
            listener(change)
