"""Logs: one JSON object a line, with the ids that join them to receipts, and nothing secret.

They go to standard error, or to the file of `BRIEFCASE_LOG_FILE`, which SIGHUP opens anew: a rotated log goes on under
its name, and nothing ends. Tracebacks carry file, line and function, never the values of locals: those may hold
arguments or credentials.

Whatever a process that logs says on standard error goes the same way (`log_writer.py`): a print, a warning, the event
loop's complaint. Where no person reads it on a terminal, each such line becomes an object too. A line that cannot be
written is lost and counted; what wrote it goes on.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Final

import msgspec

from briefcase import __version__
from briefcase.adapters.disk.files import open_private
from briefcase.adapters.telemetry.log_context import add_ids
from briefcase.adapters.telemetry.log_writer import LogWriter, now_rfc3339
from briefcase.adapters.telemetry.logger import Processor, get_logger, structlog
from briefcase.adapters.telemetry.outlet import OUTLET
from briefcase.model.errors import BriefcaseError, ConfigError

LOG_FILE: Final = "BRIEFCASE_LOG_FILE"
LAST_LINES_S: Final = 1.0  # how long a process that ends waits for the reader of its last lines

_log: Final = get_logger("briefcase.logs")


class StandardError(StringIO):
    """Standard error by whole lines; nothing is kept but the one that has no end yet.

    Args:
        descriptor: where the lines go.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.writer = LogWriter(descriptor)
        self._descriptor = descriptor
        self._is_for_people = os.isatty(descriptor)
        self._lock = threading.RLock()
        self._begun = ""

    def write(self, text: str) -> int:
        """Hand on what has its line end; each line as an object, where no person reads it."""
        with self._lock:
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self.hand_on(lines + end if self._is_for_people else "".join(map(_as_object, lines.split("\n"))))
        return len(text)

    def flush(self) -> None:
        """Hand on what was begun, too, where a person reads it; no object is half a line."""
        with self._lock:
            if self._begun and self._is_for_people:
                self.hand_on(self._begun)
                self._begun = ""

    def hand_on(self, lines: str) -> None:
        """Write whole lines as they are."""
        # INVARIANT (logs): a record of ours, a print, a warning: nothing reaches the descriptor but through here
        self.writer.write(OUTLET.text(lines).encode("utf-8", "backslashreplace"))

    def end(self) -> None:
        """Have everything written before the process ends, or not wait for its reader any longer."""
        self.flush()
        if self._begun:
            self.write("\n")
        self.writer.flush(LAST_LINES_S)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._descriptor)


class _Records(StringIO):
    """Where structlog writes: each text is a whole line, and an object already."""

    def __init__(self, stream: StandardError) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.hand_on(text)
        return len(text)


def _as_object(line: str) -> str:
    """A line of whoever writes to standard error as an object; one that is an object already as it is."""
    if not line.strip():
        return ""
    if line.startswith("{"):
        with suppress(msgspec.DecodeError):
            msgspec.json.decode(line, type=dict[str, object])
            return line + "\n"
    said = {"event": line, "level": "info", "logger": "stderr", "timestamp": now_rfc3339()}
    return msgspec.json.encode(said).decode() + "\n"


class ProcessLog:
    """Where this process's log goes: nowhere before `configure_logs`."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.stream: StandardError | None = None

    @property
    def is_for_people(self) -> bool:
        """Whether a person reads it on a terminal."""
        return self.path is None and self.stream is not None and self.stream.isatty()

    @property
    def lost_lines(self) -> int:
        """How many of its lines were not written."""
        return 0 if self.stream is None else self.stream.writer.lost

    @staticmethod
    def say_start(program: str) -> None:
        """The first line of a server's log."""
        _log.info("starting", program=program, version=__version__, pid=os.getpid())

    @staticmethod
    def say(event: str, **fields: str) -> None:
        """What becomes of a server after that."""
        _log.info(event, **fields)

    def reopen(self) -> None:
        """What SIGHUP does: go on in the file that has the log's name now. Nothing else changes, and nothing ends."""
        if self.path is None or self.stream is None:
            _log.info("SIGHUP: the log is on standard error, and goes on there")
            return
        try:
            self.stream.writer.reopen(self.path)
        except BriefcaseError as error:
            _log.error("the log could not be reopened, and goes on where it was", problem=error.message)
        else:
            _log.info("the log was reopened", path=str(self.path))


LOG: Final = ProcessLog()


def configure_logs(*, level: int = logging.INFO, export: Processor | None = None, path: Path | None = None) -> None:
    """Send every log line as JSON to standard error or a file, and all else that is said there too; once in a process.

    Args:
        level: what is less than this is not logged.
        export: gets each line too, as a mapping that holds no exception any more, only its text.
        path: the file, in place of standard error.

    Raises:
        ConfigError: the file cannot be opened, or is not the user's alone.
    """
    own = sys.__stderr__  # None where the process was started without: something else may have its number by now
    stream = StandardError(_descriptor(path, None if own is None else own.fileno()))
    LOG.path, LOG.stream = path, stream
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
        logger_factory=structlog.WriteLoggerFactory(_Records(stream)),
        cache_logger_on_first_use=True,
    )


def failure_line(wire: Mapping[str, str]) -> str:
    """The line of a server that cannot go on, written with or without a log: its error in the daemon's own form."""
    present = {name: value for name, value in wire.items() if value}
    said = {"event": "failed", **present, "level": "error", "timestamp": now_rfc3339()}
    return msgspec.json.encode(said).decode()


def _descriptor(path: Path | None, own: int | None) -> int:
    if path is None:
        return os.open(os.devnull, os.O_WRONLY) if own is None else own
    try:
        return open_private(path, appends=True)
    except BriefcaseError as error:
        raise ConfigError(f"`{LOG_FILE}`: {error.message}", hint=error.hint) from None
