"""What each of our servers does with signals: SIGTERM and SIGINT stop it, SIGHUP opens its log anew."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.logs import LOG

_log: Final = get_logger("briefcase.process")


def stop_on_signals() -> asyncio.Event:
    """Take this process's signals on the running loop; gives the event that is set when it is to stop."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        if not stop.is_set():
            _log.info("stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, LOG.reopen)
    return stop
