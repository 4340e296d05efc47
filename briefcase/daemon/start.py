"""What every step of a start is given, beside what the steps before it made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from briefcase.adapters.system import SystemClock, SystemEntropy
from briefcase.daemon.config_file import FileConfig
from briefcase.daemon.settings import Settings

if TYPE_CHECKING:
    from briefcase.adapters.telemetry.otel import Exporting

CLOCK: Final = SystemClock()
ENTROPY: Final = SystemEntropy()


class Start(NamedTuple):
    """One start of the daemon.

    `settings` are the environment's, `file` is the configuration file, and `environ` is the environment that child
    processes get. `stack` undoes the steps, the last one first: a step puts there what ends each thing it made, at
    once. `exporting` is where telemetry goes, if it goes anywhere.
    """

    settings: Settings
    file: FileConfig
    environ: Mapping[str, str]
    stack: AsyncExitStack
    exporting: Exporting | None

    def keep_running(self, work: Coroutine[object, object, None]) -> None:
        """Run something beside the requests until the daemon stops."""
        self.stack.push_async_callback(_cancel, asyncio.create_task(work))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
