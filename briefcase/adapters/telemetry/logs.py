"""Logs: one JSON object a line on standard error, with the ids that join them to receipts, and nothing secret.

Tracebacks carry file, line and function, never the values of locals: those may hold arguments or credentials.

Whatever a process that logs says on standard error goes the same way (`log_writer.py`): a print, a warning, the event
loop's complaint. A line that cannot be written is lost and counted; what wrote it goes on.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from io import StringIO
from typing import Final

from briefcase.adapters.telemetry.log_context import add_ids
from briefcase.adapters.telemetry.log_writer import LogWriter
from briefcase.adapters.telemetry.logger import Processor, structlog
from briefcase.adapters.telemetry.outlet import OUTLET

LAST_LINES_S: Final = 1.0  # how long a process that ends waits for the reader of its last lines


class StandardError(StringIO):
    """Standard error by whole lines; nothing is kept but the one that has no end yet.

    Args:
        descriptor: where the lines go.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.writer = LogWriter(descriptor)
        self._descriptor = descriptor
        self._lock = threading.RLock()
        self._begun = ""

    def write(self, text: str) -> int:
        """Hand on what has its line end."""
        with self._lock:
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._hand_on(lines + end)
        return len(text)

    def flush(self) -> None:
        """Hand on what was begun, too."""
        with self._lock:
            if self._begun:
                self._hand_on(self._begun)
                self._begun = ""

    def _hand_on(self, lines: str) -> None:
        # INVARIANT (logs): a record of ours, a print, a warning: nothing reaches the descriptor but through here
        self.writer.write(OUTLET.text(lines).encode("utf-8", "backslashreplace"))

    def end(self) -> None:
        """Have everything written before the process ends, or not wait for its reader any longer."""
        self.flush()
        self.writer.flush(LAST_LINES_S)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._descriptor)


def lost_lines() -> int:
    """How many lines of this process were not written."""
    return sys.stderr.writer.lost if isinstance(sys.stderr, StandardError) else 0


def configure_logs(*, level: int = logging.INFO, export: Processor | None = None) -> None:
    """Send every log line to standard error as JSON, and all else that goes there the same way; once in a process.

    Args:
        level: what is less than this is not logged.
        export: gets each line too, as a mapping that holds no exception any more, only its text.
    """
    own = sys.__stderr__  # None where the process was started without: something else may have its number by now
    stream = StandardError(os.open(os.devnull, os.O_WRONLY) if own is None else own.fileno())
    atexit.register(stream.end)
    if sys.stderr is own:  # what somebody else put there is theirs
        sys.stderr = stream
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            OUTLET.record,
            *([] if export is None else [export]),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
