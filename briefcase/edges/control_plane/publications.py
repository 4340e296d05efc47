"""Waiting for a bundle: notifications say when to look, and looking each few seconds is what is relied on.

A notification is lost while a connection is away, so it is a hint only. What a waiting device is answered is read from
the primary after it woke, and a device that was revoked meanwhile gets nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from briefcase.edges.control_plane.database import CHANGES, Database, UnavailableError
from briefcase.edges.control_plane.device_calls import Device, Version, version_of

POLL_S: Final = 2.0

HEADS: Final = """
select tenant, last_id, bundle_id, mandatory_id, version as key_version from bundle_heads cross join signing_head
"""


class Publications:
    """Knows each tenant's version of who gets which bundle, a moment late, and wakes who waits for another.

    Args:
        database: where bundles are published.
        poll_s: how often it is looked at without a notification.
    """

    def __init__(self, database: Database, *, poll_s: float = POLL_S) -> None:
        self._database = database
        self._poll_s = poll_s
        self._versions: dict[str, Version] = {}
        self._changed = asyncio.Event()
        self._is_over = False
        self.waiting = 0
        """Devices that wait now."""

    async def run(self) -> None:
        """Follow publications until cancelled; a database that is away is asked again."""
        while True:
            with contextlib.suppress(UnavailableError, asyncpg.PostgresError):
                heard = asyncio.Event()
                async with self._database.listening(CHANGES, heard):
                    await self._follow(heard)
            await asyncio.sleep(self._poll_s)

    async def wait_for_another(
        self, device: Device, look_up: Callable[[], Awaitable[Device]], timeout_s: float
    ) -> Device:
        """Wait until a device gets another bundle, mandatory part or word of keys than it got.

        Args:
            device: as it was let in.
            look_up: reads it again; what that raises ends the wait.
            timeout_s: the longest wait.

        Returns:
            The device as it was read last, with what is new or, after the longest wait, the same.
        """
        present = device
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while present.etag == device.etag and not self._is_over:
                    if self._versions.get(present.tenant, present.version) <= present.version:
                        await self._changed.wait()
                    else:
                        present = await look_up()
        except TimeoutError:
            return present
        finally:
            self.waiting -= 1
        return present

    def end(self) -> None:
        """Let every device that waits have its answer now: the process stops."""
        self._is_over = True
        self._changed.set()

    async def _follow(self, heard: asyncio.Event) -> None:
        while True:
            rows = await self._database.fetch(HEADS)
            versions = {row["tenant"]: version_of(row) for row in rows}
            if versions != self._versions:
                self._versions = versions
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await heard.wait()
            heard.clear()
