"""A device's standing, in memory and in `briefcase.sqlite`: its state, its watermark, its last sync and last error."""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.adapters.store.sync_progress import SyncProgress, SyncProgressStore
from briefcase.core.fleet.device import DeviceEvent, next_state
from briefcase.core.fleet.enrolment import Enrolment
from briefcase.model.ports import Clock

MAX_ERROR_CHARS: Final = 500


class Standing:
    """The standing of one enrolment; each change is durable when its method returns.

    Args:
        store: where it is kept.
        enrolment: whose it is.
        progress: what was kept of it.
        clock: the time.
    """

    def __init__(self, store: SyncProgressStore, enrolment: Enrolment, progress: SyncProgress, clock: Clock) -> None:
        self._store = store
        self._enrolment = enrolment
        self._clock = clock
        self.progress = progress

    async def note_enrolled(self) -> None:
        """The device was enrolled, or enrolled again: it keeps its watermark."""
        await self._change(
            state=next_state(self.progress.state, DeviceEvent.ENROL), last_error="", failures=0, fresh_until_us=0
        )

    async def note_left(self) -> None:
        """The device has left; it keeps its watermark, should it be enrolled again."""
        await self._change(state=next_state(self.progress.state, DeviceEvent.LEAVE), last_error="", fresh_until_us=0)

    async def note_uploaded(self, watermark: int) -> None:
        """The control plane has every receipt up to the watermark."""
        await self._change(uploaded_id=watermark)

    async def note_synced(self, fresh_until_us: int | None) -> None:
        """A sync went well; None where nothing was said of freshness, which is then as it was."""
        fresh = self.progress.fresh_until_us if fresh_until_us is None else fresh_until_us
        await self._change(
            state=next_state(self.progress.state, DeviceEvent.SYNC),
            last_sync_us=self._clock.now_us(),
            last_error="",
            failures=0,
            fresh_until_us=fresh,
        )

    async def note_failed(self, problem: str, *, is_disowned: bool) -> None:
        """A sync did not go well: a word and a sentence; `is_disowned` where the device is known no more."""
        fresh_until_us = self.progress.fresh_until_us
        is_stale = 0 < fresh_until_us <= self._clock.now_us()
        event = DeviceEvent.DISOWN if is_disowned else DeviceEvent.EXPIRE if is_stale else DeviceEvent.FAIL
        await self._change(
            state=next_state(self.progress.state, event),
            last_error=problem[:MAX_ERROR_CHARS],
            failures=self.progress.failures + 1,
        )

    async def _change(self, **fields: object) -> None:
        changed = msgspec.structs.replace(self.progress, **fields, updated_us=self._clock.now_us())
        await self._store.save(self._enrolment.base_url, self._enrolment.device_id, changed)
        self.progress = changed
