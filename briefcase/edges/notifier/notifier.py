"""The notifier itself: reads what is new, remembers it for each target, and tells each at its own pace.

 1. read what is new after the cursor
 2. put it into the lane of each target that wants it, and remember both (`state`) before anything is sent
 3. each target's own task makes one message of what is due, and sends it until it is taken or given up
 4. what was taken, or is a dead letter by now, leaves the lane; that is remembered, too

A target that hangs holds up its own lane and no other. No step decides anything: the token cannot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.edges.notifier.daemon import Batch, Cursor
from briefcase.edges.notifier.pacing import RECHECK_S, due
from briefcase.edges.notifier.sending import Sender, SendError
from briefcase.edges.notifier.settings import Settings, Target
from briefcase.edges.notifier.state import DeadLetter, Lane, State, Store
from briefcase.edges.notifier.wording import Message, message_of
from briefcase.model.errors import BriefcaseError
from briefcase.model.types import format_rfc3339

POLL_S: Final = 0.25
AWAY_S: Final = 2.0
ATTEMPTS_S: Final = (5.0, 30.0, 120.0, 600.0, 1_800.0)  # the pauses between attempts; after the last, it is given up
AWAY: Final = frozenset({"daemon_unreachable", "request_timeout", "not_ready", "untrusted_daemon", "internal"})

_log: Final = get_logger("briefcase.notifier")


class Notifier:
    """One notifier at work, on one event loop.

    Args:
        settings: whom it tells.
        senders: each target's way out, by name.
        store: what it remembers.
        read: what is new after a cursor; blocks, and raises `BriefcaseError` where the daemon does not say.
        attempts_s: the pauses between attempts.
    """

    def __init__(
        self,
        settings: Settings,
        senders: Mapping[str, Sender],
        store: Store,
        read: Callable[[Cursor], Batch],
        *,
        attempts_s: tuple[float, ...] = ATTEMPTS_S,
    ) -> None:
        self._settings = settings
        self._senders = senders
        self._store = store
        self._read = read
        self._attempts_s = attempts_s
        self._state = store.read()
        self._lanes = {name: self._state.lanes.get(name) or Lane() for name in settings.targets}
        self._oldest_s = dict.fromkeys(self._lanes, 0.0)
        self._changed = {name: asyncio.Event() for name in self._lanes}
        self._is_away: bool | None = None  # until it answered

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until it is to stop; what was not told yet is told by the next run.

        Raises:
            BriefcaseError: the daemon refuses the token, or the disk what is to be remembered.
        """
        stopping = asyncio.create_task(stop.wait())
        working = [stopping, asyncio.create_task(self._follow())]
        working += [asyncio.create_task(self._serve(name, target)) for name, target in self._settings.targets.items()]
        done, left = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in done:
            task.result()

    async def _follow(self) -> None:
        while True:
            try:
                batch = await asyncio.to_thread(self._read, self._state.cursor)
            except BriefcaseError as error:
                if error.code not in AWAY:
                    raise
                self._say_away(error)
                await asyncio.sleep(AWAY_S)
                continue
            if self._is_away is not False:
                _log.info("following the daemon", again=self._is_away is True)
            self._is_away = False
            self.take(batch)
            await asyncio.sleep(POLL_S)

    def take(self, batch: Batch) -> None:
        """Step 2: put new events into their lanes, and remember them. Raises as `Store.write`."""
        is_new = bool(batch.events) or (self._state.cursor.receipt_id is None) != (batch.cursor.receipt_id is None)
        for event in batch.events:
            for name, target in self._settings.targets.items():
                if target.wants(event):
                    if not self._lanes[name].waiting:
                        self._oldest_s[name] = time.monotonic()
                    self._lanes[name].put(event)
        self._state = State(batch.cursor, self._lanes)
        if is_new:  # a cursor alone is not worth a write: reading it again gives nothing again
            self._store.write(self._state)
            for changed in self._changed.values():
                changed.set()

    async def _serve(self, name: str, target: Target) -> None:
        lane, last_sent_s = self._lanes[name], time.monotonic() - target.every_s
        while True:
            message = lane.leaving
            if message is None:
                found = due(
                    target,
                    lane.waiting,
                    time.monotonic(),
                    oldest_s=self._oldest_s[name],
                    last_sent_s=last_sent_s,
                    wall_s=time.time(),
                )
                if not found.events:
                    self._changed[name].clear()
                    await _until(self._changed[name], min(found.in_s, RECHECK_S))
                    continue
                message = lane.send(found.events, message_of(found.events, lane.dropped, self._settings.page_url))
                self._store.write(self._state)
            await self._deliver(name, message)
            lane.leaving, last_sent_s = None, time.monotonic()
            self._oldest_s[name] = last_sent_s
            self._store.write(self._state)

    async def _deliver(self, name: str, message: Message) -> None:
        """Steps 3 and 4: send until it is taken, or keep it as a dead letter."""
        for pause_s in (*self._attempts_s, None):
            try:
                await self._senders[name].send(message)
            except SendError as error:
                _log.warning("not taken", target=name, message=message.id, problem=error.problem)
                if pause_s is not None and not error.is_final:
                    await asyncio.sleep(pause_s)
                    continue
                now = format_rfc3339(time.time_ns() // 1_000)
                self._store.bury(DeadLetter(name, message, error.problem, now))
                _log.error("given up", target=name, message=message.id, hint="`briefcase notify undelivered`")
                return
            else:
                _log.info("told", target=name, message=message.id)
                return

    def _say_away(self, error: BriefcaseError) -> None:
        if not self._is_away:
            _log.warning("the daemon does not answer", code=error.code, problem=error.message)
        self._is_away = True


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
